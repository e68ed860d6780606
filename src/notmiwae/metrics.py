"""Errors and calibration over missing cells only.

With M the cells where ``mask`` is 0, x the true values and x̂ what was imputed,

    RMSE = √(1/|M| Σ_M (x̂ − x)²),  MAE = 1/|M| Σ_M |x̂ − x|,  bias = 1/|M| Σ_M (x̂ − x),

the coverage and width of intervals, and the continuous ranked probability score of m draws,

    CRPS = 1/m Σ_i |x_i − x| − 1/(2 m (m − 1)) Σ_i Σ_j |x_i − x_j|,

in its fair form (Ferro, 2014): its expectation does not depend on m. The double sum equals
2 Σ_i (2i − m − 1) x_(i) over the sorted draws, so it needs O(m log m) time and O(m) memory.

Every function takes the true values in the units that its result should have, and with
``by_column=True`` returns one value per column ``(D,)``, NaN where a column has no missing cell.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Score: TypeAlias = Any  # a float, or (D,) by column: as numpy types `mean`, whose axis decides
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

_BLOCK = 2**21  # draws sorted at once by `crps`: 16 MiB


def rmse(
    truth: ArrayLike, imputed: ArrayLike, mask: ArrayLike, *, by_column: bool = False
) -> Score:
    """Return the root mean squared error over missing cells.

    Parameters
    ----------
    truth : array-like, shape (N, D)
        True values. Those under an observed cell may be anything, NaN included.
    imputed : array-like, shape (N, D)
        What was put in.
    mask : array-like, shape (N, D)
        1 where observed, 0 where missing.
    by_column : bool
        Return ``(D,)`` instead of one number.

    Returns
    -------
    float or array of shape (D,)
        In the units of `truth`.

    Raises
    ------
    ValueError
        If shapes differ, no cell is missing, or the truth of a missing cell is unknown.
    """
    errors, missing = _errors(truth, imputed, mask)
    return np.sqrt(_mean(errors**2, missing, by_column))


def mae(truth: ArrayLike, imputed: ArrayLike, mask: ArrayLike, *, by_column: bool = False) -> Score:
    """Return the mean absolute error over missing cells; see `rmse` for the parameters."""
    errors, missing = _errors(truth, imputed, mask)
    return _mean(np.abs(errors), missing, by_column)


def bias(
    truth: ArrayLike, imputed: ArrayLike, mask: ArrayLike, *, by_column: bool = False
) -> Score:
    """Return the mean of imputed minus true over missing cells; see `rmse` for the parameters."""
    errors, missing = _errors(truth, imputed, mask)
    return _mean(errors, missing, by_column)


def coverage(
    truth: ArrayLike, intervals: ArrayLike, mask: ArrayLike, *, by_column: bool = False
) -> Score:
    """Return the share of missing cells whose interval holds the truth, ends included.

    Parameters
    ----------
    truth : array-like, shape (N, D)
        True values.
    intervals : array-like, shape (N, D, 2)
        Lower and upper ends, in the units of `truth`.
    mask : array-like, shape (N, D)
        1 where observed, 0 where missing.
    by_column : bool
        Return ``(D,)`` instead of one number.

    Returns
    -------
    float or array of shape (D,)
        Between 0 and 1.

    Raises
    ------
    ValueError
        If shapes differ, no cell is missing, or the truth of a missing cell is unknown.
    """
    missing = _missing(mask)
    x = _truth(truth, missing)
    low, high = _ends(intervals, missing)
    return _mean((low <= x) & (x <= high), missing, by_column)


def width(intervals: ArrayLike, mask: ArrayLike, *, by_column: bool = False) -> Score:
    """Return the mean width of the intervals ``(N, D, 2)`` of missing cells, in their units.

    Raises
    ------
    ValueError
        If shapes differ or no cell is missing.
    """
    missing = _missing(mask)
    low, high = _ends(intervals, missing)
    return _mean(high - low, missing, by_column)


def crps(truth: ArrayLike, draws: ArrayLike, mask: ArrayLike, *, by_column: bool = False) -> Score:
    """Return the fair continuous ranked probability score over missing cells (lower is better).

    Parameters
    ----------
    truth : array-like, shape (N, D)
        True values.
    draws : array-like, shape (m, N, D)
        Equally weighted draws of every cell, ``m >= 2``.
    mask : array-like, shape (N, D)
        1 where observed, 0 where missing.
    by_column : bool
        Return ``(D,)`` instead of one number.

    Returns
    -------
    float or array of shape (D,)
        In the units of `truth`. A fair score of few draws may be negative in a single column.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two draws, no cell is missing, or the truth of a
        missing cell is unknown.
    """
    missing = _missing(mask)
    x, samples = _truth(truth, missing), np.asarray(draws)
    if samples.ndim != 3 or samples.shape[0] < 2:
        raise ValueError(
            f"draws must have shape (m, N, D) with at least 2 draws; got {samples.shape}"
        )
    _check_shape("draws[0]", samples.shape[1:], missing)
    rows, columns = np.nonzero(missing)
    scores = np.zeros(missing.shape)
    step = max(1, _BLOCK // len(samples))
    for start in range(0, len(rows), step):
        cells = rows[start : start + step], columns[start : start + step]
        scores[cells] = _fair_crps(samples[:, cells[0], cells[1]].astype(float) - x[cells])
    return _mean(scores, missing, by_column)


def _fair_crps(errors: Floats) -> Floats:
    """Return the score ``(C,)`` of draws minus truth ``(m, C)``; shifting both leaves it alone."""
    m = len(errors)
    errors.sort(axis=0)
    ranks = 2 * np.arange(1, m + 1) - m - 1
    return np.abs(errors).mean(0) - ranks @ errors / (m * (m - 1))


def _errors(truth: ArrayLike, imputed: ArrayLike, mask: ArrayLike) -> tuple[Floats, Bools]:
    missing = _missing(mask)
    x, filled = _truth(truth, missing), np.asarray(imputed, dtype=float)
    _check_shape("imputed", filled.shape, missing)
    return filled - x, missing


def _missing(mask: ArrayLike) -> Bools:
    given = np.asarray(mask)
    if given.ndim != 2 or not np.isin(given, (0, 1)).all():
        raise ValueError(
            "mask must have shape (N, D) and hold 1 where observed and 0 where missing; "
            f"got shape {given.shape} and dtype {given.dtype}"
        )
    if given.all():
        raise ValueError("mask has no missing cell, so there is nothing to score")
    return given == 0


def _truth(truth: ArrayLike, missing: Bools) -> Floats:
    x = np.asarray(truth, dtype=float)
    _check_shape("truth", x.shape, missing)
    unknown = int(np.isnan(x[missing]).sum())
    if unknown:
        raise ValueError(
            f"truth is NaN in {unknown} missing cells; score only cells whose true value is "
            "known, by setting the mask to 1 in the others"
        )
    return x


def _ends(intervals: ArrayLike, missing: Bools) -> tuple[Floats, Floats]:
    ends = np.asarray(intervals, dtype=float)
    if ends.shape != (*missing.shape, 2):
        raise ValueError(f"intervals must have shape {(*missing.shape, 2)}; got {ends.shape}")
    return ends[..., 0], ends[..., 1]


def _check_shape(name: str, shape: tuple[int, ...], missing: Bools) -> None:
    if shape != missing.shape:
        raise ValueError(f"{name} must have the mask's shape {missing.shape}; got {shape}")


def _mean(values: NDArray[Any], missing: Bools, by_column: bool) -> Score:
    """Average over missing cells; what stands in observed ones, NaN included, is left out."""
    axis = 0 if by_column else None
    total = np.where(missing, values, 0.0).sum(axis)
    with np.errstate(invalid="ignore"):  # 0 / 0 in a column that is complete
        mean = total / missing.sum(axis)
    return mean if by_column else float(mean)
