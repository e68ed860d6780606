"""Tables, of any file."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from notmiwae.tables.arrow import ParquetWriter, pyarrow_or_advice, read_parquet
from notmiwae.tables.column import Column, Floats, TableError, inexact
from notmiwae.tables.style import Style
from notmiwae.tables.text import CsvWriter, TextColumn, read_csv
from notmiwae.tables.traits import Traits


@dataclass(frozen=True)
class Table:
    r"""Columns of equal length, and the style of the file they come from.

    Attributes
    ----------
    columns : dict of str to Column
    style : Style
    first_row : int
        Number of the first row, where these are a batch of a larger table.

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
    first_row: int = 0

    @classmethod
    def read(cls, path: str | Path) -> Table:
        """Read a .csv, .tsv or .parquet file.

        Raises
        ------
        TableError
            If it is not there, or holds no table; the message says what to do.
        """
        return next(cls.batches(path, None))

    @classmethod
    def batches(cls, path: str | Path, n_rows: int | None) -> Iterator[Table]:
        """Read a file in batches of `n_rows`, the last one smaller, or all at once.

        Raises
        ------
        TableError
            As for `read`.
        """
        path = Path(path)
        read = read_parquet if check_extension(path) == ".parquet" else read_csv
        if not path.exists():
            raise TableError(f"{path} does not exist: check the name and the folder")
        first_row = 0
        try:
            for columns, style in read(path, n_rows):
                table = cls({column.name: column for column in columns}, style, first_row)
                if not len(table):
                    raise TableError(
                        f"{path} names columns but has no rows: there is nothing to work on"
                    )
                yield table
                first_row += len(table)
        except OSError as error:
            raise TableError(
                f"{path} cannot be read ({error.strerror or error}): check the file"
            ) from error

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
            row = self.first_row + int(np.flatnonzero(np.isinf(column.numbers))[0]) + 1
            raise TableError(
                f"column {name!r} holds an infinite value in row {row}: "
                "replace it by a number or by nothing"
            )
        return column.numbers

    def frame(self, names: Iterable[str], labels: Container[str] = ()) -> pd.DataFrame:
        """Values as from `numbers`, but in those of `labels` that hold no numbers, labels."""
        return pd.DataFrame(
            {
                name: self.columns[name].labels
                if name in labels and self.columns[name].obstacle
                else self._numbers(name)
                for name in names
            }
        )

    def updated(self, values: pd.DataFrame) -> Table:
        """Return a table with these values in the columns of the same names.

        Parameters
        ----------
        values : DataFrame
            As from `numbers` or `frame`, with holes filled or values deleted (NaN). A cell whose
            value is what it was keeps its text.
        """
        new = {name: _updated(self.columns[name], values[name]) for name in values}
        return replace(self, columns={**self.columns, **new})

    @property
    def traits(self) -> dict[str, Traits]:
        """Of each column."""
        return {name: column.traits for name, column in self.columns.items()}

    def within(self, traits: Mapping[str, Traits]) -> Table:
        """Return this batch as a part of a table with these traits."""
        parts = {name: column.within(traits[name]) for name, column in self.columns.items()}
        return replace(self, columns=parts)

    def interleaved(self, others: Sequence[Table], label: str) -> Table:
        """Return a table in which each row is followed by those of `others`, numbered from 1.

        Parameters
        ----------
        others : sequence of Table
            Versions of the same table.
        label : str
            What the first column, of the numbers, is called.
        """
        if label in self.columns:
            raise TableError(
                f"the table has a column {label!r} already, which is to number the imputations: "
                "rename it, or write a file for each"
            )
        numbers = [str(1 + version) for version in range(1 + len(others))] * len(self)
        columns: dict[str, Column] = {label: TextColumn(label, numbers)}
        for name, column in self.columns.items():
            columns[name] = column.repeated([other.columns[name] for other in others])
        return replace(self, columns=columns)

    def write(self, path: str | Path) -> None:
        """Write a .csv, .tsv or .parquet file, complete or not at all.

        Raises
        ------
        TableError
            If the file cannot be written, or not with these columns.
        """
        with writing(path, self.style) as add:
            add(self)

    def check_writable(self, path: str | Path) -> None:
        """Raise a TableError if these columns do not go into a file of that kind."""
        if check_extension(path) != ".parquet":
            for column in self.columns.values():
                column.as_text()


def _updated(column: Column, values: pd.Series) -> Column:
    types = pd.api.types
    if types.is_numeric_dtype(values.dtype) and not types.is_bool_dtype(values.dtype):
        return column.updated(values.to_numpy(dtype=np.float64))
    missing = values.isna().to_numpy()
    cells = values.astype(object).tolist()
    return column.labelled(
        [None if hole else cell for cell, hole in zip(cells, missing, strict=True)]
    )


def survey(
    batches: Iterable[Table], names: Sequence[str] = (), labels: Container[str] = ()
) -> dict[str, Traits]:
    """Return the traits of a table from its batches.

    Parameters
    ----------
    batches : iterable of Table
    names : sequence of str
        Columns that are to be filled.
    labels : container of str
        Those of them that may hold labels.

    Raises
    ------
    TableError
        If one of `names` cannot be, in some batch.
    """
    traits: dict[str, Traits] = {}
    for table in batches:
        table.frame(names, labels)
        for name, part in table.traits.items():
            traits[name] = traits[name] + part if name in traits else part
    for name in names:
        if traits[name].n_missing and not traits[name].exact:
            raise inexact(name)
    return traits


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
def writing(path: str | Path, style: Style) -> Iterator[Callable[[Table], None]]:
    """Give what adds a batch of rows to a file, which is there once all went well.

    Raises
    ------
    TableError
        If the file cannot be written.
    """
    path = Path(path)
    suffix = check_extension(path)
    if not path.parent.is_dir():
        raise TableError(f"the folder {path.parent} does not exist: make it, or choose another")
    unfinished = path.with_name(f".{path.name}.part")
    try:
        parquet = suffix == ".parquet"
        writer: ParquetWriter | CsvWriter = (
            ParquetWriter(unfinished, style) if parquet else CsvWriter(unfinished, style, suffix)
        )
        with closing(writer):
            yield lambda table: writer.add(list(table.columns.values()))
        os.replace(unfinished, path)
    except OSError as error:
        raise TableError(
            f"{path} cannot be written ({error.strerror or error}): choose another place"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
