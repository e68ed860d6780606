"""Tables, of any file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from notmiwae.tables.arrow import pyarrow_or_advice, read_parquet, write_parquet
from notmiwae.tables.column import Column, Floats, TableError
from notmiwae.tables.style import Style
from notmiwae.tables.text import read_csv, write_csv


@dataclass(frozen=True)
class Table:
    r"""Columns of equal length, and the style of the file they come from.

    Attributes
    ----------
    columns : dict of str to Column
    style : Style

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "holes.csv").write_text("name,age\nAda,36.50\nAlan,NA\n")
    >>> table = Table.read(folder / "holes.csv")
    >>> table.numeric
    ['age']
    >>> filled = table.updated(table.numbers(["age"]).fillna(41))
    >>> filled.write(folder / "filled.csv")
    >>> (folder / "filled.csv").read_text()
    'name,age\nAda,36.50\nAlan,41\n'
    """

    columns: dict[str, Column]
    style: Style = field(default_factory=Style)

    @classmethod
    def read(cls, path: str | Path) -> Table:
        """Read a .csv, .tsv or .parquet file.

        Raises
        ------
        TableError
            If it is not there, or holds no table; the message says what to do.
        """
        path = Path(path)
        read = read_parquet if check_extension(path) == ".parquet" else read_csv
        if not path.exists():
            raise TableError(f"{path} does not exist: check the name and the folder")
        try:
            columns, style = read(path)
        except OSError as error:
            raise TableError(
                f"{path} cannot be read ({error.strerror or error}): check the file"
            ) from error
        if not len(columns[0].missing):
            raise TableError(f"{path} names columns but has no rows: there is nothing to work on")
        return cls({column.name: column for column in columns}, style)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())).missing)

    @property
    def numeric(self) -> list[str]:
        """Names of the numeric columns."""
        return [name for name, column in self.columns.items() if not column.obstacle]

    def numbers(self, names: Iterable[str]) -> pd.DataFrame:
        """Values of numeric or empty columns, NaN where missing.

        Raises
        ------
        TableError
            If a column is not there, is not numeric, or holds infinite values.
        """
        return pd.DataFrame({name: self._numbers(name) for name in names})

    def _numbers(self, name: str) -> Floats:
        if name not in self.columns:
            known = ", ".join(map(repr, self.columns))
            raise TableError(f"there is no column {name!r}: the table has {known}")
        column = self.columns[name]
        if column.missing.all():
            return np.full(len(self), np.nan)
        if column.obstacle:
            raise TableError(
                f"column {name!r} is not numeric ({column.obstacle}): repair it, or leave it out"
            )
        if np.isinf(column.numbers).any():
            row = int(np.flatnonzero(np.isinf(column.numbers))[0]) + 1
            raise TableError(
                f"column {name!r} holds an infinite value in row {row}: "
                "replace it by a number or by nothing"
            )
        return column.numbers

    def updated(self, values: pd.DataFrame) -> Table:
        """Return a table with these values in the columns of the same names.

        Parameters
        ----------
        values : DataFrame of float
            As from `numbers`, with holes filled or values deleted (NaN). A cell whose value is
            what it was keeps its text.
        """
        new = {name: self.columns[name].updated(values[name].to_numpy()) for name in values}
        return Table({**self.columns, **new}, self.style)

    def write(self, path: str | Path) -> None:
        """Write a .csv, .tsv or .parquet file, complete or not at all.

        Raises
        ------
        TableError
            If the file cannot be written, or not with these columns.
        """
        path = Path(path)
        suffix, columns = check_extension(path), list(self.columns.values())
        try:
            with replacing(path) as unfinished:
                if suffix == ".parquet":
                    write_parquet(columns, self.style, unfinished)
                else:
                    write_csv(columns, self.style, unfinished, suffix)
        except OSError as error:
            raise TableError(
                f"{path} cannot be written ({error.strerror or error}): choose another place"
            ) from error

    def check_writable(self, path: str | Path) -> None:
        """Raise a TableError if these columns do not go into a file of that kind."""
        if check_extension(path) != ".parquet":
            for column in self.columns.values():
                column.as_text()


def check_extension(path: str | Path) -> str:
    """Return the format of a file by its name: '.csv', '.tsv' or '.parquet'.

    Raises
    ------
    TableError
        If it is none of these, or needs what is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise TableError(f"a table must be a .csv, .tsv or .parquet file; got {str(path)!r}")
    if suffix == ".parquet":
        pyarrow_or_advice()
    return suffix


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which replaces `path` if all goes well."""
    if not path.parent.is_dir():
        raise TableError(f"the folder {path.parent} does not exist: make it, or choose another")
    unfinished = path.with_name(f".{path.name}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
