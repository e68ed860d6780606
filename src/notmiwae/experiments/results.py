"""The record of a study: one row per method, seed and split, with a summary over seeds.

`Results` is written as ``results.json`` (everything) and ``results.csv`` (the rows), and printed
as a table. With one seed's value v_i of n, a summary is mean v̄ and the sample standard deviation
√(Σ (v_i − v̄)² / (n − 1)), which one seed alone does not have.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import shlex
import sys
from collections import UserDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from notmiwae import __version__

SCHEMA = 1
HELD_OUT = "held-out"


@dataclass(frozen=True)
class Row:
    """What one method did with one seed on one split.

    Attributes
    ----------
    method, data : str
        What was fitted to what.
    seed : int
    split : str
        The rows whose missing cells were scored.
    metrics : mapping of str to float
    seconds : float
        Time that the fit took.
    notes : tuple of str
        What the method said while fitting, such as that it did not converge.
    """

    method: str
    data: str
    seed: int
    split: str
    metrics: Mapping[str, float]
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """A published number to stand beside a method's own.

    Attributes
    ----------
    value : float
    mark : str
        A sign that refers to `note`.
    note : str
        Source, and what makes it differ.
    name : str
        What the source calls the method, where it competes as one of its own.
    digits : int
        Decimals that were published.
    """

    value: float
    mark: str
    note: str
    name: str = ""
    digits: int = 3

    def __str__(self) -> str:
        return f"{self.value:.{self.digits}f}{self.mark}"


@dataclass(frozen=True)
class Results:
    """All rows of a study and how they were made.

    Attributes
    ----------
    study, title : str
        Its name, and what its table shows.
    rows : sequence of Row
    metadata : mapping
        See `describe_run`.
    published : mapping of str to mapping of str to Published
        By data set, then by method.
    metric, published_split : str
        What the published numbers are about.
    """

    study: str
    title: str
    rows: Sequence[Row]
    metadata: Mapping[str, Any]
    published: Mapping[str, Mapping[str, Published]] = field(default_factory=dict)
    metric: str = "rmse"
    published_split: str = HELD_OUT

    def summary(self) -> list[dict[str, Any]]:
        """Mean and standard deviation over seeds, for each method, data set and split."""

        def key(row: Row) -> tuple[str, str, str]:
            return row.method, row.data, row.split

        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault(key(row), []).append(row)
        return [_summarise(rows) for rows in groups.values()]

    def of_split(self, split: str) -> list[dict[str, Any]]:
        """The summary of one split only, in the order in which methods were given."""
        return [entry for entry in self.summary() if entry["split"] == split]

    def held_out(self) -> list[dict[str, Any]]:
        """The summary of held-out rows only."""
        return self.of_split(HELD_OUT)

    def published_number(self, entry: Mapping[str, Any]) -> Published | None:
        """Return what was published for an entry of the summary."""
        if entry["split"] != self.published_split:
            return None
        return self.published.get(entry["data"], {}).get(entry["method"])

    def notes(self) -> list[str]:
        """Explain the marks of the published numbers, each once, in the order of the methods."""
        shown = map(self.published_number, self.of_split(self.published_split))
        return list(dict.fromkeys(f"{number.mark} {number.note}" for number in shown if number))

    def published_text(self, entry: Mapping[str, Any]) -> str:
        """Return what was published for an entry with its mark, or a dash."""
        number = self.published_number(entry)
        return "–" if number is None else str(number)

    def table(self) -> str:
        """Return the table for a terminal: held-out rows, published numbers in their column."""
        header = ("method", self.metric.upper(), "published", "fit (s)")
        body = [
            (
                entry["method"],
                spread(entry[self.metric]),
                self.published_text(entry),
                f"{entry['seconds']['mean']:.1f}",
            )
            for entry in self.held_out()
        ]
        return "\n".join([self.title, "", *align([header, *body]), "", *self.notes()])

    def to_dict(self) -> dict[str, Any]:
        """Return what ``results.json`` holds."""
        return {
            "schema": SCHEMA,
            "study": self.study,
            "title": self.title,
            "metadata": dict(self.metadata),
            "published": {
                data: {method: asdict(number) for method, number in numbers.items()}
                for data, numbers in self.published.items()
            },
            "summary": self.summary(),
            "rows": [{**asdict(row), "notes": list(row.notes)} for row in self.rows],
        }

    def to_csv(self) -> str:
        """Return what ``results.csv`` holds: one line per row, one column per metric."""
        metrics = list(dict.fromkeys(name for row in self.rows for name in row.metrics))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        head = ["method", "data", "seed", "split"]
        writer.writerow([*head, *metrics, "published", "seconds", "notes"])
        for row in self.rows:
            values = [row.metrics.get(name, "") for name in metrics]
            number = self.published_number(vars(row))
            known = number.value if number else ""
            key = [row.method, row.data, row.seed, row.split]
            writer.writerow([*key, *values, known, row.seconds, "; ".join(row.notes)])
        return text.getvalue()

    def write(self, folder: Path) -> None:
        """Write ``results.json`` and ``results.csv``."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(folder / "results.json", text + "\n")
        write_text(folder / "results.csv", self.to_csv())


class KeptRows(UserDict[str, Row]):
    """Rows by name, each written to a file as it comes in, so that a long run can be resumed.

    Parameters
    ----------
    path : Path
        A file of JSON lines, which is only ever added to: delete it to start afresh.
    **made_by
        What rows depend on beside their name, and on the version of notmiwae. Rows that were made
        by something else stay in the file and are not used.
    """

    def __init__(self, path: Path, **made_by: Any) -> None:
        super().__init__()
        self.path = path
        self.made_by = json.loads(json.dumps({"notmiwae": __version__, **made_by}, default=repr))
        for record in _read_lines(path) if path.exists() else ():
            if record["made_by"] == self.made_by:
                row = {**record["row"], "notes": tuple(record["row"]["notes"])}
                self.data[record["name"]] = Row(**row)

    def __setitem__(self, name: str, row: Row) -> None:
        super().__setitem__(name, row)
        record = {"name": name, "made_by": self.made_by, "row": asdict(row)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):  # an interruption may leave half a line
            yield json.loads(line)


def _summarise(rows: Sequence[Row]) -> dict[str, Any]:
    first = rows[0]
    metrics = {name: mean_sd([row.metrics[name] for row in rows]) for name in first.metrics}
    return {
        "method": first.method,
        "data": first.data,
        "split": first.split,
        "n_seeds": len(rows),
        **metrics,
        "seconds": mean_sd([row.seconds for row in rows]),
    }


def mean_sd(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and sample standard deviation; one value has no deviation."""
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}


def spread(summary: Mapping[str, float | None], digits: int = 3) -> str:
    """Return ``mean ± sd``, or the mean alone where seeds do not differ or there is only one."""
    mean, sd = summary["mean"], summary["sd"]
    text = f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if sd else "")
    return text.replace("-", "−")


def align(*blocks: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of text with the first column to the left and the others to the right.

    Each block opens with a header; the columns of all have the same widths. A ``±`` stands under a
    ``±``: what follows it is padded where it is missing.
    """
    columns = [_pad_spread(column) for column in zip(*chain(*blocks), strict=True)]
    widths = [max(map(len, column)) for column in columns]
    rows = [
        "   ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in zip(*columns, strict=True)
    ]
    rule = "─" * max(map(len, rows))
    rest = iter(rows)
    ruled = [[next(rest), rule, *islice(rest, len(block) - 1), ""] for block in blocks]
    return [*chain(*ruled)][:-1]


def _pad_spread(column: Sequence[str]) -> list[str]:
    tail = max((len(cell) - cell.index(" ±") for cell in column if " ±" in cell), default=0)
    return [cell if " ±" in cell else cell + " " * tail for cell in column]


def describe_run(seeds: Iterable[int], duration: float, **more: Any) -> dict[str, Any]:
    """Return the metadata of a run: what one needs to repeat it.

    Parameters
    ----------
    seeds : iterable of int
    duration : float
        In seconds.
    **more
        What else the study wants to record.
    """
    packages = ("torch", "numpy", "scikit-learn")
    return {
        "command": command(sys.argv),
        "seeds": list(seeds),
        **more,
        "versions": {
            "python": platform.python_version(),
            "notmiwae": __version__,
            **{name: version(name) for name in packages},
        },
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "duration_seconds": round(duration, 1),
    }


def command(argv: Sequence[str]) -> str:
    """Return the command line as one would type it, without folders of this machine."""
    program = Path(argv[0]).name
    started = "notmiwae" if program == "__main__.py" else program
    outputs = [place for place, word in enumerate(argv) if word in ("-o", "--output")]
    dropped = {0, *outputs, *(place + 1 for place in outputs)}
    return shlex.join([started, *(word for i, word in enumerate(argv) if i not in dropped)])


def write_text(path: Path, text: str) -> None:
    """Write a file at once, so that an interrupted run leaves no half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
