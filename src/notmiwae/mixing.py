"""A model of a table whose columns differ, from the kind and the statement of each.

Columns make a block if family, mechanism and whether they ever miss a value are the same. A column
that never does needs no mechanism but its share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from notmiwae.blocks import BlockMechanism, Blocks, Embedding
from notmiwae.kinds import Bounded, Kind
from notmiwae.mechanisms import (
    AtRandom,
    ColumnwiseMechanism,
    FactorisedMechanism,
    Ignorable,
    SelfMaskingCategories,
    SelfMaskingKnown,
)
from notmiwae.observations import OBSERVATIONS, Coded, LocationScale, Observation
from notmiwae.preprocessing import Standardiser
from notmiwae.statements import Statement, encoded_limit

FOR_NUMBERS = ("gaussian", "student-t")
BY_SCHEMA = ("categorical", "ordinal", "count")
"""Observations that make all columns of that kind."""
MARGIN = 20
"""Counts beyond three times the largest observed one and so many more have no probability."""


class Block(NamedTuple):
    """Columns that are modelled alike.

    Attributes
    ----------
    columns : list of int
    family : str or callable
        Of p(x | z).
    factory : callable
        ``n_features -> Mechanism``.
    """

    columns: list[int]
    family: Any
    factory: Any


class Plan:
    """Blocks of columns and what is known of each.

    Parameters
    ----------
    settings : mapping
        Parameters of `notmiwae.NotMIWAEImputer` by name.
    preprocessing : Standardiser
    missing_share : Tensor
        ``(D,)``.
    kinds : sequence of Kind
    statements : sequence of Statement
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        preprocessing: Standardiser,
        missing_share: Tensor,
        kinds: Sequence[Kind],
        statements: Sequence[Statement],
    ) -> None:
        self.settings, self.preprocessing = settings, preprocessing
        self.kinds, self.statements = kinds, statements
        self._numbers = self._family_of_numbers()
        groups: dict[Any, list[int]] = {}
        for column, (kind, statement) in enumerate(zip(kinds, statements, strict=True)):
            family = self._numbers if kind.family == "gaussian" else kind.family
            complete = float(missing_share[column]) == 0 and not statement.is_limit
            factory = AtRandom if complete and statement.factory is not Ignorable else None
            key = (family, factory or statement.factory)
            groups.setdefault((complete, *key), []).append(column)
        self.blocks = [Block(columns, *key[1:]) for key, columns in groups.items()]
        self.columns = [block.columns for block in self.blocks]

    def _family_of_numbers(self) -> Any:
        """Return the family of continuous and positive columns."""
        observation = self.settings["observation"]
        if observation in BY_SCHEMA:
            return "gaussian"
        limited = any(statement.is_limit for statement in self.statements)
        if isinstance(observation, str) and observation not in FOR_NUMBERS:
            raise ValueError(
                f"observation={observation!r} cannot be that of all columns here: it is that of "
                f"the continuous ones, {' or '.join(map(repr, FOR_NUMBERS))}; give the others a "
                "type, as in types={'column': 'bounded:0,10'}"
            )
        if limited and observation != "gaussian":
            raise ValueError(
                "the tail beyond a detection limit has no closed form with "
                f"observation={observation!r}: use 'gaussian'"
            )
        return observation

    def embedding(self) -> Embedding:
        """Return what networks see of values."""
        n_codes = [kind.n_codes if kind.unordered else 0 for kind in self.kinds]
        average = torch.as_tensor(self.preprocessing.average, dtype=torch.get_default_dtype())
        return Embedding(n_codes, average)

    def observation(self, decoder: Callable[[int], Any]) -> Blocks:
        """Return p(x | z)."""
        return Blocks(self.columns, [self._family(block) for block in self.blocks], decoder)

    def _family(self, block: Block) -> Callable[..., Observation]:
        if callable(block.family):
            return block.family
        family = OBSERVATIONS[block.family]
        mean, std, largest = (
            getattr(self.preprocessing, name)[block.columns] for name in ("mean", "std", "largest")
        )
        kinds = [self.kinds[column] for column in block.columns]
        options: dict[str, Any] = {}
        if issubclass(family, LocationScale):
            floor = self.settings["scale_floor"][block.columns]
            options = {"scale": self.settings["scale"], "scale_floor": floor}
        if block.family == "truncated-normal":
            for end in ("low", "high"):
                ends = np.array([getattr(kind, end) for kind in kinds if isinstance(kind, Bounded)])
                options[end] = (ends - mean) / std
        if issubclass(family, Coded) and block.family != "categorical":
            options |= {"loc": mean, "scale": std}
        if block.family in ("categorical", "ordinal"):
            options["n_codes"] = [kind.n_codes for kind in kinds]
        if block.family == "count":
            options |= {"centre": mean.clip(0.1), "bound": int(3 * largest.max()) + MARGIN}
        return partial(family, **options)

    def mechanism(self) -> BlockMechanism:
        """Return p(s | x)."""
        parts, listening = [], []
        for block in self.blocks:
            part = self._mechanism(block)
            listens = isinstance(part, ColumnwiseMechanism) and part.context is not None
            if isinstance(part, ColumnwiseMechanism):
                part.context = None
            parts.append(part)
            listening.append(listens)
        return BlockMechanism(self.columns, parts, self.embedding(), listening)

    def _mechanism(self, block: Block) -> FactorisedMechanism:
        statements = [self.statements[column] for column in block.columns]
        width, options = len(block.columns), {}
        if statements[0].is_limit and block.factory is statements[0].factory:
            ends = [
                encoded_limit(self.kinds[column], self.statements[column].limit or 0.0)
                for column in block.columns
            ]
            mean, std = self.preprocessing.mean, self.preprocessing.std
            limit = (np.array(ends) - mean[block.columns]) / std[block.columns]
            options = {"limit": limit, "sign": [statement.sign for statement in statements]}
        elif block.factory is SelfMaskingKnown:
            signs = np.broadcast_to(self.settings["sign"], len(self.kinds))[block.columns]
            options["sign"] = [
                statement.sign or float(sign)
                for statement, sign in zip(statements, signs, strict=True)
            ]
        part = block.factory(width, **options)
        if not isinstance(part, FactorisedMechanism):
            raise ValueError(
                f"{type(part).__name__} depends on the values of all columns, which differ in kind "
                "here: use a self-masking mechanism with integrate='auto', or 'ignorable'"
            )
        if block.family == "categorical" and not isinstance(part, (AtRandom, Ignorable)):
            n_codes = max(self.kinds[column].n_codes for column in block.columns)
            listens = isinstance(part, ColumnwiseMechanism) and part.context is not None
            part = SelfMaskingCategories(width, n_codes=n_codes, context=listens)
        return part
