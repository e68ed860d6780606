"""What the imputers of `notmiwae.imputers` share: from a table to models, and from these to values.

To fit is to read the table, to train models with each mechanism that is compared, and to choose
(`notmiwae.ensembles`, `notmiwae.selection`). To fill, draw or diagnose is to stream rows through
the models that are averaged (`notmiwae.imputation`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from tqdm.auto import tqdm

from notmiwae import diagnostics, frames, imputation, resampling, statements, storage
from notmiwae.assembly import build_model, choose_device, crowded
from notmiwae.directions import lines, straight
from notmiwae.ensembles import Course, Trained, explore
from notmiwae.mechanisms import MECHANISMS
from notmiwae.model import LatentVariableModel
from notmiwae.reading import TableReader, check_types, is_nan
from notmiwae.rehearsal import Rehearsal, rehearse
from notmiwae.selection import CANDIDATES, select, typical_bounds
from notmiwae.training import OPTIMIZERS, SCHEDULES, History, apart, seeded
from notmiwae.validation import check_number, lookup, resolve

Imputer = TypeVar("Imputer", bound="LatentVariableImputer")

MECHANISM_NAMES = ["auto", *MECHANISMS]
ESTIMATORS = [*imputation.MEANS, "median"]
ROWS_PER_SEED = 4096
"""So many rows share a stream of noise, the next ones have another: batches of that many rows are
imputed as the whole table is."""

LINEAR = ", linear decoder"
"""What follows the name of a mechanism in that of models with a linear decoder."""

PRIOR_ROWS = 300
"""Weight decay times the number of rows, unless it is given."""

COUNTS = (
    "n_models",
    "n_samples",
    "max_steps",
    "batch_size",
    "evaluate_every",
    "n_impute_samples",
)
TRAINING = (
    "n_samples",
    "batch_size",
    "learning_rate",
    "mechanism_rate",
    "weight_decay",
    "optimizer",
    "schedule",
    "clip_norm",
    "evaluate_every",
    "patience",
)


class LatentVariableImputer(TransformerMixin, TableReader):
    """What the imputers share: everything but the mechanism.

    `NotMIWAEImputer` documents the parameters.
    """

    def fit(self, X: Any, y: Any = None) -> Any:
        """Learn a model of the table and of its holes.

        Parameters
        ----------
        X : array or DataFrame of shape (N, D)
            Numbers, with `missing_values` where missing; or a frame whose columns may hold labels,
            truth values and counts as well, see `types`.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a hyper-parameter or the table cannot be used; the message says what to do.
        """
        self._check_parameters()
        self.device_ = choose_device(self.device)
        x = self._read(X, reset=True)
        self._learn_columns(x)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        values, mask = (part.to(self.device_) for part in self.preprocessing_.to_model(x))
        self.missing_share_ = (1 - mask).mean(0).cpu().numpy()
        with seeded(self.seed_):
            example = self._build(next(iter(self._candidates())))
        self._check_support(example.to(self.device_).observation, values, mask)
        self._train_candidates(values, mask)
        return self

    def _train_candidates(self, values: Tensor, mask: Tensor) -> None:
        """Train a model with each mechanism, choose, and average over enough of them."""
        courses = {name: self._course(name, values, mask) for name in self._candidates()}
        self.candidates_, start = explore(courses)
        rows = {
            name: course.held_out_bounds(0, self.candidates_[name].models[0])
            for name, course in courses.items()
        }
        self.selection_ = select(typical_bounds(rows), n_columns=int((mask == 0).any(0).sum()))
        self.mechanisms_: list[str] = []
        self.models_: list[LatentVariableModel] = []
        self.histories_: list[History] = []
        for name, models in self._to_average(courses, start).items():
            self._average(name, courses[name], models)
        self.rehearsal_ = self._rehearse(courses[self.selection_.chosen])

    def _average(
        self, name: str, course: Course, models: Mapping[int, LatentVariableModel]
    ) -> None:
        """Let models of a mechanism, by number, learn on, and average with those that are there."""
        histories = course.go_on([*models.values()], [*models])
        self.candidates_[name] = Trained([models[0]], histories[:1])
        self.mechanisms_ += [name] * len(models)
        self.models_ += models.values()
        self.histories_ += histories

    def _rehearse(self, course: Course) -> Rehearsal | None:
        """Try a linear decoder; if that is called for, average with as many models that have one.

        Parameters
        ----------
        course : Course
            Of the mechanism that was chosen.
        """
        leader = self.models_[0]
        if self._settings()["decoder"] != "auto" or self.bootstrap or not straight(leader):
            return None
        name = self.selection_.chosen + LINEAR
        linear = self._course(name, course.values, course.mask)
        rehearsal = rehearse(course, linear, leader)
        if rehearsal is not None and rehearsal.calls_for_linear:
            numbers = range(len(self.models_))
            models = linear.train(numbers, lines(leader)).models
            self._average(name, linear, dict(zip(numbers, models, strict=True)))
        return rehearsal

    def _to_average(
        self, courses: dict[str, Course], start: Tensor | None
    ) -> dict[str, dict[int, LatentVariableModel]]:
        """Return the models that are averaged, by mechanism and number."""
        chosen = self.selection_.chosen
        # A bootstrap sample is of one model: the mechanisms were compared on the same.
        names = [chosen] if self.bootstrap else self.selection_.averaged
        first = {name: self.candidates_[name].models[0] for name in names}
        leader = first[chosen]
        numbers = range(1, 1 + self.n_models - len(names))
        others = courses[chosen].train(numbers, lines(leader) if straight(leader) else start)
        kept = {name: {0: model} for name, model in first.items()}
        # Bounds on rows of their own differ by these rows, too: there, all of the models count.
        best = self.candidates_[chosen].histories[0].held_out_bound
        kept[chosen] |= {
            number: model
            for number, model, history in zip(numbers, *others[:2], strict=True)
            if self.bootstrap or self.selection_.keeps(history.held_out_bound, best)
        }
        return kept

    @property
    def model_(self) -> LatentVariableModel:
        """The first of the models."""
        return self.models_[0]

    @property
    def history_(self) -> History:
        """The first model's history."""
        return self.histories_[0]

    def transform(self, X: Any) -> Any:
        """Fill missing cells; observed ones come back as they are.

        Parameters
        ----------
        X : array or DataFrame of shape (N, D)

        Returns
        -------
        array of shape (N, D)
            Or a DataFrame, see ``set_output``; indicators follow if ``add_indicator``. A frame
            whose columns are not all numbers comes back as it was, with its types, index and
            categories, but for the holes.
        """
        return self._transformed(X, self._read(X))

    def transform_batches(
        self, batches: Iterable[Any], n_draws: int | None = None
    ) -> Iterator[np.ndarray]:
        """Fill a table that comes in batches of rows, of which only one is held in memory.

        Equal to what `transform` or `sample` make of the whole table if each batch but the last
        has a multiple of 4096 rows, since so many rows share a stream of random numbers. Other
        batches differ from it as another `random_state` would.

        Parameters
        ----------
        batches : iterable of array or DataFrame of shape (n, D)
            Rows of one table, in their order.
        n_draws : int, optional
            As many completed tables, as from `sample`; without it one, as from `transform`.

        Yields
        ------
        array of shape (n, D) or (n_draws, n, D)
        """
        check_is_fitted(self)
        first = 0
        for X in batches:
            x = self._read(X)
            if n_draws is None:
                yield self._transformed(X, x, first)
            else:
                yield self._drawn(X, x, n_draws, first)
            first += len(x)

    def _transformed(self, X: Any, x: np.ndarray, first_row: int = 0) -> Any:
        return self._finished(X, x, self._fill(x, self._estimate, first_row))

    def sample(self, X: Any, n_draws: int = 10) -> np.ndarray:
        """Draw completed tables: multiple imputations, from the models in turn.

        With ``bootstrap=True``, and no more draws than models, they are what `notmiwae.pool` needs.

        Parameters
        ----------
        X : array or DataFrame of shape (N, D)
        n_draws : int

        Returns
        -------
        array of shape (n_draws, N, D), or list of frames
            Observed cells are the same in every draw. Frames where not all columns are numbers.
        """
        check_is_fitted(self)
        return self._drawn(X, self._read(X), n_draws)

    def _drawn(self, X: Any, x: np.ndarray, n_draws: int, first_row: int = 0) -> Any:
        check_number("n_draws", n_draws, at_least=1, whole=True)
        draws = partial(self._streamed(imputation.draws), n_draws=n_draws)
        filled = self._fill(x, draws, first_row)
        if self.schema_ is None:
            return filled
        tables = [self._as_given(X, draw) for draw in filled]
        return tables if frames.is_frame(X) else np.stack(tables)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Give each missing cell an interval that holds its value with probability `coverage`.

        Parameters
        ----------
        X : array or DataFrame of shape (N, D)
        coverage : float
            Between 0 and 1; equal tails.

        Returns
        -------
        array of shape (N, D, 2)
            Lower and upper ends; both equal the value where it is observed. NaN for labels.
        """
        check_is_fitted(self)
        check_number("coverage", coverage, above=0, below=1)
        levels = [(1 - coverage) / 2, (1 + coverage) / 2]
        quantiles = partial(self._streamed(imputation.quantiles), levels=levels)
        ends = self._fill(
            self._read(X),
            lambda values, mask, **options: quantiles(values, mask, **options).movedim(-1, 0),
        )
        if self.schema_ is not None:
            ends = self.schema_.numbers(ends)
        return np.moveaxis(ends, 0, -1)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean bound on the log-likelihood per row of values and mask, in nats: higher is better.

        In standardised units; comparable between models of the same columns.
        """
        values, mask = self._to_model(self._read(X))
        return self._streamed(imputation.diagnose)(values, mask).log_likelihood.mean().item()

    def diagnose(self, X: Any) -> pd.DataFrame:
        """Say of each row how far its imputation can be trusted.

        Parameters
        ----------
        X : array or DataFrame of shape (N, D)

        Returns
        -------
        DataFrame
            One line per row: ``n_missing``; ``effective_sample_size``, the draws that its
            imputation rests on, of `n_impute_samples`; ``pareto_k``, beyond 0.7 of which their
            average does not converge (NaN without the extra ``diagnostics``); ``disagreement``
            between the models of an ensemble, in standard deviations of the observed values (NaN
            for one model); and ``trusted``, False where one of these is bad.

        Warns
        -----
        UserWarning
            If more than one row in twenty is not trusted.
        """
        values, mask = self._to_model(self._read(X))
        table = diagnostics.examine(self._streamed, values, mask)
        return table.set_axis(X.index) if isinstance(X, pd.DataFrame) else table

    def missing_probability(self, column: str | int, values: Any) -> np.ndarray:
        """Return the learned probability that a column is missing where it has these values.

        Where the mechanism looks at other columns too, they are at the mean of their observed
        values. Averaged over the models of an ensemble; NaN if no mechanism is modelled.

        Parameters
        ----------
        column : str or int
            Name or number.
        values : array of shape (V,)
            In the table's units, or labels.

        Returns
        -------
        array of shape (V,)
        """
        check_is_fitted(self)
        return self._missing_curves(column, values).mean(0)

    def mechanism_summary(self) -> pd.DataFrame:
        """Describe in numbers and words what was learned of why values are missing.

        Returns
        -------
        DataFrame
            One line per column that had missing values: their ``share``; ``finding``, in words;
            ``at_low``, ``at_mean`` and ``at_high``, the learned probability of being missing two
            standard deviations below the mean of the observed values, at it, and above it;
            ``threshold``, the value at which it passes one half, and ``slope``, of the score per
            standard deviation, for mechanisms that have these; ``spread``, the largest standard
            deviation of the three probabilities between the models of an ensemble. For labels, the
            finding names those that go missing most and least often.
        """
        check_is_fitted(self)
        shares = pd.Series(self.missing_share_, self._names()[self.preprocessing_.modelled])
        return diagnostics.summarise(
            self.models_, shares, self.preprocessing_.mean, self.preprocessing_.std, self._kinds()
        )

    def under(self, mechanism: str) -> Any:
        """Return a copy that fills by one of the mechanisms that were compared, and by it alone.

        How far imputations hang on the choice of a mechanism can be seen so, without another fit.
        Only what is averaged has learned on.

        Parameters
        ----------
        mechanism : str
            A name in ``selection_.bounds`` or in ``mechanisms_``.

        Raises
        ------
        ValueError
            If it was not compared; or if the imputer was loaded from a folder, which keeps only
            what is averaged.
        """
        check_is_fitted(self)
        [model], [history], _ = lookup("mechanism", mechanism, self.candidates_)
        other = copy.copy(self)
        other.models_, other.histories_, other.mechanisms_ = [model], [history], [mechanism]
        other.rehearsal_ = None
        return other

    def save(self, path: str | Path) -> None:
        """Write the fitted imputer to a folder: JSON and safetensors, nothing pickled.

        Raises
        ------
        TypeError
            If a parameter is a callable, which a file cannot hold.
        """
        check_is_fitted(self)
        storage.save(self, path)

    @classmethod
    def load(cls: type[Imputer], path: str | Path) -> Imputer:
        """Read what `save` wrote.

        Raises
        ------
        ModelFileError
            If files are missing, damaged, from a newer version, or of another imputer.
        """
        kinds = {kind.__name__: kind for kind in LatentVariableImputer.__subclasses__()}
        return storage.load(cls, kinds, path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _check_parameters(self) -> None:
        for name in COUNTS:
            check_number(name, getattr(self, name), at_least=1, whole=True)
        try:
            for width in self.hidden:
                check_number("hidden", width, at_least=1, whole=True)
        except (TypeError, ValueError):
            raise ValueError(
                f"hidden must be a sequence of layer widths, whole numbers at least 1; got "
                f"{self.hidden!r}"
            ) from None
        check_number("missing_values", 0 if is_nan(self.missing_values) else self.missing_values)
        for name in ("n_latent", "patience"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=1, whole=True)
        for name in ("learning_rate", "mechanism_rate", "scale_floor", "clip_norm"):
            check_number(name, self._settings()[name], above=0)
        if self.weight_decay is not None:
            check_number("weight_decay", self.weight_decay, at_least=0)
        check_number("validation_fraction", self.validation_fraction, at_least=0, below=1)
        lookup("estimator", self.estimator, dict.fromkeys(ESTIMATORS))
        lookup("optimizer", self.optimizer, OPTIMIZERS)
        resolve("schedule", self.schedule, SCHEDULES)
        statements.check(self._settings()["mechanism"])
        check_types(self.types)
        if statements.uses_auto(self._settings()["mechanism"]) and not self.validation_fraction:
            raise ValueError(
                "mechanism='auto' compares mechanisms on held-out rows: give validation_fraction "
                "above 0, or name a mechanism"
            )

    def _candidates(self) -> dict[str, Any]:
        """Mechanisms to compare, by name: several if that of a column with holes is open."""
        mechanism = self._settings()["mechanism"]
        names = self._names()[self.preprocessing_.modelled]
        if statements.uses_auto(mechanism, names[self.missing_share_ > 0]):
            return {
                name: statements.with_candidate(mechanism, candidate)
                for name, candidate in CANDIDATES.items()
            }
        if isinstance(mechanism, str):
            return {mechanism: mechanism}
        if isinstance(mechanism, Mapping):
            return {"by column": statements.with_candidate(mechanism, "ignorable")}
        return {"given": mechanism}

    def _settings(self) -> dict[str, Any]:
        """Parameters by name, with those of a mechanism."""
        return {
            "mechanism": "ignorable",
            "integrate": "auto",
            "mechanism_rate": 1.0,
            **self.get_params(deep=False),
        }

    def _build(self, name: str) -> LatentVariableModel:
        candidate, linear, _ = name.partition(LINEAR)
        mechanism = self._candidates()[candidate]
        settings = {**self._settings(), "mechanism": mechanism}
        if linear:
            settings["decoder"] = "linear"
        share = torch.as_tensor(self.missing_share_)
        return build_model(settings, self.preprocessing_, share, self._described(mechanism))

    def _course(self, name: str, values: Tensor, mask: Tensor) -> Course:
        """Say how the models of a mechanism are trained."""
        settings = self._settings()
        incomplete, crowds = self.missing_share_ > 0, crowded(self.preprocessing_)
        return Course(
            build=partial(self._build, name),
            values=values,
            mask=mask,
            rows=partial(self._rows, n_rows=len(values)),
            seed=self.seed_,
            max_steps=self.max_steps,
            settings={
                "weight_decay": PRIOR_ROWS / len(values),
                **{key: settings[key] for key in TRAINING if settings[key] is not None},
            },
            turnable=np.flatnonzero(incomplete & ~crowds).tolist(),
            crowded=np.flatnonzero(incomplete & crowds).tolist(),
            # Many small blocks of columns: most of a step is the cost of calling operations.
            side_by_side=self.bootstrap or self.schema_ is not None,
            name=name if self.verbose else None,
            checkpoint=self.checkpoint and str(Path(self.checkpoint) / name),
        )

    def _rows(self, index: int, n_rows: int) -> resampling.Rows:
        """Rows of a model: its own bootstrap sample, or the same for all.

        Where they are the same, bounds on held-out rows can be compared between models.
        """
        if self.bootstrap:
            return resampling.bootstrap(n_rows, self.validation_fraction, self.seed_ + index)
        return resampling.split(n_rows, self.validation_fraction, self.seed_)

    def _missing_curves(self, column: str | int, values: Any) -> np.ndarray:
        """Learned probabilities ``(number of models, V)``; see `missing_probability`."""
        scaled = torch.as_tensor(self._encoded(column, values)).to(torch.get_default_dtype())
        names = self._names()[self.preprocessing_.modelled].tolist()
        return diagnostics.missing_curve(
            self.models_, len(names), names.index(column), scaled
        ).numpy()

    def _streamed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Bind the model and the settings of imputation to one of its functions."""
        return partial(
            function,
            self.models_,
            n_samples=self.n_impute_samples,
            seed=self.seed_,
            progress=self.verbose,
        )

    def _estimate(self, values: Tensor, mask: Tensor, **options: Any) -> Tensor:
        estimator = "conditional-mean" if self.estimator == "median" else self.estimator
        mean = self._streamed(imputation.conditional_mean)
        unordered = torch.tensor([kind.unordered for kind in self._kinds()])
        if self.estimator != "median" or unordered.any():
            settled = self._settled(mean(values, mask, estimator=estimator, **options))
        if self.estimator != "median":
            return settled
        quantiles = self._streamed(imputation.quantiles)
        medians: Tensor = quantiles(values, mask, levels=[0.5], **options).squeeze(-1)
        # Of categories without an order, the most probable.
        return torch.where(unordered, settled, medians) if unordered.any() else medians

    def _settled(self, expected: Tensor) -> Tensor:
        """Return one value per cell for what is expected of it."""
        observation = self.model_.observation
        return observation.settle(expected.to(self.device_)).cpu()

    def _fill(
        self, x: np.ndarray, estimate: Callable[..., Tensor], first_row: int = 0
    ) -> np.ndarray:
        """Fill rows that have a hole with `estimate`, ``(..., N, D)`` for values, mask and a seed.

        `first_row` is the number of the first row in a table of which these are a batch.
        """
        starts = range(0, len(x), ROWS_PER_SEED)
        one = len(starts) == 1
        bar = tqdm(starts, desc="imputing", unit="block", disable=one or not self.verbose)
        parts = [
            self._fill_block(
                x[start : start + ROWS_PER_SEED],
                partial(
                    estimate,
                    seed=apart(self.seed_, (first_row + start) // ROWS_PER_SEED),
                    progress=one and self.verbose,
                ),
            )
            for start in bar
        ]
        return np.concatenate(parts, axis=-2)

    def _fill_block(self, x: np.ndarray, estimate: Callable[..., Tensor]) -> np.ndarray:
        values, mask = self._to_model(x)
        holes = (mask == 0).any(1)
        if not holes.any():
            holes = torch.arange(len(x)) < 1
        estimated = estimate(values[holes], mask[holes])
        completed = values.expand(*estimated.shape[:-2], *values.shape).clone()
        completed[..., holes, :] = estimated
        return self._from_model(x, completed)
