"""Missingness mechanisms p(s | x): s is 1 where a value is observed, 0 where it is missing.

A mechanism returns a ``torch.distributions`` object over s with batch shape ``(..., D)``. Most are
a *score* η(x) per cell and a link, with p(missing) = Φ(η) (probit) or 1/(1 + e^-η) (logit):

    self-masking          η_j = a_j x_j + c_j        the sign of a_j is learned
    self-masking-known    η_j = ±|a_j| x_j + c_j     the sign is given
    linear                η = A x + c                "agnostic" in Ipsen et al. (2021)
    nonlinear             η = mlp(x)

*Factorised* mechanisms, in which a cell's fate depends on its own value only, can say what a
missing cell's value is given the latents, p(x_j | z, s_j=0), with no sampling in data space.
The same classes with fixed parameters delete values from complete data: `Mechanism.delete`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal
from torch.nn.functional import softplus
from torch.special import log_ndtr, ndtr

from notmiwae._validation import lookup
from notmiwae.integration import Discretised, MissingCells, ProbitTilted, Untilted
from notmiwae.networks import mlp
from notmiwae.observations import Observation


class Probit(Distribution):
    """s = 0 with probability Φ(score)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    score_of = staticmethod(torch.special.ndtri)

    def __init__(self, score: Tensor) -> None:
        self.score = score
        super().__init__(score.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """P(s = 1)."""
        return ndtr(-self.score)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of s."""
        return log_ndtr((1 - 2 * value) * self.score)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw s."""
        return torch.bernoulli(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))


class Logit(Bernoulli):
    """s = 0 with probability 1 / (1 + exp(-score))."""

    score_of = staticmethod(torch.logit)

    def __init__(self, score: Tensor) -> None:
        super().__init__(logits=-score, validate_args=False)


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

    def log_prob(self, value: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.like)


LINKS: dict[str, type[Probit] | type[Logit]] = {"probit": Probit, "logit": Logit}


class Mechanism(nn.Module, ABC):
    """p(s | x).

    Parameters
    ----------
    n_features : int
        D.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Distribution:
        """Return p(s | x) with batch shape ``(..., D)`` for complete values ``(..., D)``."""

    def start(self, missing_share: Tensor) -> None:
        """Choose start values given the share ``(D,)`` of rows in which a column is missing."""

    def delete(self, x: Tensor) -> Tensor:
        """Draw a mask for complete values ``(..., D)``: 1 where a value stays observed."""
        with torch.no_grad():
            return self(x).sample()


class FactorisedMechanism(Mechanism):
    """p(s | x) = Π_j p(s_j | x_j)."""

    def tilt(self, observation: Observation, distribution: Any) -> MissingCells:
        """Return p(x | z, s=0) given p(x | z), by quadrature over the observation's nodes."""
        nodes, log_weights = observation.nodes(distribution)
        log_missing = self(nodes).log_prob(torch.zeros_like(nodes))
        return Discretised(nodes, log_weights, log_missing, observation.continuous)


class Ignorable(FactorisedMechanism):
    """Missing at random: nothing to model. This is MIWAE."""

    def __init__(self, n_features: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Unexplained:
        return Unexplained(x)

    def tilt(self, observation: Observation, distribution: Any) -> MissingCells:
        return Untilted(distribution)


class SelfMasking(FactorisedMechanism):
    """η_j = a_j x_j + c_j: missing above or below a threshold -c_j / a_j; data decide which.

    Slopes start at zero, so that no direction is preferred.

    Parameters
    ----------
    n_features : int
        D.
    link : {'probit', 'logit'}
        With a Gaussian observation, the probit is integrated in closed form.
    """

    learns: Tensor

    def __init__(self, n_features: int, *, link: str = "probit") -> None:
        super().__init__()
        self.link = lookup("link", link, LINKS)
        self.weight = nn.Parameter(torch.zeros(n_features))
        self.intercept = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("learns", torch.ones(n_features))

    @property
    def slope(self) -> Tensor:
        """The slopes a ``(D,)``."""
        return self.weight * self.learns

    @torch.no_grad()
    def start(self, missing_share: Tensor) -> None:
        """Start at the columns' shares; one without missing values says nothing of its slope."""
        self.intercept.copy_(self.link.score_of(missing_share.clamp(0.01, 0.99)))
        self.learns.copy_(missing_share > 0)

    def forward(self, x: Tensor) -> Distribution:
        return self.link(self.slope * x + self.intercept)

    def tilt(self, observation: Observation, distribution: Any) -> MissingCells:
        if self.link is Probit and isinstance(distribution, Normal):
            return ProbitTilted(distribution, self.slope, self.intercept)
        return super().tilt(observation, distribution)


class SelfMaskingKnown(SelfMasking):
    """Missing above (sign +1) or below (sign -1) a threshold.

    Parameters
    ----------
    n_features, link
        See `SelfMasking`.
    sign : float or sequence of D floats
        +1: high values go missing; -1: low values do.
    """

    sign: Tensor

    def __init__(
        self, n_features: int, *, sign: float | Sequence[float] = 1.0, link: str = "probit"
    ) -> None:
        super().__init__(n_features, link=link)
        signs = torch.as_tensor(sign, dtype=torch.get_default_dtype())
        if signs.dim() > 1 or signs.numel() not in (1, n_features) or (signs.abs() != 1).any():
            raise ValueError(
                f"sign must be +1 (high values go missing), -1 (low values do), or one of these "
                f"for each of the {n_features} columns; got {sign!r}"
            )
        self.register_buffer("sign", signs.expand(n_features).clone())

    @property
    def slope(self) -> Tensor:
        return self.sign * softplus(self.weight) * self.learns


class Linear(Mechanism):
    """η = A x + c: every column may depend on every other. "Agnostic" in the original paper."""

    def __init__(self, n_features: int, *, link: str = "logit") -> None:
        super().__init__()
        self.link = lookup("link", link, LINKS)
        self.score = nn.Linear(n_features, n_features)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, x: Tensor) -> Distribution:
        return self.link(self.score(x))


class Nonlinear(Mechanism):
    """η = mlp(x), with one hidden layer (as in the report)."""

    def __init__(self, n_features: int, *, n_hidden: int = 128, link: str = "logit") -> None:
        super().__init__()
        self.link = lookup("link", link, LINKS)
        self.score = mlp(n_features, n_features, (n_hidden,), "tanh")

    def forward(self, x: Tensor) -> Distribution:
        return self.link(self.score(x))


MECHANISMS: dict[str, type[Mechanism]] = {
    "ignorable": Ignorable,
    "self-masking": SelfMasking,
    "self-masking-known": SelfMaskingKnown,
    "linear": Linear,
    "nonlinear": Nonlinear,
}
