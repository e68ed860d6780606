"""What is asked of a complete table: a number, its variance, and the degrees of freedom it leaves.

    mean          x̄,                            s² / N
    quantile      the empirical quantile,        Maritz & Jarrett's (1978) variance
    share-above   the share k / N above a limit  p̃ (1 - p̃) / N,  p̃ = (k + ½) / (N + 1)
    coefficient   of least squares               s² (X'X)⁻¹

each as if nothing had been missing: `notmiwae.pool` puts in what the holes add.
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import mstats

from notmiwae.validation import check_number, lookup


class Answer(NamedTuple):
    """What a complete table says; `notmiwae.pool` takes it.

    Attributes
    ----------
    estimate, variance : float
    complete_df : float
        Degrees of freedom.
    """

    estimate: float
    variance: float
    complete_df: float = np.inf


class Estimand(ABC):
    """A number that a complete table has."""

    null: float | None = None
    """What it would be if there were nothing to find."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """Names of the columns that it depends on."""

    @abstractmethod
    def __call__(self, table: pd.DataFrame) -> Answer:
        """Return what a complete table says."""

    @classmethod
    @abstractmethod
    def read(cls, column: str, detail: str) -> Estimand:
        """Make one of a column and what stands after the colon of its name."""


@dataclass(frozen=True)
class Mean(Estimand):
    """The mean of a column."""

    column: str

    @property
    def columns(self) -> Sequence[str]:
        return [self.column]

    def __call__(self, table: pd.DataFrame) -> Answer:
        values = table[self.column]
        return Answer(values.mean(), values.var() / len(values), len(values) - 1)

    @classmethod
    def read(cls, column: str, detail: str) -> Mean:
        if detail:
            raise ValueError(f"estimand 'mean' takes nothing after a colon; got {detail!r}")
        return cls(column)

    def __str__(self) -> str:
        return f"mean of {self.column}"


@dataclass(frozen=True)
class Quantile(Estimand):
    """A quantile of a column, by default its median."""

    column: str
    level: float = 0.5

    def __post_init__(self) -> None:
        check_number("the level of a quantile", self.level, above=0, below=1)

    @property
    def columns(self) -> Sequence[str]:
        return [self.column]

    def __call__(self, table: pd.DataFrame) -> Answer:
        values = table[self.column].to_numpy(dtype=float)
        (error,) = mstats.mjci(values, [self.level])
        return Answer(np.quantile(values, self.level), error**2, len(values) - 1)

    @classmethod
    def read(cls, column: str, detail: str) -> Quantile:
        return cls(column, _number("quantile", detail)) if detail else cls(column)

    def __str__(self) -> str:
        name = "median" if self.level == 0.5 else f"{self.level:g} quantile"
        return f"{name} of {self.column}"


@dataclass(frozen=True)
class ShareAbove(Estimand):
    """The share of a column's values above a limit."""

    column: str
    limit: float

    @property
    def columns(self) -> Sequence[str]:
        return [self.column]

    def __call__(self, table: pd.DataFrame) -> Answer:
        count, total = (table[self.column] > self.limit).sum(), len(table)
        share = (count + 0.5) / (total + 1)  # never 0 or 1, of which a sample cannot be sure
        return Answer(count / total, share * (1 - share) / total, total - 1)

    @classmethod
    def read(cls, column: str, detail: str) -> ShareAbove:
        return cls(column, _number("share-above", detail))

    def __str__(self) -> str:
        return f"share of {self.column} above {self.limit:g}"


@dataclass(frozen=True)
class Coefficient(Estimand):
    """The coefficient of the first of several predictors in a linear regression of `outcome`."""

    outcome: str
    predictors: Sequence[str]

    null = 0.0

    @property
    def columns(self) -> Sequence[str]:
        return [self.outcome, *self.predictors]

    def __call__(self, table: pd.DataFrame) -> Answer:
        x = np.column_stack([np.ones(len(table)), table[list(self.predictors)]])
        y = table[self.outcome].to_numpy(dtype=float)
        coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
        if rank < x.shape[1]:
            raise ValueError(f"{self}: the predictors determine one another: leave one out")
        df = len(y) - rank
        variance = np.square(y - x @ coefficients).sum() / df
        return Answer(coefficients[1], variance * np.linalg.inv(x.T @ x)[1, 1], df)

    @classmethod
    def read(cls, column: str, detail: str) -> Coefficient:
        outcome, tilde, rest = detail.partition("~")
        names = [name.strip() for name in next(csv.reader([rest]), [])]
        if not (tilde and outcome.strip() and names and all(names)):
            raise ValueError(
                "estimand 'coefficient' needs the regression whose first coefficient is meant, as "
                f"in coefficient:wage~income,age; got {detail!r}"
            )
        return cls(outcome.strip(), tuple(names))

    def __str__(self) -> str:
        first, *others = self.predictors
        given = f", given {', '.join(others)}" if others else ""
        return f"coefficient of {first} for {self.outcome}{given}"


ESTIMANDS: dict[str, type[Estimand]] = {
    "mean": Mean,
    "quantile": Quantile,
    "share-above": ShareAbove,
    "coefficient": Coefficient,
}


def read_estimand(estimand: str | Callable[[pd.DataFrame], Any], column: str) -> Any:
    """Return what is asked of a table.

    Parameters
    ----------
    estimand : str or callable
        'mean', 'median', 'quantile:0.9', 'share-above:50', 'coefficient:wage~income,age' (that of
        the first after ~), or a function from a table to results of a statsmodels model with one
        parameter, or to (estimate, variance) or (estimate, variance, degrees of freedom).
    column : str
        What a mean, a quantile or a share is of.
    """
    if callable(estimand):
        return estimand
    name, _, detail = str(estimand).partition(":")
    if name == "median":
        name, detail = "quantile", detail or "0.5"
    return lookup("estimand", name, ESTIMANDS).read(column, detail)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"estimand {name!r} needs a number after a colon, as in {name}:0.5; got {text!r}"
        ) from None
