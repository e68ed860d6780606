"""CSV files."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from notmiwae.tables.arrow import pyarrow_or_advice
from notmiwae.tables.column import Column, Floats, TableError, check_distinct
from notmiwae.tables.quoting import bare, delimited, enclosed, quoted
from notmiwae.tables.style import Style
from notmiwae.tables.traits import EMPTY, Traits

MISSING = frozenset(("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN")) | frozenset(
    ("NULL", "Null", "null", "None", "?", ".")
)
"""Texts that stand for a missing value in a CSV file, blanks around them aside."""

NUMBER = re.compile(
    r"[+-]?(?!0\d)(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE
)

WHOLE = re.compile(r"[+-]?\d{1,18}")


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
    def traits(self) -> Traits:
        """See `Column`."""
        if obstacle := self._obstacle():
            return Traits(obstacle, len(self.missing), int(self.missing.sum()))
        texts = [
            text for text, missing in zip(self.texts, self.missing, strict=True) if not missing
        ]
        comma = self.decimal_comma and any("," in text for text in texts)
        whole = all(map(WHOLE.fullmatch, texts))
        return Traits.of("", self.numbers, whole=whole, comma=comma)

    def _obstacle(self) -> str:
        if not self.name.strip():
            return "it has no name"
        if self.missing.all():
            return EMPTY
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
        traits = self.traits
        if not changed.size and not self.filled(values):
            return self
        cells = list(self.cells)
        for row, value in zip(changed.tolist(), values[changed].tolist(), strict=True):
            cells[row] = "" if math.isnan(value) else self._written(value)
        column = TextColumn(self.heading, cells, self.decimal_comma)
        if self.filled(values):  # of one type in all batches
            whole = traits.whole and traits.decimals == 0
            return column.within(replace(traits, obstacle="", n_missing=0, whole=whole))
        return column

    @property
    def holds_labels(self) -> bool:
        """See `Column`."""
        return bool(self.name.strip()) and self.obstacle not in ("", EMPTY)

    @property
    def labels(self) -> pd.Series:
        """See `Column`."""
        cells = zip(self.texts, self.missing, strict=True)
        return pd.Series([None if hole else text for text, hole in cells], dtype=object)

    def labelled(self, labels: Sequence[Any]) -> TextColumn:
        cells = [
            quoted(str(label)) if hole and label is not None else cell
            for cell, hole, label in zip(self.cells, self.missing, labels, strict=True)
        ]
        return TextColumn(self.heading, cells, self.decimal_comma)

    def _written(self, value: float) -> str:
        decimals = self.traits.decimals
        if self.traits.whole and value == round(value):  # a count among counts
            return f"{value + 0.0:.0f}"
        if decimals is None:
            text = f"{value:.15g}"
        else:
            text = f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.0"
        return text.replace(".", ",") if self.traits.comma else text

    def repeated(self, others: Sequence[Column]) -> TextColumn:
        rows = zip(self.cells, *(other.as_text() for other in others), strict=True)
        cells = [cell for row in rows for cell in row]
        return TextColumn(self.heading, cells, self.decimal_comma).within(self.traits)

    def as_text(self) -> Sequence[str]:
        return self.cells

    def as_arrow(self) -> Any:
        pyarrow = pyarrow_or_advice()
        traits = self.traits
        if traits.obstacle:
            cells = [bare(cell) for cell in self.cells]
            return pyarrow.array(cells, type=pyarrow.string(), mask=self.missing)
        if traits.whole and not traits.n_missing:
            return pyarrow.array([int(text) for text in self.texts], type=pyarrow.int64())
        return pyarrow.array(self.numbers, mask=self.missing)


def read_csv(path: Path, n_rows: int | None) -> Iterator[tuple[Sequence[Column], Style]]:
    """Yield batches of `n_rows` of a .csv or .tsv file, or all rows at once, and its style."""
    encoding = _encoding(path)
    with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
        lines = _checked(path, file)
        header = next(lines, "")
        if not header.strip():
            raise TableError(
                f"{path} has nothing in its first line: the names of the columns go there"
            )
        tabs = path.suffix.lower() == ".tsv"
        delimiter = "\t" if tabs else _sniffed(header)
        records = _records(path, chain([header], lines), delimiter)
        headings = next(records)
        names = [bare(heading) for heading in headings]
        _check_header(path, names)
        check_distinct(path, names)
        newline = header[len(header.rstrip("\r\n")) :] or "\n"
        style = Style("," if tabs else delimiter, newline, encoding)
        rows = list(islice(records, n_rows))
        while True:  # also without rows, once
            cells: Iterable[Sequence[str]] = zip(*rows, strict=True) if rows else [[]] * len(names)
            columns = [
                TextColumn(heading, column, decimal_comma=delimiter == ";")
                for heading, column in zip(headings, cells, strict=True)
            ]
            yield columns, style
            rows = list(islice(records, n_rows))
            if not rows:
                return


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-8-sig" if file.read(3) == b"\xef\xbb\xbf" else "utf-8"


def _checked(path: Path, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines whose bytes are text."""
    for number, line in enumerate(lines, 1):
        try:
            line.encode()
        except UnicodeEncodeError:
            raise TableError(
                f"{path} is not UTF-8 text (line {number}): save it as CSV in UTF-8"
            ) from None
        yield line


def _records(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the raw cells of each record, all of the first one's width."""
    taken: list[str] = []  # by the reader, for the record at hand

    def noted() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(noted(), delimiter=delimiter, strict=True)
    width = 0
    try:
        for cells in reader:
            record = "".join(taken)
            taken.clear()
            width = width or len(cells)
            if not cells and width > 1:
                continue
            cells = cells or [""]
            if len(cells) != width:
                raise TableError(
                    f"{path} has {len(cells)} cells in line {reader.line_num} and {width} in the "
                    f"first: quote cells that contain {delimiter!r}"
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


class CsvWriter:
    """Writes a .csv or .tsv file batch by batch; tabs separate the cells of the latter."""

    def __init__(self, path: Path, style: Style, suffix: str) -> None:
        self.delimiter = "\t" if suffix == ".tsv" else style.delimiter
        self.newline = style.newline
        self.file = path.open("w", encoding=style.encoding, newline="")
        self.empty = True

    def add(self, columns: Sequence[Column]) -> None:
        """Append rows."""
        if self.empty:
            self._write([column.heading for column in columns])
            self.empty = False
        for row in zip(*(column.as_text() for column in columns), strict=True):
            self._write(row)

    def _write(self, cells: Sequence[str]) -> None:
        line = self.delimiter.join([delimited(cell, self.delimiter) for cell in cells])
        # A line with nothing in it would be no row.
        self.file.write((line or '""') + self.newline)

    def close(self) -> None:
        """Finish the file."""
        self.file.close()
