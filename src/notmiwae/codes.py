"""Distributions of whole numbers, of which each column's cells hold ``(code - loc) / scale``.

`loc` and `scale` put counts and ordered levels into standard deviations, as the other numbers of a
table are; categories have ``loc = -1`` and ``scale = 1``, so that 0, which stands where a cell is
missing, is no category.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution
from torch.nn.functional import softplus


class Codes(Distribution):
    """A code from 0 to C - 1 with any probabilities.

    Parameters
    ----------
    logits : Tensor
        ``(..., D, C)``; -inf for codes that a column does not have.
    loc, scale : Tensor
        ``(D,)``.
    nominal : bool
        Whether codes are names without an order, of which there is no mean.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, nominal: bool = False) -> None:
        self.nominal = nominal
        self.log_probabilities = logits.log_softmax(-1)
        self.loc, self.scale = loc, scale
        super().__init__(logits.shape[:-1], validate_args=False)

    @property
    def values(self) -> Tensor:
        """What a cell of each code holds ``(D, C)``."""
        codes = torch.arange(self.log_probabilities.shape[-1]).to(self.log_probabilities)
        return (codes - self.loc.unsqueeze(-1)) / self.scale.unsqueeze(-1)

    @property
    def probabilities(self) -> Tensor:
        """Probability of each code ``(..., D, C)``."""
        return self.log_probabilities.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the code that is nearest to what a cell holds."""
        last = self.log_probabilities.shape[-1] - 1
        codes = (value * self.scale + self.loc).round().clamp(0, last).long()
        shape = np.broadcast_shapes(codes.shape, self.batch_shape)
        table = self.log_probabilities.expand(*shape, -1)
        return table.gather(-1, codes.expand(shape).unsqueeze(-1)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        """Mean of what a cell holds."""
        return (self.probabilities * self.values).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw what a cell holds."""
        chosen = Categorical(logits=self.log_probabilities, validate_args=False)
        codes = chosen.sample(torch.Size(sample_shape))
        return (codes.to(self.log_probabilities) - self.loc) / self.scale

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Return what cells of each code hold, and log probabilities, both ``(C, ..., D)``."""
        log_weights = self.log_probabilities.movedim(-1, 0)
        values = self.values.T.reshape(-1, *[1] * (log_weights.dim() - 2), self.loc.shape[-1])
        return values.expand(log_weights.shape), log_weights


class Counts(Distribution):
    """Negative binomial counts of mean m and size r: their variance is m + m²/r.

    Parameters
    ----------
    log_mean, log_size : Tensor
        ``(..., D)`` and ``(D,)``.
    loc, scale : Tensor
        ``(D,)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        log_mean: Tensor,
        log_size: Tensor,
        loc: Tensor,
        scale: Tensor,
        validate_args: bool | None = False,
    ) -> None:
        self.log_mean, self.log_size = torch.broadcast_tensors(log_mean, log_size)
        self.loc, self.scale = loc, scale
        super().__init__(self.log_mean.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the count that is nearest to what a cell holds."""
        count = (value * self.scale + self.loc).round().clamp_min(0)
        size = self.log_size.exp()
        # log(r/(r+m)) and log(m/(r+m)), whichever is the larger.
        odds = self.log_mean - self.log_size
        ways = torch.lgamma(count + size) - torch.lgamma(count + 1) - torch.lgamma(size)
        return ways - size * softplus(odds) - count * softplus(-odds)

    @property
    def mean(self) -> Tensor:
        """Mean of what a cell holds."""
        return (self.log_mean.exp() - self.loc) / self.scale

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw what a cell holds."""
        shape = self._extended_shape(torch.Size(sample_shape))
        size = self.log_size.exp().expand(shape)
        rate = torch._standard_gamma(size) * (self.log_mean - self.log_size).exp()
        return (torch.poisson(rate) - self.loc) / self.scale
