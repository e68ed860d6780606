"""Skewed columns: the model of the data lives in units in which they are straight.

A Gaussian that has seen only the lower half of a column continues it by symmetry, while incomes,
concentrations and prices have a long tail above. So each column x that misses values has a skewness
ε, and encoder, decoder and mechanism see y in its place:

    x = y cosh ε + √(1 + y²) sinh ε,      y = x cosh ε - √(1 + x²) sinh ε,

the sinh-arcsinh transformation of unit tail weight (Jones & Pewsey, Biometrika 2009). It is a line
of slope e^ε far above, of slope e^-ε far below, and the identity for ε = 0: a normal y makes an x
whose tails are normal, too, but of different lengths. Bounds are those of x, by

    log p(x | z) = log p(y | z) + log dy/dx.

Nothing else changes, so that missing cells are integrated out as before. What is complete is left
as it is.

A removed tail and a short one look alike. So ε stays at 0 until directions have been found and
mechanisms compared, and is learned when models learn on, under a weak weight decay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from notmiwae.integration import skewed, straightened
from notmiwae.model import ImportanceSample, LatentVariableModel
from notmiwae.networks import Penalised


class Skew(Penalised):
    """The skewness of each column.

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

    def forward(self) -> Tensor:
        """Return ε ``(D,)``."""
        return self.weight * self.learns


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
        self.observation.skew_only(learns)

    def forward(self, x: Tensor, mask: Tensor, n_samples: int) -> ImportanceSample:
        skewness = self.skew()
        y, log_slope = straightened(x * mask, skewness)
        latents, log_weights, likelihood, missing = super().forward(y, mask, n_samples)
        seen = self.observation
        return ImportanceSample(
            latents,
            log_weights + (log_slope * mask).sum(-1),
            seen.skewed(seen.untilted(likelihood), skewness),
            seen.skewed(missing, skewness),
        )

    def complete(self, remembered: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        completed = super().complete(remembered, self.inward(x), mask)
        return self.outward(completed) if self.integrated else completed

    def inward(self, x: Tensor) -> Tensor:
        return straightened(x, self.skew())[0]

    def outward(self, y: Tensor) -> Tensor:
        return skewed(y, self.skew())
