"""Parsing: a parser that raises, kinds of values, and options that commands share."""

from __future__ import annotations

import argparse
import csv
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from notmiwae._glossary import WIDTH
from notmiwae.cli.mistakes import UsageError


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit; learns its arguments when needed.

    Attributes
    ----------
    configure : callable, optional
        ``(parser) -> None`` adds the arguments: a command imports what it needs once it is asked
        for, and not for the help of another.
    """

    configure: Callable[[Parser], None] | None = None

    def __init__(self, **options: Any) -> None:
        plain = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(**{**plain, **options})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See `argparse.ArgumentParser`."""
        if self.configure is not None:
            configure, self.configure = self.configure, None
            configure(self)
        return super().parse_known_args(args, namespace)


def prose(text: str) -> str:
    """Break a description into lines."""
    return textwrap.fill(text, WIDTH)


def add_tables(parser: Parser, about: str) -> None:
    """Add the table that is read and the one that is written."""
    about += " (.csv, .tsv, .parquet; - for standard input)"
    parser.add_argument("table", type=Path, metavar="TABLE", help=about)
    about = "file to write, likewise (- for standard output)"
    parser.add_argument("--output", "-o", type=Path, metavar="OUT", required=True, help=about)
    parser.set_defaults(aliases={})


def add_seed(parser: Parser, result: str) -> None:
    """Add --seed."""
    about = f"the same seed gives the same {result} (default: 0)"
    parser.add_argument("--seed", type=seed, metavar="N", help=about)


def examples(*commands: str) -> str:
    """List commands to copy."""
    return "\n".join(["examples:", *(f"  {command}" for command in commands)])


def sign(text: str) -> int:
    """Read +1 or -1."""
    if text not in ("+1", "1", "-1"):
        raise argparse.ArgumentTypeError(f"must be +1 or -1; got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """Read what numpy takes as a seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^32 - 1; got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return int(text)


def number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number; got {text!r}") from None


def numbers(text: str) -> float | list[float]:
    """Read one number, or several with commas between."""
    numbers = [number(part) for part in text.split(",")]
    return numbers if len(numbers) > 1 else numbers[0]


def bounds(text: str) -> list[float]:
    """Read LOW,HIGH."""
    bounds = [number(part) for part in text.split(",")]
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise argparse.ArgumentTypeError(f"must be LOW,HIGH with LOW below HIGH; got {text!r}")
    return bounds


def settings(text: str) -> dict[str, Any]:
    """Read a file of JSON with something for each column."""
    try:
        found = json.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text} ({error.strerror})") from None
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no JSON ({error}): repair it") from None
    if not isinstance(found, dict):
        example = '{"column": "name"}'
        raise argparse.ArgumentTypeError(f"{text} must hold names of columns, as in {example}")
    return found


def name_or_settings(text: str) -> Any:
    """Read a name, or the file of JSON that is named."""
    return settings(text) if text.lower().endswith(".json") else text


def names(text: str) -> list[str]:
    """Read names with commas between; one that has a comma itself is quoted as in a CSV file."""
    names = [name for name in next(csv.reader([text]), []) if name]
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must be names, once each, as in A,B; got {text!r}")
    return names
