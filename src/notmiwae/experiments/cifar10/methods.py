"""What the study of images compares: a function of problem, seed and effort for each method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from notmiwae import ImageImputer
from notmiwae.experiments.cifar10.baselines import BASELINES, ORACLE, oracle
from notmiwae.experiments.cifar10.problem import Problem
from notmiwae.experiments.cifar10.published import REPORTED, as_reported

OURS = "pixelwise, colour chain"
LONGER = f"{OURS}, longer"
MODELS: dict[str, Mapping[str, str]] = {
    **{as_reported(name): {"mechanism": name, "observation": "gaussian"} for name in REPORTED},
    "MIWAE, Gaussian": {"mechanism": "ignorable", "observation": "gaussian"},
    "MIWAE, colour chain": {"mechanism": "ignorable", "observation": "colour-chain"},
    "self-masking, colour chain": {"mechanism": "self-masking", "observation": "colour-chain"},
    "pixelwise, Gaussian": {"mechanism": "pixelwise", "observation": "gaussian"},
    OURS: {"mechanism": "pixelwise", "observation": "colour-chain"},
    LONGER: {"mechanism": "pixelwise", "observation": "colour-chain"},
}
"""The report's six, and ours."""


class Effort(NamedTuple):
    """How much work a fit may be.

    Attributes
    ----------
    n_epochs : int
        Passes over the training images.
    n_samples, batch_size : int
        K, and images of a mini-batch.
    n_impute_samples : int
        Draws by which gaps are filled.
    quick_baselines : bool
        Whether baselines see fewer pixels.
    device, precision : str
        See `ImageImputer`.
    settings : mapping
        What the imputers are given beside.
    """

    n_epochs: int
    n_samples: int = 1
    batch_size: int = 16
    n_impute_samples: int = 20
    quick_baselines: bool = False
    device: str = "cpu"
    precision: str = "float32"
    settings: Mapping[str, Any] = MappingProxyType({})


class Fit(NamedTuple):
    """A method that was fitted to a problem.

    Attributes
    ----------
    metrics : mapping of str to float
    arrays : mapping of str to array
        What figures need: ``filled`` test images that are shown, curves of training.
    seconds : float
        Of the processor (with a GPU, of the clock), filling included.
    notes : tuple of str
    """

    metrics: Mapping[str, float]
    arrays: Mapping[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()


class Watch:
    """Seconds of work since it was made."""

    def __init__(self, device: str = "cpu") -> None:
        # Others may be at work on the same cores, which is no property of a method.
        self.read = time.process_time if device == "cpu" else time.perf_counter
        self.start = self.read()

    def seconds(self) -> float:
        """Return how long it has been."""
        return round(self.read() - self.start, 2)


def shown(problem: Problem, number: int = 2) -> np.ndarray:
    """Return which test images the page shows: the first of each class with enough missing.

    They are chosen by their gaps, between a tenth and nine tenths of the pixels, and not by errors.
    """
    share = problem.test.missing.any(1).mean((1, 2))
    fit = (share > 0.1) & (share < 0.9)
    labels = problem.test.labels
    first = [np.flatnonzero(fit & (labels == label))[:number] for label in np.unique(labels)]
    return np.sort(np.concatenate(first))


def scored(problem: Problem, filled: np.ndarray) -> tuple[dict[str, float], dict[str, Any]]:
    """Return a method's errors, and what figures and tables need of its filled test images."""
    chosen = shown(problem)
    by_class = problem.test.by_class(filled)
    arrays = {
        "shown": chosen,
        "filled": filled[chosen].astype(np.float16),
        "by_class": np.array([(label, *pair) for label, pair in by_class.items()]),
    }
    return problem.test.errors(filled), arrays


def fit_baseline(
    fill: Callable[..., Any], problem: Problem, seed: int, effort: Effort, model: Path | None = None
) -> Fit:
    """Run a baseline and score it."""
    watch = Watch()
    filled, notes = fill(problem, seed, effort.quick_baselines)
    seconds = watch.seconds()
    return Fit(*scored(problem, filled), seconds, notes)


def make_imputer(model: Mapping[str, str], seed: int, effort: Effort, **more: Any) -> ImageImputer:
    """Return an imputer, not yet fitted: a member of `MODELS`, say."""
    options: dict[str, Any] = {
        "n_samples": effort.n_samples,
        "max_epochs": effort.n_epochs,
        "batch_size": effort.batch_size,
        "n_impute_samples": effort.n_impute_samples,
        "device": effort.device,
        "precision": effort.precision,
        "validation_fraction": 0.0,  # the weights that training ends with are those that are scored
        "random_state": seed,
    }
    return ImageImputer(**{**model, **options, **effort.settings, **more})


def fit_model(
    name: str, problem: Problem, seed: int, effort: Effort, model: Path | None = None
) -> Fit:
    """Fit a member of `MODELS`, score it, and keep it where that is asked for."""
    watch = Watch(effort.device)
    imputer = make_imputer(MODELS[name], seed, effort).fit(problem.training.holes)
    trained = watch.seconds()
    filled = imputer.transform(problem.test.holes)
    metrics, arrays = scored(problem, filled)
    metrics |= {"n_weights": imputer.n_parameters_, "training_seconds": trained}
    arrays |= {"step": imputer.history_.step, "bound": imputer.history_.bound}
    if model is not None:
        imputer.save(model)
    return Fit(metrics, arrays, watch.seconds())


METHODS: dict[str, Callable[..., Fit]] = {
    **{name: partial(fit_baseline, fill) for name, fill in BASELINES.items()},
    ORACLE: partial(fit_baseline, oracle),
    **{name: partial(fit_model, name) for name in MODELS},
}
