"""Imputation: what the weighted draws of a trained model say of the missing cells.

With normalised weights α_k of the draws of one row, the conditional mean is

    E[x_m | x_o, s] ≈ Σ_k α_k E[x_m | z_k, s_m=0]       (integrated mechanism)
                    ≈ Σ_k α_k x_m^k                     (drawn x_m^k, as weighed)

The published code averages E[x_m | z_k] instead, which ignores that a value is missing *because
of* what it is, given z too; it is here as ``decoder-mean`` for comparison. Draws for multiple
imputation resample (z_k, x_m^k) by the weights, and quantiles are those of such draws.

Everything streams: rows in blocks, and the K draws of a block in blocks, folded into an
`Accumulator`, so that memory depends on neither N nor K.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from notmiwae.model import ImportanceSample, LatentVariableModel
from notmiwae.training import seeded
from notmiwae.validation import lookup

CELLS = 2**21
"""Values that one block may hold in its widest array."""

SAMPLES_PER_BLOCK = 128


class Accumulator(ABC):
    """Folds blocks of weighted draws of the same N rows into a result.

    Parameters
    ----------
    model : LatentVariableModel
    x, mask : Tensor
        The rows' zero-filled values and mask ``(N, D)``.
    """

    def __init__(self, model: LatentVariableModel, x: Tensor, mask: Tensor) -> None:
        self.model, self.x, self.mask = model, x, mask
        self.log_total: Tensor | None = None

    def add(self, sample: ImportanceSample) -> None:
        """Take a block of draws into account."""
        block = sample.log_weights.logsumexp(0)
        total = block if self.log_total is None else torch.logaddexp(self.log_total, block)
        # The share of all weight so far that this block has, (N,).
        self.fold(sample, (block - total).exp())
        self.log_total = total

    @abstractmethod
    def fold(self, sample: ImportanceSample, share: Tensor) -> None:
        """Mix the block into the result, which keeps ``1 - share`` of itself."""

    @abstractmethod
    def result(self) -> Tensor:
        """What has been accumulated, rows on the last axis but one, or on the last."""


class WeightedMean(Accumulator):
    """Σ_k α_k v_k over values v ``(K, N, D)`` of a sample."""

    def __init__(
        self,
        model: LatentVariableModel,
        x: Tensor,
        mask: Tensor,
        values: Callable[[ImportanceSample], Tensor],
    ) -> None:
        super().__init__(model, x, mask)
        self.values = values
        self.mean = torch.zeros(())

    def fold(self, sample: ImportanceSample, share: Tensor) -> None:
        block = torch.einsum("kn,knd->nd", sample.log_weights.softmax(0), self.values(sample))
        self.mean = self.mean + share.unsqueeze(-1) * (block - self.mean)

    def result(self) -> Tensor:
        return self.mean


class Resampled(Accumulator):
    """Draws ``(S, N, D)``, each chosen by the weights among all blocks (a weighted reservoir)."""

    def __init__(self, model: LatentVariableModel, x: Tensor, mask: Tensor, n_draws: int) -> None:
        super().__init__(model, x, mask)
        self.n_draws = n_draws
        self.kept = torch.zeros(())

    def fold(self, sample: ImportanceSample, share: Tensor) -> None:
        probabilities = sample.log_weights.softmax(0).T
        chosen = torch.multinomial(probabilities, self.n_draws, replacement=True).T.unsqueeze(-1)
        candidates = self.model.resumable(sample)
        fresh = candidates.gather(0, chosen.expand(-1, -1, candidates.shape[-1]))
        replaced = torch.rand_like(fresh[..., :1]) < share.unsqueeze(-1)
        self.kept = torch.where(replaced, fresh, self.kept)

    def result(self) -> Tensor:
        return self.model.complete(self.kept, self.x, self.mask)


class Evidence(Accumulator):
    """log Σ_k w_k and log Σ_k w_k², ``(2, N)``."""

    log_squares: Tensor | None = None

    def fold(self, sample: ImportanceSample, share: Tensor) -> None:
        block = (2 * sample.log_weights).logsumexp(0)
        self.log_squares = (
            block if self.log_squares is None else torch.logaddexp(self.log_squares, block)
        )

    def result(self) -> Tensor:
        assert self.log_total is not None
        assert self.log_squares is not None
        return torch.stack([self.log_total, self.log_squares])


def stream(
    model: LatentVariableModel,
    x: Tensor,
    mask: Tensor,
    n_samples: int,
    accumulator: Callable[..., Accumulator],
    *,
    width: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> list[Tensor]:
    """Fold `n_samples` draws per row into accumulators, block by block.

    Parameters
    ----------
    model : LatentVariableModel
    x, mask : Tensor
        Zero-filled values and mask ``(N, D)``; blocks are moved to the model's device.
    n_samples : int
        K.
    accumulator : callable
        ``(model, x, mask) -> Accumulator`` for a block of rows.
    width : int
        Draws per row that the accumulator holds.
    seed : int
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    list of Tensor
        The blocks' results, on the CPU.
    """
    device = model.device
    per_block = min(n_samples, SAMPLES_PER_BLOCK)
    cells = cells_per_draw(model, x[:1].to(device), mask[:1].to(device))
    n_rows = max(1, CELLS // (max(per_block, width) * cells))
    results = []
    with torch.no_grad(), seeded(seed, device):
        starts = range(0, x.shape[0], n_rows)
        for start in tqdm(starts, desc="imputing", unit="block", disable=not progress):
            block = [tensor[start : start + n_rows].to(device) for tensor in (x, mask)]
            folded = accumulator(model, *block)
            for done in range(0, n_samples, per_block):
                folded.add(model(*block, min(per_block, n_samples - done)))
            results.append(folded.result().cpu())
    return results


def cells_per_draw(model: LatentVariableModel, x: Tensor, mask: Tensor) -> int:
    """Values that the widest array holds for one draw of one row: a layer, or the nodes."""
    layers = [len(parameter) for parameter in model.parameters() if parameter.dim() > 1]

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        layers.append(output[0].numel())

    # A convolution gives more values than its weights tell. The encoder's are not once per draw.
    hooks = [
        module.register_forward_hook(note)
        for part in (model.observation, model.mechanism)
        for module in part.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    ]
    with torch.no_grad(), seeded(0, x.device):
        per_cell = model(x, mask, 1).missing.width
    for hook in hooks:
        hook.remove()
    return max([x.shape[1] * max(1, per_cell), *layers])


Models = Sequence[LatentVariableModel]
"""Models of equal weight: an ensemble, often of one."""


def conditional_mean(
    models: Models,
    x: Tensor,
    mask: Tensor,
    n_samples: int = 1000,
    *,
    estimator: str = "conditional-mean",
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Return E[x | x_o, s] for every cell ``(N, D)``; only missing cells are meaningful.

    Where categories have no order, the probability of each, ``(N, E)``: `Observation.settle`.

    Parameters
    ----------
    models : sequence of LatentVariableModel
        The means of an ensemble are averaged.
    estimator : {'conditional-mean', 'decoder-mean'}
        See the head of this module.
    x, mask, n_samples, seed, progress
        See `stream`.
    """
    fold = partial(WeightedMean, values=lookup("estimator", estimator, MEANS))
    means = [
        torch.cat(stream(model, x, mask, n_samples, fold, seed=seed, progress=progress))
        for model in models
    ]
    return torch.stack(means).mean(0)


def draws(
    models: Models,
    x: Tensor,
    mask: Tensor,
    n_draws: int,
    n_samples: int = 1000,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Return draws ``(n_draws, N, D)`` of x given x_o and s; only missing cells are meaningful.

    The models of an ensemble take turns.
    """
    result = torch.empty(n_draws, *x.shape)
    for turn, model in enumerate(models[:n_draws]):
        share = len(range(turn, n_draws, len(models)))
        fold = partial(Resampled, n_draws=share)
        blocks = stream(
            model, x, mask, n_samples, fold, width=share, seed=seed + turn, progress=progress
        )
        result[turn :: len(models)] = torch.cat(blocks, dim=1)
    return result


def quantiles(
    models: Models,
    x: Tensor,
    mask: Tensor,
    levels: Sequence[float],
    n_samples: int = 1000,
    *,
    n_draws: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Return quantiles ``(N, D, len(levels))`` of x given x_o and s, from `n_draws` draws."""
    n_rows = max(1, CELLS // (n_draws * x.shape[1]))
    blocks = tqdm(
        list(zip(x.split(n_rows), mask.split(n_rows), strict=True)),
        desc="imputing",
        unit="block",
        disable=not progress,
    )
    return torch.cat(
        [
            draws(models, values, known, n_draws, n_samples, seed=seed + index * len(models))
            .quantile(torch.tensor(levels), dim=0)
            .movedim(0, -1)
            for index, (values, known) in enumerate(blocks)
        ]
    )


class Diagnostics(NamedTuple):
    """What the weights of each row say.

    Attributes
    ----------
    log_likelihood : Tensor
        The importance-weighted bound on log p(x_o, s) ``(N,)``, in nats; of the mixture, for an
        ensemble.
    effective_sample_size : Tensor
        (Σw)² / Σw² ``(N,)``, between 1 and K; averaged, for an ensemble.
    """

    log_likelihood: Tensor
    effective_sample_size: Tensor


def diagnose(
    models: Models,
    x: Tensor,
    mask: Tensor,
    n_samples: int = 1000,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Diagnostics:
    """Return the bound and the effective sample size of every row."""
    sums = [
        torch.cat(stream(model, x, mask, n_samples, Evidence, seed=seed, progress=progress), dim=1)
        for model in models
    ]
    log_total, log_squares = torch.stack(sums, dim=1)
    log_likelihood = log_total.logsumexp(0) - math.log(len(models) * n_samples)
    return Diagnostics(log_likelihood, (2 * log_total - log_squares).exp().mean(0))


def expected(of: Any) -> Tensor:
    """Return the mean of every cell, with the probability of each category where these differ."""
    found: Tensor | None = getattr(of, "expected", None)
    return of.mean if found is None else found


MEANS: dict[str, Callable[[ImportanceSample], Tensor]] = {
    "conditional-mean": lambda sample: expected(sample.missing),
    "decoder-mean": lambda sample: expected(sample.likelihood),
}
