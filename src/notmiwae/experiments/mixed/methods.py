"""Imputers of tables of numbers and labels to compare with.

All see standardised numbers. Labels are one number for each category (1 where it is that one) for
the nearest neighbours, of whose votes the most frequent is taken; the number of the category, in
alphabetical order, for chained linear regressions (MICE), rounded to the nearest; and classes for
the random forests of missForest (Stekhoven & Bühlmann, 2012).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge

from notmiwae import NotMIWAEImputer

Fill = Callable[[pd.DataFrame, int], pd.DataFrame]
"""From a table with holes and a seed to one without."""

N_TREES, N_ROUNDS = 100, 10


def mode_or_mean(holes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean of the observed numbers of a column, or its most frequent label."""
    typical = {
        name: holes[name].mean() if is_number(holes[name]) else holes[name].mode().iloc[0]
        for name in holes
    }
    return holes.fillna(typical)


def nearest_neighbours(holes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean, or most frequent label, of the five nearest rows by the cells that both have."""
    labels = [name for name in holes if not is_number(holes[name])]
    hot = pd.get_dummies(holes, columns=labels, dtype=float, prefix_sep="=")
    for name in labels:
        hot.loc[holes[name].isna(), _categories(hot, name)] = np.nan
    scaled, mean, std = _standardised(hot, [name for name in holes if name not in labels])
    found = pd.DataFrame(KNNImputer(n_neighbors=5).fit_transform(scaled), columns=hot.columns)
    filled = holes.copy()
    for name in holes:
        if name in labels:
            votes = found[_categories(hot, name)].idxmax(axis=1).str.removeprefix(f"{name}=")
            filled[name] = holes[name].fillna(votes)
        else:
            filled[name] = holes[name].fillna(found[name] * std[name] + mean[name])
    return filled


def _categories(hot: pd.DataFrame, name: str) -> list[str]:
    return [column for column in hot if column.startswith(f"{name}=")]


def mice(holes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Chained Bayesian linear regressions, categories numbered."""
    codes = {name: _levels(holes[name]) for name in holes if not is_number(holes[name])}
    numbers = holes.assign(
        **{
            name: holes[name].map(dict(zip(levels, range(len(levels)), strict=True)))
            for name, levels in codes.items()
        }
    ).astype(float)
    scaled, mean, std = _standardised(numbers, list(numbers))
    chained = IterativeImputer(BayesianRidge(), max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = pd.DataFrame(chained.fit_transform(scaled), columns=holes.columns)
    found = found * std + mean
    for name, levels in codes.items():
        nearest = found[name].round().clip(0, len(levels) - 1).astype(int)
        found[name] = nearest.map(dict(enumerate(levels)))
    return holes.fillna(found)


def miss_forest(holes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Chained random forests from the columns' means and modes, until they change more again."""
    missing = holes.isna()
    order = [name for name in missing.sum().sort_values().index if missing[name].any()]
    filled, changes = mode_or_mean(holes, seed), (np.inf, np.inf)
    for turn in range(N_ROUNDS):
        before = filled.copy()
        for name in order:
            hidden = missing[name]
            others = pd.get_dummies(filled.drop(columns=name), dtype=float)
            forest = _forest(is_number(holes[name]), seed + turn)
            forest.fit(others[~hidden], holes.loc[~hidden, name])
            filled.loc[hidden, name] = forest.predict(others[hidden])
        change = _change(before, filled, missing)
        if turn and all(new >= old for new, old in zip(change, changes, strict=True)):
            return before
        changes = change
    return filled


def _forest(regression: bool, seed: int) -> Any:
    kind = RandomForestRegressor if regression else RandomForestClassifier
    return kind(N_TREES, max_features="sqrt", random_state=seed)


def _change(
    before: pd.DataFrame, after: pd.DataFrame, missing: pd.DataFrame
) -> tuple[float, float]:
    """Relative change of the imputed numbers, and share of imputed labels that changed."""
    numbers = [name for name in missing if missing[name].any() and is_number(before[name])]
    labels = [name for name in missing if missing[name].any() and name not in numbers]
    moved = sum(float(((after[name] - before[name]) ** 2).sum()) for name in numbers)
    size = sum(float((after[name] ** 2).sum()) for name in numbers)
    other = sum(int((after[name] != before[name]).sum()) for name in labels)
    total = sum(int(missing[name].sum()) for name in labels)
    return moved / max(size, 1e-300), other / max(total, 1)


def notmiwae_default(holes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`NotMIWAEImputer` as it comes."""
    imputer = NotMIWAEImputer(random_state=seed, device="cpu")
    filled: pd.DataFrame = imputer.fit_transform(holes)
    return filled


def notmiwae_short(holes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same with one model of each mechanism, not two, and 400 steps, not 1,000."""
    imputer = NotMIWAEImputer(random_state=seed, device="cpu", n_models=1, max_steps=400)
    filled: pd.DataFrame = imputer.fit_transform(holes)
    return filled


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers."""
    return bool(pd.api.types.is_numeric_dtype(column))


def _levels(column: pd.Series) -> list[Any]:
    return sorted(column.dropna().unique())


def _standardised(
    table: pd.DataFrame, names: list[str]
) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    mean, std = table[names].mean(), table[names].std(ddof=0).replace(0, 1)
    scaled = table.astype(float)
    scaled[names] = (table[names] - mean) / std
    return scaled, mean, std


METHODS: dict[str, Fill] = {
    "mode or mean": mode_or_mean,
    "5-NN": nearest_neighbours,
    "MICE": mice,
    "missForest": miss_forest,
    "notmiwae, one short model": notmiwae_short,
    "notmiwae, default": notmiwae_default,
}
