"""CIFAR-10 with a colour deleted where it dominates: the report's section 5, run again.

Where blue exceeds red and green of its pixel it is missing. Every method learns from the training
images with their gaps, and is scored by its RMSE over the missing values of the test images, by the
weights that training ends with; no true value of a missing one is used before that score, but by
the regression that is called an oracle. Four parts:

    table 4       the report's mechanisms, ours and baselines
    batch size    the report's Figure 2: its bound, and the right one, by size of a batch
    channels      Figures 4 to 6: green and red missing; zero-shot, adapted, trained
    clipping      the original paper's experiment: grey values above a limit missing

CIFAR-10 is looked for in a folder and downloaded otherwise (`notmiwae.image_datasets`); the quick
preset needs neither and takes patches of scikit-learn's photographs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from notmiwae import report
from notmiwae.experiments.arrays import KeptArrays
from notmiwae.experiments.cifar10 import batches, clipping, transfer
from notmiwae.experiments.cifar10.methods import (
    LONGER,
    METHODS,
    MODELS,
    OURS,
    Effort,
    Fit,
    fit_model,
)
from notmiwae.experiments.cifar10.problem import (
    CHANNEL,
    Source,
    clipping_problem,
    describe,
    make_problem,
)
from notmiwae.experiments.cifar10.published import CLIPPED
from notmiwae.experiments.cifar10.published import TABLE_4 as PUBLISHED
from notmiwae.experiments.cifar10.study import (
    BATCHES,
    CHANNELS,
    CLIPPING,
    PARTS,
    TABLE_4,
    Study,
)
from notmiwae.experiments.cifar10.transfer import PAIRS, TRAINED, adapted_from, zero_shot_from
from notmiwae.experiments.results import KeptRows, Row, describe_run
from notmiwae.experiments.runner import Task, side_by_side
from notmiwae.image_datasets import find_images
from notmiwae.validation import check_names, check_number, lookup

TITLE = "RMSE over missing values of test images, which run from 0 to 1"
DATASETS = ("cifar10", "photographs")
UNTRAINED = {
    *(set(METHODS) - set(MODELS)),
    *(set(clipping.METHODS) - set(clipping.MECHANISMS)),
    *(zero_shot_from(before) for before, _ in PAIRS),
}


@dataclass(frozen=True)
class Preset:
    """How much work a run is.

    Attributes
    ----------
    dataset : str
        A name in `DATASETS`.
    effort : Effort
        Of every fit, but for the epochs of `epochs`.
    methods : sequence of str
        Of table 4.
    n_seeds : int
        Of our own model in table 4; everything else has one.
    epochs : mapping of str to int
        By part or method, where they are others.
    sizes : sequence of int
        Sizes of a batch.
    """

    dataset: str
    effort: Effort
    methods: Sequence[str]
    n_seeds: int
    epochs: Mapping[str, int] = field(default_factory=dict)
    sizes: Sequence[int] = batches.SIZES


PRESETS = {
    "quick": Preset(
        dataset="photographs",
        effort=Effort(n_epochs=10, n_impute_samples=10, quick_baselines=True),
        methods=[
            "mean of the image",
            "largest other channel",
            "MICE",
            "oracle regression",
            "as reported: self-masking",
            "MIWAE, colour chain",
            OURS,
        ],
        n_seeds=1,
        epochs={BATCHES: 5, CLIPPING: 20, **dict.fromkeys(map(adapted_from, ("blue", "green")), 5)},
        sizes=(16, 128),
    ),
    "full": Preset(
        dataset="cifar10",
        effort=Effort(n_epochs=8),
        methods=list(METHODS),
        n_seeds=3,
        epochs={
            LONGER: 24,
            BATCHES: 4,
            CLIPPING: 40,
            **dict.fromkeys(map(adapted_from, ("blue", "green")), 4),
        },
    ),
}


class Case(NamedTuple):
    """A method in a part of the study, on data, with a seed; and its epochs, if it is trained."""

    part: str
    method: str
    data: str
    seed: int
    n_epochs: int

    def __str__(self) -> str:
        trained = f", {self.n_epochs} epochs" if self.n_epochs else ""
        return f"{self.part}: {self.method}, {self.data}, seed {self.seed}{trained}"

    @property
    def second(self) -> bool:
        """Whether it needs the model of another case."""
        return self.part == CHANNELS and self.method != TRAINED


class Kept(KeptArrays):
    """Arrays for figures, and models: those of the first seed."""

    __slots__ = ()

    def model(self, data: str) -> Path:
        """Return the folder of our model of a channel."""
        return self.folder / f"model-{data}"


@dataclass(frozen=True)
class Work:
    """What all cases have in common.

    Attributes
    ----------
    source, greys : Source
        The images; those of which grey ones are clipped.
    effort : Effort
    kept : Kept
    """

    source: Source
    greys: Source
    effort: Effort
    kept: Kept


def run(
    preset: str = "quick",
    output: str | Path = "out/cifar10",
    seed: int = 0,
    progress: bool = False,
    *,
    datasets: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    n_training: int | None = None,
    n_test: int | None = None,
    n_epochs: int | None = None,
    n_jobs: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
    **settings: Any,
) -> Study:
    """Run the study and write ``results.json``, ``results.csv`` and ``report.html``.

    Rows that are done are kept in ``rows.jsonl``, and pictures and models of the first seed in
    ``fits``: a run that was interrupted goes on from there. Delete both to start afresh.

    Parameters
    ----------
    preset : {'quick', 'full'}
        A few methods on few images; or the whole study.
    output : path
        Folder to write to.
    seed : int
        The first seed; the others follow it.
    progress : bool
        Show a progress bar on stderr.
    datasets : sequence of str, optional
        One name of `DATASETS`; by default, that of the preset.
    parts : sequence of str, optional
        Some names of `PARTS`; by default, all.
    methods : sequence of str, optional
        Some methods of table 4; by default, those of the preset.
    n_training, n_test : int, optional
        The first so many images; by default, all that there are.
    n_epochs : int, optional
        Of every fit; by default, as the preset says.
    n_jobs : int, optional
        Methods fitted side by side, in processes with one thread each; by default, one per core,
        or one alone on a GPU.
    device, precision : str
        See `ImageImputer`.
    **settings
        Given to the imputers.

    Returns
    -------
    Study
        Its ``table()`` is the text to print.

    Raises
    ------
    ValueError
        If a preset, part, data set or method is unknown.
    FileNotFoundError
        If there are no images; known before the work starts.
    ImportError
        If the extra ``report`` is not installed; likewise.
    """
    report.require()
    chosen = lookup("preset", preset, PRESETS)
    name = _dataset(datasets, chosen)
    asked = check_names("parts", parts or list(PARTS), PARTS)
    if n_epochs is not None:
        check_number("n_epochs", n_epochs, at_least=1, whole=True)
    named = check_names("methods", methods or chosen.methods, METHODS)
    effort = chosen.effort._replace(device=device, precision=precision, settings=settings)
    source = Source(name, n_training, n_test)
    greys = source._replace(name="svhn" if find_images("svhn") else "photographs")
    kept = Kept(Path(output, "fits"), seed)
    work = Work(source, greys, effort, kept)
    cases = list(_cases(chosen, asked, named, seed, n_epochs))
    data = _describe(work, asked)
    remark = _effort_in_words(cases, data, effort)
    about = {"preset": preset, "data": data, "remark": remark, **_made_by(work)}
    rows = KeptRows(Path(output, "rows.jsonl"), **_made_by(work))
    jobs = n_jobs or (1 if device not in ("cpu", "auto") else None)
    computed = compute_all(cases, work, rows, jobs, progress)
    duration = sum(row.seconds for row in computed)
    seeds = sorted({case.seed for case in cases})
    results = make_results(computed, describe_run(seeds, duration, **about))
    results.write(Path(output))
    write_page(results, work, Path(output))
    return results


def _dataset(datasets: Sequence[str] | None, chosen: Preset) -> str:
    if datasets is None:
        return chosen.dataset
    if len(datasets) != 1:
        raise ValueError(f"datasets must be one of {', '.join(DATASETS)}; got {datasets!r}")
    return check_names("datasets", datasets, DATASETS)[0]


def _made_by(work: Work) -> dict[str, Any]:
    """Return what rows depend on beside their names."""
    effort = work.effort._asdict()
    del effort["n_epochs"]
    return {"images": work.source._asdict(), "greys": work.greys._asdict(), **effort}


def _effort_in_words(cases: Sequence[Case], data: Mapping[str, Any], effort: Effort) -> str:
    """Return how long models were trained, by part."""
    epochs: dict[str, dict[int, None]] = {}
    for case in cases:
        if case.n_epochs:
            epochs.setdefault(case.part, {})[case.n_epochs] = None
    by_part = "; ".join(
        f"{part}: {' or '.join(map(str, some))} "
        f"of {data.get(part, data[CHANNEL])['n_training_images']:,} images"
        for part, some in epochs.items()
    )
    return f"Epochs of training, K = {effort.n_samples}: {by_part}."


def _describe(work: Work, parts: Sequence[str]) -> dict[str, Any]:
    """Return what the metadata says about the images."""
    channels = [CHANNEL, "green", "red"] if CHANNELS in parts else [CHANNEL]
    about = {name: describe(make_problem(work.source, name)) for name in channels}
    if CLIPPING in parts:
        about[CLIPPING] = describe(clipping_problem(work.greys, clipping.LIMIT))
    return about


def _cases(
    chosen: Preset, parts: Sequence[str], methods: Sequence[str], seed: int, n_epochs: int | None
) -> Iterator[Case]:
    """Yield what is to be computed."""

    def case(part: str, method: str, data: str, seed: int = seed) -> Case:
        usual = chosen.epochs.get(method, chosen.epochs.get(part, chosen.effort.n_epochs))
        return Case(part, method, data, seed, 0 if method in UNTRAINED else n_epochs or usual)

    if TABLE_4 in parts:
        for method in methods:
            for i in range(chosen.n_seeds if method == OURS else 1):
                yield case(TABLE_4, method, CHANNEL, seed + i)
    if BATCHES in parts:
        for bound in batches.BOUNDS:
            for size in chosen.sizes:
                yield case(BATCHES, bound, str(size))
    if CHANNELS in parts:
        for channel in ("green", "red"):
            yield case(CHANNELS, TRAINED, channel)
        for before, after in PAIRS:
            yield case(CHANNELS, zero_shot_from(before), after)
            yield case(CHANNELS, adapted_from(before), after)
    if CLIPPING in parts:
        for method in clipping.METHODS:
            yield case(CLIPPING, method, CLIPPING)


def compute_all(
    cases: Sequence[Case],
    work: Work,
    rows: KeptRows,
    n_jobs: int | None = None,
    progress: bool = False,
) -> list[Row]:
    """Compute the rows that are not there yet, side by side; return all in the order of cases.

    Those that take up the model of another come second.
    """
    for second in (False, True):
        tasks = [
            Task(str(case), partial(compute, case, work)) for case in cases if case.second == second
        ]
        side_by_side(tasks, n_jobs, progress, rows)
    return [rows[str(case)] for case in cases]


def compute(case: Case, work: Work) -> Row:
    """Fit a method, fill the gaps and score."""
    effort = work.effort._replace(n_epochs=case.n_epochs)
    fit = COMPUTE[case.part](case, work, effort)
    work.kept.write(case.seed, fit.arrays, case.part, case.method, case.data)
    epochs = {"n_epochs": case.n_epochs} if case.n_epochs else {}
    metrics = {**fit.metrics, **epochs}
    return Row(case.method, case.data, case.seed, case.part, metrics, fit.seconds, fit.notes)


def _table_4(case: Case, work: Work, effort: Effort) -> Fit:
    ours = case.method == OURS and case.seed == work.kept.seed
    model = work.kept.model(case.data) if ours else None
    problem = make_problem(work.source, case.data)
    return METHODS[case.method](problem, case.seed, effort, model)


def _batch_size(case: Case, work: Work, effort: Effort) -> Fit:
    problem = make_problem(work.source)
    return batches.fit_size(case.method, int(case.data), problem, case.seed, effort)


def _channel(case: Case, work: Work, effort: Effort) -> Fit:
    problem = make_problem(work.source, case.data)
    if case.method == TRAINED:
        return fit_model(OURS, problem, case.seed, effort, work.kept.model(case.data))
    before = case.method.rsplit(" ", 1)[1]
    model = work.kept.model(before)
    if not model.exists():  # it was deleted, or that part was left out
        fit_model(OURS, make_problem(work.source, before), case.seed, effort, model)
    move = transfer.zero_shot if case.method == zero_shot_from(before) else transfer.adapted
    return move(problem, case.seed, effort, model)


def _clipped(case: Case, work: Work, effort: Effort) -> Fit:
    problem = clipping_problem(work.greys, clipping.LIMIT)
    return clipping.METHODS[case.method](problem, case.seed, effort)


COMPUTE = {TABLE_4: _table_4, BATCHES: _batch_size, CHANNELS: _channel, CLIPPING: _clipped}


def make_results(rows: Sequence[Row], about: Mapping[str, Any]) -> Study:
    """Put rows, those that follow from them, metadata and published numbers together."""
    ours = [
        replace(row, split=CHANNELS, method=TRAINED)
        for row in rows
        if (row.split, row.method) == (TABLE_4, OURS) and row.seed == about["seeds"][0]
    ]
    channels = [row for row in rows if row.split == CHANNELS]
    every = [row for row in rows if row.split != CHANNELS]
    return Study(
        study="cifar10",
        title=TITLE,
        rows=[*every, *(ours if channels else ()), *channels],
        metadata=about,
        published={
            data: numbers
            for data, numbers in {CHANNEL: PUBLISHED, CLIPPING: CLIPPED}.items()
            if data in about["data"]
        },
    )


def write_page(results: Study, work: Work, output: Path) -> None:
    """Write ``report.html``."""
    # It needs the extra `report`, and whoever only asks which studies there are need not have it.
    from notmiwae.experiments.cifar10 import page

    page.write(results, work, output)
