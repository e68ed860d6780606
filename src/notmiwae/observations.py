"""Observation distributions p(x | z), one univariate distribution per column.

A decoder trunk maps z to raw parameters; the classes here turn these into a
``torch.distributions`` object with batch shape ``(..., D)`` and empty event shape, so that a mask
multiplies per column. Each also knows the nodes and weights of a one-dimensional quadrature,

    ∫ p(x | z) f(x) dx ≈ Σ_q ω_q f(x_q),      Σ_q ω_q = 1,

by which a missing cell is integrated out whatever the mechanism: a trapezoidal rule for the
Gaussian, which converges as fast as Gauss-Hermite where the mechanism is smooth and is closer where
it is a step, the same nodes as normal scores for the truncated normal, the rule in a sinh scale
for Student's t (heavy tails), enumeration for binary values, categories, levels and counts.

Scales are in the units that the model sees, which are standard deviations of the observed values
of a column. A floor under every scale keeps the likelihood bounded where a column repeats a value.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Distribution, Normal
from torch.distributions import StudentT as StudentTDistribution
from torch.nn.functional import softplus

from notmiwae._special import (
    StackableNormal,
    StackableStudentT,
    log_density,
    log_ndtr,
    log_sigmoid,
    ndtri_exp,
)
from notmiwae.codes import Codes, Counts
from notmiwae.integration import MissingCells, Skewed, Untilted
from notmiwae.validation import check_number, lookup

Decoder = Callable[[int], nn.Module]
"""From a number of outputs to the network that makes them from latents."""

SCALE_FLOOR = 0.01
REACH = 6.0
"""Normal scores beyond this have too little weight to count."""


class Observation(nn.Module, ABC):
    """p(x | z).

    Parameters
    ----------
    n_features : int
        D.
    decoder : callable
        ``n_outputs -> nn.Module`` from latents ``(..., L)`` to ``(..., n_outputs)``.
    """

    continuous: ClassVar[bool] = True
    support: ClassVar[str] = "any number"
    skewable: bool = False
    """Whether its columns may be skewed, see `notmiwae.skewness`."""
    arguments: ClassVar[tuple[str, ...]] = ("loc", "scale")
    """What its distribution is made from, per cell."""
    by_column: ClassVar[tuple[str, ...]] = ()
    """The same ``(D,)``, per column."""

    @abstractmethod
    def forward(self, z: Tensor) -> Distribution:
        """Return p(x | z) with batch shape ``(..., D)`` for latents ``(..., L)``."""

    @abstractmethod
    def nodes(self, distribution: Any) -> tuple[Tensor, Tensor]:
        """Return ascending nodes and log weights, both ``(Q, ..., D)``."""

    def pick(self, distribution: Any, cells: Tensor) -> Any:
        """Return the distribution ``(..., M)`` of some of the cells ``(..., N, D)``.

        Parameters
        ----------
        distribution : Distribution
        cells : Tensor
            Their indices ``(M,)``, row by row.
        """
        whole = distribution.batch_shape
        arguments = {
            name: getattr(distribution, name).expand(whole).flatten(-2).index_select(-1, cells)
            for name in self.arguments
        }
        by_column = {
            name: getattr(distribution, name)[cells % whole[-1]] for name in self.by_column
        }
        return type(distribution)(**arguments, **by_column, validate_args=False)

    def supports(self, x: Tensor) -> Tensor:
        """Return where values ``(N, D)`` lie within the support."""
        return torch.ones_like(x, dtype=torch.bool)

    def untilted(self, distribution: Any) -> MissingCells:
        """Return p(x | z) as what would be known of cells that miss for no reason of their own."""
        return Untilted(distribution, torch.zeros(()))

    def skew_only(self, learns: Tensor) -> None:
        """Say which columns ``(D,)`` may be skewed, if any."""
        self.skewable = self.skewable and bool(learns.any())

    def skewed(self, cells: Any, skewness: Tensor) -> MissingCells:
        """Return what is known of cells in terms of x, if their columns may be skewed."""
        return Skewed(cells, skewness) if self.skewable else cells

    def settle(self, expected: Tensor) -> Tensor:
        """Return one value per cell ``(..., D)`` for what is expected of it ``(..., E)``."""
        return expected

    def widen(self, mask: Tensor) -> Tensor:
        """Return what is said of cells ``(..., D)`` for all that is expected of them."""
        return mask


class LocationScale(Observation):
    """Families with a location per cell, and further parameters where `scale` says.

    Parameters
    ----------
    n_features, decoder
        See `Observation`.
    scale : {'column', 'network', 'shared'}
        The scale is one per column, a function of z (as published), or one for all columns.
    scale_floor : float or array of shape (D,)
        Least scale, in standard deviations of a column's observed values.
    """

    n_spread: ClassVar[int] = 1
    scale_floor: Tensor

    def __init__(
        self,
        n_features: int,
        decoder: Decoder,
        *,
        scale: str = "column",
        scale_floor: Any = SCALE_FLOOR,
    ) -> None:
        super().__init__()
        widths = {"column": n_features, "network": 0, "shared": 1}
        width = lookup("scale", scale, widths)
        for least in np.ravel(scale_floor):
            check_number("scale_floor", least, above=0)
        floor = torch.as_tensor(scale_floor, dtype=torch.get_default_dtype()).expand(n_features)
        self.register_buffer("scale_floor", floor.clone(), persistent=False)
        self.decoder = decoder(n_features * (1 if width else 1 + self.n_spread))
        self.spread = nn.Parameter(torch.zeros(self.n_spread, width)) if width else None

    def raw_parameters(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the location and `n_spread` unconstrained parameters."""
        raw = self.decoder(z)
        if self.spread is not None:
            return raw, *self.spread
        return raw.chunk(1 + self.n_spread, dim=-1)

    def positive(self, raw_scale: Tensor) -> Tensor:
        """Turn an unconstrained parameter into a scale above the floor."""
        return softplus(raw_scale) + self.scale_floor


class Gaussian(LocationScale):
    """x ~ N(μ, σ²)."""

    skewable = True
    n_nodes = 25

    def forward(self, z: Tensor) -> Normal:
        loc, raw_scale = self.raw_parameters(z)
        return StackableNormal(loc, self.positive(raw_scale), validate_args=False)

    def nodes(self, distribution: Normal) -> tuple[Tensor, Tensor]:
        scores, log_weights = normal_scores(self.n_nodes, distribution.loc)
        return distribution.loc + distribution.scale * scores, log_weights


class StudentT(LocationScale):
    """x ~ μ + σ t_ν with ν = 3 + softplus(·) degrees of freedom (as published)."""

    skewable = True
    arguments = ("df", "loc", "scale")
    n_spread = 2
    n_nodes = 65
    reach = 8.0

    def forward(self, z: Tensor) -> StudentTDistribution:
        loc, raw_scale, raw_df = self.raw_parameters(z)
        return StackableStudentT(
            3 + softplus(raw_df), loc, self.positive(raw_scale), validate_args=False
        )

    def nodes(self, distribution: StudentTDistribution) -> tuple[Tensor, Tensor]:
        steps = torch.linspace(-self.reach, self.reach, self.n_nodes).to(distribution.loc)
        steps = steps.reshape(-1, *[1] * distribution.loc.dim())
        values = distribution.loc + distribution.scale * steps.sinh()
        log_weights = distribution.log_prob(values) + steps.cosh().log()
        return values, log_weights.log_softmax(0)


class TruncatedNormal(LocationScale):
    """x ~ N(μ, σ²) given low ≤ x ≤ high.

    Parameters
    ----------
    n_features, decoder, scale, scale_floor
        See `LocationScale`.
    low, high : float or array of shape (D,)
        Bounds, in the units that the model sees.
    """

    arguments = ("loc", "scale", "low", "high")
    n_nodes = 25
    support = "values within `bounds` only"
    low: Tensor
    high: Tensor

    def __init__(
        self,
        n_features: int,
        decoder: Decoder,
        *,
        low: Any,
        high: Any,
        scale: str = "column",
        scale_floor: Any = SCALE_FLOOR,
    ) -> None:
        super().__init__(n_features, decoder, scale=scale, scale_floor=scale_floor)
        for name, bound in {"low": low, "high": high}.items():
            self.register_buffer(name, torch.as_tensor(bound).float().expand(n_features).clone())

    def forward(self, z: Tensor) -> TruncatedNormalDistribution:
        loc, raw_scale = self.raw_parameters(z)
        return TruncatedNormalDistribution(loc, self.positive(raw_scale), self.low, self.high)

    def nodes(self, distribution: TruncatedNormalDistribution) -> tuple[Tensor, Tensor]:
        scores, log_weights = normal_scores(self.n_nodes, distribution.loc)
        # Not ndtr, which is 0 in single precision where a node still has its weight.
        return distribution.icdf(log_ndtr(scores).exp()), log_weights

    def supports(self, x: Tensor) -> Tensor:
        slack = 1e-5 * (1 + x.abs())
        return (x >= self.low - slack) & (x <= self.high + slack)


class Bernoulli(Observation):
    """x ∈ {0, 1} with a probability per cell."""

    continuous = False
    arguments = ("logits",)
    support = "values 0 and 1 only"

    def __init__(self, n_features: int, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder(n_features)

    def forward(self, z: Tensor) -> BernoulliDistribution:
        return BernoulliDistribution(logits=self.decoder(z), validate_args=False)

    def nodes(self, distribution: BernoulliDistribution) -> tuple[Tensor, Tensor]:
        zero = torch.zeros_like(distribution.logits)
        values = torch.stack([zero, zero + 1])
        return values, distribution.log_prob(values)

    def supports(self, x: Tensor) -> Tensor:
        return (x == 0) | (x == 1)


class Coded(Observation):
    """Families of whole numbers, which cells hold as ``(code - loc) / scale``.

    Parameters
    ----------
    n_features, decoder
        See `Observation`.
    loc, scale : float or array of shape (D,)
        See `notmiwae.codes`.
    """

    continuous = False
    by_column = ("loc", "scale")
    loc: Tensor
    scale: Tensor

    def __init__(self, n_features: int, *, loc: Any, scale: Any) -> None:
        super().__init__()
        for name, value in {"loc": loc, "scale": scale}.items():
            each = torch.as_tensor(value, dtype=torch.get_default_dtype()).expand(n_features)
            self.register_buffer(name, each.clone(), persistent=False)

    def codes(self, x: Tensor) -> Tensor:
        """Return what would be the code of each value ``(N, D)``, whole or not."""
        return x * self.scale + self.loc

    def pick(self, distribution: Any, cells: Tensor) -> Any:
        if isinstance(distribution, Codes):
            logits = distribution.log_probabilities.flatten(-3, -2).index_select(-2, cells)
            columns = cells % distribution.batch_shape[-1]
            loc, scale = distribution.loc[columns], distribution.scale[columns]
            return Codes(logits, loc, scale, distribution.nominal)
        return super().pick(distribution, cells)


def counts_of(n_codes: int | Sequence[int], n_features: int) -> list[int]:
    """Return the number of codes of each column, from one number or one each."""
    given = [n_codes] * n_features if isinstance(n_codes, int) else list(n_codes)
    if len(given) != n_features:
        raise ValueError(f"there must be one number of codes per column; got {n_codes!r}")
    for number in given:
        check_number("number of codes", number, at_least=1, whole=True)
    return given


class Categorical(Coded):
    """x ∈ {1, ..., C} with a probability each, and no order; see `notmiwae.codes`.

    Parameters
    ----------
    n_features, decoder
        See `Observation`.
    n_codes : int or sequence of D ints
        C, which may differ between columns.
    """

    support = "numbers of categories only, from 1 on"
    absent: Tensor

    def __init__(
        self, n_features: int, decoder: Decoder, *, n_codes: int | Sequence[int] = 4
    ) -> None:
        super().__init__(n_features, loc=-1.0, scale=1.0)
        counts = torch.tensor(counts_of(n_codes, n_features))
        self.n_codes = int(counts.max())
        absent = torch.arange(self.n_codes) >= counts.unsqueeze(-1)
        self.register_buffer("absent", absent, persistent=False)
        self.decoder = decoder(n_features * self.n_codes)

    def forward(self, z: Tensor) -> Codes:
        logits = self.decoder(z).unflatten(-1, self.absent.shape)
        logits = logits.masked_fill(self.absent, -torch.inf)
        return Codes(logits, self.loc, self.scale, nominal=True)

    def nodes(self, distribution: Codes) -> tuple[Tensor, Tensor]:
        return distribution.nodes()

    def supports(self, x: Tensor) -> Tensor:
        return (x == x.round()) & (x >= 1) & (x <= (~self.absent).sum(-1))

    def settle(self, expected: Tensor) -> Tensor:
        """Return the most probable category."""
        return expected.unflatten(-1, self.absent.shape).argmax(-1).to(expected) + 1


class Ordinal(Coded):
    """Levels in an order: P(code ≤ k) = σ(θ_k - η(z)) with ascending thresholds θ per column.

    Parameters
    ----------
    n_features, decoder, loc, scale
        See `Coded`.
    n_codes : int or sequence of D ints
        Number of levels, which may differ between columns.
    """

    support = "whole numbers of levels only, from 0 on"
    nearest, beyond = 1e-3, 1e4
    last: Tensor

    def __init__(
        self,
        n_features: int,
        decoder: Decoder,
        *,
        n_codes: int | Sequence[int] = 4,
        loc: Any = 0.0,
        scale: Any = 1.0,
    ) -> None:
        super().__init__(n_features, loc=loc, scale=scale)
        last = torch.tensor(counts_of(n_codes, n_features)) - 1
        self.register_buffer("last", last.unsqueeze(-1), persistent=False)
        n_steps = max(int(last.max()), 1)
        self.first = nn.Parameter(-(last.unsqueeze(-1) - 1.0) / 2)
        self.raw_steps = nn.Parameter(torch.full((n_features, n_steps - 1), 0.54))
        self.decoder = decoder(n_features)

    @property
    def thresholds(self) -> Tensor:
        """θ ``(D, C - 1)``; far away where a column has fewer levels."""
        steps = softplus(self.raw_steps) + self.nearest
        rising = torch.cat([self.first, steps], -1).cumsum(-1)
        absent = torch.arange(rising.shape[-1], device=rising.device) >= self.last
        return rising.masked_fill(absent, self.beyond)

    def forward(self, z: Tensor) -> Codes:
        thresholds = self.thresholds
        ends = torch.full_like(thresholds[:, :1], self.beyond)
        low = torch.cat([-ends, thresholds], -1)
        high = torch.cat([thresholds, ends], -1)
        score = self.decoder(z).unsqueeze(-1)
        # σ(b) - σ(a) = σ(b) σ(-a) (1 - e^(a - b)), whose digits do not cancel.
        gap = torch.log(-torch.expm1(-(high - low).clamp_min(self.nearest)))
        logits = log_sigmoid(high - score) + log_sigmoid(score - low) + gap
        absent = torch.arange(low.shape[-1], device=low.device) > self.last
        return Codes(logits.masked_fill(absent, -torch.inf), self.loc, self.scale)

    def nodes(self, distribution: Codes) -> tuple[Tensor, Tensor]:
        return distribution.nodes()

    def supports(self, x: Tensor) -> Tensor:
        codes = self.codes(x)
        near = (codes - codes.round()).abs() < 1e-2
        return near & (codes > -0.5) & (codes < self.last.squeeze(-1) + 0.5)


class Count(Coded):
    """Counts 0, 1, 2, ...: negative binomial, whose limit is the Poisson distribution.

    Parameters
    ----------
    n_features, decoder, loc, scale
        See `Coded`.
    centre : float or array of shape (D,)
        Mean where the decoder says 0.
    bound : int
        Missing cells are summed out from 0 to this count.
    """

    support = "counts only: whole numbers from 0 on"
    arguments = ("log_mean", "log_size")
    unit = math.log(math.e - 1)  # whose softplus is 1
    log_centre: Tensor

    def __init__(
        self,
        n_features: int,
        decoder: Decoder,
        *,
        loc: Any = 0.0,
        scale: Any = 1.0,
        centre: Any = 1.0,
        bound: int = 60,
    ) -> None:
        super().__init__(n_features, loc=loc, scale=scale)
        middle = torch.as_tensor(centre, dtype=torch.get_default_dtype()).expand(n_features)
        self.register_buffer("log_centre", middle.log(), persistent=False)
        self.bound = bound
        self.log_size = nn.Parameter(torch.ones(n_features))
        self.decoder = decoder(n_features)

    def forward(self, z: Tensor) -> Counts:
        # Straight for large means: an exponential would put what is missing far away.
        log_mean = self.log_centre + softplus(self.decoder(z) + self.unit).clamp_min(1e-6).log()
        log_mean = log_mean.clamp_max(math.log(self.bound / 2))
        return Counts(log_mean, self.log_size.clamp(-4, 7), self.loc, self.scale)

    def nodes(self, distribution: Counts) -> tuple[Tensor, Tensor]:
        counts = torch.arange(self.bound + 1).to(distribution.loc).unsqueeze(-1)
        values = (counts - distribution.loc) / distribution.scale
        ones = [1] * (distribution.log_mean.dim() - 1)
        values = values.reshape(-1, *ones, values.shape[-1])
        log_weights = distribution.log_prob(values)
        return values.expand(log_weights.shape), log_weights

    def supports(self, x: Tensor) -> Tensor:
        counts = self.codes(x)
        return ((counts - counts.round()).abs() < 1e-2) & (counts > -0.5)


class TruncatedNormalDistribution(Distribution):
    """N(loc, scale²) restricted to [low, high]; infinite bounds are allowed."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True
    # An infinite bound, made finite, is as far away, and its gradients are finite.
    far, reach = 1e6, 1e3

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        low: Tensor,
        high: Tensor,
        validate_args: bool | None = False,
    ) -> None:
        self.loc, self.scale, self.low, self.high = torch.broadcast_tensors(loc, scale, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)
        lower, upper = (
            ((bound.clamp(-self.far, self.far) - self.loc) / self.scale).clamp(
                -self.reach, self.reach
            )
            for bound in (self.low, self.high)
        )
        # Mirrored so that the nearer bound is on the left: Φ loses its digits on the right.
        self.mirrored = lower + upper > 0
        self.lower = torch.where(self.mirrored, -upper, lower)
        self.upper = torch.where(self.mirrored, -lower, upper)
        log_upper = log_ndtr(self.upper)
        self.log_upper = log_upper
        self.share_below = (log_ndtr(self.lower) - log_upper).exp().clamp_max(1 - 1e-6)
        self.log_mass = log_upper + torch.log1p(-self.share_below)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values within the bounds."""
        score = (value - self.loc) / self.scale
        return log_density(score) - self.scale.log() - self.log_mass

    @property
    def mean(self) -> Tensor:
        """Mean within the bounds."""
        at_lower, at_upper = (
            (log_density(bound) - self.log_mass).exp() for bound in (self.lower, self.upper)
        )
        shift = torch.where(self.mirrored, at_upper - at_lower, at_lower - at_upper)
        return self.clamp(self.loc + self.scale * shift)

    def icdf(self, probability: Tensor) -> Tensor:
        """Quantile function."""
        share = torch.where(self.mirrored, 1 - probability, probability)
        level = self.share_below + share * (1 - self.share_below)
        tiny = torch.finfo(level.dtype).tiny
        score = ndtri_exp(self.log_upper + level.clamp_min(tiny).log()).to(self.loc.dtype)
        score = torch.where(self.mirrored, -score, score)
        return self.clamp(self.loc + self.scale * score)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw by inversion, differentiably."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.icdf(torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    def clamp(self, value: Tensor) -> Tensor:
        """Round values that left the bounds by a last digit back into them."""
        return torch.minimum(torch.maximum(value, self.low), self.high)


def normal_scores(n_nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and log weights for N(0, 1), leading axis Q, to broadcast over `like`."""
    scores = torch.linspace(-REACH, REACH, n_nodes, dtype=torch.double)
    scores = scores.reshape(-1, *[1] * like.dim())
    return scores.to(like), (-0.5 * scores.square()).log_softmax(0).to(like)


OBSERVATIONS: dict[str, type[Observation]] = {
    "gaussian": Gaussian,
    "student-t": StudentT,
    "truncated-normal": TruncatedNormal,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "ordinal": Ordinal,
    "count": Count,
}
