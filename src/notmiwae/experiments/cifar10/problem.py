"""Images with values deleted by a rule of the pixel: the problems of the report's section 5.

Values run from 0 to 1. The rules learn nothing, so that training and test images lose values alike;
labels serve to say which images an error belongs to and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from notmiwae import metrics
from notmiwae.image_amputation import CHANNELS, missing_values, to_unit
from notmiwae.image_datasets import load_images
from notmiwae.image_files import Labelled

CHANNEL = "blue"
"""The channel of the report's Table 4."""
KINDS = {
    **{name: f"{name} is missing where it exceeds the pixel’s other channels" for name in CHANNELS},
    "pixel": "all three channels of a pixel are missing where blue exceeds the others",
}


class Images(NamedTuple):
    """Complete images, the same with NaN where deleted, and what they show.

    Attributes
    ----------
    truth, holes : array of float32, shape (N, C, H, W)
    labels : array of int, shape (N,)
    """

    truth: np.ndarray
    holes: np.ndarray
    labels: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Which values were deleted ``(N, C, H, W)``."""
        return np.isnan(self.holes)

    def errors(self, filled: np.ndarray) -> dict[str, float]:
        """Return errors of filled images: over all missing values, and averaged per image."""
        missing = self.missing
        flat = (part.reshape(len(missing), -1) for part in (self.truth, filled, ~missing))
        truth, imputed, observed = flat
        squares = np.where(missing, (filled - self.truth).astype(float) ** 2, 0.0)
        sums, counts = squares.sum((1, 2, 3)), missing.sum((1, 2, 3))
        any_missing = counts > 0
        by_image = np.sqrt(sums[any_missing] / counts[any_missing])
        return {
            "rmse": float(metrics.rmse(truth, imputed, observed)),
            "mae": float(metrics.mae(truth, imputed, observed)),
            "bias": float(metrics.bias(truth, imputed, observed)),
            "rmse_by_image": float(by_image.mean()),
        }

    def by_class(self, filled: np.ndarray) -> dict[int, tuple[float, float]]:
        """Return, for each class, the RMSE over its missing values and the share of its pixels."""
        found = {}
        for label in np.unique(self.labels):
            of_class = self.labels == label
            part = Images(self.truth[of_class], self.holes[of_class], self.labels[of_class])
            if part.missing.any():
                share = float(part.missing.any(1).mean())
                found[int(label)] = (part.errors(filled[of_class])["rmse"], share)
        return found


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method learns from and what it has to fill.

    Attributes
    ----------
    kind : str
        A name in `KINDS`, or 'clipping'.
    training, test : Images
    classes : sequence of str
    """

    kind: str
    training: Images
    test: Images
    classes: Sequence[str]


class Source(NamedTuple):
    """Which images: a data set, and how many of it.

    Attributes
    ----------
    name : str
        See `notmiwae.image_datasets`.
    n_training, n_test : int, optional
        The first so many; by default, all.
    """

    name: str
    n_training: int | None = None
    n_test: int | None = None


def make_problem(source: Source, kind: str = CHANNEL) -> Problem:
    """Load images and delete values from them.

    Parameters
    ----------
    source : Source
    kind : str
        A name in `KINDS`.
    """
    dataset = load_images(source.name)
    return Problem(
        kind,
        _delete(dataset.training(), source.n_training, kind),
        _delete(dataset.test(), source.n_test, kind),
        dataset.classes,
    )


def _delete(images: Labelled, number: int | None, kind: str) -> Images:
    truth = to_unit(images.images[:number])
    rule = {"kind": "dominant-pixel"} if kind == "pixel" else {"channel": kind}
    holes = truth.copy()
    holes[missing_values(truth, **rule)] = np.nan  # type: ignore[arg-type]
    return Images(truth, holes, images.labels[:number])


def clipping_problem(source: Source, limit: float) -> Problem:
    """Return grey images whose values above a limit are missing, as in the original paper."""
    dataset = load_images(source.name)
    return Problem(
        "clipping",
        _clip(dataset.training(), source.n_training, limit),
        _clip(dataset.test(), source.n_test, limit),
        dataset.classes,
    )


def _clip(images: Labelled, number: int | None, limit: float) -> Images:
    grey = to_unit(images.images[:number]).mean(1, keepdims=True)
    holes = np.where(missing_values(grey, "clipping", limit=limit), np.float32(np.nan), grey)
    return Images(grey, holes, images.labels[:number])


def describe(problem: Problem) -> Mapping[str, Any]:
    """Return what the metadata says about a problem."""
    return {
        "n_training_images": len(problem.training.truth),
        "n_test_images": len(problem.test.truth),
        "image": list(problem.test.truth.shape[1:]),
        "n_missing_test_values": int(problem.test.missing.sum()),
        "share_of_test_pixels": float(problem.test.missing.any(1).mean()),
    }
