"""Over-exposed grey images: the original paper's experiment on SVHN.

Values above a limit are missing, as in a photograph that is over-exposed. The paper gave its model
the true mechanism, p(missing) = 1/(1 + exp(-50 (x - 0.75))); ours knows no more than that high
values go missing (`self-masking-known`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from notmiwae.experiments.cifar10.baselines import image_mean
from notmiwae.experiments.cifar10.methods import (
    Effort,
    Fit,
    Watch,
    fit_baseline,
    make_imputer,
    scored,
)
from notmiwae.experiments.cifar10.problem import Problem

LIMIT = 0.75
MECHANISMS = {"MIWAE": "ignorable", "not-MIWAE": "self-masking-known"}
ONES = "1 in every gap"


def ones(problem: Problem, seed: int, quick: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Fill with the largest value that there is."""
    return np.where(problem.test.missing, np.float32(1), problem.test.holes), ()


def fit_grey(
    name: str, problem: Problem, seed: int, effort: Effort, model: Path | None = None
) -> Fit:
    """Fit a member of `MECHANISMS` to grey images, and score it."""
    watch = Watch(effort.device)
    options = {"mechanism": MECHANISMS[name], "observation": "gaussian"}
    imputer = make_imputer(options, seed, effort).fit(problem.training.holes)
    metrics, arrays = scored(problem, imputer.transform(problem.test.holes))
    return Fit({**metrics, "n_weights": imputer.n_parameters_}, arrays, watch.seconds())


METHODS: dict[str, Callable[..., Fit]] = {
    ONES: partial(fit_baseline, ones),
    "mean of the image": partial(fit_baseline, image_mean),
    **{name: partial(fit_grey, name) for name in MECHANISMS},
}
