"""Detection limits: values beyond a known limit are missing, and no others.

    p(s_j = 0 | x_j) = 1 beyond the limit, 0 within it.

Nothing is learned. A missing cell integrates to the tail of p(x | z) beyond the limit, in closed
form for a Gaussian and for a truncated normal distribution, by enumeration for counts and levels,
and no draw or mean ever lies on the wrong side.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from notmiwae.integration import Discretised, MissingCells
from notmiwae.mechanisms import FactorisedMechanism
from notmiwae.observations import Observation, TruncatedNormalDistribution

NEVER = -1e4
"""Log probability of what cannot be: finite, so that a mask can multiply it."""


class Certain(Distribution):
    """s = 0 where `beyond`, s = 1 elsewhere."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, beyond: Tensor) -> None:
        self.beyond = beyond
        super().__init__(beyond.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """P(s = 1)."""
        return 1.0 - self.beyond.to(torch.get_default_dtype())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of s: 0 where it is as it must be."""
        return torch.where((value == 0) == self.beyond, 0.0, NEVER)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return the only s that can be."""
        return self.mean.expand(self._extended_shape(torch.Size(sample_shape)))


class Tail:
    """A Gaussian, or one within bounds, beyond a limit.

    Parameters
    ----------
    distribution : Normal or TruncatedNormalDistribution
        p(x | z).
    low, high : Tensor
        Ends of the tail, which broadcast against it.
    """

    width = 1

    def __init__(self, distribution: Any, low: Tensor, high: Tensor) -> None:
        self.tail = TruncatedNormalDistribution(distribution.loc, distribution.scale, low, high)
        self.log_normaliser = self.tail.log_mass
        if isinstance(distribution, TruncatedNormalDistribution):
            self.log_normaliser = self.log_normaliser - distribution.log_mass

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]."""
        return self.tail.mean

    def sample(self) -> Tensor:
        """Draw x beyond the limit."""
        return self.tail.rsample().detach()


class Limit(FactorisedMechanism):
    """Missing above (sign +1) or below (sign -1) a known limit.

    Parameters
    ----------
    n_features : int
        D.
    limit : float or array of shape (D,)
        In the units that the model sees; a value that equals it is observed.
    sign : float or array of shape (D,)
    """

    limit: Tensor
    sign: Tensor
    slack = 1e-5

    def __init__(self, n_features: int, *, limit: Any = 0.0, sign: Any = 1.0) -> None:
        super().__init__()
        for name, value in {"limit": limit, "sign": sign}.items():
            each = torch.as_tensor(value, dtype=torch.get_default_dtype()).expand(n_features)
            self.register_buffer(name, each.clone(), persistent=False)

    def forward(self, x: Tensor) -> Certain:
        return Certain((x - self.limit) * self.sign > self.slack)

    def tilt(
        self, observation: Observation, distribution: Any, x: Tensor, mask: Tensor
    ) -> MissingCells:
        if isinstance(distribution, (Normal, TruncatedNormalDistribution)):
            infinite = torch.full_like(self.limit, torch.inf)
            low = torch.where(self.sign > 0, self.limit, -infinite)
            high = torch.where(self.sign > 0, infinite, self.limit)
            if isinstance(distribution, TruncatedNormalDistribution):
                low = torch.maximum(low, distribution.low)
                high = torch.minimum(high, distribution.high)
            return Tail(distribution, low, high)
        nodes, log_weights = observation.nodes(distribution)
        log_missing = self(nodes).log_prob(torch.zeros(()))
        return Discretised(nodes, log_weights, log_missing, observation.continuous)
