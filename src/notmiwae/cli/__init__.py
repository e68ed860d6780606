"""The command line: `notmiwae impute`, `ampute` and `reproduce`; each is a module here.

Words for the reader go to stderr. A user's mistake is answered with one line there and exit code 2,
and nothing is written; an interruption with exit code 130. Anything else that goes wrong is a bug,
and shows its traceback.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from notmiwae import __version__
from notmiwae.cli import parsing
from notmiwae.cli.mistakes import UsageError
from notmiwae.cli.parsing import Parser

COMMANDS = {
    "impute": "fill the holes of a table",
    "ampute": "delete values from a complete table, to test with",
    "reproduce": "run a published study again",
    "sensitivity": "see how an estimate depends on what cannot be known of missing values",
}
"""What each does; the module of its name has ``configure(parser)``, which adds the arguments and
sets ``run``, ``(args) -> None``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name, by default those it was started with.

    Returns
    -------
    int
        The exit code: 0, 2 for a user's mistake, 130 if interrupted, 141 if what reads standard
        output has gone.
    """
    try:
        given = sys.argv[1:] if argv is None else argv
        args = build_parser().parse_args(given)
        args.command_line = shlex.join(["notmiwae", *given])
        args.run(args)
    except UsageError as error:
        return _refused(str(error))
    except ValueError as error:
        if not _is_refusal(error):
            raise
        return _refused(str(error))
    except BrokenPipeError:
        return 141
    except OSError as error:
        return _refused(f"{error}: check that the path is right and may be used")
    except KeyboardInterrupt as interruption:
        more = "".join(f"; {word}" for word in interruption.args)
        print(f"notmiwae: interrupted{more}", file=sys.stderr)
        return 130
    return 0


def _is_refusal(error: Exception) -> bool:
    """Whether a file could not be used; only now are the modules sure to be loaded anyway."""
    from notmiwae.persistence import ModelFileError
    from notmiwae.tables import TableError

    return isinstance(error, (TableError, ModelFileError))


def _refused(message: str) -> int:
    print("notmiwae:", " ".join(message.split()), file=sys.stderr)
    return 2


def build_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="notmiwae",
        description=parsing.prose(
            "Fill the holes of a table whose values are missing because of what they are: high "
            "incomes withheld, sensors that saturate, laboratory values below a limit."
        ),
        epilog=parsing.examples(
            "notmiwae impute patients.csv -o filled.csv",
            "notmiwae ampute complete.csv -o holes.csv --kind above-mean",
            "notmiwae reproduce breast --preset quick",
        )
        + "\n\nexit codes: 0 done; 2 a mistake, said in one line, and nothing written; "
        "130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"notmiwae {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        command: Parser = commands.add_parser(name, help=about)
        command.configure = partial(_configure, name)
    return parser


def _configure(name: str, parser: Parser) -> None:
    """Import a command and let it add its arguments: torch takes seconds, and help is not to."""
    import_module(f"notmiwae.cli.{name}").configure(parser)
