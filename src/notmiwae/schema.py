"""What the columns of a table are, one kind each: from cells to numbers ``(N, D)`` and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from notmiwae import frames, kinds
from notmiwae.kinds import Kind, Labels, LeftOut

EVERY = "*"
"""Stands for all columns that are not named."""


class Schema:
    """Kinds of the columns, in their order.

    Parameters
    ----------
    names : list
        Names of the columns.
    columns : list of Kind
    """

    def __init__(self, names: list[Any], columns: list[Kind]) -> None:
        self.names, self.columns = names, columns

    @classmethod
    def learn(cls, table: Any, types: Mapping[Any, Any] | None) -> Schema:
        """Infer what is not given.

        Parameters
        ----------
        table : frame or array
        types : mapping, optional
            From a column's name (its number, for an array) to its type; `EVERY` for the others.

        Warns
        -----
        UserWarning
            If columns are left out of the model, with the reasons.
        """
        frame = frames.as_pandas(table)
        types = types or {}
        names = frame.columns.tolist()
        check_columns("types", types, names)
        columns = []
        for number, name in enumerate(names):
            column = frame.iloc[:, number]
            spec = types.get(name, types.get(EVERY))
            columns.append(kinds.infer(column) if spec is None else kinds.given(spec, column))
        schema = cls(names, columns)
        schema._say_what_is_left_out(types)
        return schema

    def _say_what_is_left_out(self, types: Mapping[Any, Any]) -> None:
        reasons = {
            name: kind.reason
            for name, kind in zip(self.names, self.columns, strict=True)
            if isinstance(kind, LeftOut) and types.get(name) != LeftOut.name
        }
        if len(reasons) == len(self.names):
            told = "; ".join(f"{name!r}: {reason}" for name, reason in reasons.items())
            raise ValueError(f"there is no column to learn from: {told}")
        if reasons:
            told = "; ".join(f"{name!r}: {reason}" for name, reason in reasons.items())
            warnings.warn(
                f"column(s) are left as they are, and the model does not see them: {told}",
                UserWarning,
                stacklevel=5,
            )

    @property
    def modelled(self) -> list[Kind]:
        """Kinds of the columns that the model sees."""
        return [kind for kind in self.columns if not isinstance(kind, LeftOut)]

    @property
    def left_out(self) -> list[int]:
        """Numbers of the columns that it does not see."""
        return [n for n, kind in enumerate(self.columns) if isinstance(kind, LeftOut)]

    def encode(self, table: Any) -> np.ndarray:
        """Return a table's cells as floats ``(N, D)``, NaN where missing or left out.

        Raises
        ------
        ValueError
            If a column holds what its kind does not, or an infinite value.

        Warns
        -----
        UserWarning
            If there are labels that were not there in `learn`; the model takes them as unknown.
        """
        frame = frames.as_pandas(table)
        self._say_what_is_new(frame)
        columns = [kind.encode(frame.iloc[:, n]) for n, kind in enumerate(self.columns)]
        return np.column_stack(columns)

    def _say_what_is_new(self, frame: pd.DataFrame) -> None:
        new = {
            self.names[n]: labels[:5]
            for n, kind in enumerate(self.columns)
            if isinstance(kind, Labels) and (labels := kind.unknown(frame.iloc[:, n]))
        }
        if new:
            warnings.warn(
                f"labels that were not there in fit are left as they are, and the model takes them "
                f"as unknown: {new}",
                UserWarning,
                stacklevel=5,
            )

    def fill(self, table: Any, values: np.ndarray) -> Any:
        """Return the table with its holes filled by what ``values (N, D)`` stand for."""
        frame = frames.as_pandas(table)
        cells = {}
        for number, kind in enumerate(self.columns):
            rows = np.flatnonzero(frame.iloc[:, number].isna().to_numpy())
            if len(rows) and not isinstance(kind, LeftOut):
                cells[number] = rows, kind.decode(values[rows, number])
        return frames.filled(table, cells)

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return ``values (..., D)`` in the units of the table; NaN for labels."""
        columns = [kind.numbers(values[..., n]) for n, kind in enumerate(self.columns)]
        return np.stack(columns, axis=-1)

    def to_list(self) -> list[dict[str, Any]]:
        """Return what makes it again, in what JSON can say."""
        return [
            {"name": name, **kind.to_dict()}
            for name, kind in zip(self.names, self.columns, strict=True)
        ]

    @classmethod
    def from_list(cls, content: list[dict[str, Any]]) -> Schema:
        """Return the schema that `to_list` describes."""
        names = [column["name"] for column in content]
        columns = [
            kinds.from_dict({key: value for key, value in column.items() if key != "name"})
            for column in content
        ]
        return cls(names, columns)


def check_columns(parameter: str, given: Any, names: list[Any]) -> None:
    """Check that a parameter is a mapping from names of columns.

    Raises
    ------
    ValueError
        With the names that there are.
    """
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{parameter} must be a mapping from names of columns, or {EVERY!r}; got {given!r}"
        )
    unknown = [name for name in given if name not in names and name != EVERY]
    if unknown:
        raise ValueError(
            f"{parameter} names column(s) {unknown}, which the table has not: it has {names}"
        )
