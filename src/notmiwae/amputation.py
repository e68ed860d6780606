"""Amputation: delete values from complete data by a named mechanism.

Each kind learns from training rows how the probability π(x) ∈ [0, 1] that a cell goes missing
depends on the row x; the `Amputer` then deletes cell (n, j) of its columns if u_nj < π_j(x_n), with
u uniform. With m, s and F⁻¹ the mean, standard deviation and quantiles of a column's training rows:

    above-mean    x_j > m_j
    extremes      x_j < F⁻¹(share) or x_j > F⁻¹(1 - share)
    around-mean   |x_j - m_j| less than its own quantile at `share`
    clipping      x_j > limit
    mcar          probability `share`, whatever x
    mar           logit π_j = w_j · (x - m)/s + c_j, where w_j sees only columns that stay
    self-masking  logit π_j = slope ((x_j - m_j)/s_j - threshold)

A threshold thus comes from the rows that `fit` saw, also when it is applied to others. Values at a
threshold stay, so columns with many equal values lose less than `share`. The last two kinds
are mechanisms of `notmiwae.mechanisms` with fixed parameters: what explains can also delete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from notmiwae import mechanisms
from notmiwae.validation import check_number, lookup

Floats = NDArray[np.float64]
Columns = NDArray[np.intp]


class Kind(ABC):
    """How the probability of going missing depends on a row; the options are dataclass fields."""

    needs_others: ClassVar[bool] = False  # reads the columns that stay observed, too

    @abstractmethod
    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        """Learn from training rows ``(N, D)`` how to delete from some columns."""

    @abstractmethod
    def probability(self, x: Floats) -> Floats:
        """Return π ``(N, D)``; only the fitted columns mean anything."""


@dataclass
class AboveMean(Kind):
    """Values above the training mean go missing."""

    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        self.mean = _mean(x)

    def probability(self, x: Floats) -> Floats:
        return (x > self.mean).astype(float)


@dataclass
class Extremes(Kind):
    """The lowest and the highest `share` of the training values go missing."""

    share: float = 0.25

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0, below=0.5)

    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        self.low, self.high = np.quantile(x, [self.share, 1 - self.share], axis=0)

    def probability(self, x: Floats) -> Floats:
        return ((x < self.low) | (x > self.high)).astype(float)


@dataclass
class AroundMean(Kind):
    """The `share` of the training values nearest the mean goes missing."""

    share: float = 0.3

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0, below=1)

    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        self.mean = _mean(x)
        self.radius = np.quantile(np.abs(x - self.mean), self.share, axis=0)

    def probability(self, x: Floats) -> Floats:
        return (np.abs(x - self.mean) < self.radius).astype(float)


@dataclass
class Clipping(Kind):
    """Values above a limit in the data's own units go missing: a detector that saturates."""

    limit: float | Sequence[float]

    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        self.limits = _per_column("limit", self.limit, columns, x.shape[1])

    def probability(self, x: Floats) -> Floats:
        return (x > self.limits).astype(float)


@dataclass
class CompletelyAtRandom(Kind):
    """Every value goes missing with the same probability."""

    share: float = 0.3

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0, below=1)

    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        """Nothing to learn."""

    def probability(self, x: Floats) -> Floats:
        return np.full(x.shape, self.share)


@dataclass
class AtRandom(Kind):
    """Missing by the columns that stay: a logistic regression with random weights.

    On the training rows the logits have standard deviation `slope`, and the expected share of
    missing values is `share` in each column.
    """

    share: float = 0.3
    slope: float = 1.0

    needs_others: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0, below=1)
        check_number("slope", self.slope, above=0)

    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        n_features = x.shape[1]
        others = np.setdiff1d(np.arange(n_features), columns)
        if not others.size:
            raise ValueError(
                "kind 'mar' needs a column that stays observed; leave one out of columns, "
                "for example with columns='first-half'"
            )
        self.mean, self.scale = _mean(x), _scale(x)
        z = (x - self.mean) / self.scale
        weight = np.zeros((n_features, n_features))
        weight[np.ix_(columns, others)] = rng.normal(size=(len(columns), len(others)))
        spread = (z @ weight.T).std(0)
        weight *= (self.slope / np.where(spread > 0, spread, 1))[:, None]
        state = {"score.weight": weight, "score.bias": _intercept(z @ weight.T, self.share)}
        self.mechanism = _fixed(mechanisms.Linear, state, link="logit")

    def probability(self, x: Floats) -> Floats:
        return _missing(self.mechanism, (x - self.mean) / self.scale)


@dataclass
class SelfMasking(Kind):
    """Missing by the value itself, softly: steeper, and the threshold is sharper.

    `threshold`, where half of the values go missing, counts training standard deviations from the
    training mean; `slope` is per standard deviation, and a negative one deletes low values.
    """

    slope: float | Sequence[float] = 2.0
    threshold: float | Sequence[float] = 0.0

    def fit(self, x: Floats, columns: Columns, rng: np.random.Generator) -> None:
        self.mean, self.scale = _mean(x), _scale(x)
        slope = _per_column("slope", self.slope, columns, x.shape[1])
        threshold = _per_column("threshold", self.threshold, columns, x.shape[1])
        state = {"weight": slope, "intercept": -slope * threshold}
        self.mechanism = _fixed(mechanisms.SelfMasking, state, link="logit")

    def probability(self, x: Floats) -> Floats:
        return _missing(self.mechanism, (x - self.mean) / self.scale)


AMPUTATIONS: dict[str, type[Kind]] = {
    "above-mean": AboveMean,
    "extremes": Extremes,
    "around-mean": AroundMean,
    "mcar": CompletelyAtRandom,
    "mar": AtRandom,
    "self-masking": SelfMasking,
    "clipping": Clipping,
}


class Amputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Delete values from complete data.

    Parameters
    ----------
    kind : str
        Which values go missing: a name in `AMPUTATIONS`, explained at the top of this module.
    columns : None, 'first-half', or sequence of str or int
        Columns to delete from: all, the first D // 2, or these names or indices.
    share : float, optional
        For 'extremes', the share at either end (default 0.25, below 0.5); for 'around-mean', 'mcar'
        and 'mar', the share that goes missing on training rows (default 0.3).
    slope : float or sequence of float, optional
        For 'self-masking', the slope of the logit per training standard deviation, one or one for
        each of `columns` (default 2; negative deletes low values). For 'mar', the standard
        deviation of the logit over training rows (one number, default 1).
    threshold : float or sequence of float, optional
        For 'self-masking', where half of the values go missing, in training standard deviations
        from the training mean, one or one for each of `columns` (default 0).
    limit : float or sequence of float, optional
        For 'clipping', which needs it: values above it go missing. In the data's units, one or one
        for each of `columns`.
    random_state : int, RandomState or None
        Fixes the random weights of 'mar' and the draws of every random kind. The draws also depend
        on the shape of the table, not on its values: the same table gives the same mask.

    Attributes
    ----------
    kind_ : Kind
        The fitted rule.
    columns_ : array of int
        Indices of the columns to delete from.
    seed_ : int
        Seed of the draws.
    n_features_in_, feature_names_in_ :
        As everywhere in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from notmiwae.amputation import Amputer
    >>> Amputer("above-mean", columns=[0]).fit_transform(np.array([[1.0, 5.0], [3.0, 9.0]]))
    array([[ 1.,  5.],
           [nan,  9.]])
    """

    def __init__(
        self,
        kind: str = "above-mean",
        *,
        columns: str | Sequence[str | int] | None = None,
        share: float | None = None,
        slope: float | Sequence[float] | None = None,
        threshold: float | Sequence[float] | None = None,
        limit: float | Sequence[float] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kind = kind
        self.columns = columns
        self.share = share
        self.slope = slope
        self.threshold = threshold
        self.limit = limit
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Amputer:
        """Learn thresholds, and what else the kind needs, from training rows.

        Parameters
        ----------
        X : array-like, shape (N, D)
            Numbers, complete in the selected columns, and for 'mar' in the others too.
        y : ignored

        Raises
        ------
        ValueError
            If a parameter is not among what is allowed, or X is not complete.
        """
        options = {name: getattr(self, name) for name in ("share", "slope", "threshold", "limit")}
        self.kind_ = _make(self.kind, options)
        x = self._validate(X, reset=True)
        self.columns_ = _indices(self.columns, self.n_features_in_, self._names())
        self._check_complete(x)
        self.seed_ = _seed(self.random_state)
        self.kind_.fit(_zero_filled(x), self.columns_, np.random.default_rng(self.seed_))
        return self

    def mask(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Return which cells are observed after amputation.

        Parameters
        ----------
        X : array-like, shape (N, D)
            These may be other rows than those of `fit`.

        Returns
        -------
        array of bool, shape (N, D)
            False where a value is deleted, and where there was none before.
        """
        check_is_fitted(self)
        return self._mask(self._validate(X, reset=False))

    def transform(self, X: ArrayLike) -> Any:
        """Return a copy of X with NaN where `mask` is False.

        Parameters
        ----------
        X : array-like, shape (N, D)
            These may be other rows than those of `fit`.

        Returns
        -------
        array or DataFrame, shape (N, D)
            A pandas DataFrame for a pandas DataFrame, an array of floats for anything else.
        """
        check_is_fitted(self)
        x = self._validate(X, reset=False)
        mask = self._mask(x)
        return X.where(mask) if isinstance(X, pd.DataFrame) else np.where(mask, x, np.nan)

    def _mask(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        self._check_complete(x)
        probability = self.kind_.probability(_zero_filled(x))[:, self.columns_]
        # The seed has the number of rows in it: a test table repeats no draw of the training table.
        uniform = np.random.default_rng([self.seed_, len(x)]).random(x.shape)
        mask = ~np.isnan(x)
        mask[:, self.columns_] &= uniform[:, self.columns_] >= probability
        return mask

    def _validate(self, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
        dtypes = [np.float64, np.float32]
        return validate_data(self, X, reset=reset, dtype=dtypes, ensure_all_finite="allow-nan")

    def _check_complete(self, x: NDArray[Any]) -> None:
        read = np.arange(x.shape[1]) if self.kind_.needs_others else self.columns_
        holes = [j for j in read if np.isnan(x[:, j]).any()]
        if holes:
            names = self._names()
            called = ", ".join(str(j) if names is None else repr(names[j]) for j in holes)
            raise ValueError(
                f"amputation needs complete data, but X has NaN in columns {called}; drop or "
                "impute them first, or choose other columns"
            )

    def _names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else list(names)


def _make(name: str, options: Mapping[str, Any]) -> Kind:
    """Return an unfitted kind with the options that were given, or say which it takes."""
    kind: type[Any] = lookup("kind", name, AMPUTATIONS)
    given = {option: value for option, value in options.items() if value is not None}
    taken = {field.name: field.default is MISSING for field in fields(kind)}
    for option in given:
        if option not in taken:
            raise ValueError(
                f"kind {name!r} takes {' and '.join(taken) or 'no option'}; "
                f"got {option}={given[option]!r}"
            )
    for option, required in taken.items():
        if required and option not in given:
            raise ValueError(f"kind {name!r} needs {option}; got None")
    made: Kind = kind(**given)
    return made


def _indices(
    columns: str | Sequence[str | int] | None, n_features: int, names: list[str] | None
) -> Columns:
    """Return the indices that `columns` means, in its order."""
    if columns is None:
        return np.arange(n_features)
    if isinstance(columns, str) and columns == "first-half":
        chosen = list(range(n_features // 2))
    elif isinstance(columns, str) or not np.iterable(columns):
        raise ValueError(
            "columns must be None, 'first-half', or a sequence of names or indices; "
            f"got {columns!r}"
        )
    else:
        chosen = [_index(column, n_features, names) for column in columns]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"columns must select at least one of the {n_features} columns, and none twice; "
            f"got {columns!r}"
        )
    return np.array(chosen)


def _index(column: str | int, n_features: int, names: list[str] | None) -> int:
    if isinstance(column, str) and names is not None and column in names:
        return names.index(column)
    whole = isinstance(column, (int, np.integer)) and not isinstance(column, bool)
    if whole and 0 <= int(column) < n_features:
        return int(column)
    known = "" if names is None else "one of " + ", ".join(map(repr, names)) + ", or "
    raise ValueError(f"columns must hold {known}indices from 0 to {n_features - 1}; got {column!r}")


def _per_column(name: str, value: Any, columns: Columns, n_features: int) -> Floats:
    """Spread one number, or one for each of the columns, over all columns ``(D,)``."""
    try:
        given = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        given = np.array(np.nan)
    if given.shape not in [(), columns.shape] or not np.isfinite(given).all():
        raise ValueError(
            f"{name} must be one number, or one for each of the {len(columns)} amputed columns; "
            f"got {value!r}"
        )
    spread = np.zeros(n_features)
    spread[columns] = given
    return spread


def _seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed; without a state it comes from the system, not from numpy's global one."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _zero_filled(x: NDArray[Any]) -> Floats:
    """Return doubles without the NaN of columns that nothing reads."""
    return np.nan_to_num(x.astype(float))


def _mean(x: Floats) -> Floats:
    """Return the means ``(D,)``; that of a constant is the constant, rounding or not."""
    return np.clip(x.mean(0), x.min(0), x.max(0))


def _scale(x: Floats) -> Floats:
    """Return the standard deviations ``(D,)``, 1 for a constant."""
    return np.where(np.ptp(x, axis=0) > 0, x.std(0), 1.0)


def _intercept(logits: Floats, share: float) -> Floats:
    """Return c ``(D,)`` such that sigmoid(logits + c) ``(N, D)`` averages to `share`, by bisection.

    The average lies between the values at the smallest and the largest logit, hence the bracket.
    """
    low, high = logit(share) - logits.max(0), logit(share) - logits.min(0)
    for _ in range(60):  # halvings: beyond the precision of a double
        middle = (low + high) / 2
        above = expit(logits + middle).mean(0) > share
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2


def _fixed(make: Any, state: Mapping[str, Floats], **options: Any) -> mechanisms.Mechanism:
    """Return a mechanism with the given parameters, by their names in its state."""
    n_features = len(next(iter(state.values())))
    with torch.random.fork_rng(devices=[]):  # a layer draws start values, which are overwritten
        mechanism: mechanisms.Mechanism = make(n_features, **options).double()
    given = {name: torch.as_tensor(value) for name, value in state.items()}
    mechanism.load_state_dict(mechanism.state_dict() | given)
    return mechanism.requires_grad_(False)


def _missing(mechanism: mechanisms.Mechanism, x: Floats) -> Floats:
    """Return p(s=0 | x) ``(N, D)``."""
    values = torch.as_tensor(x)
    with torch.no_grad():
        probability: Floats = mechanism(values).log_prob(torch.zeros_like(values)).exp().numpy()
    return probability
