"""A survey with known answers, and what deletes incomes from it.

    income = 40 + ½ (age - 45) + 3 (education - 13) + N(0, 9²),

with age ~ N(45, 12²) and education ~ N(13, 3²): a mean of 40, and a coefficient of education of 3.
The incomes alone lose values, about four in ten under each mechanism.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

MEAN, COEFFICIENT = 40.0, 3.0
NOISE = 9.0
SPREAD = float(np.sqrt(6.0**2 + 9.0**2 + NOISE**2))
"""Standard deviation of income."""


def survey(n_people: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return age, years of education and income in thousands, ``(n_people, 3)``."""
    age = rng.normal(45, 12, n_people)
    education = rng.normal(13, 3, n_people)
    expected = MEAN + 0.5 * (age - 45) + COEFFICIENT * (education - 13)
    income = expected + rng.normal(0, NOISE, n_people)
    return pd.DataFrame({"age": age, "education": education, "income": income})


def by_chance(table: pd.DataFrame) -> Floats:
    """Four in ten, by chance alone."""
    return np.full(len(table), 0.4)


def by_others(table: pd.DataFrame) -> Floats:
    """More often the older and the better educated somebody is."""
    score = (table["age"] - 45) / 12 + (table["education"] - 13) / 3
    return np.asarray(expit(1.5 * score / np.sqrt(2) - 0.5))


def by_itself(table: pd.DataFrame) -> Floats:
    """More often the higher the income is."""
    return np.asarray(expit(2 * (table["income"] - MEAN) / SPREAD - 0.5))


DELETIONS: dict[str, Callable[[pd.DataFrame], Floats]] = {
    "MCAR": by_chance,
    "MAR": by_others,
    "self-masking": by_itself,
}
"""From a complete survey to the probability that each income is missing."""


def simulate(deletion: str, seed: int, n_people: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a complete survey, and the same with incomes deleted.

    The survey of a seed is the same for all deletions.
    """
    complete = survey(n_people, np.random.default_rng(seed))
    chances = np.random.default_rng([seed, 1]).random(n_people)
    deleted = chances < DELETIONS[deletion](complete)
    return complete, complete.assign(income=complete["income"].mask(deleted))
