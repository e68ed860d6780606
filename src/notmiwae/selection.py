"""Choosing the shape of self-masking without the truth, for ``mechanism="auto"``.

Columnwise mechanisms are integrated exactly, and all of them explain the mask, so that their
bounds on held-out rows can be compared. Flexibility has to pay: a mechanism replaces a simpler one
only if it gains its margin, in nats per row and column with missing values. A few rows must not
choose: those that the model of the data hardly explains gain or lose tens of nats by any change of
it, so a share `TRIM` of the largest gains and losses is left out. What bends are worth is
seen against the same mechanism without them; against others, one with bends need only be better.
Those that come near the chosen one are averaged with it, since bounds do not decide between them,
and they err in different ways; but none with bends and one without, of which one is quite wrong.

Values go missing *at random* where other columns say what is missing. That other columns say
something of it does not mean that the value itself says nothing, since they resemble it: so "at
random" is compared with a mechanism that sees the value *as well*. Where that gains nothing, values
are taken to be missing at random.

The comparison can tell shapes apart only as far as the model of the data is right; it is no test
of missingness at random, which no data can settle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from scipy.stats import trim_mean
from torch import Tensor

from notmiwae.mechanisms import (
    AtRandom,
    SelfMasking,
    SelfMaskingSpline,
)

CANDIDATES = {
    "at-random": partial(AtRandom, context=True),
    "self-masking": SelfMasking,
    "self-masking, in context": partial(SelfMasking, context=True),
    "self-masking-spline": SelfMaskingSpline,
}
"""In the order in which they are considered."""

MARGINS = {
    "self-masking": 0.01,
    "self-masking, in context": 0.01,
    "self-masking-spline": 0.08,
}
"""What each has to gain over what was chosen before it, or over what it bends."""

BENDS = {"self-masking-spline": "self-masking"}
"""What mechanisms with bends are without them."""

TRIM = 0.05
"""Share of rows that gain most, and of those that lose most, by which no mechanism is judged."""

TOLERANCE = 0.03
"""Models that miss more nats per row and column, against the chosen mechanism, are left out."""


@dataclass(frozen=True)
class Selection:
    """What was compared and what was chosen.

    Attributes
    ----------
    bounds : dict
        Bound per held-out row of each mechanism, in nats, see `typical_bounds`, in the order in
        which they are considered; that of its first model, before it learns on.
    margins : dict
        Gain per row that a mechanism needs to replace what was chosen before it; one with bends,
        over the same without.
    tolerance : float
        Loss per row against the chosen mechanism by which a model is left out of the average.
    chosen : str
        Name of the mechanism that explains most, for its flexibility.
    """

    bounds: dict[str, float]
    margins: dict[str, float]
    tolerance: float
    chosen: str

    def keeps(self, bound: float, best: float) -> bool:
        """Whether a model with this bound is one to average with another of the second bound."""
        # Without held-out rows all bounds are NaN, and nothing speaks against any model.
        return not bound < best - self.tolerance

    @property
    def averaged(self) -> list[str]:
        """Mechanisms that are averaged, the chosen one first."""
        near = [
            name
            for name, bound in self.bounds.items()
            if name != self.chosen
            and self.keeps(bound, self.bounds[self.chosen])
            and (name in BENDS) == (self.chosen in BENDS)
        ]
        return [self.chosen, *near]

    def __str__(self) -> str:
        if len(self.bounds) == 1:
            return f"{self.chosen} (as given)"
        gains = ", ".join(
            f"{name} {bound - self.bounds[self.chosen]:+.2f}"
            for name, bound in self.bounds.items()
            if name != self.chosen
        )
        needs = ", ".join(
            f"{name} {margin:.2f}" + (f" over {BENDS[name]}" if name in BENDS else "")
            for name, margin in self.margins.items()
        )
        averaged = f", averaged with {', '.join(self.averaged[1:])}" if self.averaged[1:] else ""
        return (
            f"{self.chosen}{averaged}; held-out nats per row of the others against it: {gains}; "
            f"needed to replace those before it: {needs}"
        )


def typical_bounds(rows: Mapping[str, Tensor]) -> dict[str, float]:
    """Return a bound per row of each mechanism: the mean of the first, plus what others gain.

    Parameters
    ----------
    rows : mapping
        Bound of each held-out row ``(R,)`` of each mechanism.

    Returns
    -------
    dict
    """
    first = next(iter(rows.values()))
    return {
        name: first.mean().item() + float(trim_mean(bounds - first, TRIM))
        for name, bounds in rows.items()
    }


def select(
    bounds: Mapping[str, float],
    n_columns: int,
    margins: Mapping[str, float] = MARGINS,
    tolerance: float = TOLERANCE,
) -> Selection:
    """Choose among mechanisms, in their order, by their held-out bounds.

    Parameters
    ----------
    bounds : mapping
        Bound per held-out row of each mechanism.
    n_columns : int
        Columns with missing values.
    margins : mapping
        Nats per row and column that each but the first has to gain, see `MARGINS`.
    tolerance : float
        Nats per row and column that one may miss against the chosen one, to be averaged with it.
    """
    needed = {name: margins[name] * n_columns for name in list(bounds)[1:]}
    chosen = next(iter(bounds))
    for name, margin in needed.items():
        straight = BENDS.get(name, chosen)
        if bounds[name] > max(bounds[chosen], bounds[straight] + margin):
            chosen = name
    return Selection(dict(bounds), needed, tolerance * n_columns, chosen)
