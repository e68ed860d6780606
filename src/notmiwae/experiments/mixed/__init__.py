"""Tables of numbers and labels with values missing not at random: is the default better?

Six tables (`notmiwae.experiments.mixed.tables`), from half of whose columns values are deleted by
what they are. A method is scored over the missing cells by the RMSE of the numbers in standard
deviations of their column (NRMSE), and by the share of labels that it gets wrong. Methods are
ranked by each on each table, by the mean over seeds; a mean rank is over tables and both measures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from notmiwae.experiments.mixed.methods import METHODS, is_number
from notmiwae.experiments.mixed.tables import TABLES, Problem, make_problem
from notmiwae.experiments.results import KeptRows, Results, Row, align, describe_run, spread
from notmiwae.experiments.runner import Task, side_by_side
from notmiwae.validation import check_names, lookup

TITLE = "Missing cells: RMSE of numbers in standard deviations, and share of wrong labels"
MEASURES = ("nrmse", "error_rate")
SPLIT = "transductive"


@dataclass(frozen=True)
class Preset:
    """How much work a run is.

    Attributes
    ----------
    n_seeds : int
    tables, methods : sequence of str
    """

    n_seeds: int
    tables: Sequence[str]
    methods: Sequence[str]


DEFAULT, SHORT = "notmiwae, default", "notmiwae, one short model"
PRESETS = {
    "quick": Preset(1, ("penguins", "Salaries"), [name for name in METHODS if name != DEFAULT]),
    "full": Preset(3, tuple(TABLES), [name for name in METHODS if name != SHORT]),
}


class Case(NamedTuple):
    """A method on a problem."""

    method: str
    table: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, {self.table}, seed {self.seed}"


@dataclass(frozen=True)
class MixedResults(Results):
    """Rows of all problems; see `Results` for the attributes."""

    def means(self) -> dict[str, dict[tuple[str, str], float]]:
        """Return the mean over seeds by method, then by table and measure."""
        return {
            method: {
                (entry["data"], measure): entry[measure]["mean"]
                for entry in self.summary()
                if entry["method"] == method
                for measure in MEASURES
            }
            for method in dict.fromkeys(row.method for row in self.rows)
        }

    def ranks(self) -> dict[str, float]:
        """Return the mean rank of each method over tables and measures."""
        means = self.means()
        keys = list(next(iter(means.values())))
        matrix = [[by[key] for key in keys] for by in means.values()]
        return dict(zip(means, map(float, rankdata(matrix, axis=0).mean(1)), strict=True))

    def table(self) -> str:
        """Return the table for a terminal: a block for each measure."""
        datasets = list(dict.fromkeys(row.data for row in self.rows))
        ranks, blocks = self.ranks(), []
        for measure, name in zip(MEASURES, ("NRMSE", "wrong labels"), strict=True):
            cells = {(e["method"], e["data"]): spread(e[measure]) for e in self.summary()}
            lines: list[Sequence[str]] = [(name, *datasets, "mean rank")]
            lines += [
                (method, *(cells[method, data] for data in datasets), f"{ranks[method]:.2f}")
                for method in ranks
            ]
            blocks.append(lines)
        return "\n".join([self.title, "", *align(*blocks)])

    def to_dict(self) -> dict[str, Any]:
        """Return what ``results.json`` holds, with the mean ranks."""
        return {**super().to_dict(), "ranks": self.ranks()}


def run(
    preset: str = "quick",
    output: str | Path = "out/mixed",
    seed: int = 0,
    progress: bool = False,
    *,
    datasets: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    n_seeds: int | None = None,
    n_jobs: int | None = None,
) -> MixedResults:
    """Run the study; write ``results.json`` and ``results.csv``.

    Rows that are done are kept in ``rows.jsonl``, from where an interrupted run goes on.

    Parameters
    ----------
    preset : {'quick', 'full'}
        Two tables and one seed, or six tables and three seeds.
    output : path
        Folder to write to.
    seed : int
        The first seed; the others follow it.
    progress : bool
        Show a progress bar on stderr.
    datasets, methods : sequence of str, optional
        Some names of `tables.TABLES` and `methods.METHODS`; by default, those of the preset.
    n_seeds : int, optional
        By default, as many as in the preset.
    n_jobs : int, optional
        Fits side by side, in processes with one thread each; by default, one per core.

    Returns
    -------
    MixedResults
    """
    chosen = lookup("preset", preset, PRESETS)
    tables = check_names("datasets", datasets or chosen.tables, TABLES)
    names = check_names("methods", methods or chosen.methods, METHODS)
    seeds = range(seed, seed + (n_seeds or chosen.n_seeds))
    cases = [Case(*case) for s in seeds for t in tables for case in ((m, t, s) for m in names)]
    about = {name: describe(make_problem(name, seed)) for name in tables}
    kept = KeptRows(Path(output, "rows.jsonl"))
    tasks = [Task(str(case), partial(compute, case)) for case in cases]
    rows = side_by_side(tasks, n_jobs, progress, kept)
    duration = sum(row.seconds for row in rows)
    results = MixedResults(
        "mixed", TITLE, rows, describe_run(seeds, duration, preset=preset, data=about)
    )
    results.write(Path(output))
    return results


def describe(problem: Problem) -> dict[str, Any]:
    """Return what the metadata says about a table."""
    labels = sum(not is_number(problem.truth[name]) for name in problem.truth)
    return {
        "n_rows": len(problem.truth),
        "n_numbers": problem.truth.shape[1] - labels,
        "n_labels": labels,
        "n_missing_cells": int(problem.holes.isna().sum().sum()),
    }


def compute(case: Case) -> Row:
    """Impute and score."""
    problem = make_problem(case.table, case.seed)
    started = time.perf_counter()
    filled = METHODS[case.method](problem.holes, case.seed)
    seconds = round(time.perf_counter() - started, 2)
    return Row(case.method, case.table, case.seed, SPLIT, scores(problem, filled), seconds)


def scores(problem: Problem, filled: pd.DataFrame) -> Mapping[str, float]:
    """Return both measures over the missing cells."""
    squares, wrong = [], []
    for name in problem.truth:
        hidden = problem.holes[name].isna().to_numpy()
        truth, found = problem.truth[name], filled[name]
        if is_number(truth):
            errors = (found - truth).to_numpy(dtype=float)[hidden] / truth.std(ddof=0)
            squares.append(errors**2)
        else:
            wrong.append((found != truth).to_numpy()[hidden])
    return {
        "nrmse": float(np.sqrt(np.concatenate(squares).mean())),
        "error_rate": float(np.concatenate(wrong).mean()),
    }
