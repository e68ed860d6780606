"""Breast cancer data with values deleted in one of three ways: the problems of the report.

The rows are split 80/20 and standardised by the training rows' complete values, so that errors are
in the published units. In the first ⌊D/2⌋ columns, on training and held-out rows alike, values go
missing by one of the rules in `TABLES`, whose thresholds come from the *training* rows. The report
took them from each split's own rows instead; these held-out rows are kept beside, to show what
difference it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from notmiwae import metrics
from notmiwae.amputation import Amputer
from notmiwae.datasets import load
from notmiwae.mechanisms import Mechanism

TABLES = {
    "above-mean": "every value above the column’s mean",
    "extremes": "the lowest and the highest quarter of a column’s values",
    "around-mean": "the 30% of a column’s values that are nearest its mean",
}
"""Kinds of `Amputer`, in the order of the report's Tables 1, 2 and 3, and what they delete."""
FIRST = "above-mean"

SPLIT = {"test_size": 0.2, "random_state": 42, "shuffle": True}
METRICS = {"rmse": metrics.rmse, "mae": metrics.mae, "bias": metrics.bias}
GRID = 81  # points of a curve


class Rows(NamedTuple):
    """Complete rows, and the same with NaN where deleted.

    Attributes
    ----------
    truth, holes : array of shape (N, D)
    """

    truth: np.ndarray
    holes: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Which cells were deleted ``(N, D)``."""
        return np.isnan(self.holes)

    def error(self, imputed: np.ndarray, metric: str = "rmse") -> float:
        """Return a metric over the deleted cells of filled rows ``(N, D)``."""
        return float(METRICS[metric](self.truth, imputed, ~self.missing))


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method learns from and what it has to fill, standardised.

    Attributes
    ----------
    columns : list of str
        Names of all D columns.
    training, held_out : Rows
    leaky : mapping of str to Rows
        The held-out rows with ``own_thresholds``, and with ``own_scales`` as well.
    amputer : Amputer
        What deleted values, fitted to the training rows.
    """

    columns: list[str]
    training: Rows
    held_out: Rows
    leaky: Mapping[str, Rows]
    amputer: Amputer

    @property
    def amputed(self) -> list[str]:
        """Names of the columns that values were deleted from."""
        return [self.columns[j] for j in self.amputer.columns_]


def make_problem(table: str, n_columns: int = 29) -> Problem:
    """Split, standardise and delete; scales and thresholds come from the training rows only.

    Parameters
    ----------
    table : str
        A name in `TABLES`.
    n_columns : int
        29 as in the report, which cut the last one off, or up to 30.

    Raises
    ------
    ValueError
        If the data do not have so many columns.
    """
    x = load("breast").x
    if n_columns not in range(2, x.shape[1] + 1):
        raise ValueError(f"n_columns must be from 2 to {x.shape[1]}; got {n_columns!r}")
    x = x.iloc[:, :n_columns]
    training, held_out = train_test_split(x.to_numpy(), **SPLIT)
    scaler = StandardScaler().fit(training)
    training, scaled = scaler.transform(training), scaler.transform(held_out)
    amputer = _amputer(table).fit(training)
    return Problem(
        columns=list(x.columns),
        training=_delete(amputer, training),
        held_out=_delete(amputer, scaled),
        leaky={
            "own_thresholds": _delete_by_own(table, scaled),
            "own_scales": _delete_by_own(table, StandardScaler().fit_transform(held_out)),
        },
        amputer=amputer,
    )


def _amputer(table: str) -> Amputer:
    return Amputer(table, columns="first-half")


def _delete(amputer: Amputer, truth: np.ndarray) -> Rows:
    return Rows(truth, amputer.transform(truth))


def _delete_by_own(table: str, truth: np.ndarray) -> Rows:
    return _delete(_amputer(table).fit(truth), truth)


def binarised(problem: Problem) -> Problem:
    """Return the same deleted cells of a table of zeros and ones: is a value above its median?

    Medians are those of the training rows.
    """
    median = np.median(problem.training.truth, axis=0)

    def binary(rows: Rows) -> Rows:
        truth = (rows.truth > median).astype(float)
        return Rows(truth, np.where(rows.missing, np.nan, truth))

    training, held_out = binary(problem.training), binary(problem.held_out)
    return replace(problem, training=training, held_out=held_out, leaky={})


def describe(problem: Problem) -> dict[str, int]:
    """Return what the metadata says about a problem."""
    return {
        "n_columns": len(problem.columns),
        "n_amputed_columns": len(problem.amputed),
        "n_training_rows": len(problem.training.truth),
        "n_held_out_rows": len(problem.held_out.truth),
        "n_missing_training_cells": int(problem.training.missing.sum()),
        "n_missing_held_out_cells": int(problem.held_out.missing.sum()),
    }


def grids(problem: Problem) -> np.ndarray:
    """Return values ``(number of amputed columns, G)`` over the bulk of each amputed column."""
    columns = problem.training.truth[:, problem.amputer.columns_]
    low, high = np.quantile(columns, [0.005, 0.995], axis=0)
    return np.linspace(low, high, GRID, axis=1)


def true_rule(problem: Problem) -> np.ndarray:
    """Return the probability ``(number of amputed columns, G)`` that `grids` are deleted."""
    values = np.zeros((GRID, len(problem.columns)))
    values[:, problem.amputer.columns_] = grids(problem).T
    return problem.amputer.kind_.probability(values)[:, problem.amputer.columns_].T


def learned_curves(
    mechanism: Mechanism,
    problem: Problem,
    completed: np.ndarray,
    standardise: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Return learned probabilities ``(number of amputed columns, G)`` that `grids` are missing.

    Parameters
    ----------
    mechanism : Mechanism
    problem : Problem
    completed : array of shape (N, D)
        Filled rows, whose other columns stay as they are; the curve is the mean over them. A
        mechanism that is factorised does not look at them.
    standardise : callable
        From the problem's units to the model's.
    """
    curves = []
    for column, grid in zip(problem.amputer.columns_, grids(problem), strict=True):
        x = np.repeat(completed[None], len(grid), axis=0)
        x[..., column] = grid[:, None]
        values = torch.as_tensor(standardise(x), dtype=torch.get_default_dtype())
        with torch.no_grad():
            missing = mechanism(values).log_prob(torch.zeros_like(values)).exp()
        curves.append(missing[..., column].mean(1).numpy())
    return np.stack(curves)


def scores(
    problem: Problem, fill: Callable[[np.ndarray], np.ndarray]
) -> tuple[dict[str, float], np.ndarray]:
    """Return a method's errors and the filled held-out rows.

    The errors are those on held-out rows, and the RMSE on the `leaky` ones.

    Parameters
    ----------
    problem : Problem
    fill : callable
        From rows with NaN to filled ones, ``(N, D)``.
    """
    imputed = fill(problem.held_out.holes)
    errors = {name: problem.held_out.error(imputed, name) for name in METRICS}
    leaks = {f"rmse_{name}": rows.error(fill(rows.holes)) for name, rows in problem.leaky.items()}
    return errors | leaks, imputed
