"""A user's mistakes, told apart from bugs."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """A user's mistake: what, what was given, and the way out."""


@contextmanager
def missing_extras() -> Iterator[None]:
    """Take an optional feature that is not installed as something for the user to repair."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("notmiwae"):
            raise
        raise UsageError(f"{error}; pip install 'notmiwae[all]' installs every feature") from error


@contextmanager
def mistakes() -> Iterator[None]:
    """Take the errors that the library raises for unusable input as the user's."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        if not is_check(error):
            raise
        raise UsageError(str(error)) from error


def is_check(error: Exception) -> bool:
    """Whether an error was raised on purpose, by us or scikit-learn; all others are bugs."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").split(".")[0] in ("notmiwae", "sklearn")
