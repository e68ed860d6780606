"""What a missingness mechanism is: a distribution over masks given complete values.

A mask s has one binary variable per cell, 1 where a value is observed and 0 where it is missing.
Most mechanisms are a *score* per cell and a link: p(missing) = Φ(score) (probit) or
1/(1 + e^-score) (logit).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.special import ndtr

from notmiwae._special import log_ndtr, log_sigmoid
from notmiwae.integration import MissingCells
from notmiwae.observations import Observation


class Scored(Distribution, ABC):
    """p(s) by a score per cell: s = 0 where a value is missing."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, score: Tensor) -> None:
        self.score = score
        super().__init__(score.shape, validate_args=False)

    @staticmethod
    @abstractmethod
    def log_missing(score: Tensor) -> Tensor:
        """Log P(s = 0); that of s = 1 is the same at the negative score."""

    @staticmethod
    @abstractmethod
    def score_of(missing: Tensor) -> Tensor:
        """Return the score at which P(s = 0) is `missing`."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """P(s = 1)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of s."""
        return self.log_missing((1 - 2 * value) * self.score)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw s."""
        return torch.bernoulli(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))


class Probit(Scored):
    """s = 0 with probability Φ(score)."""

    # Beyond this score the logarithm of Φ has no finite gradient in single precision.
    reach = 1e3

    @staticmethod
    def log_missing(score: Tensor) -> Tensor:
        return log_ndtr(score.clamp(-Probit.reach, Probit.reach))

    @staticmethod
    def score_of(missing: Tensor) -> Tensor:
        return torch.special.ndtri(missing)

    @property
    def mean(self) -> Tensor:
        return ndtr(-self.score)


class Logit(Scored):
    """s = 0 with probability 1 / (1 + exp(-score))."""

    @staticmethod
    def log_missing(score: Tensor) -> Tensor:
        return log_sigmoid(score)

    @staticmethod
    def score_of(missing: Tensor) -> Tensor:
        return torch.logit(missing)

    @property
    def mean(self) -> Tensor:
        return (-self.score).sigmoid()


class Unexplained(Distribution):
    """Says nothing of s: its log probability is 0 for every mask."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(like.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """NaN: a probability is what it does not have."""
        return torch.full_like(self.like, torch.nan)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Refuse."""
        raise ValueError(
            "the ignorable mechanism does not say what goes missing, so it cannot delete: use "
            "another, or Amputer(kind='mcar')"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.like)


LINKS: dict[str, type[Scored]] = {"probit": Probit, "logit": Logit}


class Mechanism(nn.Module, ABC):
    """p(s | x).

    Parameters
    ----------
    n_features : int
        D.
    """

    unit_free: ClassVar[bool] = False
    """Whether all its numbers are learned, in whatever units it sees, so that columns may be skewed
    (`notmiwae.skewness`). One that knows a number, or compares cells, sees values as they are."""

    @abstractmethod
    def forward(self, x: Tensor) -> Distribution:
        """Return p(s | x) with batch shape ``(..., D)`` for complete values ``(..., D)``."""

    def start(self, missing_share: Tensor) -> None:
        """Choose start values given the share ``(D,)`` of rows in which a column is missing."""

    @property
    def line(self) -> Tensor | None:
        """Slope and intercept of each score ``(2, D)`` if it is a straight line in its own cell."""
        return None

    def delete(self, x: Tensor) -> Tensor:
        """Draw a mask for complete values ``(..., D)``: 1 where a value stays observed."""
        with torch.no_grad():
            return self(x).sample()


class FactorisedMechanism(Mechanism):
    """p(s | x) = Π_j p(s_j | x_j, x_C), where C are columns that are always observed."""

    @abstractmethod
    def tilt(
        self, observation: Observation, distribution: Any, x: Tensor, mask: Tensor
    ) -> MissingCells:
        """Return p(x_j | z, s_j=0) given p(x_j | z) ``(..., N, D)``, observed x and s ``(N, D)``.

        What it says of cells that are not missing is of no meaning.
        """
