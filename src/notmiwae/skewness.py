"""Skewed columns: the model of the data lives in units in which they are straight.

A Gaussian that has seen the lower half of a column only continues it by symmetry, while incomes,
concentrations and prices have a long tail above. So each column x that misses values has a skewness
ε, learned with all the rest, and encoder, decoder and mechanism see y in its place:

    x = y cosh ε + √(1 + y²) sinh ε,      y = x cosh ε - √(1 + x²) sinh ε,

the sinh-arcsinh transformation of unit tail weight (Jones & Pewsey, Biometrika 2009). It is a line
of slope e^ε far above, of slope e^-ε far below, and the identity for ε = 0: it bends a column, and
changes nothing of how far from its centre values go missing. Bounds are those of x, by

    log p(x | z) = log p(y | z) + log dy/dx.

Nothing else changes, so that missing cells are integrated out as before. What is complete is left
as it is. ε is under a weak weight decay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from notmiwae.integration import Untilted
from notmiwae.model import ImportanceSample, LatentVariableModel
from notmiwae.networks import Penalised


class Skew(Penalised):
    """The transformation of each column.

    Parameters
    ----------
    learns : Tensor
        Which columns ``(D,)`` may be skewed.
    """

    strength = 0.3
    learns: Tensor

    def __init__(self, learns: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(learns)))
        self.register_buffer("learns", learns.to(self.weight.dtype), persistent=False)

    @property
    def skewness(self) -> Tensor:
        """ε ``(D,)``."""
        return self.weight * self.learns

    def remove(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log dy/dx for values ``(..., D)``."""
        up, down = self.skewness.cosh(), self.skewness.sinh()
        return x * up - arm(x) * down, (up - x / arm(x) * down).log()

    def add(self, y: Tensor) -> Tensor:
        """Return x for values ``(..., D)``."""
        return y * self.skewness.cosh() + arm(y) * self.skewness.sinh()


def arm(y: Tensor) -> Tensor:
    """Return √(1 + y²), the bent part of the transformation."""
    return (1 + y.square()).sqrt()


class Skewed:
    """What is known of y, in terms of x.

    Parameters
    ----------
    of : MissingCells
        p(y | z, s=0), batch shape ``(..., D)``, that can average functions.
    skew : Skew
    """

    def __init__(self, of: Any, skew: Skew) -> None:
        self.of, self.skew = of, skew
        self.width, self.log_normaliser = of.width, of.log_normaliser

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]."""
        amount = self.skew.skewness
        return self.of.mean * amount.cosh() + self.of.average(arm) * amount.sinh()

    def sample(self) -> Tensor:
        """One draw of x."""
        return self.skew.add(self.of.sample())


class SkewedModel(LatentVariableModel):
    """A model of y that is told, and tells, x.

    Parameters
    ----------
    *parts, **options
        See `LatentVariableModel`.
    learns : Tensor
        Which columns ``(D,)`` may be skewed.
    """

    def __init__(self, *parts: Any, learns: Tensor, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.skew = Skew(learns).requires_grad_(False)

    def forward(self, x: Tensor, mask: Tensor, n_samples: int) -> ImportanceSample:
        y, log_slope = self.skew.remove(x * mask)
        latents, log_weights, likelihood, missing = super().forward(y, mask, n_samples)
        return ImportanceSample(
            latents,
            log_weights + (log_slope * mask).sum(-1),
            Skewed(Untilted(likelihood, torch.zeros(())), self.skew),
            Skewed(missing, self.skew),
        )

    def complete(self, remembered: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        completed = super().complete(remembered, self.inward(x), mask)
        return self.skew.add(completed) if self.integrated else completed

    def inward(self, x: Tensor) -> Tensor:
        return self.skew.remove(x)[0]

    def outward(self, y: Tensor) -> Tensor:
        return self.skew.add(y)
