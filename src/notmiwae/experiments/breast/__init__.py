"""Breast cancer data with values deleted in three ways: the report's Tables 1, 2 and 3, run again.

Every method is fitted to the training rows with their holes, and scored by its RMSE over the
held-out rows' missing cells; see `notmiwae.experiments.breast.problem`. No true value of a missing
cell is used before that score, but for errors that say so: the report printed the best that it saw
while training, and the same is noted here for its models, as an oracle.

Beside its Gaussian and Student-t models, trained with its settings, are a Bernoulli one on
binarised data, the methods that it could have been compared with, and an ablation that switches
the faults of its implementation on.

The published numbers are in `notmiwae.experiments.breast.published`.
"""

from __future__ import annotations

import time
from collections import UserDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from notmiwae import report
from notmiwae.experiments.arrays import KeptArrays
from notmiwae.experiments.baselines import BASELINES
from notmiwae.experiments.benchmark import Benchmark
from notmiwae.experiments.breast.methods import (
    ABLATION,
    ALL_SIX,
    BINARISED,
    DEFAULT,
    FITS,
    KNOWN,
    METHODS,
    NAMED,
    OBSERVATIONS,
    OF_THE_SAME_FIT,
    ONE_BY_ONE,
    ONES,
    REPORTED,
    SPLIT_OF,
    SWITCHED,
    ablated,
    as_reported,
)
from notmiwae.experiments.breast.problem import FIRST, SPLIT, TABLES, describe, make_problem
from notmiwae.experiments.breast.published import PUBLISHED
from notmiwae.experiments.breast.reported import EPOCHS, Effort, Start
from notmiwae.experiments.results import HELD_OUT, KeptRows, Row, describe_run
from notmiwae.experiments.runner import Task, side_by_side
from notmiwae.validation import check_names, check_number, lookup

TITLE = "RMSE over missing cells of held-out rows, in training standard deviations"


@dataclass(frozen=True)
class Preset:
    """How much work a run is.

    Attributes
    ----------
    n_seeds, n_ablation_seeds : int
        Seeds of the methods; the split and the deleted cells are the same for all.
    methods : mapping of str to sequence of str
        By table.
    n_epochs : int
        Of the report's training, which had 500.
    quick_baselines : bool
        Whether missForest has fewer trees and rounds.
    more_seeds : mapping of str to int
        Of methods that have others than the rest.
    settings : mapping
        Given to the imputers, unless a run says otherwise.
    """

    n_seeds: int
    n_ablation_seeds: int
    methods: Mapping[str, Sequence[str]]
    n_epochs: int = EPOCHS
    quick_baselines: bool = False
    more_seeds: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def seeds_of(self, method: str) -> int:
        """Return how many seeds a method has."""
        usual = self.n_ablation_seeds if method in METHODS[ABLATION] else self.n_seeds
        return self.more_seeds.get(method, usual)


_SOME = ["column mean", "MICE", "MIWAE"]
_LINEAR = [as_reported("linear", "Gaussian"), as_reported("self-masking", "Bernoulli")]
_FAULTS = [ablated("linear", name) for name in SWITCHED if name not in OF_THE_SAME_FIT]
_SIMPLE = ["column mean", "5-NN", "MICE", ONES]
_SHORT = [*_SIMPLE, DEFAULT, *(as_reported(name, "Gaussian") for name in REPORTED)]
# Values go missing on one side in the first table only.
_EVERY = [name for name in (*METHODS[HELD_OUT], *METHODS[BINARISED], ONES) if name != KNOWN]
PRESETS = {
    "quick": Preset(
        n_seeds=1,
        n_ablation_seeds=1,
        methods={
            FIRST: [*_SOME, NAMED[FIRST], DEFAULT, *_LINEAR, *_FAULTS, ONES],
            "extremes": [*_SOME, NAMED["extremes"], ONES],
            "around-mean": [*_SOME, NAMED["around-mean"], ONES],
        },
        n_epochs=25,
        quick_baselines=True,
        settings={"n_models": 1},
    ),
    "short": Preset(
        n_seeds=1,
        n_ablation_seeds=1,
        methods={
            FIRST: [*_SHORT, NAMED[FIRST]],
            "extremes": [*_SHORT, NAMED["extremes"]],
            "around-mean": [*_SHORT, NAMED["around-mean"]],
        },
        more_seeds=dict.fromkeys([*_SIMPLE, *NAMED.values()], 5),
    ),
    "full": Preset(
        n_seeds=5,
        n_ablation_seeds=1,
        methods={FIRST: list(FITS), "extremes": _EVERY, "around-mean": _EVERY},
    ),
}
LENGTHS = {
    **dict.fromkeys(FITS, 1),
    **dict.fromkeys(BASELINES, 0),
    **dict.fromkeys(METHODS[ABLATION], 2),
    **{ablated(name, fault): 4 for name in REPORTED for fault in ("axes", ALL_SIX)},
    **{as_reported(name, kind): 3 for name in REPORTED for kind in OBSERVATIONS},
    DEFAULT: 3,
}
"""The order in which methods are started, highest first."""


class Case(NamedTuple):
    """A method on a table, with a seed."""

    method: str
    table: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, {self.table}, seed {self.seed}"


Group = tuple[Case, ...]
"""Cases of one method that are fitted in one go."""


class RowsOfGroups(UserDict[str, list[Row]]):
    """Lists of rows by the names of groups, kept row by row.

    Parameters
    ----------
    rows : KeptRows
    groups : sequence of Group
        None of which has been computed.
    """

    def __init__(self, rows: KeptRows, groups: Sequence[Group]) -> None:
        super().__init__()
        self.rows, self.groups = rows, {name_of(group): group for group in groups}

    def __setitem__(self, name: str, found: list[Row]) -> None:
        super().__setitem__(name, found)
        for case, row in zip(self.groups[name], found, strict=True):
            self.rows[str(case)] = row


def run(
    preset: str = "quick",
    output: str | Path = "out/breast",
    seed: int = 0,
    progress: bool = False,
    *,
    n_columns: int = 29,
    tables: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    n_epochs: int | None = None,
    n_jobs: int | None = None,
    **settings: Any,
) -> Benchmark:
    """Run the study and write ``results.json``, ``results.csv`` and ``report.html``.

    Rows that are done are kept in ``rows.jsonl``, and what figures need of the first seed in
    ``fits``: a run that was interrupted goes on from there. Delete both to start afresh.

    Parameters
    ----------
    preset : {'quick', 'short', 'full'}
        One seed, a few methods of one model each and the report's training cut short; the report's
        Gaussian models and the default with one seed, the mechanisms named in advance with five;
        or five seeds of everything.
    output : path
        Folder to write to.
    seed : int
        The first seed; the others follow it.
    progress : bool
        Show a progress bar on stderr.
    n_columns : int
        29 as in the report, which cut the last one off, or 30.
    tables : sequence of str, optional
        Some names of `TABLES`; by default, all.
    methods : sequence of str, optional
        Some names of `FITS`; by default, those of the preset.
    n_epochs : int, optional
        Of the report's training; by default, as the preset says.
    n_jobs : int, optional
        Methods fitted side by side, in processes with one thread each; by default, one per core.
        Results do not depend on it.
    **settings
        Given to the imputers.

    Returns
    -------
    Benchmark
        Its ``table()`` is the text to print.

    Raises
    ------
    ValueError
        If a preset, table or method is unknown, or the data do not have so many columns.
    ImportError
        If the extra ``report`` is not installed; known before the work starts.
    """
    report.require()
    chosen = lookup("preset", preset, PRESETS)
    tables = check_names("tables", tables or list(TABLES), TABLES)
    n_epochs = chosen.n_epochs if n_epochs is None else n_epochs
    check_number("n_epochs", n_epochs, at_least=1, whole=True)
    about = {table: describe(make_problem(table, n_columns)) for table in tables}
    cases = [
        Case(method, table, seed + i)
        for table in tables
        for method in check_names("methods", methods or chosen.methods[table], FITS)
        for i in range(chosen.seeds_of(method))
    ]
    effort = Effort(n_epochs, chosen.quick_baselines, {**chosen.settings, **settings})
    made_by = {"n_columns": n_columns, **effort._asdict()}
    rows = KeptRows(Path(output, "rows.jsonl"), **made_by)
    kept = KeptArrays(Path(output, "fits"), seed)
    computed = compute_all(cases, n_columns, effort, rows, kept, n_jobs, progress)
    # Not the time that has passed, of which a run that was interrupted knows only its own part.
    duration = sum(row.seconds for row in computed)
    seeds = sorted({case.seed for case in cases})
    run_of = {"preset": preset, "split": SPLIT, "data": about, **made_by}
    results = make_results(computed, describe_run(seeds, duration, **run_of))
    results.write(Path(output))
    write_page(results, kept, Path(output))
    return results


def in_one_go(cases: Sequence[Case]) -> list[Group]:
    """Group cases: those of a method together if that saves work, the longest first.

    So that no core waits long for another at the end.
    """
    groups: dict[Any, list[Case]] = {}
    for case in cases:
        groups.setdefault(case if case.method in ONE_BY_ONE else case.method, []).append(case)
    return sorted(map(tuple, groups.values()), key=lambda group: -LENGTHS[group[0].method])


def name_of(group: Group) -> str:
    """Return what a progress bar shows."""
    return "; ".join(map(str, group))


def compute_all(
    cases: Sequence[Case],
    n_columns: int,
    effort: Effort,
    rows: KeptRows,
    kept: KeptArrays,
    n_jobs: int | None = None,
    progress: bool = False,
) -> list[Row]:
    """Compute the rows that are not there yet, side by side; return all in the order of cases."""
    groups = in_one_go([case for case in cases if str(case) not in rows])
    tasks = [
        Task(name_of(group), partial(compute, group, n_columns, effort, kept)) for group in groups
    ]
    side_by_side(tasks, n_jobs, progress, RowsOfGroups(rows, groups))
    return [rows[str(case)] for case in cases]


def compute(group: Group, n_columns: int, effort: Effort, kept: KeptArrays) -> list[Row]:
    """Fit the method of these cases, fill the holes and score.

    The time of a row is its share of the processor time that the group took.
    """
    problems = {case.table: make_problem(case.table, n_columns) for case in group}
    method = group[0].method
    started = time.process_time()
    fits = FITS[method]([Start(problems[case.table], case.seed) for case in group], effort)
    seconds = round((time.process_time() - started) / len(fits), 2)
    rows = []
    for case, fit in zip(group, fits, strict=True):
        kept.write(case.seed, fit.arrays, case.method, case.table)
        rows.append(Row(*case, SPLIT_OF[method], fit.metrics, seconds, fit.notes))
    return rows


def make_results(rows: Sequence[Row], about: Mapping[str, Any]) -> Benchmark:
    """Put rows, those that follow from them, metadata and published numbers together."""
    ablation = (ablated(name, switched) for name in REPORTED for switched in SWITCHED)
    order = [*METHODS[HELD_OUT], *METHODS[BINARISED], *ablation, ONES]
    every = [*rows, *same_fits(rows)]
    return Benchmark(
        study="breast",
        title=TITLE,
        rows=sorted(every, key=lambda row: order.index(row.method)),
        metadata=about,
        published={table: PUBLISHED[table] for table in about["data"]},
    )


def same_fits(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the ablation's rows that a sound fit gives: without a fault, and with selection."""
    sound = {as_reported(name, "Gaussian"): name for name in REPORTED}
    for row in rows:
        if row.data == FIRST and row.method in sound:
            for switched, metric in OF_THE_SAME_FIT.items():
                method = ablated(sound[row.method], switched)
                errors = {"rmse": row.metrics[metric]}
                yield replace(row, method=method, split=ABLATION, metrics=errors, seconds=0.0)


def write_page(results: Benchmark, kept: KeptArrays, output: Path) -> None:
    """Write ``report.html``."""
    # It needs the extra `report`, and whoever only asks which studies there are need not have it.
    from notmiwae.experiments.breast import page

    page.write(results, kept, output)
