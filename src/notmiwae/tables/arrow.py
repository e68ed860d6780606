"""Parquet files, by pyarrow, which need not be there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from notmiwae.tables.column import Column, Floats, TableError, check_distinct, inexact
from notmiwae.tables.quoting import quoted
from notmiwae.tables.style import Style
from notmiwae.tables.traits import EMPTY, Traits


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

    @cached_property
    def traits(self) -> Traits:
        """See `Column`."""
        if obstacle := self._obstacle():
            return Traits(obstacle, len(self.missing), int(self.missing.sum()))
        try:
            self._as_floats()
        except TableError:
            return Traits.of("", self.numbers, exact=False)
        return Traits.of("", self.numbers)

    def _obstacle(self) -> str:
        types, kind = pyarrow_or_advice().types, self.data.type
        if self.label:
            return "it holds row labels"
        if self.missing.all():
            return EMPTY
        numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        return "" if numeric else f"it holds {_plain_name(kind)}"

    @cached_property
    def numbers(self) -> Floats:
        """See `Column`."""
        if self.missing.all():  # of any type
            return np.full(len(self.missing), np.nan)
        values: Floats = self.data.cast(pyarrow_or_advice().float64(), safe=False).to_numpy()
        return values

    def updated(self, values: Floats) -> ArrowColumn:
        pyarrow = pyarrow_or_advice()
        changed, deleted = self.changed(values), np.isnan(values)
        # Of one type in all batches: those without holes become floats, too.
        floats = self.filled(values) or bool((changed & ~deleted).any())
        data = self._as_floats() if floats else self.data
        # Cells that stay are masked, too, so that nothing is converted in vain.
        new = pyarrow.array(values, mask=deleted | ~changed).cast(data.type, safe=False)
        data = pyarrow.compute.if_else(pyarrow.array(changed), new, data)
        return ArrowColumn(self.name, pyarrow.chunked_array(data), self.label)

    def _as_floats(self) -> Any:
        pyarrow = pyarrow_or_advice()
        if self.data.type in (pyarrow.float32(), pyarrow.float64()):
            return self.data
        if self.missing.all():
            return pyarrow.chunked_array([pyarrow.nulls(len(self.missing), pyarrow.float64())])
        try:
            return self.data.cast(pyarrow.float64())
        except pyarrow.ArrowInvalid:
            raise inexact(self.name) from None

    @property
    def holds_labels(self) -> bool:
        """See `Column`."""
        types, kind = pyarrow_or_advice().types, self.data.type
        if types.is_dictionary(kind):
            kind = kind.value_type
        texts = types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)
        return texts and not self.label and not self.missing.all()

    @property
    def labels(self) -> pd.Series:
        """See `Column`."""
        types = pyarrow_or_advice().types
        if types.is_dictionary(self.data.type) and self.data.type.ordered:
            return self.data.to_pandas().reset_index(drop=True)
        return pd.Series(self.data.to_pylist(), dtype=object)

    def labelled(self, labels: Sequence[Any]) -> ArrowColumn:
        pyarrow = pyarrow_or_advice()
        data, given = self.data, self.missing & np.array([label is not None for label in labels])
        if not given.any():
            return self
        if pyarrow.types.is_dictionary(data.type):
            return ArrowColumn(self.name, _recoded(data, labels, given), self.label)
        if self.missing.all() and not self.holds_labels:
            data = pyarrow.chunked_array([pyarrow.nulls(len(labels), pyarrow.string())])
        cells = [label if new else None for label, new in zip(labels, given, strict=True)]
        new = pyarrow.array(cells, data.type)
        data = pyarrow.compute.if_else(pyarrow.array(given), new, data)
        return ArrowColumn(self.name, pyarrow.chunked_array(data), self.label)

    def repeated(self, others: Sequence[Column]) -> ArrowColumn:
        pyarrow = pyarrow_or_advice()
        parts = [self.data, *(other.as_arrow() for other in others)]
        chunks = [chunk for part in parts for chunk in part.chunks]
        rows = np.arange(len(parts) * len(self.missing)).reshape(len(parts), -1).T.ravel()
        data = pyarrow.chunked_array(chunks, type=self.data.type).take(pyarrow.array(rows))
        return ArrowColumn(self.name, data, self.label)

    def as_text(self) -> Sequence[str]:
        pyarrow = pyarrow_or_advice()
        try:
            texts = self.data.cast(pyarrow.string()).to_pylist()
        except pyarrow.ArrowException:
            raise TableError(
                f"column {self.name!r} holds {self.data.type}, which a CSV file cannot: "
                "write a .parquet file"
            ) from None
        return [quoted("" if text is None else text) for text in texts]

    def as_arrow(self) -> Any:
        return self.data


def _recoded(data: Any, labels: Sequence[Any], given: NDArray[np.bool_]) -> Any:
    """Return a dictionary-encoded column with labels where `given`; its type stays."""
    pyarrow = pyarrow_or_advice()
    array = data.combine_chunks()
    levels = array.dictionary.to_pylist()
    levels += [
        each for each in dict.fromkeys(np.array(labels, object)[given]) if each not in levels
    ]
    places = {level: place for place, level in enumerate(levels)}
    codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False).copy()
    codes[given] = [places[label] for label in np.array(labels, dtype=object)[given]]
    empty = array.is_null().to_numpy(zero_copy_only=False) & ~given
    indices = pyarrow.array(codes, mask=empty).cast(data.type.index_type)
    dictionary = pyarrow.array(levels, data.type.value_type)
    recoded = pyarrow.DictionaryArray.from_arrays(indices, dictionary, ordered=data.type.ordered)
    return pyarrow.chunked_array([recoded])


def pyarrow_or_advice() -> Any:
    """Return pyarrow, or say how to install it."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise TableError(
            "Parquet files need pyarrow, which is not installed: pip install 'notmiwae[parquet]'"
        ) from error
    return pyarrow


def read_parquet(path: Path, n_rows: int | None) -> Iterator[tuple[Sequence[Column], Style]]:
    """Yield batches of `n_rows` of a Parquet file, or all rows at once, and its style."""
    pyarrow = pyarrow_or_advice()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = schema.names
            if not names:
                raise TableError(f"{path} has no columns: there is nothing to work on")
            check_distinct(path, names)
            labels = _pandas_metadata(schema.metadata).get("index_columns", [])
            for table in _batches(file, n_rows):
                columns = [ArrowColumn(name, table[name], label=name in labels) for name in names]
                yield columns, Style(metadata=schema.metadata or {})
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise TableError(f"{path} is no intact Parquet file ({error}): write it again") from error


def _batches(file: Any, n_rows: int | None) -> Iterator[Any]:
    """Yield tables of exactly `n_rows`, but for the last, whatever the row groups are."""
    if n_rows is None:
        yield file.read()
        return
    pyarrow = pyarrow_or_advice()
    held = file.schema_arrow.empty_table()
    for batch in file.iter_batches(batch_size=n_rows):
        held = pyarrow.concat_tables([held, pyarrow.Table.from_batches([batch])])
        while len(held) >= n_rows:
            yield held[:n_rows]
            held = held[n_rows:]
    if len(held) or not file.metadata.num_rows:
        yield held


def _plain_name(kind: Any) -> str:
    """Name an Arrow type for people."""
    types = pyarrow_or_advice().types
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
        became_float = index >= 0 and schema.types[index] == pyarrow_or_advice().float64()
        if became_float and column.get("pandas_type") != "float64":
            column.update(pandas_type="float64", numpy_type="float64", metadata=None)
    return {**metadata, b"pandas": json.dumps(noted).encode()} if noted else metadata


class ParquetWriter:
    """Writes a Parquet file batch by batch; all have the types of the first."""

    def __init__(self, path: Path, style: Style) -> None:
        self.path, self.style = path, style
        self.file: Any = None

    def add(self, columns: Sequence[Column]) -> None:
        """Append rows."""
        pyarrow = pyarrow_or_advice()
        table = pyarrow.table({column.name: column.as_arrow() for column in columns})
        if self.file is None:
            metadata = _updated_metadata(self.style.metadata, table.schema)
            self.schema = table.schema.with_metadata(metadata)
            self.file = pyarrow.parquet.ParquetWriter(self.path, self.schema)
        self.file.write_table(table.cast(self.schema))

    def close(self) -> None:
        """Finish the file."""
        if self.file is not None:
            self.file.close()
