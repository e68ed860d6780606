"""What is known of a missing cell given the latents: p(x | z, s=0).

A factorised mechanism leaves one-dimensional integrals, one per missing cell:

    r(z) = ∫ p(x | z) p(s=0 | x) dx,      p(x | z, s=0) = p(x | z) p(s=0 | x) / r(z).

The second is the observation distribution *tilted* by the probability of being missing. Each class
here is one way to have it; all offer ``log_normaliser`` (log r), ``mean`` and ``sample()`` with the
batch shape of the observation distribution. Those of numbers also *average* a smooth function:
where there are nodes, over these; else over the two points that have the same first moments, a
Gauss rule that is exact up to cubes,

    x± = m + v^½ (γ/2 ± h),     weights ½ (1 ∓ γ/2h),     h = √(1 + γ²/4),

for mean m, variance v and skewness γ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from notmiwae._special import inverse_mills, log_ndtr, ndtri_exp

Function = Callable[[Tensor], Tensor]
"""Of every number by itself."""


def by_moments(function: Function, mean: Tensor, variance: Tensor, skewness: Tensor) -> Tensor:
    """Return a function's average under a distribution with these moments."""
    half = skewness / 2
    reach, spread = (1 + half.square()).sqrt(), variance.sqrt()
    low, high = (function(mean + spread * (half + way * reach)) for way in (-1, 1))
    return low + (high - low) * (1 - half / reach) / 2


def skewed(y: Tensor, skewness: Tensor) -> Tensor:
    """Return x for values ``(..., D)``, see `notmiwae.skewness`."""
    return y * skewness.cosh() + arm(y) * skewness.sinh()


def straightened(x: Tensor, skewness: Tensor) -> tuple[Tensor, Tensor]:
    """Return y and log dy/dx for values ``(..., D)``."""
    up, down = skewness.cosh(), skewness.sinh()
    return x * up - arm(x) * down, (up - x / arm(x) * down).log()


def arm(y: Tensor) -> Tensor:
    """Return √(1 + y²), what bends in a skewed column."""
    return (1 + y.square()).sqrt()


class MissingCells(Protocol):
    """p(x | z, s=0) for every cell."""

    @property
    def log_normaliser(self) -> Tensor:
        """Log r(z), the log probability that the cell is missing."""

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]."""

    @property
    def width(self) -> int:
        """Values that it holds per draw and cell, if more than one."""

    def sample(self) -> Tensor:
        """One draw of x for every cell."""


class Untilted:
    """A mechanism that does not look at the cell changes nothing: p(x | z, s=0) = p(x | z).

    Parameters
    ----------
    distribution : Distribution
        p(x | z).
    log_normaliser : Tensor
        log p(s=0), which broadcasts against it.
    """

    width = 1

    def __init__(self, distribution: Distribution, log_normaliser: Tensor) -> None:
        self.distribution, self.log_normaliser = distribution, log_normaliser

    @property
    def mean(self) -> Tensor:
        """E[x | z]."""
        return self.distribution.mean

    def average(self, function: Function) -> Tensor:
        """E[f(x) | z] of a symmetric distribution."""
        mean, variance = self.distribution.mean, self.distribution.variance
        return by_moments(function, mean, variance, torch.zeros_like(mean))

    def sample(self) -> Tensor:
        """Draw x ~ p(x | z)."""
        return self.distribution.sample()


class Drawn:
    """A draw x_m ~ p(x | z) that its importance weight accounts for; the weights do the tilting."""

    width = 1

    def __init__(self, values: Tensor) -> None:
        self.mean = values

    @property
    def log_normaliser(self) -> Tensor:
        """Zero, as a scalar: the mechanism is weighed at the draw itself."""
        return torch.zeros(())

    def average(self, function: Function) -> Tensor:
        """Return what the function makes of the draw."""
        return function(self.mean)

    def sample(self) -> Tensor:
        """Return the draw itself, since no other has this weight."""
        return self.mean


class ProbitTilted:
    """Gaussian times probit: x ~ N(μ, σ²) tilted by Φ(a x + c), in closed form.

    With ``s = √(1 + a²σ²)`` and ``t = (aμ + c)/s``: ``r = Φ(t)`` and
    ``E[x | missing] = μ + g δ`` where ``g = σ² a/s`` and ``δ = φ(t)/Φ(t)``, an extended skew-normal
    distribution: ``x = μ + g w + ε`` for a standard normal w > -t and ε of variance σ² - g².

    Parameters
    ----------
    distribution : Normal
        p(x | z).
    slope, intercept : Tensor
        a and c, which broadcast against it.
    """

    width = 1

    def __init__(self, distribution: Normal, slope: Tensor, intercept: Tensor) -> None:
        self.loc, self.variance, self.slope = distribution.loc, distribution.variance, slope
        self.spread = (1 + slope.square() * self.variance).sqrt()
        self.threshold = ((slope * self.loc + intercept) / self.spread).clamp(-1e3, 1e3)
        self.log_normaliser = log_ndtr(self.threshold)

    @cached_property
    def mills(self) -> Tensor:
        """Return δ."""
        return inverse_mills(self.threshold)

    @property
    def gain(self) -> Tensor:
        """Coefficient g."""
        return self.variance * self.slope / self.spread

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]."""
        return self.loc + self.gain * self.mills

    def average(self, function: Function) -> Tensor:
        """E[f(x) | z, s=0], from the first three moments of w."""
        t, mills, gain = self.threshold, self.mills, self.gain
        rest = self.variance / self.spread.square()
        variance = rest + gain.square() * (1 - mills * (t + mills)).clamp(0, 1)
        third = gain * gain.square() * mills * ((2 * mills + t) * (mills + t) - 1)
        # Far out in the tail only rounding is left of it.
        skewness = (third / (variance * variance.sqrt())).clamp(-2, 2)
        return by_moments(function, self.mean, variance, skewness)

    def sample(self) -> Tensor:
        """Draw the score that made the cell missing, then x given the score.

        The score ``a x + c + ε`` is Gaussian and positive. In double precision, since the tail
        that it is drawn from may be far out.
        """
        threshold = self.threshold.double()
        uniform = torch.rand_like(threshold).clamp_min(torch.finfo(torch.double).tiny)
        excess = threshold - ndtri_exp(log_ndtr(threshold) + uniform.log())
        loc = self.loc + self.gain * (excess - threshold)
        return (loc + self.variance.sqrt() / self.spread * torch.randn_like(loc)).to(self.loc.dtype)


class Discretised:
    """Any other pair: quadrature over the observation's own nodes, the leading axis.

    Parameters
    ----------
    nodes : Tensor
        Values ``(Q, ..., D)``, ascending.
    log_weights : Tensor
        Log of p(x | z) dx, which sums to one over the nodes.
    log_missing : Tensor
        Log p(s=0 | x) at the nodes.
    continuous : bool
        Whether draws fall between the nodes, or on them (enumeration).
    """

    def __init__(
        self, nodes: Tensor, log_weights: Tensor, log_missing: Tensor, continuous: bool
    ) -> None:
        self.nodes, self.continuous = nodes, continuous
        self.width = len(nodes)
        self.log_weights = log_weights + log_missing
        self.log_normaliser = self.log_weights.logsumexp(0)

    @property
    def probabilities(self) -> Tensor:
        """Share of each node ``(Q, ..., D)``; of enumerated values, P(x | z, s=0)."""
        return self.log_weights.softmax(0)

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]."""
        return (self.probabilities * self.nodes).sum(0)

    def average(self, function: Function) -> Tensor:
        """E[f(x) | z, s=0]."""
        return (self.probabilities * function(self.nodes)).sum(0)

    def sample(self) -> Tensor:
        """Choose a node by its tilted weight, then a value between its neighbours' midpoints."""
        gumbel = -torch.empty_like(self.log_weights).exponential_().log()
        chosen = (self.log_weights + gumbel).argmax(0, keepdim=True)
        value = self.nodes.gather(0, chosen)
        if self.continuous:
            midpoints = (self.nodes[1:] + self.nodes[:-1]) / 2
            edges = torch.cat([self.nodes[:1], midpoints, self.nodes[-1:]])
            low, high = edges.gather(0, chosen), edges.gather(0, chosen + 1)
            value = low + (high - low) * torch.rand_like(low)
        return value.squeeze(0)


class Spliced:
    """Some cells in place of those of another.

    Parameters
    ----------
    cells : Tensor
        Their indices ``(M,)`` among all ``(N, D)``, row by row.
    part : MissingCells
        These cells ``(..., M)``.
    whole : Untilted
        All cells ``(..., N, D)``.
    """

    def __init__(self, cells: Tensor, part: MissingCells, whole: Untilted) -> None:
        self.cells, self.part, self.whole = cells, part, whole
        self.width = part.width

    def _put(self, whole: Tensor, part: Tensor) -> Tensor:
        return whole.flatten(-2).index_copy(-1, self.cells, part).view_as(whole)

    @property
    def log_normaliser(self) -> Tensor:
        """Log r(z)."""
        rest = self.whole.log_normaliser.expand(self.whole.distribution.batch_shape)
        return self._put(rest, self.part.log_normaliser)

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]."""
        return self._put(self.whole.mean, self.part.mean)

    def average(self, function: Function) -> Tensor:
        """E[f(x) | z, s=0] of these cells, and f(E[x | z]) of all others."""
        part: Any = self.part  # of numbers, all can
        return self._put(function(self.whole.mean), part.average(function))

    def sample(self) -> Tensor:
        """One draw of x for every cell."""
        return self._put(self.whole.sample(), self.part.sample())


class Skewed:
    """What is known of y, in terms of x; see `notmiwae.skewness`.

    Parameters
    ----------
    of : MissingCells
        p(y | z, s=0), batch shape ``(..., D)``, of numbers.
    skewness : Tensor
        ε ``(D,)``.
    """

    def __init__(self, of: Any, skewness: Tensor) -> None:
        self.of, self.skewness = of, skewness

    @property
    def width(self) -> int:
        """Values that it holds per draw and cell, if more than one."""
        width: int = self.of.width
        return width

    @property
    def log_normaliser(self) -> Tensor:
        """Log r(z), the same for x as for y."""
        result: Tensor = self.of.log_normaliser
        return result

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]."""
        straight, bent = self.skewness.cosh(), self.skewness.sinh()
        result: Tensor = self.of.mean * straight + self.of.average(arm) * bent
        return result

    def sample(self) -> Tensor:
        """One draw of x for every cell."""
        return skewed(self.of.sample(), self.skewness)
