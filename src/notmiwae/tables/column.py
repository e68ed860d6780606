"""What a column of any file is."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from notmiwae.tables.quoting import quoted
from notmiwae.tables.traits import Traits

Floats = NDArray[np.float64]
Part = TypeVar("Part", bound="Column")


class TableError(ValueError):
    """A file holds no usable table, or a column is not what was asked for."""


class Column(ABC):
    """One column as its file has it, or a batch of its rows.

    Attributes
    ----------
    name : str
    missing : bool array of shape (N,)
    traits : Traits
        Of the whole column: of these rows, unless told otherwise by `within`.
    """

    name: str
    missing: NDArray[np.bool_]

    @property
    def heading(self) -> str:
        """The name as a CSV file would hold it."""
        return quoted(self.name)

    @property
    def obstacle(self) -> str:
        """Why the column is not numeric; empty if it is."""
        return self.traits.obstacle

    @cached_property
    @abstractmethod
    def traits(self) -> Traits:
        """See `Column`."""

    def within(self: Part, traits: Traits) -> Part:
        """Return this batch as a part of a column with these traits."""
        part = copy.copy(self)
        part.traits = traits
        return part

    @property
    @abstractmethod
    def numbers(self) -> Floats:
        """The values ``(N,)`` of a numeric column, NaN where missing."""

    @property
    @abstractmethod
    def holds_labels(self) -> bool:
        """Whether the cells are texts, categories, or true and false."""

    @property
    @abstractmethod
    def labels(self) -> pd.Series:
        """The cells ``(N,)`` as labels, None or NaN where missing."""

    @abstractmethod
    def updated(self, values: Floats) -> Column:
        """Return a column with these values; cells whose value stays are left as they are."""

    @abstractmethod
    def labelled(self, labels: Sequence[Any]) -> Column:
        """Return a column with these labels where a cell is missing; None leaves a hole."""

    @abstractmethod
    def repeated(self, others: Sequence[Column]) -> Column:
        """Return a column in which each cell is followed by those of `others` in its row."""

    @abstractmethod
    def as_text(self) -> Sequence[str]:
        """Return the cells as a CSV file would hold them."""

    @abstractmethod
    def as_arrow(self) -> Any:
        """Return the cells as a Parquet file would hold them."""

    def changed(self, values: Floats) -> NDArray[np.bool_]:
        """Return where `values` differ from the column's."""
        return (values != self.numbers) & ~(np.isnan(values) & self.missing)

    def filled(self, values: Floats) -> bool:
        """Whether these values are of a column whose holes, of any batch, are being filled."""
        return self.traits.n_missing > 0 and not np.isnan(values).any()


def inexact(name: str) -> TableError:
    """Return the error of a column that could not be filled without changing other cells."""
    return TableError(
        f"column {name!r} holds whole numbers beyond 2^53, which would not stay exact beside "
        "filled values: leave it out by naming the other columns"
    )


def check_distinct(path: Path, names: Sequence[str]) -> None:
    """Raise a TableError if two columns have one name."""
    [(name, count)] = Counter(names).most_common(1)
    if count > 1:
        raise TableError(f"{path} has {count} columns called {name!r}: give each its own name")
