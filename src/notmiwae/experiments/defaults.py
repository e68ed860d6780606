"""How the defaults were chosen: on development tables, never on the papers' benchmarks.

Mechanisms: ``mechanism="auto"`` is fitted to every table and deletion, and the error of each of its
candidates, alone, is kept beside its bound on held-out rows. What would have been chosen and
averaged at other margins, the nats per row and column that a more flexible mechanism has to gain,
and at other tolerances follows from the bounds alone, so that both can be judged without another
fit. Settings: one at a time is changed from the default, with the straight-line mechanism and one
model, unless the setting says more.

The errors of a method are summarised by their geometric mean over the tables. The true values of
missing cells choose the defaults here, once, on these tables; they choose nothing anywhere else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from notmiwae.selection import MARGINS, TOLERANCE, select
from notmiwae.validation import lookup

TITLE = "Geometric mean over the development tables of the RMSE over missing cells"
STEPS = (0.01, 0.04)
"""Margins that are judged, of mechanisms that see a cell's own value."""
BENT_STEPS = (0.04, 0.08, 0.12)
"""And of a spline, over the same without bends."""
TOLERANCES = {"alone": -math.inf, "within 0.03": 0.03, "within 0.06": 0.06}
"""How near others must come to be averaged with what is chosen."""

DEFAULT = "auto"
BOUND, ALONE, CHOICE = "bound of ", "alone: ", "choice: "
"""What a fit of `auto` is scored by beside its own error: the candidates, and other choices."""
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
    options = {"n_impute_samples": 300, **settings}
    return NotMIWAEImputer(random_state=seed, device="cpu", **options)


METHODS: dict[str, Callable[[int], Any]] = {
    **{name: partial(BASELINES[name], quick=False) for name in ("column mean", "MICE")},
    DEFAULT: _imputer,
    **{
        name: partial(_imputer, **{"mechanism": STRAIGHT, "n_models": 1, **settings})
        for name, settings in {STRAIGHT: {}, **SETTINGS}.items()
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
    methods : sequence of str
    """

    n_seeds: int
    tables: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    methods: Sequence[str] = tuple(METHODS)


PRESETS = {
    "quick": Preset(n_seeds=1, tables=("diabetes", "wine"), settings={"max_steps": 300}),
    "short": Preset(n_seeds=1, tables=tuple(TABLES), methods=("column mean", "MICE", DEFAULT)),
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
        rows = self.geometric_means()
        deletions = [name for name in DELETIONS if any(name in means for means in rows.values())]
        lines: list[Sequence[str]] = [("", *deletions)]
        for method, means in rows.items():
            cells = (f"{means[name]:.3f}" if name in means else "–" for name in deletions)
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
    preset : {'quick', 'short', 'full'}
        Two tables and short trainings; all tables, but no settings other than the default; or both.
    output : path
        Folder to write to.
    seed : int
        The first seed; the others follow it.
    progress : bool
        Show a progress bar on stderr.
    methods : sequence of str, optional
        Some names of `METHODS`; by default, those of the preset.
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
        for method in methods or chosen.methods
        for deletion in (SETTINGS_ON if method in (STRAIGHT, *SETTINGS) else DELETIONS)
        for table in chosen.tables
    ]
    kept = KeptRows(Path(output, "rows.jsonl"), settings=chosen.settings)
    tasks = [Task(str(case), partial(compute, case, chosen.settings)) for case in cases]
    fitted = side_by_side(tasks, n_jobs, progress, kept)
    rows = [row for each in fitted for row in expanded(each)]
    duration = sum(row.seconds for row in fitted)
    about = describe_run(
        seeds,
        duration,
        preset=preset,
        margins=MARGINS,
        tolerance=TOLERANCE,
        tables=chosen.tables,
    )
    results = DefaultsResults("defaults", TITLE, rows, about)
    results.write(Path(output))
    return results


def compute(case: Case, settings: Mapping[str, Any]) -> Row:
    """Fit, impute and score; what follows from a fit of `auto` is kept in its metrics."""
    problem = make_problem(case.table, case.deletion, case.seed)
    holes = np.isnan(problem.holes)

    def error(imputed: np.ndarray) -> float:
        return float(metrics.rmse(problem.truth, imputed, ~holes))

    imputer = METHODS[case.method](case.seed)
    if isinstance(imputer, NotMIWAEImputer):
        imputer.set_params(**settings)
    started = time.perf_counter()
    notes = fit_quietly(imputer, problem.holes)
    scores = {"rmse": error(imputer.transform(problem.holes))}
    seconds = round(time.perf_counter() - started, 2)
    if case.method == DEFAULT:
        bounds = imputer.selection_.bounds
        fills = {name: imputer.under(name).transform(problem.holes) for name in bounds}
        scores |= {BOUND + name: bound for name, bound in bounds.items()}
        scores |= {ALONE + name: error(filled) for name, filled in fills.items()}
        scores |= judged(bounds, fills, int(holes.any(0).sum()), error)
        notes = (*notes, f"chose {imputer.selection_}")
    return Row(case.method, case.table, case.seed, case.deletion, scores, seconds, notes)


def judged(
    bounds: Mapping[str, float],
    fills: Mapping[str, np.ndarray],
    n_columns: int,
    error: Callable[[np.ndarray], float],
) -> dict[str, float]:
    """Return the error of what would be averaged at other margins and tolerances.

    Parameters
    ----------
    bounds, fills : mapping
        Held-out bound and filled table by mechanism.
    n_columns : int
        With holes.
    error : callable
    """
    errors = {}
    for value, bend, near in product(STEPS, BENT_STEPS, TOLERANCES):
        margins = dict.fromkeys(MARGINS, value) | {"self-masking-spline": bend}
        averaged = select(bounds, n_columns, margins, TOLERANCES[near]).averaged
        name = f"margins {value:.2f} and {bend:.2f}, {near}"
        errors[CHOICE + name] = error(np.mean([fills[each] for each in averaged], axis=0))
    return errors


def expanded(row: Row) -> Iterator[Row]:
    """Yield a row, and those that follow from it: each candidate alone, and other choices."""
    yield replace(row, metrics={"rmse": row.metrics["rmse"]})
    for key, value in row.metrics.items():
        if key.startswith(ALONE):
            name = key.removeprefix(ALONE)
            scores = {"rmse": value, "bound": row.metrics[BOUND + name]}
            yield replace(row, method=f"{name}, alone", metrics=scores, seconds=0.0, notes=())
        elif key.startswith(CHOICE):
            yield replace(
                row, method=key.removeprefix(CHOICE), metrics={"rmse": value}, seconds=0.0, notes=()
            )
