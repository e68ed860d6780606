"""What a user says of why values are missing, column by column, and what it means for a model.

A statement is the name of a mechanism; `self-masking-known:+` or `:-`; `above:LIMIT` or
`below:LIMIT`, a detection limit in the column's own units; or a factory. A mapping gives one to
each column, and `*` stands for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from notmiwae.kinds import Kind, Labels, Number
from notmiwae.limits import Limit
from notmiwae.mechanisms import MECHANISMS, FactorisedMechanism, SelfMaskingKnown
from notmiwae.schema import EVERY, check_columns
from notmiwae.validation import lookup

AUTO = "auto"
SIGNS = {"+": 1.0, "-": -1.0}
SIDES = {"above": 1.0, "below": -1.0}
FORMS = "'self-masking-known:+', 'above:LIMIT', 'below:LIMIT'"


class Statement(NamedTuple):
    """Why values of a column are missing.

    Attributes
    ----------
    factory : callable
        ``n_features -> Mechanism``.
    sign : float
        Which values go missing, where that is known; 0 where it is not.
    limit : float, optional
        In the column's own units.
    """

    factory: Callable[..., Any]
    sign: float = 0.0
    limit: float | None = None

    @property
    def is_limit(self) -> bool:
        """Whether it is a detection limit."""
        return self.limit is not None


def check(mechanism: Any) -> None:
    """Check what is given for all columns or by column.

    Raises
    ------
    ValueError
        If it means nothing; the message says what would.
    """
    given = mechanism.values() if isinstance(mechanism, Mapping) else [mechanism]
    if isinstance(mechanism, Mapping) and not mechanism:
        raise ValueError("mechanism names no column: give {'column': 'mechanism', ...}, or a name")
    for each in given:
        if each != AUTO:
            statement = read(each)
            by_column = isinstance(mechanism, Mapping) and isinstance(statement.factory, type)
            if by_column and not issubclass(statement.factory, FactorisedMechanism):  # type: ignore[arg-type]
                raise ValueError(
                    f"mechanism {each!r} depends on all columns and cannot be that of some: give "
                    "it for all, or name one of self-masking"
                )


def read(given: Any) -> Statement:
    """Return what a name, or a name with details, says."""
    if callable(given):
        return Statement(given)
    name, colon, detail = given.partition(":") if isinstance(given, str) else (given, "", "")
    if name in SIDES and colon:
        try:
            return Statement(Limit, SIDES[name], float(detail))
        except ValueError:
            raise ValueError(
                f"mechanism {given!r} needs a number, as in '{name}:0.5', in the column's units"
            ) from None
    if name == "self-masking-known" and detail in SIGNS:
        return Statement(MECHANISMS[name], SIGNS[detail])
    try:
        known = {AUTO: MECHANISMS["ignorable"], **MECHANISMS}
        return Statement(lookup("mechanism", given, known))
    except ValueError as error:
        head, got = str(error).rsplit("; got ", 1)
        raise ValueError(f"{head}, {FORMS}, or a callable; got {got}") from None


def is_by_column(mechanism: Any) -> bool:
    """Whether a mechanism says more than a name: something of single columns, or a limit."""
    if isinstance(mechanism, Mapping):
        return True
    return isinstance(mechanism, str) and ":" in mechanism


def uses_auto(mechanism: Any, columns: Iterable[Any] | None = None) -> bool:
    """Whether the mechanism of some of these columns, by default of any, is to be chosen."""
    if not isinstance(mechanism, Mapping):
        return bool(mechanism == AUTO)
    rest = mechanism.get(EVERY, AUTO)
    asked = [*mechanism, EVERY] if columns is None else columns
    return any(mechanism.get(name, rest) == AUTO for name in asked)


def with_candidate(mechanism: Any, candidate: Any) -> Any:
    """Put a candidate in the place of 'auto'."""
    if not isinstance(mechanism, Mapping):
        return candidate if mechanism == AUTO else mechanism
    completed = {EVERY: AUTO, **mechanism}
    return {name: candidate if given == AUTO else given for name, given in completed.items()}


def by_column(
    mechanism: Any, names: list[Any], kinds: list[Kind], every: list[Any]
) -> list[Statement]:
    """Return the statement of each modelled column.

    Parameters
    ----------
    mechanism : str, callable or mapping
        Without 'auto'.
    names, kinds : list
        Of the modelled columns.
    every : list
        Names of all columns.
    """
    if not isinstance(mechanism, Mapping):
        mechanism = {EVERY: mechanism}
    check_columns("mechanism", mechanism, every)
    statements = []
    for name, kind in zip(names, kinds, strict=True):
        statement = read(mechanism.get(name, mechanism.get(EVERY)))
        if name in mechanism or statement.is_limit:
            check_order(name, kind, statement)
        statements.append(statement)
    return statements


def check_order(name: Any, kind: Kind, statement: Statement) -> None:
    """Refuse high and low where there is neither."""
    if kind.unordered and (statement.is_limit or statement.factory is SelfMaskingKnown):
        raise ValueError(
            f"mechanism of column {name!r}: its categories have no order, so that none are high or "
            "low: say 'self-masking', which learns which of them go missing, or give its type as "
            "the list of its labels from the lowest to the highest"
        )
    if statement.is_limit and isinstance(kind, Labels):
        raise ValueError(
            f"mechanism of column {name!r}: a limit is a number, and the column holds labels"
        )


def encoded_limit(kind: Kind, limit: float) -> float:
    """Return a limit on the scale on which a kind's numbers are standardised."""
    return float(kind.encode(pd.Series([limit], dtype=float))[0])


def within_limits(values: np.ndarray, statements: list[Statement], kinds: list[Kind]) -> np.ndarray:
    """Return encoded values ``(..., D)`` with none on the wrong side of a limit."""
    values = values.copy()
    for column, (statement, kind) in enumerate(zip(statements, kinds, strict=True)):
        if statement.limit is None:
            continue
        limit = statement.limit
        if isinstance(kind, Number) and kind.whole:
            # Rounding must not bring a value back to the limit.
            limit = np.floor(limit) + 1 if statement.sign > 0 else np.ceil(limit) - 1
        end = encoded_limit(kind, limit)
        clip = np.maximum if statement.sign > 0 else np.minimum
        values[..., column] = clip(values[..., column], end)
    return values


def check_observed(
    x: np.ndarray, statements: list[Statement], kinds: list[Kind], names: list[Any]
) -> None:
    """Check that no observed value ``(N, D)`` lies beyond a limit.

    Raises
    ------
    ValueError
        With the column and a value.
    """
    for column, statement in enumerate(statements):
        if statement.limit is None:
            continue
        end = encoded_limit(kinds[column], statement.limit)
        wrong = np.flatnonzero((x[:, column] - end) * statement.sign > 1e-9 * (1 + abs(end)))
        if wrong.size:
            side = "above" if statement.sign > 0 else "below"
            value = kinds[column].numbers(x[wrong[:1], column])[0]
            raise ValueError(
                f"column {names[column]!r} is said to be missing {side} {statement.limit:g}, and "
                f"holds {value:g} in row {wrong[0]}: correct the limit, or the value"
            )
