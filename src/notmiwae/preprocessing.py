"""From an array with NaN to what the model sees, zero-filled values and a mask, and back.

Columns are standardised by the mean and standard deviation of their *observed* values at fit.
Columns in which nothing is observed are left out of the model. NaN never enters torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

FAR = 1e4
"""Values beyond so many standard deviations look to the model as if they were there."""


class Standardiser:
    """Standardise by observed values.

    Parameters
    ----------
    scale : bool
        False leaves values as they are (for binary columns).

    Attributes
    ----------
    modelled : bool array of shape (D,)
        Columns with an observed value at fit.
    mean, std : float array of shape (number of modelled columns,)
    crowding : float array, likewise
        Share of a column's observed values that its most frequent one has; 0 if not scaled.
    """

    def __init__(self, scale: bool = True) -> None:
        self.scale = scale

    def fit(self, x: np.ndarray) -> Standardiser:
        """Learn from values ``(N, D)`` with NaN where missing."""
        self.modelled = ~np.isnan(x).all(axis=0)
        width = int(self.modelled.sum())
        self.mean, self.std, self.crowding = np.zeros(width), np.ones(width), np.zeros(width)
        if self.scale:
            with np.errstate(over="ignore", invalid="ignore"):
                scaler = StandardScaler().fit(x[:, self.modelled].astype(np.float64))
            self.mean, self.std = scaler.mean_, scaler.scale_
            self.crowding = np.array([crowding(column) for column in x[:, self.modelled].T])
        if not np.isfinite(self.mean + self.std).all():
            raise ValueError("values are too large to have a finite variance: rescale the table")
        return self

    def standardise(self, values: Any) -> np.ndarray:
        """Values of modelled columns in the model's units."""
        return (np.asarray(values, dtype=np.float64) - self.mean) / self.std

    def to_model(self, x: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return zero-filled values and mask ``(N, number of modelled columns)``."""
        values = self.standardise(x[:, self.modelled]).clip(-FAR, FAR)
        mask = torch.from_numpy(~np.isnan(values))
        filled = torch.from_numpy(np.nan_to_num(values, copy=False))
        return filled.to(torch.get_default_dtype()), mask.to(torch.get_default_dtype())

    def fill(self, x: np.ndarray, values: Tensor) -> np.ndarray:
        """Put modelled `values` ``(..., N, D)`` where `x` is NaN; 0 in columns never observed."""
        original = np.zeros((*values.shape[:-1], x.shape[-1]), dtype=x.dtype)
        original[..., self.modelled] = values.double().numpy() * self.std + self.mean
        return np.where(np.isnan(x), original, x)


def crowding(values: np.ndarray) -> float:
    """Return the share of the values ``(N,)`` that are not NaN which the most frequent one has."""
    _, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return float(counts.max() / counts.sum())
