"""What a report on an imputation says, as numbers: computed once, by public methods only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from notmiwae.kinds import Labels, LeftOut
from notmiwae.sensitivity import Sweep, sensitivity_analysis

N_DRAWS = 100
COVERAGE = 0.9
GRID = 81
SUMMARY = ["share", "finding", "at_low", "at_mean", "at_high", "threshold", "slope", "spread"]

Floats = NDArray[np.float64]


class Apart(NamedTuple):
    """How rows that miss a column differ from the others.

    Attributes
    ----------
    column : str
        In what: another column.
    difference : float
        Of its means, in its standard deviations.
    real : bool
        Whether it is larger than what chance makes of so many comparisons.
    """

    column: str
    difference: float
    real: bool


@dataclass(frozen=True)
class Findings:
    """Of a fitted imputer and a table.

    Attributes
    ----------
    imputer : NotMIWAEImputer or MIWAEImputer
    values : DataFrame
        The table ``(N, D)`` as numbers, NaN where missing; labels as their places among `levels`.
    missing : DataFrame of bool
        Where.
    rows : int array of shape (n,)
        Numbers of the rows with holes that were looked at more closely: all, or a sample.
    draws : array of shape (S, n, D)
        Completions of these.
    diagnosis : DataFrame
        One line for each of these, as from ``diagnose``.
    mechanism : DataFrame
        As from ``mechanism_summary``.
    levels : mapping of str to list
        Labels of the columns that hold labels.
    table : DataFrame, optional
        The table as it came, where it is not all numbers.
    """

    imputer: Any
    values: pd.DataFrame
    missing: pd.DataFrame
    rows: NDArray[np.intp]
    draws: Floats
    diagnosis: pd.DataFrame
    mechanism: pd.DataFrame
    levels: Mapping[str, list[Any]] = field(default_factory=dict)
    table: pd.DataFrame | None = None

    @property
    def holed(self) -> list[str]:
        """Columns with a missing value, those with the most of them first."""
        shares = self.missing.mean()
        return shares[shares > 0].sort_values(ascending=False, kind="stable").index.tolist()

    @property
    def modelled(self) -> list[str]:
        """Those of them in which something was observed at fit."""
        return [name for name in self.holed if name in self.mechanism.index]

    @property
    def n_holed_rows(self) -> int:
        """Rows with a missing value."""
        return int(self.missing.any(axis=1).sum())

    def observed(self, name: str) -> Floats:
        """Values of a column that are there."""
        column = self.values[name].to_numpy(dtype=float)
        return column[~np.isnan(column)]

    def filled(self, name: str) -> Floats:
        """Draws ``(S, m)`` of its missing cells in the rows looked at."""
        at = self.values.columns.get_loc(name)
        holes = self.missing[name].to_numpy()[self.rows]
        return self.draws[:, holes, at]

    @property
    def numeric(self) -> list[str]:
        """Those of the modelled columns that hold numbers."""
        return [name for name in self.modelled if name not in self.levels]

    def shares(self, name: str) -> tuple[Floats, Floats]:
        """Share of each label of a column among the observed cells, and among the filled ones."""
        places = np.arange(len(self.levels[name]))
        observed, filled = self.observed(name), self.filled(name).ravel()
        seen, drawn = (
            (cells[:, None] == places).sum(0) / max(len(cells), 1) for cells in (observed, filled)
        )
        return seen, drawn

    def curve(self, name: str) -> tuple[Floats, Floats]:
        """Values of a column, observed and drawn, and the learned probabilities of missing them."""
        grid = np.linspace(*bulk(self.observed(name), self.filled(name)), GRID)
        return grid, self.imputer.missing_probability(self.known(name), grid)

    def known(self, name: str) -> Any:
        """What the imputer calls a column."""
        if hasattr(self.imputer, "feature_names_in_"):
            return name
        return self.values.columns.get_loc(name)

    def sweep(self, max_rows: int) -> Sweep | None:
        """Ask what becomes of the mean of the column with the most holes if the model is wrong.

        Of the columns of numbers, and of so many rows at most; None where there is no such column
        with a hole, or columns have no names.
        """
        if not (self.numeric and hasattr(self.imputer, "feature_names_in_")):
            return None
        name = self.numeric[0]
        rows = self.values if self.table is None else self.table
        if len(rows) > max_rows:
            rows = rows.sample(max_rows, random_state=self.imputer.seed_ % 2**32)
        if not rows[name].isna().any() or not np.isnan(self.imputer.missing_values):
            return None
        with warnings.catch_warnings():
            # That intervals without bootstrap are too narrow is said on the page.
            warnings.simplefilter("ignore", UserWarning)
            return sensitivity_analysis(self.imputer, rows, name, "mean")

    def cells(self) -> pd.DataFrame:
        """Missing cells of the rows looked at, the least certain first.

        ``width`` is that of the interval in standard deviations of the column's observed values.
        """
        tail = (1 - COVERAGE) / 2
        parts = []
        for name in self.numeric:
            draws = self.filled(name)
            low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
            spread = self.observed(name).std() if len(self.observed(name)) else 1.0
            holes = self.rows[self.missing[name].to_numpy()[self.rows]]
            cells = {"row": self.values.index[holes], "column": name, "mean": draws.mean(0)}
            cells |= {"low": low, "high": high, "width": (high - low) / (spread or 1.0)}
            parts.append(pd.DataFrame(cells))
        if not parts:
            return pd.DataFrame(columns=["row", "column", "mean", "low", "high", "width"])
        return pd.concat(parts).sort_values("width", ascending=False, kind="stable")

    def apart(self, name: str) -> Apart | None:
        """Return in what rows that miss a column differ most from those that do not, if in any."""
        gone = self.missing[name].to_numpy()
        most = None
        for other in self.values.columns.drop(name):
            without, there = (self.values[other][rows].dropna() for rows in (gone, ~gone))
            if len(without) and len(there) and (spread := self.observed(other).std()) > 0:
                difference = float((without.mean() - there.mean()) / spread)
                error = np.sqrt(1 / len(without) + 1 / len(there))
                if most is None or abs(difference) > abs(most.difference):
                    most = Apart(str(other), difference, abs(difference) > self._chance * error)
        return most

    @property
    def _chance(self) -> float:
        """Standard errors that chance alone exceeds once in twenty tables, in any comparison."""
        n_comparisons = len(self.holed) * max(self.values.shape[1] - 1, 1)
        return float(norm.isf(0.025 / n_comparisons))


def bulk(*parts: NDArray[Any]) -> tuple[float, float]:
    """Return the ends of a range that holds 99 % of each part."""
    quantiles = [np.quantile(part, [0.005, 0.995]) for part in parts if part.size]
    ends = np.array(quantiles or [[0.0, 1.0]])
    return float(ends.min()), float(ends.max())


def gather(imputer: Any, X: Any, max_rows: int) -> Findings:
    """Look at a table through a fitted imputer.

    Parameters
    ----------
    imputer : NotMIWAEImputer or MIWAEImputer
    X : array or DataFrame of shape (N, D)
    max_rows : int
        Rows with holes to look at closely; a random sample of them if there are more.
    """
    numbers = Numbers(imputer)
    values = numbers.read(X)
    missing = values.isna()
    holed = np.flatnonzero(missing.any(axis=1))
    if len(holed) > max_rows:
        chosen = np.random.default_rng(imputer.seed_).choice(holed, max_rows, replace=False)
        holed = np.sort(chosen)
    rows = holed if len(holed) else np.arange(min(1, len(values)))
    part = X.iloc[rows] if hasattr(X, "iloc") else np.asarray(X)[rows]
    with warnings.catch_warnings():
        # That many rows are not to be trusted is said on the page.
        warnings.filterwarnings("ignore", message=".* should not be trusted", category=UserWarning)
        diagnosis = imputer.diagnose(part)
    draws = imputer.sample(part, N_DRAWS)
    drawn = np.stack([numbers.read(draw).to_numpy() for draw in draws])
    summary = imputer.mechanism_summary().reindex(columns=SUMMARY)
    summary.index = summary.index.map(lambda name: _column(values, name))
    mixed = X if numbers.kinds and isinstance(X, pd.DataFrame) else None
    return Findings(
        imputer, values, missing, rows, drawn, diagnosis, summary, numbers.levels, mixed
    )


def _column(values: pd.DataFrame, name: Any) -> str:
    return name if isinstance(name, str) else values.columns[name]


class Numbers:
    """Turns a table that an imputer knows into numbers with names.

    Attributes
    ----------
    levels : dict of str to list
        Labels of the columns that hold labels.
    """

    def __init__(self, imputer: Any) -> None:
        self.imputer = imputer
        schema = getattr(imputer, "schema_", None)
        kinds = {} if schema is None else zip(map(str, schema.names), schema.columns, strict=True)
        self.kinds = dict(kinds)
        self.levels = {
            name: kind.levels for name, kind in self.kinds.items() if isinstance(kind, Labels)
        }

    def read(self, X: Any) -> pd.DataFrame:
        """Return the columns that the model sees, NaN where missing."""
        names = getattr(self.imputer, "feature_names_in_", None)
        if names is None:
            names = [f"column {number}" for number in range(np.shape(X)[1])]
        frame = pd.DataFrame(X)
        frame.columns = [str(name) for name in names]
        if not self.kinds:
            numbers = frame.astype(float)
            stand_in = self.imputer.missing_values
            return numbers.mask(numbers == stand_in)  # NaN equals nothing
        seen = [name for name, kind in self.kinds.items() if not isinstance(kind, LeftOut)]
        return pd.DataFrame({name: self._column(frame[name]) for name in seen}, frame.index)

    def _column(self, column: pd.Series) -> np.ndarray:
        if column.name not in self.levels:
            return column.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        places = {label: float(place) for place, label in enumerate(self.levels[column.name])}
        return np.array([places.get(cell, np.nan) for cell in column.astype(object)], dtype=float)
