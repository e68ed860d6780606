"""Six UCI data sets with values above the mean deleted: the original paper's Table 1, run again.

In the first ⌊D/2⌋ columns a value goes missing where it exceeds the column's mean, under one of two
protocols. *Transductive*, as published: means and scales are those of all rows, and the rows that a
method is fitted to are those that it fills. *Held-out*: a fifth of the rows, drawn by the seed, is
put aside; means and scales are those of the others, to which every method is fitted, and the rows
put aside are filled. The score is the RMSE over the missing cells of the rows that are filled. No
true value of a missing cell is used before that score.

Source of the published numbers: Ipsen, Mattei & Frellsen, "not-MIWAE: Deep Generative Modelling
with Missing not at Random Data", ICLR 2021, Table 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from notmiwae import MIWAEImputer, NotMIWAEImputer, metrics, report
from notmiwae.amputation import Amputer
from notmiwae.datasets import load
from notmiwae.experiments.baselines import BASELINES, fit_quietly
from notmiwae.experiments.benchmark import Benchmark
from notmiwae.experiments.results import HELD_OUT, KeptRows, Published, Row, describe_run
from notmiwae.experiments.runner import Task, side_by_side
from notmiwae.validation import check_names, lookup

TITLE = "RMSE over missing cells, in standard deviations of a column"
DATASETS = ("banknote", "concrete", "red", "white", "yeast", "breast")
TRANSDUCTIVE = "transductive"
METRICS = {"rmse": metrics.rmse, "mae": metrics.mae, "bias": metrics.bias}

DEFAULT = "notmiwae, default"
LINEAR = ", linear decoder"
MECHANISMS = (
    "at-random",
    "self-masking",
    "self-masking-known",
    "self-masking-quadratic",
    "self-masking-spline",
    "linear",
    "nonlinear",
)
MODELS: dict[str, Callable[..., Any]] = {
    "MIWAE": MIWAEImputer,
    **{f"not-MIWAE {name}": partial(NotMIWAEImputer, name) for name in MECHANISMS},
    "MIWAE" + LINEAR: partial(MIWAEImputer, decoder="linear"),
    **{
        f"not-MIWAE {name}" + LINEAR: partial(NotMIWAEImputer, name, decoder="linear")
        for name in MECHANISMS
    },
    DEFAULT: NotMIWAEImputer,
}
METHODS = (*BASELINES, *MODELS)
LONGEST = {"missForest": 2, DEFAULT: 1}  # the default trains several models

PAPER = "Ipsen, Mattei & Frellsen (2021), Table 1: transductive, mean of five runs"
MARKS = {"yeast": ("†", f"{PAPER}; from a copy of Yeast that differs from ours")}
TABLE_1: dict[str, tuple[str, Sequence[float]]] = {  # our name: theirs, and a value per data set
    "MIWAE, linear decoder": ("PPCA", (1.39, 1.61, 1.61, 1.57, 1.67, 0.90)),
    "not-MIWAE linear, linear decoder": (
        "not-MIWAE-PPCA agnostic",
        (1.25, 1.47, 1.32, 1.27, 1.20, 0.78),
    ),
    "not-MIWAE self-masking, linear decoder": (
        "not-MIWAE-PPCA self-masking",
        (0.57, 1.31, 1.13, 0.99, 0.78, 0.72),
    ),
    "not-MIWAE self-masking-known, linear decoder": (
        "not-MIWAE-PPCA self-masking known",
        (0.57, 1.31, 1.13, 0.99, 0.77, 0.72),
    ),
    "MIWAE": ("MIWAE", (1.19, 1.66, 1.62, 1.55, 1.72, 1.20)),
    "not-MIWAE linear": ("not-MIWAE agnostic", (0.80, 2.63, 1.30, 1.37, 1.43, 1.10)),
    "not-MIWAE self-masking": ("not-MIWAE self-masking", (1.88, 1.26, 1.08, 1.04, 1.48, 0.74)),
    "not-MIWAE self-masking-known": (
        "not-MIWAE self-masking known",
        (0.74, 1.12, 1.07, 1.04, 1.38, 0.76),
    ),
    "low-rank joint model": ("low-rank joint model", (0.79, 1.57, 1.42, 1.39, 1.19, 1.22)),
    "missForest": ("missForest", (1.28, 1.76, 1.64, 1.63, 1.66, 1.57)),
    "MICE": ("MICE", (1.41, 1.70, 1.68, 1.41, 1.72, 1.17)),
    "column mean": ("mean", (1.73, 1.85, 1.83, 1.74, 1.69, 1.82)),
}
PUBLISHED = {
    data: {
        ours: Published(values[i], *MARKS.get(data, ("*", PAPER)), name=theirs, digits=2)
        for ours, (theirs, values) in TABLE_1.items()
    }
    for i, data in enumerate(DATASETS)
}


@dataclass(frozen=True)
class Preset:
    """How much work a run is.

    Attributes
    ----------
    n_seeds : int
    datasets : sequence of str
    methods : mapping of str to sequence of str
        By split.
    quick_baselines : bool
        Whether missForest has fewer trees and rounds.
    """

    n_seeds: int
    datasets: Sequence[str]
    methods: Mapping[str, Sequence[str]]
    quick_baselines: bool = False


PRESETS = {
    "quick": Preset(
        n_seeds=1,
        datasets=("banknote", "breast"),
        methods={
            TRANSDUCTIVE: (
                "column mean",
                "MICE",
                "MIWAE",
                "not-MIWAE self-masking-known, linear decoder",
                DEFAULT,
            )
        },
        quick_baselines=True,
    ),
    "short": Preset(
        n_seeds=5,
        datasets=DATASETS,
        methods={
            TRANSDUCTIVE: (
                "column mean",
                "5-NN",
                "MICE",
                "not-MIWAE self-masking-known",
                DEFAULT,
            )
        },
    ),
    "held-out": Preset(
        n_seeds=5,
        datasets=DATASETS,
        methods={HELD_OUT: (*BASELINES, "MIWAE", "not-MIWAE self-masking-known", DEFAULT)},
    ),
    "survey": Preset(n_seeds=1, datasets=DATASETS, methods={TRANSDUCTIVE: METHODS}),
    "full": Preset(
        n_seeds=5,
        datasets=DATASETS,
        methods={
            TRANSDUCTIVE: METHODS,
            # Nothing is published to compare with, and linear decoders would add half as much time.
            HELD_OUT: [name for name in METHODS if not name.endswith(LINEAR)],
        },
    ),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method learns from and what it has to fill, standardised.

    Attributes
    ----------
    training : array of shape (N, D)
        Values to learn from, NaN where deleted.
    holes : array of shape (M, D)
        Values to fill, NaN where deleted; under the transductive protocol, the same.
    truth : array of shape (M, D)
        What was there.
    """

    training: np.ndarray
    holes: np.ndarray
    truth: np.ndarray


class Case(NamedTuple):
    """A method on a data set, by a protocol, with a seed."""

    split: str
    method: str
    data: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, {self.data}, {self.split}, seed {self.seed}"


def run(
    preset: str = "quick",
    output: str | Path = "out/uci",
    seed: int = 0,
    progress: bool = False,
    *,
    datasets: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    n_jobs: int | None = None,
    **settings: Any,
) -> Benchmark:
    """Run the study; write ``results.json``, ``results.csv``, ``rmse.svg`` and ``report.html``.

    Rows that are done are kept in ``rows.jsonl``, and a run that was interrupted goes on from
    there; delete that file to start afresh.

    Parameters
    ----------
    preset : {'quick', 'short', 'held-out', 'survey', 'full'}
        One seed and a few methods on two data sets; as published, five seeds of a few methods;
        the same on rows that were not fitted; as published, one seed of all; or five seeds of
        all, on rows that were fitted and others.
    output : path
        Folder to write to.
    seed : int
        The first seed; the others follow it.
    progress : bool
        Show a progress bar on stderr.
    datasets : sequence of str, optional
        Some names of `DATASETS`; by default, those of the preset.
    methods : sequence of str, optional
        Some names of `METHODS`; by default, those of the preset.
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
        If a preset, data set or method is unknown.
    FileNotFoundError
        If a data set cannot be found; known before the work starts.
    ImportError
        If the extra ``report`` is not installed; likewise.
    """
    report.require()
    chosen = lookup("preset", preset, PRESETS)
    datasets = check_names("datasets", datasets or chosen.datasets, DATASETS)
    seeds = range(seed, seed + chosen.n_seeds)
    cases = [
        Case(split, method, data, seed)
        for split, usual in chosen.methods.items()
        for method in check_names("methods", methods or usual, METHODS)
        for data in datasets
        for seed in seeds
    ]
    tables = {data: describe(data) for data in datasets}
    kept = KeptRows(Path(output, "rows.jsonl"), preset=preset, settings=settings)
    rows = compute_all(cases, chosen.quick_baselines, settings, kept, n_jobs, progress)
    # Not the time that has passed, of which a run that was interrupted knows only its own part.
    duration = sum(row.seconds for row in rows)
    about = describe_run(seeds, duration, preset=preset, settings=settings, data=tables)
    results = make_results(rows, about)
    results.write(Path(output))
    write_page(results, Path(output))
    return results


def make_results(rows: Sequence[Row], about: Mapping[str, Any]) -> Benchmark:
    """Put rows, metadata and the published numbers of the same data sets together."""
    return Benchmark(
        study="uci",
        title=TITLE,
        rows=rows,
        metadata=about,
        published={data: PUBLISHED[data] for data in about["data"]},
        published_split=TRANSDUCTIVE,
    )


SPLITS: dict[str, Callable[[np.ndarray, int], Sequence[np.ndarray]]] = {
    TRANSDUCTIVE: lambda x, seed: (x, x),
    HELD_OUT: lambda x, seed: train_test_split(x, test_size=0.2, random_state=seed),
}


def make_problem(data: str, split: str, seed: int) -> Problem:
    """Split, standardise and delete; scales and thresholds come from the training rows."""
    training, filled = SPLITS[split](load(data).x.to_numpy(), seed)
    scaler = StandardScaler().fit(training)
    training, filled = scaler.transform(training), scaler.transform(filled)
    amputer = Amputer("above-mean", columns="first-half").fit(training)
    return Problem(amputer.transform(training), amputer.transform(filled), filled)


def describe(data: str) -> dict[str, Any]:
    """Return what the metadata says about a data set."""
    problem = make_problem(data, TRANSDUCTIVE, 0)
    n_rows, n_columns = problem.truth.shape
    n_missing = int(np.isnan(problem.holes).sum())
    return {
        "n_rows": n_rows,
        "n_columns": n_columns,
        "n_missing_cells": n_missing,
        "source": load(data).source,
    }


def compute_all(
    cases: Sequence[Case],
    quick: bool,
    settings: Mapping[str, Any],
    kept: KeptRows,
    n_jobs: int | None = None,
    progress: bool = False,
) -> list[Row]:
    """Compute the rows that are not kept yet, side by side, and return all in the order of cases.

    The longest come first, so that no core waits long for another at the end.
    """
    sizes = {data: load(data).x.size for data in {case.data for case in cases}}

    def length(case: Case) -> tuple[int, int]:
        return LONGEST.get(case.method, 0), sizes[case.data]

    ordered = sorted(cases, key=length, reverse=True)
    tasks = [Task(str(case), partial(compute, case, quick, settings)) for case in ordered]
    side_by_side(tasks, n_jobs, progress, kept)
    return [kept[str(case)] for case in cases]


def compute(case: Case, quick: bool, settings: Mapping[str, Any]) -> Row:
    """Fit a method, fill the holes and score."""
    problem = make_problem(case.data, case.split, case.seed)
    imputer = make_imputer(case.method, case.seed, quick, settings)
    started = time.perf_counter()
    notes = fit_quietly(imputer, problem.training)
    imputed = imputer.transform(problem.holes)
    seconds = round(time.perf_counter() - started, 2)
    if case.method == DEFAULT:
        notes = (*notes, f"chose {imputer.selection_}")
    observed = ~np.isnan(problem.holes)
    errors = {
        name: float(metric(problem.truth, imputed, observed)) for name, metric in METRICS.items()
    }
    return Row(case.method, case.data, case.seed, case.split, errors, seconds, notes)


def make_imputer(method: str, seed: int, quick: bool, settings: Mapping[str, Any]) -> Any:
    """Return a method's imputer, not yet fitted."""
    if method in BASELINES:
        return BASELINES[method](seed, quick)
    # These networks are too small for a GPU to be faster, and results should not depend on one.
    return MODELS[method](random_state=seed, device="cpu", **settings)


def write_page(results: Benchmark, output: Path) -> None:
    """Write ``rmse.svg`` and ``report.html``."""
    # They need the extra `report`, and whoever only asks which studies there are need not have it.
    from notmiwae.experiments.uci import page

    page.write(results, output)
