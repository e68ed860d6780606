"""The record of the study of images: four parts, each with columns of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notmiwae.experiments.results import Results, align, spread

TABLE_4 = "table 4"
BATCHES = "batch size"
CHANNELS = "channels"
CLIPPING = "clipping"
PARTS = {
    TABLE_4: "Blue missing where it dominates",
    BATCHES: "The report’s bound and the right one, by size of a batch",
    CHANNELS: "Other channels missing",
    CLIPPING: "Grey values above a limit missing",
}


@dataclass(frozen=True)
class Study(Results):
    """All rows of the study; see `Results` for the attributes."""

    published_split: str = TABLE_4

    @property
    def parts(self) -> list[str]:
        """The parts that were run, in the order of `PARTS`."""
        there = {row.split for row in self.rows}
        return [part for part in PARTS if part in there]

    def measured(self, part: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the summary of a part by method, then by data."""
        methods: dict[str, dict[str, dict[str, Any]]] = {}
        for entry in self.of_split(part):
            methods.setdefault(entry["method"], {})[entry["data"]] = entry
        return methods

    def columns(self, part: str) -> list[str]:
        """Return the data of a part, in the order in which they were given; sizes in their own."""
        found = list(dict.fromkeys(row.data for row in self.rows if row.split == part))
        return sorted(found, key=int) if part == BATCHES else found

    def of(self, part: str, method: str, data: str) -> dict[str, Any] | None:
        """Return the summary of one method on one set of data, if there is one."""
        return self.measured(part).get(method, {}).get(data)

    def published_text(self, entry: Any) -> str:
        number = self.published.get(entry["data"], {}).get(entry["method"])
        return "–" if number is None else str(number)

    def notes(self) -> list[str]:
        """Explain the marks of the published numbers, each once."""
        numbers = [number for by in self.published.values() for number in by.values()]
        return list(dict.fromkeys(f"{number.mark} {number.note}" for number in numbers))

    def table(self) -> str:
        """Return the table for a terminal: a block for each part."""
        lines = [self.title]
        for part in self.parts:
            block = self._table_4() if part == TABLE_4 else self._matrix(part)
            lines += ["", PARTS[part], "", *align(block)]
        return "\n".join([*lines, "", *self.notes()])

    def _table_4(self) -> Sequence[Sequence[str]]:
        header = ("method", "RMSE", "published", "weights", "time (s)")
        body = [
            (
                entry["method"],
                spread(entry["rmse"], 4),
                self.published_text(entry),
                weights(entry),
                f"{entry['seconds']['mean']:.0f}",
            )
            for entry in self.of_split(TABLE_4)
        ]
        return [header, *body]

    def _matrix(self, part: str) -> Sequence[Sequence[str]]:
        columns = self.columns(part)
        body = [
            (
                method,
                *(spread(by[data]["rmse"], 4) if data in by else "–" for data in columns),
            )
            for method, by in self.measured(part).items()
        ]
        return [(part, *columns), *body]


def weights(entry: Any) -> str:
    """Return a model's number of trainable weights, or a dash."""
    number = entry.get("n_weights")
    return f"{number['mean']:,.0f}" if number else "–"
