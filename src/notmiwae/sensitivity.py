"""Sensitivity analysis: what if missing values are not what the model takes them to be?

The data cannot tell (``docs/identifiability.md``), so the answer is a curve: for each size of a
departure (`notmiwae.departures`), an estimand is computed on every completed table and pooled
(`notmiwae.pooling`). The *tipping point* is where the interval starts or stops to hold a reference
value, by straight lines between the points of the sweep.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from notmiwae.departures import DEPARTURES, Departure, Tables
from notmiwae.estimands import Estimand, read_estimand
from notmiwae.pooling import pool, read_analysis
from notmiwae.validation import check_number, lookup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from notmiwae.latent_imputer import LatentVariableImputer

N_DRAWS = 20
UNITS = ("sd", "column")
MEANINGS = {"above": "above", "below": "below", "open": "not told apart from"}


def sensitivity_analysis(
    imputer: LatentVariableImputer,
    X: pd.DataFrame,
    column: str,
    estimand: str | Callable[[pd.DataFrame], Any] = "mean",
    *,
    by: str = "delta",
    sizes: Sequence[float] | None = None,
    unit: str = "sd",
    reference: float | None = None,
    n_draws: int = N_DRAWS,
    coverage: float = 0.95,
) -> Sweep:
    """Ask how an estimate depends on what cannot be known of the missing values of a column.

    Parameters
    ----------
    imputer : NotMIWAEImputer or MIWAEImputer
        Fitted, with ``bootstrap=True`` and as many models as draws.
    X : DataFrame of shape (N, D)
    column : str
        Whose missing values may differ from what the model takes them to be.
    estimand : str or callable
        'mean', 'median', 'quantile:0.9', 'share-above:50', 'coefficient:wage~income,age' (that of
        the first after ~), or a function from a table to (estimate, variance); see
        `notmiwae.estimands`.
    by : {'delta', 'slope'}
        'delta': missing values are higher by so many standard deviations of the column's observed
        ones; 'slope': for each standard deviation, the odds of being missing are higher by a factor
        of so many powers of e, on top of what the model says.
    sizes : sequence of float, optional
        By default from -1 to 1; 0, which is as the model has it, is always among them.
    unit : {'sd', 'column'}
        Whether sizes of a delta are given in standard deviations or in the units of the column.
    reference : float, optional
        The value that a conclusion is about, such as a threshold of policy; by default 0 for a
        coefficient.
    n_draws : int
        Completed tables.
    coverage : float
        Of the intervals.

    Returns
    -------
    Sweep

    Raises
    ------
    ValueError
        If the column or the estimand cannot be used; the message says what to do.
    """
    asked = read_question(X, column, estimand, by=by, sizes=sizes, unit=unit, n_draws=n_draws)
    question, grid = asked.estimand, asked.sizes
    if not imputer.bootstrap:
        warnings.warn(
            "the imputer was fitted without bootstrap=True: intervals leave out what is not known "
            "of the model, and are too narrow",
            UserWarning,
            stacklevel=2,
        )
    tables = Tables(imputer, X, column, asked.departure, n_draws)
    table = pd.DataFrame(
        [answer(tables, size, question, coverage) for size in grid], pd.Index(grid, name=by)
    )
    if by == "delta":
        table.insert(0, "shift", grid * tables.scale)
    null = getattr(question, "null", None)
    return Sweep(
        table,
        column=column,
        estimand=str(question) if isinstance(question, Estimand) else "estimate",
        by=by,
        reference=null if reference is None else reference,
        complete_cases=complete_cases(X, question),
        coverage=coverage,
    )


def complete_cases(X: pd.DataFrame, question: Any) -> float:
    """Return the estimate from the rows without a hole in its columns; NaN without any such row."""
    seen = X.dropna(subset=getattr(question, "columns", None))
    return float(read_analysis(question(seen)).estimates[0]) if len(seen) else np.nan


class Question(NamedTuple):
    """What is asked: an estimand, a departure, and its sizes in ascending order, 0 among them."""

    estimand: Any
    departure: Departure
    sizes: np.ndarray


def read_question(
    X: pd.DataFrame,
    column: str,
    estimand: str | Callable[[pd.DataFrame], Any] = "mean",
    *,
    by: str = "delta",
    sizes: Sequence[float] | None = None,
    unit: str = "sd",
    n_draws: int = N_DRAWS,
) -> Question:
    """Read what `sensitivity_analysis` takes; deltas are turned into standard deviations.

    Raises
    ------
    ValueError
        If there is no answer.
    """
    check_number("n_draws", n_draws, at_least=2, whole=True)
    lookup("unit", unit, dict.fromkeys(UNITS))
    departure = lookup("by", by, DEPARTURES)()
    if unit == "column" and by != "delta":
        raise ValueError(f"unit='column' is for by='delta'; got by={by!r}: leave it out")
    question = read_estimand(estimand, column)
    check_question(X, column, question)
    if sizes is None:
        return Question(question, departure, np.array(departure.default))
    for size in sizes:
        check_number("sizes", size)
    scale = X[column].std() if unit == "column" else 1.0
    return Question(question, departure, np.unique([0.0, *sizes]) / scale)


def check_question(X: pd.DataFrame, column: str, question: Any) -> None:
    """Find what a table cannot answer."""
    if not isinstance(X, pd.DataFrame):
        kind = f"{type(X).__module__.split('.')[0]} {type(X).__name__}"
        raise ValueError(f"X must be a pandas DataFrame, whose columns have names; got {kind}")
    names = list(X.columns)
    if column not in names:
        raise ValueError(f"column must be one of {names}; got {column!r}")
    kind = X[column].dtype
    if not is_numeric_dtype(kind) or is_bool_dtype(kind):
        raise ValueError(f"column {column!r} must hold numbers, to be shifted; got {kind}")
    if not X[column].isna().any():
        raise ValueError(f"column {column!r} has no missing value: nothing depends on any")
    if isinstance(question, Estimand):
        if absent := [name for name in question.columns if name not in names]:
            raise ValueError(f"the {question} needs column(s) {absent}; the table has {names}")
        if column not in question.columns:
            raise ValueError(f"the {question} does not depend on {column!r}: choose another")


def answer(tables: Tables, size: float, question: Any, coverage: float) -> dict[str, float]:
    """Return a line of a sweep."""
    completed = list(tables.completed(size))
    pooled = pool(completed, question, coverage=coverage)
    if len(pooled) != 1:
        raise ValueError(
            f"the estimand must be one number; got {len(pooled)}: {list(pooled.index)}"
        )
    return {"mean_imputed": tables.mean_imputed(completed), **pooled.iloc[0]}


@dataclass(frozen=True)
class Sweep:
    """What becomes of an estimate.

    Attributes
    ----------
    table : DataFrame
        One line per size of the departure, the index; ``shift``, δ in units of the column, if it is
        'delta'; ``mean_imputed``, the mean of the values imputed in the column; and the columns of
        `notmiwae.pool`.
    column, estimand, by : str
    reference : float or None
        What the conclusion is about.
    complete_cases : float
        The estimate from the rows without a hole in its columns.
    coverage : float
        Of the intervals.
    """

    table: pd.DataFrame
    column: str
    estimand: str
    by: str
    reference: float | None
    complete_cases: float
    coverage: float

    def conclusions(self, reference: float | None = None) -> pd.Series:
        """Say for each size whether the interval is 'above' the reference, 'below' or 'open'."""
        value = self._reference(reference)
        low, high = self.table["low"] > value, self.table["high"] < value
        names = np.select([low, high], ["above", "below"], "open")
        return pd.Series(names, self.table.index, name="conclusion")

    def tipping_points(self, reference: float | None = None) -> pd.DataFrame:
        """Return where the conclusion at 0 changes first, on either side.

        Parameters
        ----------
        reference : float, optional
            By default the sweep's own.

        Returns
        -------
        DataFrame
            At most one line for each side: the size as ``at``, in the units of the index, the
            conclusion ``before`` it, coming from 0, and ``after`` it. None on a side where the
            conclusion holds to the end of the sweep.
        """
        value = self._reference(reference)
        conclusions = self.conclusions(value)
        start = int(self.table.index.get_loc(0.0))
        lines = {}
        for side, step in (("down", -1), ("up", 1)):
            stop = -1 if step < 0 else len(self.table)
            for here in range(start, stop - step, step):
                if conclusions.iloc[here + step] != conclusions.iloc[start]:
                    at = self._crossing(here, here + step, value)
                    pair = conclusions.iloc[[here, here + step]]
                    lines[side] = {"at": at, "before": pair.iloc[0], "after": pair.iloc[1]}
                    break
        frame = pd.DataFrame.from_dict(lines, orient="index", columns=["at", "before", "after"])
        return frame.astype({"at": float})

    def _crossing(self, here: int, there: int, value: float) -> float:
        """Return where the end of the interval that changes sides first meets the reference."""
        crossings = []
        for end in ("low", "high"):
            first, second = self.table[end].iloc[[here, there]] - value
            if (first > 0) != (second > 0):
                crossings.append(first / (first - second))
        sizes = self.table.index
        return float(sizes[here] + min(crossings) * (sizes[there] - sizes[here]))

    def shown(self) -> pd.DataFrame:
        """Return the table to be read: as text, and with conclusions if there is a reference."""
        names = ["shift", "mean_imputed", "estimate", "low", "high", "fmi"]
        shown = self.table[[name for name in names if name in self.table]]
        shown = shown.map("{:.4g}".format).assign(fmi=self.table["fmi"].map("{:.2f}".format))
        return shown if self.reference is None else shown.join(self.conclusions())

    def _reference(self, given: float | None) -> float:
        value = self.reference if given is None else given
        if value is None:
            raise ValueError(
                f"a conclusion about the {self.estimand} is one about a value: give reference"
            )
        return float(value)

    def __str__(self) -> str:
        return "\n".join([self._result(), *self._tipping()])

    def _result(self) -> str:
        line = self.table.loc[0.0]
        return (
            f"The {self.estimand} is {line['estimate']:.4g} ({self.coverage:.0%} interval "
            f"{line['low']:.4g} to {line['high']:.4g}); complete cases alone say "
            f"{self.complete_cases:.4g}."
        )

    def _tipping(self) -> Iterator[str]:
        if self.reference is None:
            return
        words = {name: f"{meaning} {self.reference:g}" for name, meaning in MEANINGS.items()}
        points = self.tipping_points()
        yield f"It is {words[self.conclusions().loc[0.0]]}."
        ends = {"down": self.table.index.min(), "up": self.table.index.max()}
        for side, end in ends.items():
            if side in points.index:
                at, after = points.loc[side, ["at", "after"]]
                yield f"{side.capitalize()} from {self.by} {at:.3g}, it is {words[after]}."
            else:
                yield f"{side.capitalize()} to {self.by} {end:g}, that stays so."

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw estimate and interval over the sweep (needs matplotlib, in the extra ``report``)."""
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                "plotting needs matplotlib: pip install 'notmiwae[report]'"
            ) from error
        ax = plt.gca() if ax is None else ax
        draw(self, ax)
        ax.legend()
        return ax


def draw(sweep: Sweep, ax: Axes) -> None:
    """Put the curve of a sweep on axes."""
    table = sweep.table
    ax.fill_between(
        table.index,
        table["low"],
        table["high"],
        color="#0072b2",
        alpha=0.2,
        linewidth=0,
        label=f"{sweep.coverage:.0%} interval",
    )
    ax.plot(table.index, table["estimate"], color="#0072b2", label="estimate")
    ax.axvline(0, color="0.6", linewidth=0.8, label="as the model has it")
    ax.axhline(
        sweep.complete_cases, color="#d55e00", linestyle="--", linewidth=1, label="complete cases"
    )
    if sweep.reference is not None:
        ax.axhline(sweep.reference, color="#1f2933", linewidth=0.9, label="reference")
        tipping = sweep.tipping_points()["at"]
        ax.plot(tipping, [sweep.reference] * len(tipping), "o", color="#1f2933", label="tipping")
    ax.set_xlabel(f"{sweep.by} ({DEPARTURES[sweep.by].unit})")
    ax.set_ylabel(sweep.estimand)
