"""From an array with NaN to what the model sees, zero-filled values and a mask, and back.

Columns are standardised by the mean and standard deviation of their *observed* values at fit;
binary ones and codes of categories are left as they are. Columns in which nothing is observed are
left out of the model. NaN never enters torch.
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
    scale : bool or bool array of shape (D,)
        False leaves values as they are (in binary and categorical columns).
    n_codes : int array of shape (D,), optional
        Numbers of categories, of which a value is the number from 1 on; 0 in other columns.

    Attributes
    ----------
    modelled : bool array of shape (D,)
        Columns with an observed value at fit.
    mean, std : float array of shape (number of modelled columns,)
    crowding : float array, likewise
        Share of a column's observed values that its most frequent one has; 0 if not scaled.
    largest : float array, likewise
        The largest observed value, in the table's units.
    average : float array
        Mean of the observed values in the model's units; of a column with categories, the share of
        each of these.
    """

    def __init__(self, scale: bool | np.ndarray = True, n_codes: np.ndarray | None = None) -> None:
        self.scale, self.n_codes = scale, n_codes

    def fit(self, x: np.ndarray) -> Standardiser:
        """Learn from values ``(N, D)`` with NaN where missing."""
        self.modelled = ~np.isnan(x).all(axis=0)
        known = x[:, self.modelled].astype(np.float64)
        width = known.shape[1]
        scaled = np.broadcast_to(self.scale, x.shape[1])[self.modelled]
        self.mean, self.std, self.crowding = np.zeros(width), np.ones(width), np.zeros(width)
        if scaled.any():
            with np.errstate(over="ignore", invalid="ignore"):
                scaler = StandardScaler().fit(known[:, scaled])
            self.mean[scaled], self.std[scaled] = scaler.mean_, scaler.scale_
            self.crowding[scaled] = [crowding(column) for column in known[:, scaled].T]
        self.largest = np.nanmax(known, axis=0, initial=-np.inf)
        if not np.isfinite(self.mean + self.std).all():
            raise ValueError("values are too large to have a finite variance: rescale the table")
        n_codes = np.zeros(width) if self.n_codes is None else self.n_codes[self.modelled]
        pairs = zip(self.standardise(known).T, n_codes.astype(int), strict=True)
        self.average = np.concatenate([shares(*pair) for pair in pairs])
        return self

    def standardise(self, values: Any) -> np.ndarray:
        """Values of modelled columns in the model's units."""
        with np.errstate(over="ignore"):  # too far to be told from infinity is far
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


def shares(values: np.ndarray, n_codes: int) -> np.ndarray:
    """Return the share of each category among the values ``(N,)`` that are not NaN, or the mean."""
    known = values[~np.isnan(values)]
    if not n_codes:
        return np.array([known.mean()])
    return np.bincount(known.astype(int), minlength=n_codes + 1)[1:] / len(known)


def crowding(values: np.ndarray) -> float:
    """Return the share of the values ``(N,)`` that are not NaN which the most frequent one has."""
    _, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return float(counts.max() / counts.sum())
