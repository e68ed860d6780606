"""What training seeds side by side gains: ``python benchmarks/stacked_seeds.py``.

The same models are trained alone and in stacks of M (`notmiwae.stacking`): the report's
networks with its batches of 32 rows, as in ``notmiwae reproduce breast``, and the library's default
ones with batches of 128. Processor time per step and model, on one thread; in every repeat all
sizes take turns, so that whatever else the machine does hits all of them. Writes
``results/stacking/``; a gain is the ratio of medians over repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from notmiwae.assembly import build_model
from notmiwae.experiments.breast import reported
from notmiwae.experiments.breast.problem import FIRST, make_problem
from notmiwae.experiments.results import Results, Row, align, describe_run
from notmiwae.experiments.runner import torch_threads
from notmiwae.imputers import NotMIWAEImputer
from notmiwae.mechanisms import MECHANISMS
from notmiwae.model import LatentVariableModel
from notmiwae.preprocessing import Standardiser
from notmiwae.training import fit_together, seeded

SIZES = (1, 2, 5, 10)
ALONE = SIZES[0]


class Setting(NamedTuple):
    """What is trained.

    Attributes
    ----------
    build : callable
        From a seed to a model.
    x, mask : Tensor
    training : dict
        Settings of `fit_together`.
    """

    build: Callable[[int], LatentVariableModel]
    x: Tensor
    mask: Tensor
    training: dict[str, Any]


def of_the_report(mechanism: str, observation: str) -> Setting:
    """Return a model of the report with its training."""
    problem = make_problem(FIRST)
    x, mask = reported.to_model(problem.training.holes)

    def build(seed: int) -> LatentVariableModel:
        return reported.build_all([reported.Start(problem, seed)], mechanism, observation)[0]

    return Setting(build, x, mask, reported.TRAINING)


def of_the_library(mechanism: str) -> Setting:
    """Return a model as the imputer builds it, with its training."""
    holes = make_problem(FIRST).training.holes
    preprocessing = Standardiser().fit(holes)
    x, mask = preprocessing.to_model(holes)
    settings = NotMIWAEImputer(MECHANISMS[mechanism]).get_params(deep=False)

    def build(seed: int) -> LatentVariableModel:
        with seeded(seed):
            return build_model(settings, preprocessing, 1 - mask.mean(0))

    return Setting(build, x, mask, {"n_samples": 5, "batch_size": 128})


SETTINGS = {
    "report: linear, Gaussian, batches of 32": partial(of_the_report, "linear", "gaussian"),
    "report: nonlinear, Student-t, batches of 32": partial(of_the_report, "nonlinear", "student-t"),
    "library: self-masking, batches of 128": partial(of_the_library, "self-masking"),
    "library: self-masking-spline, batches of 128": partial(of_the_library, "self-masking-spline"),
}


def milliseconds(setting: Setting, n_models: int, n_steps: int) -> float:
    """Return the processor time of a step, per model."""
    seeds = range(n_models)
    models = [setting.build(seed) for seed in seeds]
    train = partial(fit_together, models, setting.x, setting.mask, seeds=seeds, **setting.training)
    train(max_steps=3)
    started = time.process_time()
    train(max_steps=n_steps, evaluate_every=n_steps)
    return (time.process_time() - started) * 1e3 / n_steps / n_models


def main() -> None:
    """Measure all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path("results/stacking"))
    args = parser.parse_args()
    started = time.perf_counter()
    settings = {name: make() for name, make in SETTINGS.items()}
    with torch_threads(1):
        rows = [
            Row(name, f"{size} side by side", repeat, "training", {"ms": ms}, round(ms / 1e3, 5))
            for repeat in range(args.repeats)
            for name, setting in settings.items()
            for size in SIZES
            if (ms := milliseconds(setting, size, args.steps))
        ]
    results = Results(
        study="stacking",
        title="Processor time per step and model, in ms, by how many are trained side by side",
        rows=rows,
        metadata={
            **describe_run(range(args.repeats), time.perf_counter() - started),
            "threads": torch.get_num_threads(),
            "gains": gains(rows),
        },
        metric="ms",
    )
    results.write(args.output)
    print("\n".join(align(table(rows))))


def medians(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return the median time over repeats, by setting, then by size."""
    times: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        times.setdefault(row.method, {}).setdefault(row.data, []).append(row.metrics["ms"])
    return {name: {size: median(found) for size, found in by.items()} for name, by in times.items()}


def gains(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return how many times less a step takes per model than one alone."""
    return {
        name: {size: round(by[f"{ALONE} side by side"] / ms, 2) for size, ms in by.items()}
        for name, by in medians(rows).items()
    }


def table(rows: list[Row]) -> list[tuple[str, ...]]:
    """Return lines of text: times and gains."""
    found, gained = medians(rows), gains(rows)
    lines = [
        (name, *(f"{ms:.2f} ({gained[name][size]:.2f}x)" for size, ms in by.items()))
        for name, by in found.items()
    ]
    return [("ms per step and model (gain)", *map(str, SIZES)), *lines]


if __name__ == "__main__":
    main()
