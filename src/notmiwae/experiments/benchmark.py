"""Results on several data sets: a matrix of methods by data sets, and mean ranks.

On each data set, methods are ranked by their mean error over seeds: 1 is the least, and equals
share the average of their ranks. A mean rank is the average over the data sets. Published methods
compete as methods of their own, on the split that they were published for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scipy.stats import rankdata

from notmiwae.experiments.results import Published, Results, align, spread

Lines = list[tuple[str, ...]]


@dataclass(frozen=True)
class Benchmark(Results):
    """All rows of a study of several data sets; see `Results` for the attributes."""

    @property
    def datasets(self) -> list[str]:
        """The data sets, in the order in which they were given."""
        return list(dict.fromkeys(row.data for row in self.rows))

    @property
    def splits(self) -> list[str]:
        """The splits, likewise."""
        return list(dict.fromkeys(row.split for row in self.rows))

    def measured(self, split: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the summary of a split by method, then by data set."""
        methods: dict[str, dict[str, dict[str, Any]]] = {}
        for entry in self.of_split(split):
            methods.setdefault(entry["method"], {})[entry["data"]] = entry
        return methods

    def competitors(self, split: str) -> dict[str, dict[str, Published]]:
        """Return what was published for a split by the source's methods, then by data set."""
        methods: dict[str, dict[str, Published]] = {}
        for data, numbers in self.published.items() if split == self.published_split else ():
            for number in numbers.values():
                methods.setdefault(f"{number.name} (published)", {})[data] = number
        return methods

    def ranks(self, split: str) -> dict[str, float]:
        """Return the mean rank of each method that has a result on all data sets."""
        errors = {
            method: {data: entry[self.metric]["mean"] for data, entry in entries.items()}
            for method, entries in self.measured(split).items()
        }
        for method, numbers in self.competitors(split).items():
            errors[method] = {data: number.value for data, number in numbers.items()}
        complete = {name: by for name, by in errors.items() if set(by) >= set(self.datasets)}
        matrix = [[by[data] for data in self.datasets] for by in complete.values()]
        ranks = rankdata(matrix, axis=0).mean(1) if matrix else ()
        return dict(zip(complete, map(float, ranks), strict=True))

    def matrix(self, split: str) -> Lines:
        """Return a line of text for each method: its errors, and its mean rank."""
        return self._lines(
            split,
            {
                method: {data: spread(entry[self.metric]) for data, entry in entries.items()}
                for method, entries in self.measured(split).items()
            },
        )

    def published_matrix(self, split: str) -> Lines:
        """Return the same for the published methods."""
        return self._lines(
            split,
            {
                method: {data: str(number) for data, number in numbers.items()}
                for method, numbers in self.competitors(split).items()
            },
        )

    def _lines(self, split: str, texts: dict[str, dict[str, str]]) -> Lines:
        ranks = self.ranks(split)
        return [
            (
                method,
                *(cells.get(data, "–") for data in self.datasets),
                f"{ranks[method]:.2f}" if method in ranks else "–",
            )
            for method, cells in texts.items()
        ]

    def notes(self) -> list[str]:
        """Explain the marks of the published numbers, each once."""
        numbers = [number for by in self.published.values() for number in by.values()]
        return list(dict.fromkeys(f"{number.mark} {number.note}" for number in numbers))

    def table(self) -> str:
        """Return the table for a terminal: a block per split, and one of published methods."""
        blocks: list[Lines] = []
        for split in self.splits:
            header = (split, *self.datasets, "mean rank")
            blocks.append([header, *self.matrix(split)])
            if published := self.published_matrix(split):
                blocks.append([("published", *header[1:]), *published])
        return "\n".join([self.title, "", *align(*blocks), "", *self.notes()])

    def to_dict(self) -> dict[str, Any]:
        """Return what ``results.json`` holds: what it always does, and the mean ranks by split."""
        return {**super().to_dict(), "ranks": {split: self.ranks(split) for split in self.splits}}
