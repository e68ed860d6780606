"""The six faults of the report's implementation, to be switched on one at a time.

They exist here and nowhere else in the library. With w_kn the weight of draw k of row n:

    bound       log 1/N Σ_n w_kn: the log-sum-exp runs over the rows of a batch, not over draws
    gradient    values of missing cells are drawn without a gradient, so that the mechanism's
                likelihood never reaches the decoder
    axes        there are as many draws as the batch has rows, whatever was asked for, and in the
                mechanism draw k of row n is completed by the observed values, and explains the
                mask, of row k
    exponential a missing cell is filled with exp(E[x | z]), summed over rows, with weights that
                were made to sum to one over draws
    relu        the decoder's mean is cut off at zero
    selection   the error is that of the best of all looks at the true values, on held-out rows
                whose thresholds are their own
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from typing import Any

import torch
from torch import Tensor, nn

from notmiwae.bounds import importance_weighted
from notmiwae.encoders import Encoder
from notmiwae.imputation import conditional_mean
from notmiwae.integration import Drawn
from notmiwae.mechanisms import Mechanism
from notmiwae.model import ImportanceSample, LatentVariableModel
from notmiwae.networks import mlp_decoder
from notmiwae.observations import Observation

Faults = Set[str]

NONE: Faults = frozenset()
FAULTS = {
    "bound": "The bound sums over the rows of a batch where it should sum over the draws of a row.",
    "gradient": "Values of missing cells are drawn without a gradient.",
    "axes": "As many draws as the batch has rows; their gaps are completed from other rows.",
    "exponential": "Gaps are filled with the exponential of the mean, averaged over rows.",
    "relu": "The decoder’s mean is cut off at zero, which is the mean of a column.",
    "selection": "Held-out rows have thresholds of their own; the best epoch is chosen by truth.",
}
ALL: Faults = frozenset(FAULTS)


def batch_bound(log_weights: Tensor) -> Tensor:
    """Return log 1/N Σ_n w_kn ``(K,)`` for log weights ``(K, N)``."""
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


def bound(faults: Faults) -> Callable[[Tensor], Tensor]:
    """Return what training raises."""
    return batch_bound if "bound" in faults else importance_weighted


class RectifiedMean(nn.Sequential):
    """A decoder whose first outputs, the means, are cut off at zero."""

    def __init__(self, decoder: nn.Module, n_means: int) -> None:
        super().__init__(decoder)
        self.n_means = n_means

    def forward(self, z: Tensor) -> Tensor:
        raw = super().forward(z)
        return torch.cat([raw[..., : self.n_means].relu(), raw[..., self.n_means :]], dim=-1)


def decoder(faults: Faults, n_latent: int, n_features: int) -> Callable[[int], nn.Module]:
    """Return the factory of the decoder, from a number of outputs."""

    def make(n_outputs: int) -> nn.Module:
        published = mlp_decoder(n_latent, n_outputs)
        return RectifiedMean(published, n_features) if "relu" in faults else published

    return make


class FaultyModel(LatentVariableModel):
    """A model whose missing cells are drawn, with faults in how that is done.

    Parameters
    ----------
    encoder, observation, mechanism
        See `LatentVariableModel`.
    faults : set of str
        Of which 'gradient' and 'axes' make a difference here.
    """

    def __init__(
        self, encoder: Encoder, observation: Observation, mechanism: Mechanism, faults: Faults
    ) -> None:
        super().__init__(encoder, observation, mechanism, integrate="sample")
        self.faults = faults

    def forward(self, x: Tensor, mask: Tensor, n_samples: int) -> ImportanceSample:
        return super().forward(x, mask, len(x) if "axes" in self.faults else n_samples)

    def explain(self, likelihood: Any, x: Tensor, mask: Tensor) -> tuple[Drawn, Tensor]:
        draws = likelihood.sample() if "gradient" in self.faults else likelihood.rsample()
        if "axes" in self.faults:
            x, mask = x.unsqueeze(1), mask.unsqueeze(1)
        completed = torch.where(mask.bool(), x, draws)
        return Drawn(draws), self.mechanism(completed).log_prob(mask)


def impute(
    model: LatentVariableModel,
    x: Tensor,
    mask: Tensor,
    faults: Faults,
    *,
    n_samples: int,
    batch_size: int,
) -> Tensor:
    """Return what fills missing cells ``(N, D)``."""
    if "exponential" not in faults:
        return conditional_mean([model], x, mask, n_samples)
    batches = zip(x.split(batch_size), mask.split(batch_size), strict=True)
    with torch.no_grad():
        return torch.cat([exponential_mean(model, *batch) for batch in batches])


def exponential_mean(model: LatentVariableModel, x: Tensor, mask: Tensor) -> Tensor:
    """Return Σ_n α_kn exp(E[x | z_kn]) ``(K, D)``, where Σ_k α_kn = 1 and K is taken for N."""
    sample = model(x, mask, len(x))
    weights = sample.log_weights.softmax(0)
    return torch.einsum("kn,knd->kd", weights, sample.likelihood.mean.exp())
