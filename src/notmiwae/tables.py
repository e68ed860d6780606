"""Tables in files, such that a cell which is not changed keeps its exact text.

A CSV file is UTF-8 (a byte order mark is kept), its first line names the columns, and cells are
separated by commas, semicolons or tabs, whichever the first line has most of; ``.tsv`` means tabs.
Cells are quoted with ``"`` where they need it. Lines end as the first one does, and blank lines
are dropped unless there is one column only. A cell is *missing* if it is empty or one of `MISSING`.

A column is *numeric* if every cell that is not missing is a number, such as ``-1.50`` or ``1e3``,
or ``3,5`` where semicolons separate. All others are only carried through; so are a column with
nothing in it, one without a name (row labels), and one with leading zeros: ``007`` is a code, a
postcode or an identifier, and its zeros mean something.

A Parquet file's numeric columns are its integers, floats and decimals. Null and NaN are missing.
Types stay as they are, except that an integer or decimal column becomes double once it is filled.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = frozenset(("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN")) | frozenset(
    ("NULL", "Null", "null", "None", "?", ".")
)
"""Texts that stand for a missing value in a CSV file, blanks around them aside."""

NUMBER = re.compile(
    r"[+-]?(?!0\d)(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE
)

Floats = NDArray[np.float64]


class TableError(ValueError):
    """A file holds no usable table, or a column is not what was asked for."""


class Column(ABC):
    """One column as its file has it.

    Attributes
    ----------
    name : str
    missing : bool array of shape (N,)
    """

    name: str
    missing: NDArray[np.bool_]

    @property
    def heading(self) -> str:
        """The name as a CSV file would hold it."""
        return _quoted(self.name)

    @property
    @abstractmethod
    def obstacle(self) -> str:
        """Why the column is not numeric; empty if it is."""

    @property
    @abstractmethod
    def numbers(self) -> Floats:
        """The values ``(N,)`` of a numeric column, NaN where missing."""

    @abstractmethod
    def updated(self, values: Floats) -> Column:
        """Return a column with these values; cells whose value stays are left as they are."""

    @abstractmethod
    def as_text(self) -> Sequence[str]:
        """Return the cells as a CSV file would hold them."""

    @abstractmethod
    def as_arrow(self) -> Any:
        """Return the cells as a Parquet file would hold them."""

    def changed(self, values: Floats) -> NDArray[np.bool_]:
        """Return where `values` differ from the column's."""
        return (values != self.numbers) & ~(np.isnan(values) & self.missing)


class TextColumn(Column):
    """A column of a CSV file.

    Parameters
    ----------
    heading, cells : str, sequence of str
        Name and cells as they stand in the file, quotes included.
    decimal_comma : bool
        Read ``3,5`` as a number.
    """

    heading = ""

    def __init__(self, heading: str, cells: Sequence[str], decimal_comma: bool = False) -> None:
        self.name, self.heading = _bare(heading), heading
        self.cells, self.decimal_comma = cells, decimal_comma
        self.texts = [_bare(cell).strip() for cell in cells]
        self.missing = np.array([text in MISSING for text in self.texts], dtype=bool)

    @cached_property
    def _parsed(self) -> list[float | None]:
        texts: Iterable[str] = self.texts
        if self.decimal_comma:
            texts = (text.replace(",", ".") for text in texts)
        return [float(text) if NUMBER.fullmatch(text) else None for text in texts]

    @cached_property
    def obstacle(self) -> str:
        """See `Column`."""
        if not self.name.strip():
            return "it has no name"
        if self.missing.all():
            return "it is empty"
        for text, number, missing in zip(self.texts, self._parsed, self.missing, strict=True):
            if number is None and not missing:
                return f"it holds {text[:30]!r}{'…' * (len(text) > 30)}"
        return ""

    @cached_property
    def numbers(self) -> Floats:
        """See `Column`."""
        return np.array(self._parsed, dtype=np.float64)

    def updated(self, values: Floats) -> TextColumn:
        changed = np.flatnonzero(self.changed(values))
        if not changed.size:
            return self
        cells = list(self.cells)
        for row, value in zip(changed.tolist(), values[changed].tolist(), strict=True):
            cells[row] = "" if math.isnan(value) else self._written(value)
        return TextColumn(self.heading, cells, self.decimal_comma)

    @cached_property
    def _decimals(self) -> int | None:
        """Decimals that resolve a ten-thousandth of the spread; None where that is unreadable."""
        observed = self.numbers[~self.missing]
        spread = observed.std() if observed.size else 0.0
        if not 1e-9 < spread < 1e15:
            return None
        return max(0, 4 - int(np.floor(np.log10(spread))))

    @cached_property
    def _writes_comma(self) -> bool:
        return self.decimal_comma and any("," in text for text in self.texts)

    def _written(self, value: float) -> str:
        if self._decimals is None:
            text = f"{value:.15g}"
        else:
            text = f"{round(value, self._decimals) + 0.0:.{self._decimals}f}"  # + 0.0: no "-0.0"
        return text.replace(".", ",") if self._writes_comma else text

    def as_text(self) -> Sequence[str]:
        return self.cells

    def as_arrow(self) -> Any:
        pyarrow = _pyarrow()
        if self.obstacle:
            cells = [_bare(cell) for cell in self.cells]
            return pyarrow.array(cells, type=pyarrow.string(), mask=self.missing)
        if all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in self.texts):
            return pyarrow.array([int(text) for text in self.texts], type=pyarrow.int64())
        return pyarrow.array(self.numbers, mask=self.missing)


class ArrowColumn(Column):
    """A column of a Parquet file.

    Parameters
    ----------
    name : str
    data : pyarrow.ChunkedArray
    label : bool
        The column holds row labels.
    """

    def __init__(self, name: str, data: Any, label: bool = False) -> None:
        self.name, self.data, self.label = name, data, label
        self.missing = data.is_null(nan_is_null=True).to_numpy().astype(bool)

    @property
    def obstacle(self) -> str:
        """See `Column`."""
        types, kind = _pyarrow().types, self.data.type
        if self.label:
            return "it holds row labels"
        if self.missing.all():
            return "it is empty"
        numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        return "" if numeric else f"it holds {_plain_name(kind)}"

    @cached_property
    def numbers(self) -> Floats:
        """See `Column`."""
        if self.missing.all():  # of any type
            return np.full(len(self.missing), np.nan)
        values: Floats = self.data.cast(_pyarrow().float64(), safe=False).to_numpy()
        return values

    def updated(self, values: Floats) -> ArrowColumn:
        pyarrow = _pyarrow()
        changed, deleted = self.changed(values), np.isnan(values)
        data = self.data
        if (changed & ~deleted).any():
            data = self._as_floats()
        # Cells that stay are masked, too, so that nothing is converted in vain.
        new = pyarrow.array(values, mask=deleted | ~changed).cast(data.type, safe=False)
        data = pyarrow.compute.if_else(pyarrow.array(changed), new, data)
        return ArrowColumn(self.name, pyarrow.chunked_array(data), self.label)

    def _as_floats(self) -> Any:
        pyarrow = _pyarrow()
        if self.data.type in (pyarrow.float32(), pyarrow.float64()):
            return self.data
        if self.missing.all():
            return pyarrow.chunked_array([pyarrow.nulls(len(self.missing), pyarrow.float64())])
        try:
            return self.data.cast(pyarrow.float64())
        except pyarrow.ArrowInvalid:
            raise TableError(
                f"column {self.name!r} holds whole numbers beyond 2^53, which would not stay "
                "exact beside filled values: leave it out by naming the other columns"
            ) from None

    def as_text(self) -> Sequence[str]:
        pyarrow = _pyarrow()
        try:
            texts = self.data.cast(pyarrow.string()).to_pylist()
        except pyarrow.ArrowException:
            raise TableError(
                f"column {self.name!r} holds {self.data.type}, which a CSV file cannot: "
                "write a .parquet file"
            ) from None
        return [_quoted("" if text is None else text) for text in texts]

    def as_arrow(self) -> Any:
        return self.data


@dataclass(frozen=True)
class Style:
    """What a file has beside its cells, and a file written from it keeps."""

    delimiter: str = ","
    newline: str = "\n"
    encoding: str = "utf-8"
    metadata: dict[bytes, bytes] = field(default_factory=dict)


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
        read = _read_parquet if check_extension(path) == ".parquet" else _read_csv
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
        parquet = check_extension(path) == ".parquet"
        try:
            with _replacing(path) as unfinished:
                (self._write_parquet if parquet else self._write_csv)(unfinished, path.suffix)
        except OSError as error:
            raise TableError(
                f"{path} cannot be written ({error.strerror or error}): choose another place"
            ) from error

    def check_writable(self, path: str | Path) -> None:
        """Raise a TableError if these columns do not go into a file of that kind."""
        if check_extension(path) != ".parquet":
            for column in self.columns.values():
                column.as_text()

    def _write_csv(self, path: Path, suffix: str) -> None:
        delimiter = "\t" if suffix.lower() == ".tsv" else self.style.delimiter
        header = [_delimited(column.heading, delimiter) for column in self.columns.values()]
        rows = zip(*(column.as_text() for column in self.columns.values()), strict=True)
        with path.open("w", encoding=self.style.encoding, newline="") as file:
            file.write(delimiter.join(header) + self.style.newline)
            for row in rows:
                cells = [_delimited(cell, delimiter) for cell in row]
                # A line with nothing in it would be no row.
                file.write((delimiter.join(cells) or '""') + self.style.newline)

    def _write_parquet(self, path: Path, suffix: str) -> None:
        pyarrow = _pyarrow()
        table = pyarrow.table({name: column.as_arrow() for name, column in self.columns.items()})
        metadata = _updated_metadata(self.style.metadata, table.schema)
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)


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
        _pyarrow()
    return suffix


def _read_csv(path: Path) -> tuple[Sequence[Column], Style]:
    text, encoding = _decoded(path)
    header = io.StringIO(text, newline="").readline()
    if not header.strip():
        raise TableError(f"{path} has nothing in its first line: the names of the columns go there")
    tabs = path.suffix.lower() == ".tsv"
    delimiter = "\t" if tabs else _sniffed(header)
    headings, *rows = _records(path, text, delimiter)
    cells: Iterable[Sequence[str]] = zip(*rows, strict=True) if rows else [[] for _ in headings]
    columns = [
        TextColumn(heading, column, decimal_comma=delimiter == ";")
        for heading, column in zip(headings, cells, strict=True)
    ]
    names = [column.name for column in columns]
    _check_header(path, names)
    _check_distinct(path, names)
    newline = header[len(header.rstrip("\r\n")) :] or "\n"
    return columns, Style("," if tabs else delimiter, newline, encoding)


def _decoded(path: Path) -> tuple[str, str]:
    """Return a file's text and its encoding."""
    content = path.read_bytes()
    encoding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
    try:
        return content.decode(encoding), encoding
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as CSV in UTF-8"
        ) from None


def _records(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the raw cells of each record, all of the first one's width."""
    lines = list(io.StringIO(text, newline=""))  # splits where lines end, and keeps the ends
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width = n_read = 0
    try:
        for cells in reader:
            record, n_read = "".join(lines[n_read : reader.line_num]), reader.line_num
            width = width or len(cells)
            if not cells and width > 1:
                continue
            cells = cells or [""]
            if len(cells) != width:
                raise TableError(
                    f"{path} has {len(cells)} cells in line {n_read} and {width} in the first: "
                    f"quote cells that contain {delimiter!r}"
                )
            yield _raw(record, cells)
    except csv.Error as error:
        raise TableError(
            f"{path} cannot be read at line {reader.line_num} ({error}): repair its quotes"
        ) from None


def _raw(record: str, cells: list[str]) -> list[str]:
    """Return the cells as they stand in the record, with the quotes that a reader takes off."""
    if '"' not in record:
        return cells
    raw, start = [], 0
    for cell in cells:
        raw.append(_enclosed(cell) if record.startswith('"', start) else cell)
        start += len(raw[-1]) + 1
    return raw


def _enclosed(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _bare(cell: str) -> str:
    """Return what a raw cell says."""
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _quoted(text: str) -> str:
    """Return a raw cell that says `text`."""
    return _enclosed(text) if re.search('["\r\n]', text) else text


def _delimited(cell: str, delimiter: str) -> str:
    """Return a raw cell that may stand beside this delimiter, which it may not come from."""
    return _enclosed(cell) if delimiter in cell and not cell.startswith('"') else cell


def _sniffed(header: str) -> str:
    """Return the delimiter that the header has most of, outside quotes."""
    outside = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=outside.count)


def _check_distinct(path: Path, names: Sequence[str]) -> None:
    [(name, count)] = Counter(names).most_common(1)
    if count > 1:
        raise TableError(f"{path} has {count} columns called {name!r}: give each its own name")


def _check_header(path: Path, names: Sequence[str]) -> None:
    numbers = [name for name in names if NUMBER.fullmatch(name.strip())]
    # Whole numbers do name columns: years, or 0, 1, 2 from an array.
    if len(numbers) == len(names) and not all(name.strip().isdigit() for name in names):
        raise TableError(
            f"{path} has numbers for column names ({', '.join(names[:3])}): "
            "put a line with names before the data"
        )


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise TableError(
            "Parquet files need pyarrow, which is not installed: pip install 'notmiwae[parquet]'"
        ) from error
    return pyarrow


def _read_parquet(path: Path) -> tuple[Sequence[Column], Style]:
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
    except pyarrow.ArrowException as error:
        raise TableError(f"{path} is no intact Parquet file ({error}): write it again") from error
    names = table.column_names
    if not names:
        raise TableError(f"{path} has no columns: there is nothing to work on")
    _check_distinct(path, names)
    labels = _pandas_metadata(table.schema.metadata).get("index_columns", [])
    columns = [ArrowColumn(name, table[name], label=name in labels) for name in names]
    return columns, Style(metadata=table.schema.metadata or {})


def _plain_name(kind: Any) -> str:
    """Name an Arrow type for people."""
    types = _pyarrow().types
    names = {
        "text": types.is_string(kind) or types.is_large_string(kind),
        "categories": types.is_dictionary(kind),
        "true and false": types.is_boolean(kind),
        "dates or times": types.is_temporal(kind),
    }
    return next((name for name, fits in names.items() if fits), str(kind))


def _pandas_metadata(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What pandas notes in a Parquet file: which columns were the index, and what types it had."""
    try:
        return dict(json.loads((metadata or {}).get(b"pandas", b"{}")))
    except (TypeError, ValueError):
        return {}


def _updated_metadata(metadata: dict[bytes, bytes], schema: Any) -> dict[bytes, bytes]:
    """Note the type of columns that have become floats, or pandas would turn them back."""
    noted = _pandas_metadata(metadata)
    for column in noted.get("columns", []):
        index = schema.get_field_index(column.get("field_name") or "")
        became_float = index >= 0 and schema.types[index] == _pyarrow().float64()
        if became_float and column.get("pandas_type") != "float64":
            column.update(pandas_type="float64", numpy_type="float64", metadata=None)
    return {**metadata, b"pandas": json.dumps(noted).encode()} if noted else metadata


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which replaces `path` if all goes well."""
    if not path.parent.is_dir():
        raise TableError(f"the folder {path.parent} does not exist: make it, or choose another")
    unfinished = path.with_name(f".{path.name}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
