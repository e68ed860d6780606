"""CSV files."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from notmiwae.tables.arrow import pyarrow_or_advice
from notmiwae.tables.column import Column, Floats, TableError, check_distinct
from notmiwae.tables.quoting import bare, delimited, enclosed
from notmiwae.tables.style import Style

MISSING = frozenset(("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN")) | frozenset(
    ("NULL", "Null", "null", "None", "?", ".")
)
"""Texts that stand for a missing value in a CSV file, blanks around them aside."""

NUMBER = re.compile(
    r"[+-]?(?!0\d)(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE
)


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
        self.name, self.heading = bare(heading), heading
        self.cells, self.decimal_comma = cells, decimal_comma
        self.texts = [bare(cell).strip() for cell in cells]
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
        pyarrow = pyarrow_or_advice()
        if self.obstacle:
            cells = [bare(cell) for cell in self.cells]
            return pyarrow.array(cells, type=pyarrow.string(), mask=self.missing)
        if all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in self.texts):
            return pyarrow.array([int(text) for text in self.texts], type=pyarrow.int64())
        return pyarrow.array(self.numbers, mask=self.missing)


def read_csv(path: Path) -> tuple[Sequence[Column], Style]:
    """Read the columns of a .csv or .tsv file, and its style."""
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
    check_distinct(path, names)
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
        raw.append(enclosed(cell) if record.startswith('"', start) else cell)
        start += len(raw[-1]) + 1
    return raw


def _sniffed(header: str) -> str:
    """Return the delimiter that the header has most of, outside quotes."""
    outside = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=outside.count)


def _check_header(path: Path, names: Sequence[str]) -> None:
    numbers = [name for name in names if NUMBER.fullmatch(name.strip())]
    # Whole numbers do name columns: years, or 0, 1, 2 from an array.
    if len(numbers) == len(names) and not all(name.strip().isdigit() for name in names):
        raise TableError(
            f"{path} has numbers for column names ({', '.join(names[:3])}): "
            "put a line with names before the data"
        )


def write_csv(columns: Sequence[Column], style: Style, path: Path, suffix: str) -> None:
    """Write columns of any file; tabs separate the cells of a .tsv file."""
    delimiter = "\t" if suffix == ".tsv" else style.delimiter
    header = [delimited(column.heading, delimiter) for column in columns]
    rows = zip(*(column.as_text() for column in columns), strict=True)
    with path.open("w", encoding=style.encoding, newline="") as file:
        file.write(delimiter.join(header) + style.newline)
        for row in rows:
            cells = [delimited(cell, delimiter) for cell in row]
            # A line with nothing in it would be no row.
            file.write((delimiter.join(cells) or '""') + style.newline)
