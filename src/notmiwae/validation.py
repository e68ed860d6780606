"""Checks whose errors say what was given, what is allowed, and the way out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")


def lookup(parameter: str, name: object, known: Mapping[str, T]) -> T:
    """Return the member of a family called `name`.

    Raises
    ------
    ValueError
        If there is none; the known names are listed.
    """
    if isinstance(name, str) and name in known:
        return known[name]
    names = ", ".join(repr(member) for member in known)
    raise ValueError(f"{parameter} must be one of {names}; got {name!r}")


def check_names(parameter: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names that are all members of a family.

    Raises
    ------
    ValueError
        If one is not; the known names are listed.
    """
    members = {member: member for member in known}
    return [lookup(parameter, name, members) for name in names]


def resolve(parameter: str, choice: object, known: Mapping[str, T]) -> T | Any:
    """Return the member called `choice`, or `choice` itself if it is a factory.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if callable(choice):
        return choice
    try:
        return lookup(parameter, choice, known)
    except ValueError as error:
        head, got = str(error).rsplit("; got ", 1)
        raise ValueError(f"{head}, or a callable; got {got}") from None


def check_number(
    parameter: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Check that a hyper-parameter is a number in its range.

    Raises
    ------
    ValueError
        With the parameter's name, the allowed range and what was given.
    """
    kind = Integral if whole else Real
    inside = isinstance(value, kind) and not isinstance(value, bool)
    inside = inside and math.isfinite(value)  # type: ignore[arg-type]
    inside = inside and (at_least is None or value >= at_least)  # type: ignore[operator]
    inside = inside and (above is None or value > above)  # type: ignore[operator]
    inside = inside and (below is None or value < below)  # type: ignore[operator]
    if inside:
        return
    limits = [
        f"{words} {limit}"
        for words, limit in [("at least", at_least), ("above", above), ("below", below)]
        if limit is not None
    ]
    noun = "a whole number" if whole else "a number"
    raise ValueError(f"{parameter} must be {noun} {' and '.join(limits)}; got {value!r}")
