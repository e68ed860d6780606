"""Imputers to compare with on images, all but the simplest from scikit-learn.

A table with one row per image has more columns than MICE and missForest can bear: the report could
not run them. Here a row is a pixel: its channels, and those of its four neighbours, so that a
method sees what is near. Edges see themselves. A method is fitted to a random sample of the
training images' pixels, and fills the test images' in blocks, so that time and memory are bounded:

    k-NN        the five nearest of 2,000 pixels
    MICE        chained Bayesian regressions, at most 30 rounds, 40,000 pixels
    missForest  chained forests of 50 trees, at least 3 pixels to a leaf, 4 rounds, 8,000 pixels

Only pixels with a gap are filled. The numbers were chosen so that each takes less than three
minutes on one core for 600 test images; a quick run has fewer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge, LinearRegression

from notmiwae.experiments.baselines import fit_quietly
from notmiwae.experiments.cifar10.problem import Problem
from notmiwae.image_amputation import CHANNELS

BLOCK = 50  # images whose pixels are filled at once
STEPS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
"""From a pixel to itself and its neighbours."""

Filled = tuple[np.ndarray, tuple[str, ...]]


def image_mean(problem: Problem, seed: int, quick: bool) -> Filled:
    """Mean of what is observed of the image’s channel; of all images, where nothing is."""
    holes = problem.test.holes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN
        means = np.nanmean(holes, axis=(2, 3), keepdims=True)
    means = np.where(np.isnan(means), _overall(problem), means)
    return np.where(np.isnan(holes), means, holes), ()


def _overall(problem: Problem) -> np.ndarray:
    """Return the training images' means by channel ``(1, C, 1, 1)``."""
    return np.nanmean(problem.training.holes, axis=(0, 2, 3), keepdims=True)


def largest_other(problem: Problem, seed: int, quick: bool) -> Filled:
    """Largest of the pixel’s other channels: the least that the missing one can be."""
    holes = problem.test.holes
    return np.where(np.isnan(holes), np.nanmax(holes, axis=1, keepdims=True), holes), ()


def oracle(problem: Problem, seed: int, quick: bool) -> Filled:
    """Regression of the true missing values on the pixel’s other channels and the larger of them.

    It learns from the training images' true values, which nobody has: the best that a method can
    hope for that looks at one pixel.
    """
    channel = CHANNELS[problem.kind]
    training, test = problem.training, problem.test
    regression = LinearRegression().fit(
        _others(training.holes, channel), training.truth[:, channel][training.missing[:, channel]]
    )
    filled = test.holes.copy()
    found = regression.predict(_others(test.holes, channel))
    filled[:, channel][test.missing[:, channel]] = found
    return filled, ()


def _others(holes: np.ndarray, channel: int) -> np.ndarray:
    """Return the other channels of pixels with a gap, and the larger of them ``(n, 3)``."""
    others = np.delete(holes, channel, axis=1)
    missing = np.isnan(holes[:, channel])
    columns = [*np.moveaxis(others, 1, 0), others.max(1)]
    return np.stack([column[missing] for column in columns], axis=1)


def nearest_pixels(seed: int, quick: bool) -> tuple[Any, int]:
    """Mean of the five nearest pixels by what both have, their neighbours included."""
    return KNNImputer(n_neighbors=5), 500 if quick else 2000


def mice(seed: int, quick: bool) -> tuple[Any, int]:
    """Chained Bayesian linear regressions over a pixel and its neighbours."""
    imputer = IterativeImputer(BayesianRidge(), max_iter=30, random_state=seed)
    return imputer, 5000 if quick else 40_000


def miss_forest(seed: int, quick: bool) -> tuple[Any, int]:
    """Chained random forests over a pixel and its neighbours."""
    forest = RandomForestRegressor(
        10 if quick else 50, max_features="sqrt", min_samples_leaf=3, random_state=seed
    )
    imputer = IterativeImputer(forest, max_iter=2 if quick else 4, random_state=seed)
    return imputer, 1000 if quick else 8000


def by_pixel(make: Callable[[int, bool], tuple[Any, int]]) -> Callable[..., Filled]:
    """Return a baseline that fits an estimator to a sample of pixels and fills the others."""

    def fill(problem: Problem, seed: int, quick: bool) -> Filled:
        estimator, number = make(seed, quick)
        said = fit_quietly(estimator, sample_pixels(problem.training.holes, number, seed))
        filled = problem.test.holes.copy()
        n_channels = filled.shape[1]
        for start in range(0, len(filled), BLOCK):
            part = filled[start : start + BLOCK]
            gaps = np.isnan(part).any(1)
            found = estimator.transform(pixel_rows(part)[gaps.ravel()])[:, :n_channels]
            np.moveaxis(part, 1, -1)[gaps] = found
        return np.where(problem.test.missing, filled, problem.test.holes), said

    fill.__doc__ = make.__doc__
    return fill


def pixel_rows(images: np.ndarray) -> np.ndarray:
    """Return a row per pixel: its channels and its neighbours' ``(N H W, 5 C)``."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = images.shape[2:]
    seen = [padded[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in STEPS]
    columns = np.moveaxis(np.concatenate(seen, axis=1), 1, -1)
    return columns.reshape(-1, columns.shape[-1])


def sample_pixels(images: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return the rows of pixels drawn without replacement, a block of images at a time."""
    n_pixels = images[:, 0].size
    chosen = np.random.default_rng(seed).choice(n_pixels, min(number, n_pixels), replace=False)
    return np.concatenate(list(_rows_of(images, np.sort(chosen))))


def _rows_of(images: np.ndarray, chosen: np.ndarray) -> Iterator[np.ndarray]:
    per_image = images[0, 0].size
    for start in range(0, len(images), BLOCK):
        first, last = start * per_image, (start + BLOCK) * per_image
        here = chosen[(chosen >= first) & (chosen < last)] - first
        yield pixel_rows(images[start : start + BLOCK])[here]


BASELINES: dict[str, Callable[[Problem, int, bool], Filled]] = {
    "mean of the image": image_mean,
    "largest other channel": largest_other,
    "5-NN": by_pixel(nearest_pixels),
    "MICE": by_pixel(mice),
    "missForest": by_pixel(miss_forest),
}
ORACLE = "oracle regression"
