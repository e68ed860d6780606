"""Do 95% intervals hold the truth 95 times in 100? A simulation.

Surveys are simulated in which incomes are missing completely at random (MCAR), by other columns
(MAR), or by the income itself (self-masking). Each method completes them, or leaves out rows, and
gives an interval for the mean income and for its regression coefficient on years of education, by
Rubin's rules where there are several completed tables. Of S simulations, a share C of the intervals
holds the truth; its standard error is √(C (1 - C) / S), 1.5 points at 95% of 200, 3 of 50.

Beside the coverage stand the bias of the estimates, the standard deviation that they have over the
simulations, the mean of the standard errors that they claim, which should be the same, and the mean
width of the intervals. "before deletion" is the complete survey: no method can do better.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from notmiwae import pool
from notmiwae.estimands import Answer, Coefficient, Mean
from notmiwae.experiments.coverage.methods import METHODS
from notmiwae.experiments.coverage.problem import COEFFICIENT, DELETIONS, MEAN, simulate
from notmiwae.experiments.results import KeptRows, Results, Row, align, describe_run
from notmiwae.experiments.runner import Task, side_by_side
from notmiwae.validation import check_names, lookup

TITLE = "Coverage of 95% intervals, and their mean width, over simulated surveys"
BEFORE = "before deletion"
NOMINAL = 0.95

ESTIMANDS = {
    "mean": (Mean("income"), MEAN),
    "coefficient": (Coefficient("income", ("education", "age")), COEFFICIENT),
}
"""Each with what it is in truth."""

PARTS = ("estimate", "std_error", "low", "high")


@dataclass(frozen=True)
class Preset:
    """How much work a run is.

    Attributes
    ----------
    n_simulations : mapping of str to int
        By deletion.
    n_people : int
        Rows of a survey.
    """

    n_simulations: Mapping[str, int]
    n_people: int = 300


PRESETS = {
    "quick": Preset(dict.fromkeys(DELETIONS, 10)),
    "full": Preset({"self-masking": 200, "MCAR": 50, "MAR": 50}),
}


class Case(NamedTuple):
    """A method on a survey."""

    method: str
    deletion: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, {self.deletion}, seed {self.seed}"


class Performance(NamedTuple):
    """How a method's intervals for an estimand did.

    Attributes
    ----------
    n_simulations : int
    coverage, coverage_error : float
        The share of intervals that hold the truth, and its standard error.
    bias : float
        Mean error of the estimates.
    spread, std_error : float
        Standard deviation of the estimates over simulations, and the mean of what they claim.
    width : float
        Mean width of the intervals.
    """

    n_simulations: int
    coverage: float
    coverage_error: float
    bias: float
    spread: float
    std_error: float
    width: float


@dataclass(frozen=True)
class CoverageResults(Results):
    """Rows of all simulations; their data is a deletion."""

    def performance(self) -> dict[str, dict[str, dict[str, Performance]]]:
        """Return how intervals did, by estimand, deletion and method."""
        groups: dict[str, dict[str, list[Row]]] = {}
        for row in self.rows:
            groups.setdefault(row.data, {}).setdefault(row.method, []).append(row)
        return {
            name: {
                deletion: {method: judge(rows, name, truth) for method, rows in by.items()}
                for deletion, by in groups.items()
            }
            for name, (_, truth) in ESTIMANDS.items()
        }

    def table(self) -> str:
        """Return coverage and width as a table for a terminal, a block for each estimand."""
        blocks = []
        for name, by in self.performance().items():
            methods = list(dict.fromkeys(method for found in by.values() for method in found))
            header = (name, *by)
            blocks.append(
                [
                    header,
                    *(
                        (method, *(told(found.get(method)) for found in by.values()))
                        for method in methods
                    ),
                ]
            )
        return "\n".join([self.title, "", *align(*blocks)])

    def to_dict(self) -> dict[str, Any]:
        """Return what ``results.json`` holds: the summary, without the rows, which are many."""
        performance = {
            name: {
                deletion: {method: found._asdict() for method, found in methods.items()}
                for deletion, methods in by.items()
            }
            for name, by in self.performance().items()
        }
        return {**super().to_dict(), "summary": [], "rows": [], "performance": performance}

    def to_csv(self) -> str:
        """Return what ``results.csv`` holds: one line per simulation, method and estimand."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["method", "deletion", "seed", "estimand", *PARTS])
        for row in self.rows:
            for name in ESTIMANDS:
                numbers = (f"{row.metrics[f'{name}_{part}']:.4f}" for part in PARTS)
                writer.writerow([row.method, row.data, row.seed, name, *numbers])
        return text.getvalue()


def told(found: Performance | None) -> str:
    """Return coverage and width in a few signs."""
    return f"{found.coverage:.1%} ({found.width:.2f})" if found else "–"


def judge(rows: Sequence[Row], name: str, truth: float) -> Performance:
    """Compare the intervals of a method with the truth."""
    estimate, error, low, high = (
        np.array([row.metrics[f"{name}_{part}"] for row in rows]) for part in PARTS
    )
    coverage = float(((low <= truth) & (truth <= high)).mean())
    return Performance(
        n_simulations=len(rows),
        coverage=coverage,
        coverage_error=float(np.sqrt(coverage * (1 - coverage) / len(rows))),
        bias=float(estimate.mean() - truth),
        spread=float(estimate.std(ddof=1)) if len(rows) > 1 else 0.0,
        std_error=float(error.mean()),
        width=float((high - low).mean()),
    )


def run(
    preset: str = "quick",
    output: str | Path = "out/coverage",
    seed: int = 0,
    progress: bool = False,
    *,
    methods: Sequence[str] | None = None,
    n_jobs: int | None = None,
) -> CoverageResults:
    """Run the study; write ``results.json``, ``results.csv`` and ``report.html``.

    Rows that are done are kept in ``rows.jsonl``, from where an interrupted run goes on.

    Parameters
    ----------
    preset : {'quick', 'full'}
        10 simulations of each mechanism; or 200 of self-masking, and 50 of the others.
    output : path
        Folder to write to.
    seed : int
        The first seed; the others follow it.
    progress : bool
        Show a progress bar on stderr.
    methods : sequence of str, optional
        Some names of `METHODS`; by default, all.
    n_jobs : int, optional
        Fits side by side, in processes with one thread each; by default, one per core.

    Returns
    -------
    CoverageResults
    """
    from notmiwae import report
    from notmiwae.experiments.coverage import page

    report.require()
    chosen = lookup("preset", preset, PRESETS)
    names = [BEFORE, *check_names("methods", methods or METHODS, METHODS)]
    cases = [
        Case(method, deletion, seed + number)
        for method in names
        for deletion, n_simulations in chosen.n_simulations.items()
        for number in range(n_simulations)
    ]
    kept = KeptRows(Path(output, "rows.jsonl"), n_people=chosen.n_people)
    tasks = [Task(str(case), partial(compute, case, chosen.n_people)) for case in cases]
    rows = side_by_side(tasks, n_jobs, progress, kept)
    seeds = sorted({case.seed for case in cases})
    run_of = {"preset": preset, "n_people": chosen.n_people}
    about = describe_run(seeds, sum(row.seconds for row in rows), **run_of)
    results = CoverageResults("coverage", TITLE, rows, about)
    results.write(Path(output))
    page.write(results, Path(output))
    return results


def compute(case: Case, n_people: int) -> Row:
    """Simulate, complete, analyse."""
    complete, holes = simulate(case.deletion, case.seed, n_people)
    started = time.process_time()
    tables = [complete] if case.method == BEFORE else METHODS[case.method](holes, case.seed)
    metrics = {
        f"{name}_{part}": value
        for name, (estimand, _) in ESTIMANDS.items()
        for part, value in interval(tables, estimand)
    }
    seconds = round(time.process_time() - started, 3)
    return Row(case.method, case.deletion, case.seed, "all rows", metrics, seconds)


def interval(tables: Sequence[pd.DataFrame], estimand: Any) -> Iterator[tuple[str, float]]:
    """Yield the parts of an estimate; one table alone is as two that agree."""
    answers: list[Answer] = [estimand(table) for table in tables]
    if len(answers) == 1:
        answers *= 2
    pooled = pool(answers, coverage=NOMINAL).iloc[0]
    for part in PARTS:
        yield part, float(pooled[part])
