"""One missing channel and another: zero-shot, and adapted, beside trained on it.

A model that was trained where one channel goes missing knows what images look like, and why *that*
channel is missing. Zero-shot, it fills another channel as it is. Adapted, its decoder is kept, and
encoder and mechanism are fitted to images with the new gaps, whose true values it does not see.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from notmiwae import ImageImputer
from notmiwae.experiments.cifar10.methods import Effort, Fit, Watch, scored
from notmiwae.experiments.cifar10.problem import Problem

TRAINED = "trained on it"
PAIRS = (("blue", "green"), ("blue", "red"), ("green", "blue"))
"""From the channel that a model was trained on to the one that is missing: Figures 4 to 6."""


def zero_shot_from(channel: str) -> str:
    """Return the name of a model of another channel, used as it is."""
    return f"zero-shot from {channel}"


def adapted_from(channel: str) -> str:
    """Return the name of a model of another channel, adapted."""
    return f"adapted from {channel}"


def zero_shot(problem: Problem, seed: int, effort: Effort, model: Path) -> Fit:
    """Fill by a model that was trained on another missing channel."""
    watch = Watch(effort.device)
    imputer = ImageImputer.load(model)
    return Fit(*_filled(imputer, problem), watch.seconds())


def adapted(problem: Problem, seed: int, effort: Effort, model: Path) -> Fit:
    """Fit mechanism and encoder of such a model to images with the new gaps, and fill."""
    watch = Watch(effort.device)
    imputer = ImageImputer.load(model).set_params(max_epochs=effort.n_epochs)
    imputer = imputer.adapt(problem.training.holes)
    return Fit(*_filled(imputer, problem), watch.seconds())


def _filled(
    imputer: ImageImputer, problem: Problem
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    return scored(problem, imputer.transform(problem.test.holes))
