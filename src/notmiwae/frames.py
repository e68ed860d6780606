"""Frames in and out: cells are read as pandas columns, and only holes are written.

pandas frames are used as they are; polars and other eager frames come through narwhals, whose
columns are rebuilt with the same type. A cell that was observed is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

Filled = Mapping[int, tuple[np.ndarray, list[Any]]]
"""By number of column: rows, and what they are filled with."""


def is_frame(table: Any) -> bool:
    """Whether a table is a frame with named, typed columns."""
    return isinstance(table, pd.DataFrame) or nw.dependencies.is_into_dataframe(table)


def is_numeric(table: Any) -> bool:
    """Whether all columns of a frame hold numbers, with or without holes."""
    if isinstance(table, pd.DataFrame):
        return all(map(_is_number, table.dtypes))
    schema = nw.from_native(table, eager_only=True).schema
    return all(kind.is_numeric() for kind in schema.values())


def _is_number(dtype: Any) -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype)


def as_pandas(table: Any) -> pd.DataFrame:
    """Return a table as a pandas frame; an array gets the numbers of its columns as names."""
    if isinstance(table, pd.DataFrame):
        return table
    if not is_frame(table):
        return pd.DataFrame(np.asarray(table))
    frame = nw.from_native(table, eager_only=True)
    return pd.DataFrame({name: _column(frame[name]) for name in frame.columns})


def _column(series: Any) -> pd.Series:
    """Return a column of another kind of frame as pandas has it."""
    cells, kind = series.to_list(), series.dtype
    if kind.is_integer():
        return pd.Series(cells, dtype="Int64")
    if kind.is_float():
        return pd.Series(cells, dtype="float64")
    if kind == nw.Boolean:
        return pd.Series(cells, dtype="boolean")
    if isinstance(kind, nw.Enum):
        return pd.Series(pd.Categorical(cells, categories=list(kind.categories)))
    if kind == nw.Categorical:
        return pd.Series(pd.Categorical(cells))
    return pd.Series(cells, dtype=object)


def filled(table: Any, cells: Filled) -> Any:
    """Return a copy of a frame or array with these cells in place."""
    if isinstance(table, pd.DataFrame):
        return _filled_pandas(table, cells)
    if not is_frame(table):
        return _filled_pandas(as_pandas(table), cells).to_numpy()
    frame = nw.from_native(table, eager_only=True)
    columns = []
    for number, (rows, values) in cells.items():
        series = frame[frame.columns[number]]
        content = series.to_list()
        for row, value in zip(rows.tolist(), values, strict=True):
            content[row] = value
        made = nw.new_series(series.name, content, series.dtype, backend=frame.implementation)
        columns.append(made)
    return frame.with_columns(*columns).to_native()


def _filled_pandas(frame: pd.DataFrame, cells: Filled) -> pd.DataFrame:
    columns = {
        number: _filled_series(frame.iloc[:, number], *content) for number, content in cells.items()
    }
    every = [columns.get(number, frame.iloc[:, number]) for number in range(frame.shape[1])]
    result = pd.concat(every, axis=1) if every else frame.copy()
    result.columns = frame.columns
    return result


def _filled_series(series: pd.Series, rows: np.ndarray, values: list[Any]) -> pd.Series:
    if isinstance(series.dtype, pd.CategoricalDtype):
        new = [value for value in dict.fromkeys(values) if value not in series.cat.categories]
        series = series.cat.add_categories(new) if new else series
    if pd.api.types.is_integer_dtype(series.dtype):
        limits = np.iinfo(getattr(series.dtype, "numpy_dtype", series.dtype))
        values = np.clip(values, limits.min, limits.max).tolist()
    series = series.copy()
    if len(rows):
        content = pd.Series(values, dtype=object if series.dtype == object else None)
        series.iloc[rows] = content.astype(series.dtype).array
    return series


def without(table: Any, numbers: list[int]) -> Any:
    """Return a frame or array without some columns."""
    if isinstance(table, pd.DataFrame):
        return table.drop(columns=table.columns[numbers]) if numbers else table
    if not is_frame(table):
        return np.delete(table, numbers, axis=1)
    frame = nw.from_native(table, eager_only=True)
    return frame.drop([frame.columns[number] for number in numbers]).to_native()


def beside(table: Any, names: list[str], columns: np.ndarray) -> Any:
    """Return a frame or array with more columns ``(N, C)`` at its right."""
    if isinstance(table, pd.DataFrame):
        more = pd.DataFrame(columns, columns=names, index=table.index)
        return pd.concat([table, more], axis=1)
    if not is_frame(table):
        return np.hstack([table, columns])
    frame = nw.from_native(table, eager_only=True)
    more = [
        nw.new_series(name, column.tolist(), backend=frame.implementation)
        for name, column in zip(names, columns.T, strict=True)
    ]
    return frame.with_columns(*more).to_native()
