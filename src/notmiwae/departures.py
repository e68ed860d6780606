"""Departures from what a model takes missing values to be, for `notmiwae.sensitivity_analysis`.

*Delta adjustment* adds δ to the values drawn for one column (Rubin, 1987, ch. 6; van Buuren, 2018,
sec. 9.2): those that are missing are higher, by δ, than the model thinks.

*A steeper mechanism* multiplies the odds of being missing by e^{γ x/s}, where s is the standard
deviation of the observed values. What is observed then has the same distribution as before, while

    p'(x | missing) ∝ p(x | missing) e^{γ x/s},

an exponential tilt (Scharfstein, Rotnitzky & Robins, 1999). No model is fitted again: of several
draws for a row one is chosen with probability proportional to e^{γ x/s}.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from notmiwae.latent_imputer import ROWS_PER_SEED

if TYPE_CHECKING:
    from notmiwae.latent_imputer import LatentVariableImputer

Floats = NDArray[np.float64]
Values = NDArray[Any]
"""Numbers, or objects where some columns hold labels."""

N_CANDIDATES = 50
"""Draws of which a steeper mechanism chooses one."""

FEW_CANDIDATES = 5
"""With fewer candidates than these, effectively, a tilt is coarse."""


class Departure(ABC):
    """A way in which missing values may differ from what the model takes them to be.

    Attributes
    ----------
    unit : str
        Of its size.
    default : sequence of float
        Sizes.
    """

    n_candidates: ClassVar[int] = 1
    unit: ClassVar[str]
    default: ClassVar[Sequence[float]]

    @abstractmethod
    def apply(self, candidates: Values, column: int, size: float, scale: float) -> Values:
        """Return draws ``(M, n, D)`` from candidates ``(S, M, n, D)`` for rows with a hole in it.

        Parameters
        ----------
        candidates : array
        column : int
        size : float
        scale : float
            Standard deviation of the column's observed values.
        """


class Delta(Departure):
    """Missing values are higher by so many standard deviations."""

    unit = "standard deviations"
    default = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)

    def apply(self, candidates: Values, column: int, size: float, scale: float) -> Values:
        draws = candidates[0].copy()
        draws[..., column] = draws[..., column].astype(float) + size * scale
        return draws


class Slope(Departure):
    """The odds of being missing are e times as high, so many times, for a standard deviation."""

    unit = "log odds per standard deviation"
    default = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
    n_candidates = N_CANDIDATES

    def apply(self, candidates: Values, column: int, size: float, scale: float) -> Values:
        score = size * candidates[..., column].astype(float) / scale
        # The same noise for every size, so that the curve is smooth.
        noise = np.random.default_rng(0).gumbel(size=score.shape)
        chosen = (score + noise).argmax(0)[None, ..., None]
        self.check(score, size)
        return np.take_along_axis(candidates, chosen, axis=0)[0]

    def check(self, score: Floats, size: float) -> None:
        """Warn if a few candidates have all the weight."""
        weights = np.exp(score - score.max(0))
        effective = (weights.sum(0) ** 2 / np.square(weights).sum(0)).mean()
        if effective < FEW_CANDIDATES:
            warnings.warn(
                f"slope {size:g} is so steep that of {len(score)} draws for a row only "
                f"{effective:.1f} count: take smaller slopes",
                UserWarning,
                stacklevel=2,
            )


DEPARTURES: dict[str, type[Departure]] = {"delta": Delta, "slope": Slope}


def stacked(draws: Any) -> Values:
    """Return draws ``(M, n, D)`` as one array: of objects, if they are frames of several kinds."""
    if isinstance(draws, np.ndarray):
        return draws
    return np.stack([table.to_numpy(dtype=object) for table in draws])


class Tables:
    """Completed tables that depart from what a model takes the missing values of a column to be.

    Parameters
    ----------
    imputer : LatentVariableImputer
    X : DataFrame
    column : str
    departure : Departure
    n_draws : int
        M, the number of tables; for every row with a hole in the column, each has
        ``departure.n_candidates`` draws to choose from.
    """

    def __init__(
        self,
        imputer: LatentVariableImputer,
        X: pd.DataFrame,
        column: str,
        departure: Departure,
        n_draws: int,
    ) -> None:
        self.X, self.column, self.departure = X, column, departure
        self.scale = float(X[column].std())
        self.hole = X[column].isna().to_numpy()
        self.plain = stacked(imputer.sample(X, n_draws))
        # Draws come from the models in turn: those of one table must come from one model.
        turns = -(-n_draws // len(imputer.models_)) * len(imputer.models_)
        rows = X[self.hole]
        blocks = (rows[i : i + ROWS_PER_SEED] for i in range(0, len(rows), ROWS_PER_SEED))
        self.candidates = [
            block.reshape(-1, turns, *block.shape[1:])[:, :n_draws]
            for block in map(
                stacked, imputer.transform_batches(blocks, departure.n_candidates * turns)
            )
        ]

    def completed(self, size: float) -> Iterator[pd.DataFrame]:
        """Yield the tables for a size of the departure."""
        place = list(self.X.columns).index(self.column)
        parts = [self.departure.apply(block, place, size, self.scale) for block in self.candidates]
        chosen = np.concatenate(parts, axis=1)
        for plain, changed in zip(self.plain, chosen, strict=True):
            values = plain.copy()
            values[self.hole] = changed
            yield self._as_given(values)

    def _as_given(self, values: Values) -> pd.DataFrame:
        """Return a table whose columns are of the kinds that they had, but for the changed one."""
        table = pd.DataFrame(values, self.X.index, self.X.columns)
        if values.dtype != object:
            return table
        return table.astype({**self.X.dtypes, self.column: float})

    def mean_imputed(self, completed: Sequence[pd.DataFrame]) -> float:
        """Return the mean of what stands where the column is missing."""
        return float(np.mean([table.loc[self.hole, self.column].mean() for table in completed]))
