"""How the defaults were chosen: on development tables, never on the papers' benchmarks.

Mechanisms: each candidate of ``mechanism="auto"`` is fitted to every table and deletion, and its
bound on held-out rows is kept beside its error. What ``auto`` would choose follows from the bounds
alone, so that its margins, the nats per row and column that a more flexible mechanism has to gain,
can be judged at several values without another fit. Settings: one at a time is changed from the
default, with the straight-line mechanism. One model is trained, unless the setting says more.

The errors of a method are summarised by their geometric mean over the tables. The true values of
missing cells choose the defaults here, once, on these tables; they choose nothing anywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

import numpy as np

from notmiwae import NotMIWAEImputer, metrics
from notmiwae.experiments.baselines import BASELINES, fit_quietly
from notmiwae.experiments.development import DELETIONS, TABLES, make_problem
from notmiwae.experiments.results import KeptRows, Results, Row, align, describe_run
from notmiwae.experiments.runner import Task, side_by_side
from notmiwae.selection import CANDIDATES, MARGINS, select
from notmiwae.validation import lookup

TITLE = "Geometric mean over the development tables of the RMSE over missing cells"
STEPS = (0.01, 0.02, 0.04)
"""Margins that are judged."""

STRAIGHT = "self-masking"
SETTINGS: dict[str, dict[str, Any]] = {
    "three models": {"n_models": 3},
    "linear decoder": {"decoder": "linear"},
    "weight decay 1, whatever N": {"weight_decay": 1.0},
    "weight decay 0.1, whatever N": {"weight_decay": 0.1},
    "mask-concatenating encoder": {"encoder": "mask-concatenating"},
    "scale from the network": {"scale": "network"},
}
SETTINGS_ON = ("above the mean", "either side of the mean")


def _imputer(seed: int, **settings: Any) -> Any:
    options = {"n_models": 1, "n_impute_samples": 300, **settings}
    return NotMIWAEImputer(random_state=seed, device="cpu", **options)


METHODS: dict[str, Callable[[int], Any]] = {
    **{name: partial(BASELINES[name], quick=False) for name in ("column mean", "MICE")},
    **{name: partial(_imputer, mechanism=mechanism) for name, mechanism in CANDIDATES.items()},
    **{
        name: partial(_imputer, **{"mechanism": CANDIDATES[STRAIGHT], **settings})
        for name, settings in SETTINGS.items()
    },
}


@dataclass(frozen=True)
class Preset:
    """How much work a run is.

    Attributes
    ----------
    n_seeds : int
        Problems per table and deletion.
    tables : sequence of str
    settings : mapping
        Given to the imputers.
    """

    n_seeds: int
    tables: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)


PRESETS = {
    "quick": Preset(n_seeds=1, tables=("diabetes", "wine"), settings={"max_steps": 300}),
    "full": Preset(n_seeds=1, tables=tuple(TABLES)),
}


class Case(NamedTuple):
    """A method on a problem."""

    method: str
    table: str
    deletion: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, {self.table}, {self.deletion}, seed {self.seed}"


@dataclass(frozen=True)
class DefaultsResults(Results):
    """Rows of all problems; their data is a table, and their split is a deletion."""

    def geometric_means(self) -> dict[str, dict[str, float]]:
        """Return the summary by method, then by deletion."""
        errors: dict[str, dict[str, list[float]]] = {}
        for row in self.rows:
            errors.setdefault(row.method, {}).setdefault(row.split, []).append(row.metrics["rmse"])
        return {
            method: {split: geometric_mean(values) for split, values in by.items()}
            for method, by in errors.items()
        }

    def table(self) -> str:
        """Return the summary as a table for a terminal."""
        lines: list[Sequence[str]] = [("", *DELETIONS)]
        for method, means in self.geometric_means().items():
            cells = (f"{means[name]:.3f}" if name in means else "–" for name in DELETIONS)
            lines.append((method, *cells))
        return "\n".join([self.title, "", *align(lines)])

    def to_dict(self) -> dict[str, Any]:
        """Return what ``results.json`` holds, the summary in place of one per table."""
        return {**super().to_dict(), "summary": [], "geometric_means": self.geometric_means()}


def run(
    preset: str = "quick",
    output: str | Path = "out/defaults",
    seed: int = 0,
    progress: bool = False,
    *,
    methods: Sequence[str] | None = None,
    n_jobs: int | None = None,
) -> DefaultsResults:
    """Run the study; write ``results.json`` and ``results.csv``.

    Rows that are done are kept in ``rows.jsonl``, from where an interrupted run goes on.

    Parameters
    ----------
    preset : {'quick', 'full'}
        Two tables and short trainings, or all tables.
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
    DefaultsResults
    """
    chosen = lookup("preset", preset, PRESETS)
    seeds = range(seed, seed + chosen.n_seeds)
    cases = [
        Case(method, table, deletion, seed)
        for seed in seeds
        for method in methods or METHODS
        for deletion in (SETTINGS_ON if method in SETTINGS else DELETIONS)
        for table in chosen.tables
    ]
    kept = KeptRows(Path(output, "rows.jsonl"), settings=chosen.settings)
    tasks = [Task(str(case), partial(compute, case, chosen.settings)) for case in cases]
    fitted = side_by_side(tasks, n_jobs, progress, kept)
    rows = [*fitted, *(row for pair in product(STEPS, repeat=2) for row in selected(fitted, *pair))]
    duration = sum(row.seconds for row in fitted)
    about = describe_run(seeds, duration, preset=preset, margins=MARGINS, tables=chosen.tables)
    results = DefaultsResults("defaults", TITLE, rows, about)
    results.write(Path(output))
    return results


def compute(case: Case, settings: Mapping[str, Any]) -> Row:
    """Fit, impute and score."""
    problem = make_problem(case.table, case.deletion, case.seed)
    imputer = METHODS[case.method](case.seed)
    if isinstance(imputer, NotMIWAEImputer):
        imputer.set_params(**settings)
    started = time.perf_counter()
    notes = fit_quietly(imputer, problem.holes)
    imputed = imputer.transform(problem.holes)
    seconds = round(time.perf_counter() - started, 2)
    holes = np.isnan(problem.holes)
    scores = {"rmse": float(metrics.rmse(problem.truth, imputed, ~holes))}
    if isinstance(imputer, NotMIWAEImputer):
        bound = np.mean([history.held_out_bound for history in imputer.histories_])
        scores |= {"bound": float(bound), "n_columns": float(holes.any(0).sum())}
    return Row(case.method, case.table, case.seed, case.deletion, scores, seconds, notes)


def selected(rows: Sequence[Row], value: float, bend: float) -> Iterator[Row]:
    """Yield what ``auto`` imputes: the row of the candidate that it chooses.

    Its margins are `bend` for a spline, and `value` for the others that see a cell's own value.
    """
    margins = dict.fromkeys(MARGINS, value) | {"self-masking-spline": bend}
    problems: dict[tuple[str, str, int], dict[str, Row]] = {}
    for row in rows:
        if row.method in CANDIDATES:
            key = (row.data, row.split, row.seed)
            problems.setdefault(key, {})[row.method] = row
    for (data, split, seed), candidates in problems.items():
        ordered = {name: candidates[name] for name in CANDIDATES if name in candidates}
        bounds = {name: row.metrics["bound"] for name, row in ordered.items()}
        n_columns = int(next(iter(ordered.values())).metrics["n_columns"])
        chosen = select(bounds, n_columns, margins).chosen
        seconds = sum(row.seconds for row in ordered.values())
        scores = {"rmse": candidates[chosen].metrics["rmse"]}
        name = f"auto, margins {value:.2f} and {bend:.2f}"
        yield Row(name, data, seed, split, scores, round(seconds, 2), (f"chose {chosen}",))
