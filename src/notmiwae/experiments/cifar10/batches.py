"""The report's Figure 2, validation error by size of a batch, and its answer.

With w_kn the weight of draw k of image n, the report's code raises log 1/N Σ_n w_kn, a sum over
the N images of a batch (`notmiwae.experiments.breast.faults.batch_bound`), where the bound of an
image sums over its own draws, log 1/K Σ_k w_kn. Both are trained here, on the report's networks
with its self-masking mechanism, and with everything else alike: every fit sees the same number of
images, so that large batches take fewer steps, and the learning rate grows with the square root of
a batch's size, from 1e-3 at 16 images: what the square root rule for Adam says of it (Malladi et
al., 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notmiwae.bounds import importance_weighted
from notmiwae.experiments.breast.faults import batch_bound
from notmiwae.experiments.cifar10.methods import (
    MODELS,
    Effort,
    Fit,
    Watch,
    make_imputer,
    scored,
)
from notmiwae.experiments.cifar10.problem import Images, Problem
from notmiwae.experiments.cifar10.published import as_reported
from notmiwae.image_assembly import build_image_model
from notmiwae.imputation import conditional_mean
from notmiwae.networks import ImageShape
from notmiwae.training import fit, seeded, short_warm_up

SIZES = (8, 16, 32, 46, 128, 256)
BASE = 16
RATE = 1e-3
MODEL = MODELS[as_reported("self-masking")]
RIGHT_BOUND, PUBLISHED_BOUND = "right bound", "published bound"
BOUNDS: dict[str, Callable[[Tensor], Tensor]] = {
    PUBLISHED_BOUND: batch_bound,
    RIGHT_BOUND: importance_weighted,
}
LOOKS = 8
"""How often the error is looked at while training."""
LOOKED_AT, DRAWS_OF_A_LOOK = 200, 5
"""Test images of a look, and draws by which they are filled."""
ABOUT = (
    "Both bounds are trained with the report’s networks and its self-masking mechanism. Every fit "
    "sees the same number of images, so that larger batches take fewer steps; the learning rate is "
    f"{RATE:g} for {BASE} images and grows with the square root of the size. The errors while "
    f"training are those of {LOOKED_AT} test images, those at the end of all."
)


def learning_rate(size: int) -> float:
    """Return the learning rate for a size of a batch."""
    return RATE * math.sqrt(size / BASE)


def fit_size(bound: str, size: int, problem: Problem, seed: int, effort: Effort) -> Fit:
    """Train with a bound and a size of a batch, and look at the error on the way."""
    watch = Watch(effort.device)
    imputer = make_imputer(MODEL, seed, effort)
    x, mask = to_model(problem.training, effort.device)
    shape = ImageShape(*problem.training.holes.shape[1:])
    with seeded(seed):
        model = build_image_model(imputer.get_params(), shape, 1 - mask.mean(0).cpu())
    model.to(effort.device)
    n_steps = max(LOOKS, round(effort.n_epochs * len(x) / size))
    some = Images(*(part[:LOOKED_AT] for part in problem.test))
    seen: list[float] = []
    steps: list[int] = []

    def look(step: int, models: Any) -> None:
        steps.append(step)
        seen.append(some.errors(fill(model, some, effort.device, DRAWS_OF_A_LOOK))["rmse"])

    fit(
        model,
        x,
        mask,
        bound=BOUNDS[bound],
        n_samples=effort.n_samples,
        max_steps=n_steps,
        batch_size=size,
        learning_rate=learning_rate(size),
        mechanism_rate=imputer.mechanism_rate,
        weight_decay=0.0,
        optimizer="adam",
        schedule=short_warm_up,
        clip_norm=imputer.clip_norm,
        evaluate_every=math.ceil(n_steps / LOOKS),
        on_evaluation=look,
        seed=seed,
    )
    filled = fill(model, problem.test, effort.device, effort.n_impute_samples)
    metrics, arrays = scored(problem, filled)
    arrays |= {"images_seen": np.array(steps) * size, "errors_seen": np.array(seen)}
    return Fit({**metrics, "n_steps": n_steps}, arrays, watch.seconds())


def to_model(images: Images, device: str) -> tuple[Tensor, Tensor]:
    """Return zero-filled rows and mask ``(N, C H W)``."""
    rows = images.holes.reshape(len(images.holes), -1)
    x, mask = np.nan_to_num(rows), (~np.isnan(rows)).astype(np.float32)
    return torch.as_tensor(x, device=device), torch.as_tensor(mask, device=device)


def fill(model: Any, images: Images, device: str, n_samples: int) -> np.ndarray:
    """Fill images by draws of a model."""
    imputed = conditional_mean([model], *to_model(images, device), n_samples)
    filled = imputed.clamp(0, 1).cpu().numpy().reshape(images.holes.shape)
    return np.where(images.missing, filled, images.holes)
