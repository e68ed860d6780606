"""Kinds of columns: what their cells are to the model, and back.

A kind turns cells into numbers, one each (NaN where there is none), and numbers into cells; it
names the family of p(x | z). Labels become codes. A positive amount x becomes log x, or
log(exp(x / u) - 1) with u the median of the observed ones, which is log x for small amounts and
straight for large: the second, unless the observed values are far closer to normal in the first.
Where high values are missing, the rest of a symmetric column is skewed too, and a logarithm would
put what is missing exponentially far away. All but binary and categorical columns are then
standardised (`notmiwae.preprocessing`).

What nobody says is inferred from the observed cells, see `infer`.
"""

from __future__ import annotations

import datetime
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from notmiwae.validation import lookup

MANY_LEVELS = 30
"""A column of labels with more is left out of the model, unless its kind is given."""
LARGE_COUNT, MANY_COUNTS = 20, 3.0
"""Largest and mean of what is taken for counts; larger whole numbers are taken for amounts."""
FEW_ROWS = 10
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
CLEARLY, BY_FAR = 0.1, 0.5
"""Nats per value by which a positive column is closer to normal on another scale: one that is
straight for large values, or the logarithm."""


class Kind(ABC):
    """What a column is.

    Attributes
    ----------
    name, family : str
        Its own, and that in `notmiwae.observations.OBSERVATIONS`.
    scaled : bool
        Whether the model sees it in standard deviations.
    n_codes : int
        Number of levels; 0 where it has none.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    scaled: ClassVar[bool] = True
    n_codes: int = 0
    unordered: ClassVar[bool] = False

    @abstractmethod
    def encode(self, column: pd.Series) -> np.ndarray:
        """Return cells as floats ``(N,)``, NaN where missing or unknown."""

    @abstractmethod
    def decode(self, values: np.ndarray) -> list[Any]:
        """Return what stands in a cell for each of these floats."""

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return floats in the table's units for the model's ``(...)``; NaN for labels."""
        return np.full(values.shape, np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return what makes it again."""
        return {"kind": self.name, **vars(self)}


class Number(Kind):
    """A number of any sign.

    Parameters
    ----------
    whole : bool
        Cells hold whole numbers only.
    """

    name = "continuous"
    family = "gaussian"

    def __init__(self, whole: bool = False) -> None:
        self.whole = whole

    def encode(self, column: pd.Series) -> np.ndarray:
        return as_floats(column)

    def numbers(self, values: np.ndarray) -> np.ndarray:
        return np.round(values) if self.whole else values

    def decode(self, values: np.ndarray) -> list[Any]:
        numbers = self.numbers(values)
        return [int(number) for number in numbers] if self.whole else numbers.tolist()


class Positive(Number):
    """An amount above zero.

    Parameters
    ----------
    unit : float
        u, see the head of this module; 0 for the logarithm.
    whole : bool
        See `Number`.
    """

    name = "positive"
    farthest = 200.0

    def __init__(self, unit: float = 0.0, whole: bool = False) -> None:
        super().__init__(whole)
        self.unit = unit

    def encode(self, column: pd.Series) -> np.ndarray:
        values = as_floats(column)
        if (values <= 0).any():
            raise ValueError(
                f"column {column.name!r} is said to be positive, and holds {np.nanmin(values):g}: "
                "mend it, or say 'continuous' or 'count'"
            )
        return linked(values, self.unit)

    def numbers(self, values: np.ndarray) -> np.ndarray:
        if self.unit:
            return super().numbers(np.logaddexp(0, values) * self.unit)
        return super().numbers(np.exp(np.clip(values, -self.farthest, self.farthest)))


def linked(values: np.ndarray, unit: float) -> np.ndarray:
    """Return positive values on the scale of `Positive`."""
    if not unit:
        return np.log(values)
    ratio = values / unit
    return ratio + np.log(-np.expm1(-ratio))


class Bounded(Number):
    """A number within bounds.

    Parameters
    ----------
    low, high : float
    whole : bool
        See `Number`.
    """

    name = "bounded"
    family = "truncated-normal"

    def __init__(self, low: float, high: float, whole: bool = False) -> None:
        super().__init__(whole)
        self.low, self.high = float(low), float(high)

    def encode(self, column: pd.Series) -> np.ndarray:
        values = as_floats(column)
        outside = values[(values < self.low) | (values > self.high)]
        if outside.size:
            raise ValueError(
                f"column {column.name!r} is said to lie within {self.low:g} and {self.high:g}, "
                f"and holds {outside[0]:g}: mend it, or give other bounds"
            )
        return values

    def numbers(self, values: np.ndarray) -> np.ndarray:
        return super().numbers(np.clip(values, self.low, self.high))


class Count(Number):
    """A count from 0 on."""

    name = "count"
    family = "count"

    def __init__(self, whole: bool = True) -> None:
        super().__init__(True)

    def encode(self, column: pd.Series) -> np.ndarray:
        values = as_floats(column)
        if ((values < 0) | (values != np.round(values)))[~np.isnan(values)].any():
            raise ValueError(
                f"column {column.name!r} is said to hold counts, and holds others than whole "
                "numbers from 0 on: mend it, or say 'continuous' or 'positive'"
            )
        return values


class Labels(Kind):
    """Labels of any type.

    Parameters
    ----------
    levels : sequence
        The labels; their places are their codes.
    """

    first: ClassVar[int] = 0

    def __init__(self, levels: Sequence[Any]) -> None:
        self.levels = list(levels)

    @property
    def n_codes(self) -> int:  # type: ignore[override]
        return len(self.levels)

    def encode(self, column: pd.Series) -> np.ndarray:
        codes = {level: float(code) for code, level in enumerate(self.levels, self.first)}
        missing = column.isna().to_numpy()
        cells = column.astype(object).tolist()
        return np.array(
            [
                np.nan if hole else codes.get(cell, np.nan)
                for cell, hole in zip(cells, missing, strict=True)
            ],
            dtype=float,
        )

    def decode(self, values: np.ndarray) -> list[Any]:
        codes = np.round(values).astype(int) - self.first
        return [self.levels[code] for code in np.clip(codes, 0, len(self.levels) - 1)]

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return levels that are numbers in an order; NaN for others."""
        named = any(isinstance(level, bool) or not isinstance(level, Real) for level in self.levels)
        if self.unordered or named:
            return super().numbers(values)
        levels = np.array(self.levels, dtype=float)
        return levels[np.clip(np.round(values).astype(int), 0, len(levels) - 1)]

    def unknown(self, column: pd.Series) -> list[Any]:
        """Return the labels of a column that are none of its levels."""
        known = set(self.levels)
        return [label for label in column.dropna().unique().tolist() if label not in known]


class Binary(Labels):
    """One of two labels."""

    name = "binary"
    family = "bernoulli"
    scaled = False


class Categorical(Labels):
    """One of several labels without an order."""

    name = "categorical"
    family = "categorical"
    scaled = False
    first = 1
    unordered = True


class Ordinal(Labels):
    """One of several labels in an order."""

    name = "ordinal"
    family = "ordinal"


class LeftOut(Kind):
    """A column that the model does not see; its holes stay.

    Parameters
    ----------
    reason : str
    """

    name = "left-out"
    family = ""

    def __init__(self, reason: str = "as asked for") -> None:
        self.reason = reason

    def encode(self, column: pd.Series) -> np.ndarray:
        return np.full(len(column), np.nan)

    def decode(self, values: np.ndarray) -> list[Any]:
        raise NotImplementedError("a column that is left out is not filled")


KINDS: dict[str, type[Kind]] = {
    "continuous": Number,
    "positive": Positive,
    "bounded": Bounded,
    "binary": Binary,
    "categorical": Categorical,
    "ordinal": Ordinal,
    "count": Count,
    "left-out": LeftOut,
}


def from_dict(content: dict[str, Any]) -> Kind:
    """Return the kind that `Kind.to_dict` describes."""
    options = {name: value for name, value in content.items() if name != "kind"}
    return lookup("kind", content["kind"], KINDS)(**options)


def as_floats(column: pd.Series) -> np.ndarray:
    """Return the numbers of a column, NaN where missing.

    Raises
    ------
    ValueError
        If one is infinite.
    """
    plain = column.astype("Float64" if column.dtype != object else object)
    values: np.ndarray = plain.to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(values).any():
        raise ValueError(
            f"column {column.name!r} holds an infinite value: replace it by a number or by None"
        )
    return values


def infer(column: pd.Series) -> Kind:
    """Return the kind of a column, from its type and its observed cells.

    Truth values, and numbers that are all 0 or 1, are binary; small whole numbers from zero on that
    vary as counts do are counts; numbers above zero that are clearly closer to normal
    on another scale are positive; other numbers are continuous. Two labels are binary, more are
    categorical, or ordinal if the type of the column says so. Dates, and labels or row numbers that
    hardly repeat, are left out.
    """
    observed = column.dropna()
    if observed.empty:
        return LeftOut("nothing is observed in it")
    if holds_dates(observed):
        return LeftOut("it holds dates")
    if holds_numbers(observed):
        return infer_number(as_floats(observed), pd.api.types.is_integer_dtype(column.dtype))
    return infer_labels(observed)


def holds_dates(observed: pd.Series) -> bool:
    """Whether cells are dates or times, or are written like these."""
    if observed.dtype.kind in "mM" or isinstance(observed.dtype, pd.PeriodDtype):
        return True
    kinds = (datetime.date, datetime.time, datetime.timedelta, np.datetime64)
    return all(
        isinstance(cell, kinds) or (isinstance(cell, str) and DATE.fullmatch(cell.strip()))
        for cell in observed.iloc[:1000]
    )


def holds_numbers(observed: pd.Series) -> bool:
    """Whether cells are numbers, truth values not included."""
    types = pd.api.types
    if observed.dtype == object:
        return all(types.is_number(cell) and not isinstance(cell, bool) for cell in observed)
    return types.is_numeric_dtype(observed.dtype) and not types.is_bool_dtype(observed.dtype)


def infer_number(values: np.ndarray, integer: bool) -> Kind:
    """Return the kind of observed numbers; `integer` says that cells can hold no others."""
    distinct = np.unique(values)
    whole = bool((values == np.round(values)).all())
    if whole and len(distinct) == len(values) > FEW_ROWS and np.ptp(values) == len(values) - 1:
        return LeftOut("it numbers the rows")
    if whole and np.array_equal(distinct, [0, 1]):
        return Binary([int(value) if integer else float(value) for value in distinct])
    small = whole and distinct[0] == 0 and 2 <= distinct[-1] <= LARGE_COUNT
    if small and 0.8 * values.mean() <= values.var() and values.mean() <= MANY_COUNTS:
        return Count()
    if distinct[0] > 0 and len(distinct) > FEW_ROWS:
        unit = closest_to_normal(values)
        if unit is not None:
            return Positive(unit, whole=integer)
    return Number(whole=integer)


def closest_to_normal(values: np.ndarray) -> float | None:
    """Return the unit of `Positive` for values; None if they are no less normal as they are."""
    median = float(np.median(values))
    fits: dict[float | None, float] = {None: _normality(values, np.zeros(len(values)))}
    for unit, margin in ((0.0, BY_FAR), (median, CLEARLY)):
        ratio = values / unit if unit else values
        log_slope = -np.log(-np.expm1(-ratio) * unit) if unit else -np.log(values)
        fits[unit] = _normality(linked(values, unit), log_slope) - margin
    return max(fits, key=lambda unit: fits[unit])


def _normality(values: np.ndarray, log_slope: np.ndarray) -> float:
    """Mean log density of a fitted normal distribution, but for a constant."""
    return float(log_slope.mean() - np.log(values.std() + 1e-300))


def infer_labels(observed: pd.Series) -> Kind:
    """Return the kind of observed labels."""
    try:
        levels = sorted_levels(observed)
    except TypeError:
        return LeftOut("it holds neither numbers nor labels")
    if len(levels) > MANY_LEVELS or FEW_ROWS < len(observed) <= len(levels):
        return LeftOut(
            f"it holds {len(levels)} different labels, as an identifier does; a coarser grouping, "
            "or types={...: 'categorical'}, would let the model use it"
        )
    if isinstance(observed.dtype, pd.CategoricalDtype) and observed.cat.ordered:
        return Ordinal(levels)
    return Binary(levels) if len(levels) == 2 else Categorical(levels)


def sorted_levels(observed: pd.Series) -> list[Any]:
    """Return the labels that appear, in the order of their type, or sorted."""
    found = observed.unique().tolist()
    if isinstance(observed.dtype, pd.CategoricalDtype):
        present = set(found)
        return [level for level in observed.cat.categories.tolist() if level in present]
    try:
        return sorted(found)
    except TypeError:  # of several types
        return sorted(found, key=lambda level: (type(level).__name__, str(level)))


def given(spec: Any, column: pd.Series) -> Kind:
    """Return the kind that a user gives for a column.

    Parameters
    ----------
    spec : str or sequence
        A name in `KINDS`, 'bounded:LOW,HIGH', or the labels of an ordinal column in their order.
    column : Series
    """
    if not isinstance(spec, str):
        return _given_levels(spec, column)
    name, _, details = spec.partition(":")
    kind = lookup("a column's type", name, KINDS)
    observed = column.dropna()
    if kind is LeftOut:
        return LeftOut()
    if observed.empty:
        return LeftOut("nothing is observed in it")
    if issubclass(kind, Labels):
        return _given_labels(kind, observed)
    if not holds_numbers(observed):
        raise ValueError(f"column {column.name!r} is said to be {name}, and holds no numbers")
    if details and kind is not Bounded:
        raise ValueError(f"only 'bounded' takes details, as in 'bounded:0,100'; got {spec!r}")
    whole = pd.api.types.is_integer_dtype(column.dtype)
    values = as_floats(observed)
    if kind is Bounded:
        return Bounded(*_given_bounds(details, values, column.name), whole=whole)
    if kind is Positive:
        Positive().encode(observed)
        unit = closest_to_normal(values) if len(np.unique(values)) > 1 else 0.0
        return Positive(float(np.median(values)) if unit is None else unit, whole=whole)
    return kind(whole=whole)  # type: ignore[call-arg]


def _given_labels(kind: type[Labels], observed: pd.Series) -> Kind:
    levels = sorted_levels(observed)
    if kind is Binary and len(levels) != 2:
        raise ValueError(
            f"column {observed.name!r} is said to be binary, and holds {len(levels)} different "
            "values: say 'categorical' or another type"
        )
    ordered = isinstance(observed.dtype, pd.CategoricalDtype) and observed.cat.ordered
    if kind is Ordinal and not (ordered or holds_numbers(observed)):
        raise ValueError(
            f"column {observed.name!r} is said to be ordinal, and its labels have no order: give "
            "them from the lowest to the highest in place of 'ordinal', as in "
            f"{[str(level) for level in levels[:3]]}, or make the column an ordered categorical"
        )
    return kind(levels)


def _given_levels(spec: Any, column: pd.Series) -> Kind:
    try:
        levels = list(spec)
    except TypeError:
        levels = []
    if len(levels) < 2 or len(set(levels)) < len(levels):
        raise ValueError(
            f"the type of column {column.name!r} must be one of {', '.join(map(repr, KINDS))}, or "
            f"the labels of an ordinal column, from the lowest to the highest; got {spec!r}"
        )
    kind = Ordinal(levels)
    if absent := kind.unknown(column):
        raise ValueError(
            f"column {column.name!r} holds {absent[:3]}, which its given levels {levels} lack"
        )
    return kind


def _given_bounds(details: str, values: np.ndarray, name: Any) -> tuple[float, float]:
    if details:
        try:
            low, high = (float(part) for part in details.split(","))
        except ValueError:
            low = high = 0.0
        if not low < high:
            raise ValueError(
                f"bounds are given as in 'bounded:0,100'; got {'bounded:' + details!r}"
            )
        return low, high
    for low, high in ((0.0, 1.0), (0.0, 100.0)):
        if low <= values.min() and values.max() <= high:
            return low, high
    raise ValueError(
        f"column {name!r} is said to be bounded, and its values lie neither within 0 and 1 nor "
        "within 0 and 100: give the bounds, as in 'bounded:-10,10'"
    )
