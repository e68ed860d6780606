"""What commands say of a table on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from notmiwae.cli.pipes import named
from notmiwae.tables import Traits


def say(args: argparse.Namespace, *lines: str) -> None:
    """Print to stderr, unless --quiet."""
    if lines and not args.quiet:
        print(named(args, "\n".join(lines)), file=sys.stderr)


def learned(imputer: Any) -> list[str]:
    """Say which mechanism was chosen, and how a linear decoder did."""
    said = [f"mechanism: {imputer.selection_}"]
    return said if imputer.rehearsal_ is None else [*said, f"decoder: {imputer.rehearsal_}"]


def describe(path: Path, traits: Mapping[str, Traits]) -> str:
    """Say how large a table is."""
    return f"{path}: {counted(n_rows(traits), 'row')}, {counted(len(traits), 'column')}"


def holes(
    traits: Mapping[str, Traits], names: Collection[str], reasons: Mapping[str, str], fate: str
) -> list[str]:
    """Say what is missing where, and why columns are only carried through."""
    rows = []
    for name, column in traits.items():
        reason = reasons.get(name) or column.obstacle or fate
        remark = "" if name in names else f"left as it is: {reason}"
        rows.append((name, column.n_missing, remark))
    return aligned("missing", rows, n_rows(traits))


def deleted(traits: Mapping[str, Traits], amputed: Mapping[str, Traits]) -> list[str]:
    """Say what was deleted where, and which columns could not be touched."""
    rows = []
    for name, column in traits.items():
        remark = f"left as it is: {column.obstacle}" if column.obstacle else ""
        rows.append((name, amputed[name].n_missing - column.n_missing, remark))
    return aligned("deleted", rows, n_rows(traits))


def aligned(verb: str, rows: Sequence[tuple[str, int, str]], total: int) -> list[str]:
    """Lay out columns with a count or a remark; the others make one line at the end."""
    told = [row for row in rows if row[1] or row[2]]
    width = max(len(name) for name in ["column", *(row[0] for row in told)])
    lines = [f"  {'column':<{width}}  {verb:>8}   share"] if told else []
    lines += [
        f"  {name:<{width}}  {count:>8}  {count / total:>6.1%}  {remark}".rstrip()
        for name, count, remark in told
    ]
    if rest := len(rows) - len(told):
        lines.append(f"  nothing {verb} in {counted(rest, 'other column' if told else 'column')}")
    return lines


def n_rows(traits: Mapping[str, Traits]) -> int:
    """Count the rows."""
    return next(iter(traits.values())).n_rows


def n_missing(traits: Mapping[str, Traits]) -> int:
    """Count the holes."""
    return sum(column.n_missing for column in traits.values())


def result(traits: Mapping[str, Traits], names: Collection[str]) -> str:
    """Say how many holes are filled, those in `names`, and where some are left."""
    left = {name: column for name, column in traits.items() if name not in names}
    n_left = n_missing(left)
    said = f"{counted(n_missing(traits) - n_left, 'cell')} filled"
    if n_left:
        remaining = [name for name, column in left.items() if column.n_missing]
        said += f"; {counted(n_left, 'hole')} left in {listed(remaining)}"
    return said


def counted(number: int, noun: str) -> str:
    """Say a number of things."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Iterable[str]) -> str:
    """Quote names, with commas between."""
    return ", ".join(map(repr, names))
