"""The command line: `notmiwae impute`, `ampute` and `reproduce`.

Words for the reader go to stderr. A user's mistake is answered with one line there and exit code 2,
and nothing is written; an interruption with exit code 130. Anything else that goes wrong is a bug,
and shows its traceback.
"""

from __future__ import annotations

import argparse
import csv
import inspect
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from sklearn.base import clone

from notmiwae import __version__
from notmiwae._glossary import (
    ESTIMATOR_MEANINGS,
    KIND_MEANINGS,
    MECHANISM_MEANINGS,
    OBSERVATION_MEANINGS,
    WIDTH,
    glossary,
)
from notmiwae.amputation import AMPUTATIONS, Amputer
from notmiwae.imputers import ESTIMATORS, MECHANISM_NAMES, LatentVariableImputer, NotMIWAEImputer
from notmiwae.observations import OBSERVATIONS
from notmiwae.persistence import ModelFileError
from notmiwae.tables import Table, TableError, check_extension

TRAINING = ("mechanism", "sign", "observation", "bounds", "columns", "steps", "seed", "save")


class UsageError(Exception):
    """A user's mistake: what, what was given, and the way out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name, by default those it was started with.

    Returns
    -------
    int
        The exit code: 0, 2 for a user's mistake, 130 if interrupted.
    """
    try:
        args = build_parser().parse_args(argv)
        args.run(args)
    except (UsageError, TableError, ModelFileError) as error:
        return _refused(str(error))
    except OSError as error:
        return _refused(f"{error}: check that the path is right and may be used")
    except KeyboardInterrupt:
        print("notmiwae: interrupted", file=sys.stderr)
        return 130
    return 0


def _refused(message: str) -> int:
    print("notmiwae:", " ".join(message.split()), file=sys.stderr)
    return 2


def impute(args: argparse.Namespace) -> None:
    """Fill the holes of a table."""
    _check_impute(args)
    table = Table.read(args.table)
    imputer = _loaded(args) if args.load else _configured(args)
    names = _model_columns(imputer, table) if args.load else _trainable(args, table)
    values = table.numbers(names)
    trains = not args.load and bool(args.save or values.isna().to_numpy().any())
    _rehearse(imputer, values, trains)
    table.updated(values.fillna(0.0)).check_writable(args.output)
    fate = "the model does not use it" if args.load else "not among --columns"
    _say(args, _describe(args.table, table), *_holes(table, names, fate))
    imputer.set_params(verbose=not args.quiet and sys.stderr.isatty())
    with _mistakes():
        filled = table.updated(_filled(imputer, values, trains))
    if trains or args.load:
        _say(args, f"mechanism: {imputer.selection_}")
    if args.save:
        imputer.save(args.save)
        _say(args, f"{args.save}: the model, for --load")
    filled.write(args.output)
    _say(args, f"{args.output}: {_result(table, filled)}")


def _check_impute(args: argparse.Namespace) -> None:
    """Find mistakes before the training, which takes its time."""
    _check_output(args)
    given = [f"--{name}" for name in TRAINING if getattr(args, name) is not None]
    if args.load and given:
        raise UsageError(
            f"--load uses a model as it was trained, so that {', '.join(given)} cannot apply: "
            "leave out one or the other"
        )
    if args.sign is not None and args.mechanism != "self-masking-known":
        raise UsageError(
            "--sign says which values go missing under --mechanism self-masking-known; got "
            f"{args.mechanism or NotMIWAEImputer().mechanism}: leave --sign out, or choose that one"
        )
    if (args.observation == "truncated-normal") != (args.bounds is not None):
        raise UsageError(
            "--observation truncated-normal and --bounds LOW,HIGH need each other: give both or "
            "neither"
        )
    if args.save and args.save.exists() and not args.save.is_dir():
        raise UsageError(f"--save needs a folder; {args.save} is a file: choose another name")


def _check_output(args: argparse.Namespace) -> None:
    check_extension(args.output)
    if not args.output.parent.is_dir():
        raise UsageError(
            f"the folder {args.output.parent} of --output does not exist: make it, or choose "
            "another"
        )
    if args.output.is_dir():
        raise UsageError(f"--output {args.output} is a folder: name a file")
    if args.output.exists() and args.table.exists() and args.output.samefile(args.table):
        raise UsageError(
            f"--output {args.output} is the table that is read, and it would be lost: "
            "choose another name"
        )


def _check_any(names: Sequence[str], path: Path) -> None:
    if not names:
        raise UsageError(
            f"{path} has no numeric column: there is nothing to work on (numbers are written as "
            "-1.5 or 1e3; columns with leading zeros count as text)"
        )


def _configured(args: argparse.Namespace) -> NotMIWAEImputer:
    """An imputer with what was given; the rest stays at its defaults."""
    given = {
        "mechanism": args.mechanism,
        "sign": args.sign,
        "observation": args.observation,
        "bounds": args.bounds,
        "estimator": args.estimator,
        "max_steps": args.steps,
    }
    options = {name: value for name, value in given.items() if value is not None}
    return NotMIWAEImputer(**options, random_state=args.seed or 0)


def _loaded(args: argparse.Namespace) -> LatentVariableImputer:
    imputer = LatentVariableImputer.load(args.load)
    if not hasattr(imputer, "feature_names_in_"):
        raise UsageError(
            f"{args.load} was trained on a table without column names, so that it fits no file: "
            "train it on one, or use it in Python"
        )
    if args.estimator:
        imputer.set_params(estimator=args.estimator)
    return imputer.set_params(missing_values=np.nan)


def _model_columns(imputer: LatentVariableImputer, table: Table) -> list[str]:
    """Return the columns that the model knows, which must be there."""
    names: list[str] = imputer.feature_names_in_.tolist()
    if absent := [name for name in names if name not in table.columns]:
        raise UsageError(
            f"the model needs column(s) {_listed(absent)}, which the table has not: it has "
            f"{_listed(table.columns)}; add them (empty will do), or train another model"
        )
    return names


def _trainable(args: argparse.Namespace, table: Table) -> list[str]:
    """Return the columns to train on."""
    names: list[str] = args.columns or table.numeric
    _check_any(names, args.table)
    if empty := [name for name in names if table.numbers([name]).isna().to_numpy().all()]:
        raise UsageError(f"nothing is observed in {_listed(empty)}: leave it out of --columns")
    return names


def _rehearse(imputer: LatentVariableImputer, values: pd.DataFrame, train: bool) -> None:
    """Train for one step, which finds the mistakes before anything is said or takes long."""
    if train:
        with _mistakes():
            clone(imputer).set_params(max_steps=1).fit(values)


def _filled(imputer: LatentVariableImputer, values: pd.DataFrame, train: bool) -> pd.DataFrame:
    """Fill, after training if need be."""
    if train:
        imputer.fit(values)
    if not values.isna().to_numpy().any():
        return values
    filled = imputer.set_output(transform="pandas").transform(values)
    # A model from Python may add indicators and drop columns.
    return filled[[name for name in values if name in filled]]


def ampute(args: argparse.Namespace) -> None:
    """Delete values from a complete table."""
    _check_output(args)
    table = Table.read(args.table)
    _check_any(table.numeric, args.table)
    values = table.numbers(table.numeric)
    amputer = Amputer(
        args.kind,
        columns=_amputed_columns(args, table),
        share=args.share,
        slope=args.slope,
        threshold=args.threshold,
        limit=args.limit,
        random_state=args.seed or 0,
    )
    with _mistakes():
        holes = table.updated(amputer.fit_transform(values))
    holes.write(args.output)  # before anything is said: an error is to be the only line
    _say(args, _describe(args.table, table), *_deleted(table, holes))
    _say(args, f"{args.output}: {_counted(_n_missing(holes) - _n_missing(table), 'cell')} deleted")


def _amputed_columns(args: argparse.Namespace, table: Table) -> Any:
    if args.columns is None or args.columns == ["first-half"]:
        return args.columns and "first-half"
    table.numbers(args.columns)  # says which of them is no numeric column of the table
    return args.columns


def reproduce(args: argparse.Namespace) -> None:
    """Run a published study again."""
    studies = _studies()
    if args.study not in studies:
        raise UsageError(f"STUDY must be one of {_listed(studies)}; got {args.study!r}")
    study = studies[args.study]
    output = args.output or Path("out", args.study)
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file: name a folder")
    options = {"preset": args.preset, "output": output, "seed": args.seed or 0, "n_jobs": args.jobs}
    with _missing_extras(), _mistakes():
        results = study(progress=True, **options, **_chosen_datasets(args, study))
    print(results.table())
    print(f"{output}: {_listed(sorted(file.name for file in output.iterdir()))}", file=sys.stderr)


def _chosen_datasets(args: argparse.Namespace, study: Callable[..., Any]) -> dict[str, Any]:
    """Return what --datasets asks for, where there is a choice."""
    if args.datasets is None:
        return {}
    if "datasets" not in inspect.signature(study).parameters:
        raise UsageError(f"{args.study} has no data sets to choose from: leave --datasets out")
    return {"datasets": args.datasets}


def _studies() -> Mapping[str, Callable[..., Any]]:
    """Return the studies by name, which import what only they need."""
    with _missing_extras():
        from notmiwae.experiments import STUDIES
    return STUDIES


@contextmanager
def _missing_extras() -> Iterator[None]:
    """Take an optional feature that is not installed as something for the user to repair."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("notmiwae"):
            raise
        raise UsageError(f"{error}; pip install 'notmiwae[all]' installs every feature") from error


@contextmanager
def _mistakes() -> Iterator[None]:
    """Take the errors that the library raises for unusable input as the user's."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        if not _is_check(error):
            raise
        raise UsageError(str(error)) from error


def _is_check(error: Exception) -> bool:
    """Whether an error was raised on purpose, by us or scikit-learn; all others are bugs."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").split(".")[0] in ("notmiwae", "sklearn")


def _say(args: argparse.Namespace, *lines: str) -> None:
    if not args.quiet:
        print(*lines, sep="\n", file=sys.stderr)


def _describe(path: Path, table: Table) -> str:
    return f"{path}: {_counted(len(table), 'row')}, {_counted(len(table.columns), 'column')}"


def _holes(table: Table, names: Sequence[str], fate: str) -> list[str]:
    """Say what is missing where, and which columns are only carried through."""
    rows = []
    for name, column in table.columns.items():
        remark = "" if name in names else f"left as it is: {column.obstacle or fate}"
        rows.append((name, int(column.missing.sum()), remark))
    return _aligned("missing", rows, len(table))


def _deleted(table: Table, holes: Table) -> list[str]:
    """Say what was deleted where, and which columns could not be touched."""
    rows = []
    for name, column in table.columns.items():
        remark = f"left as it is: {column.obstacle}" if column.obstacle else ""
        count = int(holes.columns[name].missing.sum() - column.missing.sum())
        rows.append((name, count, remark))
    return _aligned("deleted", rows, len(table))


def _aligned(verb: str, rows: Sequence[tuple[str, int, str]], total: int) -> list[str]:
    """Lay out columns with a count or a remark; the others make one line at the end."""
    told = [row for row in rows if row[1] or row[2]]
    width = max(len(name) for name in ["column", *(row[0] for row in told)])
    lines = [f"  {'column':<{width}}  {verb:>8}   share"] if told else []
    lines += [
        f"  {name:<{width}}  {count:>8}  {count / total:>6.1%}  {remark}".rstrip()
        for name, count, remark in told
    ]
    if rest := len(rows) - len(told):
        lines.append(f"  nothing {verb} in {_counted(rest, 'other column' if told else 'column')}")
    return lines


def _n_missing(table: Table) -> int:
    return int(sum(column.missing.sum() for column in table.columns.values()))


def _result(table: Table, filled: Table) -> str:
    remaining = [name for name, column in filled.columns.items() if column.missing.any()]
    said = f"{_counted(_n_missing(table) - _n_missing(filled), 'cell')} filled"
    if remaining:
        said += f"; {_counted(_n_missing(filled), 'hole')} left in {_listed(remaining)}"
    return said


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    late_epilog: Callable[[], str] | None = None

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def format_help(self) -> str:
        if self.late_epilog is not None:
            self.epilog = self.late_epilog()
        return super().format_help()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="notmiwae",
        description=textwrap.fill(
            "Fill the holes of a table whose values are missing because of what they are: high "
            "incomes withheld, sensors that saturate, laboratory values below a limit.",
            WIDTH,
        ),
        epilog=_examples(
            "notmiwae impute patients.csv -o filled.csv",
            "notmiwae ampute complete.csv -o holes.csv --kind above-mean",
            "notmiwae reproduce breast --preset quick",
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"notmiwae {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_impute(commands)
    _add_ampute(commands)
    _add_reproduce(commands)
    return parser


def _add_impute(commands: Any) -> None:
    parser = _command(
        commands,
        impute,
        "fill the holes of a table",
        "Learn how the numeric columns of a table hang together and why values are missing, and "
        "fill the holes with what is to be expected there. Cells that hold something stay exactly "
        "as they are. Columns of text, dates and codes are carried through.",
        glossary("mechanisms (why values are missing)", MECHANISM_NAMES, MECHANISM_MEANINGS),
        glossary("observations (what values are like)", OBSERVATIONS, OBSERVATION_MEANINGS),
        glossary("estimators (what fills a hole)", ESTIMATORS, ESTIMATOR_MEANINGS),
        _examples(
            "notmiwae impute patients.csv -o filled.csv --mechanism self-masking-known",
            "notmiwae impute patients.csv -o filled.csv --columns age,weight --save model",
            "notmiwae impute new.csv -o new-filled.csv --load model",
        ),
    )
    _add_tables(parser, "table with holes: empty cells, NA, N/A, NaN, null, None, ? or .")
    _add_model(parser)
    add = parser.add_argument
    add(
        "--columns", type=_names, metavar="A,B", help="model only these (default: all numeric ones)"
    )
    add("--save", type=Path, metavar="DIR", help="keep the trained model in this folder")
    add("--load", type=Path, metavar="DIR", help="fill by a model that was kept; no training")
    _add_seed(parser, "file")
    add("--quiet", action="store_true", help="say nothing but errors")


def _add_model(parser: _Parser) -> None:
    """Add what makes an imputer; None stands for the imputer's own default."""
    defaults = NotMIWAEImputer()
    for name, known, about in [
        ("mechanism", MECHANISM_NAMES, "why values are missing"),
        ("observation", [*OBSERVATIONS], "what values are like"),
        ("estimator", ESTIMATORS, "what fills a hole"),
    ]:
        about += f", see below (default: {getattr(defaults, name)})"
        parser.add_argument(f"--{name}", choices=known, metavar="NAME", help=about)
    add = parser.add_argument
    add("--sign", type=_sign, help="+1: high values go missing (default); -1: low ones do")
    add("--bounds", type=_bounds, metavar="LOW,HIGH", help="of truncated-normal, for example 0,inf")
    steps = f"steps of training (default: {defaults.max_steps})"
    add("--steps", type=_positive, metavar="N", help=steps)


def _add_ampute(commands: Any) -> None:
    parser = _command(
        commands,
        ampute,
        "delete values from a complete table, to test with",
        "Delete values from the numeric columns of a complete table by a known rule. Impute the "
        "result, and compare with what was there.",
        glossary("kinds (which values go missing)", AMPUTATIONS, KIND_MEANINGS),
        _examples(
            "notmiwae ampute complete.csv -o holes.csv --kind above-mean",
            "notmiwae ampute complete.csv -o holes.csv --kind clipping --columns weight --limit 90",
        ),
    )
    _add_tables(parser, "table without holes")
    add = parser.add_argument
    about = "which values go missing, see below (default: above-mean)"
    add("--kind", choices=list(AMPUTATIONS), metavar="NAME", default="above-mean", help=about)
    about = "delete from these, or from the first-half (default: from all numeric ones)"
    add("--columns", type=_names, metavar="A,B", help=about)
    add("--share", type=_number, metavar="X", help="how many, from 0 to 1")
    add("--slope", type=_numbers, metavar="X", help="how sharply; X,Y for one for each column")
    add("--threshold", type=_numbers, metavar="X", help="from where on, in standard deviations")
    add("--limit", type=_numbers, metavar="X", help="from where on, in the units of the table")
    _add_seed(parser, "file")
    add("--quiet", action="store_true", help="say nothing but errors")


def _add_reproduce(commands: Any) -> None:
    parser = _command(
        commands,
        reproduce,
        "run a published study again",
        "Run a published study again: prepare its data, fit every method, and write the results, "
        "with the published numbers beside them, and a page to look at.",
    )
    parser.late_epilog = _describe_studies
    add = parser.add_argument
    add("study", metavar="STUDY", help="name of the study, see below")
    about = "quick: minutes, to look around; full: as published (default: quick)"
    add("--preset", choices=["quick", "full"], default="quick", help=about)
    about = "only these, where a study has several (default: those of the preset)"
    add("--datasets", type=_names, metavar="A,B", help=about)
    add("--output", "-o", type=Path, metavar="DIR", help="where to write (default: out/STUDY)")
    add("--jobs", type=_positive, metavar="N", help="processes side by side (default: one a core)")
    _add_seed(parser, "numbers")


def _describe_studies() -> str:
    modules = {name: inspect.getmodule(study) for name, study in _studies().items()}
    return "\n\n".join(
        [
            glossary("studies", modules, {}),
            _examples(
                "notmiwae reproduce breast --preset quick",
                "notmiwae reproduce uci --preset full --datasets banknote,concrete",
            ),
        ]
    )


def _command(
    commands: Any, run: Callable[[argparse.Namespace], None], title: str, about: str, *more: str
) -> _Parser:
    """Add the command that is called as its function."""
    parser: _Parser = commands.add_parser(
        run.__name__,
        help=title,
        description=textwrap.fill(about, WIDTH),
        epilog="\n\n".join(more),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_tables(parser: _Parser, about: str) -> None:
    parser.add_argument("table", type=Path, metavar="TABLE", help=f"{about} (.csv, .tsv, .parquet)")
    parser.add_argument(
        "--output", "-o", type=Path, metavar="OUT", required=True, help="file to write, likewise"
    )


def _add_seed(parser: _Parser, result: str) -> None:
    about = f"the same seed gives the same {result} (default: 0)"
    parser.add_argument("--seed", type=_seed, metavar="N", help=about)


def _examples(*commands: str) -> str:
    return "\n".join(["examples:", *(f"  {command}" for command in commands)])


def _sign(text: str) -> int:
    if text not in ("+1", "1", "-1"):
        raise argparse.ArgumentTypeError(f"must be +1 or -1; got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^32 - 1; got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number; got {text!r}") from None


def _numbers(text: str) -> float | list[float]:
    """Read one number, or several with commas between."""
    numbers = [_number(part) for part in text.split(",")]
    return numbers if len(numbers) > 1 else numbers[0]


def _bounds(text: str) -> list[float]:
    bounds = [_number(part) for part in text.split(",")]
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise argparse.ArgumentTypeError(f"must be LOW,HIGH with LOW below HIGH; got {text!r}")
    return bounds


def _names(text: str) -> list[str]:
    """Read names with commas between; one that has a comma itself is quoted as in a CSV file."""
    names = [name for name in next(csv.reader([text]), []) if name]
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must be names, once each, as in A,B; got {text!r}")
    return names
