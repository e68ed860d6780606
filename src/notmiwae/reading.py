"""Tables in and out of an imputer: arrays of numbers, and frames whose columns may be of any kind.

A table of numbers only is validated as everywhere in scikit-learn, and all of its columns are
continuous. Any other frame, or a table with `types`, has a `Schema`, and comes back as it came.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.impute import MissingIndicator
from sklearn.utils.validation import (
    FLOAT_DTYPES,
    _check_feature_names,
    _check_n_features,
    check_is_fitted,
    validate_data,
)
from torch import Tensor

from notmiwae import frames, statements
from notmiwae.assembly import Described
from notmiwae.kinds import Kind, LeftOut, Number
from notmiwae.mixing import BY_SCHEMA
from notmiwae.observations import OBSERVATIONS, Bernoulli, Observation
from notmiwae.preprocessing import Standardiser
from notmiwae.schema import EVERY, Schema
from notmiwae.validation import resolve


class TableReader(BaseEstimator):
    """What an imputer knows of the tables that it takes."""

    schema_: Schema | None

    def _read(self, X: Any, reset: bool = False) -> np.ndarray:
        """Turn a table into floats ``(N, D)``, NaN where missing."""
        if not reset:
            check_is_fitted(self)
        else:
            self.schema_ = self._learn_schema(X)
        if self.schema_ is None:
            return self._read_numbers(X, reset)
        if not reset:
            _check_feature_names(self, X, reset=False)
            _check_n_features(self, X, reset=False)
        return self.schema_.encode(X)

    def _learn_schema(self, X: Any) -> Schema | None:
        """Return what columns are, None if all are numbers and nothing else is said."""
        types = self.types
        if types is None and self.observation in BY_SCHEMA:
            types = {EVERY: self.observation}
        if types is None and not (frames.is_frame(X) and not frames.is_numeric(X)):
            return None
        if not is_nan(self.missing_values):
            raise ValueError(
                f"missing_values={self.missing_values!r} is for tables of numbers only: in others, "
                "cells are missing that are None, NaN or NA"
            )
        _check_feature_names(self, X, reset=True)
        _check_n_features(self, X, reset=True)
        return Schema.learn(X, types)

    def _read_numbers(self, X: Any, reset: bool) -> np.ndarray:
        """Validate a table of numbers."""
        nan = is_nan(self.missing_values)
        x: np.ndarray = validate_data(
            self,
            X,
            reset=reset,
            dtype=FLOAT_DTYPES,
            ensure_all_finite="allow-nan" if nan else True,
            copy=True,
        )
        if not nan:
            x[x == self.missing_values] = np.nan
        return x

    def _learn_columns(self, x: np.ndarray) -> None:
        """Learn scales, and say which columns are of no use."""
        empty = np.isnan(x).all(axis=0)
        if empty.all():
            raise ValueError("every value is missing: there is nothing to learn from")
        if self.schema_ is None:
            observation = resolve("observation", self.observation, OBSERVATIONS)
            self.preprocessing_ = Standardiser(scale=observation is not Bernoulli).fit(x)
        else:
            columns = self.schema_.columns
            scale = np.array([kind.scaled for kind in columns])
            n_codes = np.array([kind.n_codes if kind.unordered else 0 for kind in columns])
            self.preprocessing_ = Standardiser(scale, n_codes).fit(x)
        if empty.any() and self.schema_ is None:
            names = self._names()[empty].tolist()
            fate = "filled with 0" if self.keep_empty_features else "dropped"
            warnings.warn(
                f"nothing is observed in column(s) {names}, which are {fate}: leave them out",
                UserWarning,
                stacklevel=3,
            )
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False).fit(self._holes(x))
        self._check_limits(x)

    def _holes(self, x: np.ndarray) -> np.ndarray:
        """Return values with NaN in no column that is left out."""
        if self.schema_ is None:
            return x
        x = x.copy()
        x[:, self.schema_.left_out] = 0.0
        return x

    def _described(self, mechanism: Any) -> Described | None:
        """Return kind and statement of each modelled column; None if these are all alike."""
        if self.schema_ is None and not statements.is_by_column(mechanism):
            return None
        names = self._names()
        kinds = self._kinds()
        found = statements.by_column(
            mechanism, names[self.preprocessing_.modelled].tolist(), kinds, names.tolist()
        )
        return kinds, found

    def _kinds(self) -> list[Kind]:
        """Kinds of the modelled columns."""
        if self.schema_ is None:
            return [Number() for _ in self.preprocessing_.mean]
        return self.schema_.modelled

    def _limits(self) -> Described | None:
        """Return kinds and statements if there are detection limits."""
        given = self.get_params(deep=False).get("mechanism")
        if not statements.is_by_column(given):
            return None
        described = self._described(statements.with_candidate(given, "at-random"))
        assert described is not None
        return described if any(each.is_limit for each in described[1]) else None

    def _check_limits(self, x: np.ndarray) -> None:
        """Check that no observed value lies beyond a detection limit."""
        if (described := self._limits()) is not None:
            kinds, found = described
            modelled = self.preprocessing_.modelled
            names = self._names()[modelled].tolist()
            statements.check_observed(x[:, modelled], list(found), list(kinds), names)

    def _to_model(self, x: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return zero-filled values and mask of rows for a fitted model."""
        self._check_limits(x)
        values, mask = self.preprocessing_.to_model(x)
        self._check_support(self.model_.observation, values, mask)
        return values, mask

    def _from_model(self, x: np.ndarray, values: Tensor) -> np.ndarray:
        """Put the model's ``values (..., N, D)`` into the holes of x, none beyond its limit."""
        filled = self.preprocessing_.fill(x, values)
        if (described := self._limits()) is None:
            return filled
        modelled = self.preprocessing_.modelled
        kinds, found = described
        inside = filled.copy()
        inside[..., modelled] = statements.within_limits(
            filled[..., modelled], list(found), list(kinds)
        )
        return np.where(np.isnan(x), inside, filled)

    def _check_support(self, observation: Observation, values: Tensor, mask: Tensor) -> None:
        supported = observation.supports(values.to(self.device_)).cpu()
        outside = (mask.bool().cpu() & ~supported).any(0).numpy()
        if outside.any():
            names = self._names()[self.preprocessing_.modelled][outside].tolist()
            raise ValueError(
                f"observation={self.observation!r} takes {observation.support}, and column(s) "
                f"{names} hold others: choose another observation, or mend the values"
            )

    def _names(self) -> np.ndarray:
        """Names of the columns, or their numbers."""
        if self.schema_ is not None:
            names = np.empty(len(self.schema_.names), dtype=object)
            names[:] = self.schema_.names
            return names
        found: np.ndarray = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        return found

    def _encoded(self, column: Any, values: Any) -> np.ndarray:
        """Return values of a column of the table in the model's units."""
        names = self._names()[self.preprocessing_.modelled].tolist()
        if column not in names:
            raise ValueError(f"column must be one of {names}; got {column!r}")
        index = names.index(column)
        numbers = np.asarray(values, dtype=float) if self.schema_ is None else None
        if numbers is None:
            kind = self._kinds()[index]
            numbers = kind.encode(pd.Series(values, name=column))
            if np.isnan(numbers).any():
                raise ValueError(f"column {column!r} has no value {values!r} in fit")
        mean, std = self.preprocessing_.mean[index], self.preprocessing_.std[index]
        return (numbers - mean) / std

    def _as_given(self, X: Any, filled: np.ndarray) -> Any:
        """Return filled values ``(N, D)`` as a table of the kind that was given."""
        if self.schema_ is None:
            return filled
        return self.schema_.fill(X, filled)

    def _kept(self) -> np.ndarray:
        """Which columns are returned."""
        n_columns = len(self.preprocessing_.modelled)
        if self.keep_empty_features:
            return np.ones(n_columns, dtype=bool)
        if self.schema_ is None:
            return self.preprocessing_.modelled
        empty = [
            isinstance(kind, LeftOut) and kind.reason.startswith("nothing")
            for kind in self.schema_.columns
        ]
        return ~np.array(empty)

    def _finished(self, X: Any, x: np.ndarray, filled: np.ndarray) -> Any:
        """Return the table as asked for: columns dropped, indicators appended."""
        kept = self._kept()
        if self.schema_ is None:
            table: Any = filled if kept.all() else filled[:, kept]
            if self.add_indicator:
                table = np.hstack([table, self.indicator_.transform(x)])
            return table
        table = self._as_given(X, filled)
        if self.add_indicator:
            names = self.indicator_.get_feature_names_out(self._names().astype(str))
            indicators = self.indicator_.transform(self._holes(x))
            table = frames.beside(table, names.tolist(), indicators)
        return frames.without(table, np.flatnonzero(~kept).tolist())

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` returns."""
        check_is_fitted(self)
        if input_features is None:
            input_features = getattr(
                self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)]
            )
        names = np.asarray(input_features, dtype=object)
        if len(names) != self.n_features_in_:
            raise ValueError(
                f"input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(names)}"
            )
        if not np.array_equal(names, getattr(self, "feature_names_in_", names)):
            raise ValueError("input_features is not equal to feature_names_in_")
        kept = names[self._kept()]
        if self.add_indicator:
            kept = np.hstack([kept, self.indicator_.get_feature_names_out(names)])
        return kept


def is_nan(value: Any) -> bool:
    """Whether a stand-in for missing values is NaN."""
    return isinstance(value, float) and np.isnan(value)


def check_types(types: Any) -> None:
    """Check that `types` is a mapping; names and types are checked against a table in fit."""
    if types is not None and not isinstance(types, Mapping):
        raise ValueError(
            "types must be a mapping from names of columns to types, as in {'age': 'continuous'}; "
            f"got {types!r}"
        )
