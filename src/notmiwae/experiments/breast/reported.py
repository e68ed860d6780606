"""The report's models, trained with its settings: right, or with its faults switched on.

Two hidden layers of 128, ten latent dimensions, zeros for missing cells, a decoder of mean and
scale, a logit mechanism, missing cells drawn; Adam at 1e-4 in one cycle (a fifth of it warming up),
500 epochs of batches of 32. The values are standardised by the complete training rows, as there.

One model is trained on all tables and with all seeds side by side, see `notmiwae.stacking`.

What the report does not say, or says and does not do, is ours: five draws (it asked for as many as
there are training rows, 455, and its code took as many as the batch has rows); a mechanism that
starts at the columns' shares of missing values; no scale below 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from notmiwae.bounds import importance_weighted
from notmiwae.encoders import ZeroFill
from notmiwae.experiments.breast import faults as faulty
from notmiwae.experiments.breast.faults import NONE, Faults, FaultyModel
from notmiwae.experiments.breast.problem import Problem, Rows, binarised, learned_curves, scores
from notmiwae.mechanisms import MECHANISMS
from notmiwae.model import LatentVariableModel
from notmiwae.observations import OBSERVATIONS, Bernoulli, Observation
from notmiwae.training import fit_together, one_cycle, seeded

N_LATENT = 10
EPOCHS = 500
BATCH = 32
TRAINING: dict[str, Any] = {
    "n_samples": 5,
    "batch_size": BATCH,
    "learning_rate": 1e-4,
    "mechanism_rate": 1.0,
    "weight_decay": 0.0,
    "optimizer": "adam",
    "clip_norm": math.inf,
}
CYCLE = {"pct_start": 0.2, "final_div_factor": 1e4}
LOOKS = 20
"""How often the errors are looked at while training, beside once after the first epoch."""
DRAWS, DRAWS_OF_A_LOOK = 1000, 50


class Effort(NamedTuple):
    """How much work a fit may be.

    Attributes
    ----------
    n_epochs : int
        Of the report's training.
    quick_baselines : bool
        Whether missForest has fewer trees and rounds.
    settings : mapping
        What the imputers are given beside their defaults.
    """

    n_epochs: int = EPOCHS
    quick_baselines: bool = False
    settings: Mapping[str, Any] = MappingProxyType({})


class Start(NamedTuple):
    """What a fit starts from.

    Attributes
    ----------
    problem : Problem
    seed : int
    """

    problem: Problem
    seed: int


class Fit(NamedTuple):
    """A method that was fitted to a problem.

    Attributes
    ----------
    metrics : mapping of str to float
    arrays : mapping of str to array
        What figures need: ``imputed`` held-out rows ``(N, D)``, the learned ``missingness``
        ``(number of amputed columns, G)``, and curves of training.
    notes : tuple of str
    """

    metrics: Mapping[str, float]
    arrays: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def fit_report(
    mechanism: str,
    observation: str,
    faults: Faults,
    starts: Sequence[Start],
    effort: Effort,
) -> list[Fit]:
    """Train one of the report's models from each start, look at errors meanwhile, and score.

    Beside the errors of the last weights there are those of the best look,
    ``rmse_best_seen``, which takes the true values to know, and the share of the training after
    which it was seen.
    """
    models = build_all(starts, mechanism, observation, faults)
    looks = [
        Looks(problem, partial(fill_rows, model, faults))
        for (problem, _), model in zip(starts, models, strict=True)
    ]
    for step in stages(models, starts, effort.n_epochs, faulty.bound(faults)):
        for taken in looks:
            taken.take(step)
    return [_score(model, faults, taken) for model, taken in zip(models, looks, strict=True)]


@dataclass
class Looks:
    """Steps of a training, and errors there: on held-out rows, and by own thresholds."""

    problem: Problem
    fill: Callable[..., np.ndarray]
    step: list[int] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    seen_own_thresholds: list[float] = field(default_factory=list)

    def take(self, step: int) -> None:
        """Look at the true values."""
        self.step.append(step)
        for errors, rows in (
            (self.seen, self.problem.held_out),
            (self.seen_own_thresholds, self.problem.leaky["own_thresholds"]),
        ):
            errors.append(rows.error(self.fill(rows.holes, DRAWS_OF_A_LOOK)))


def _score(model: LatentVariableModel, faults: Faults, looks: Looks) -> Fit:
    """Return the errors of the last weights and of the best look."""
    step, seen, own = looks.step, looks.seen, looks.seen_own_thresholds
    chosen_by = own if "selection" in faults else seen
    metrics, imputed = scores(looks.problem, looks.fill)
    metrics |= {
        "rmse_best_seen": min(metrics["rmse"], *seen),
        "rmse_best_seen_own_thresholds": min(metrics["rmse_own_thresholds"], *own),
        "best_seen_at": step[int(np.argmin(chosen_by))] / step[-1],
        "n_mechanism_weights": n_weights(model),
    }
    if "selection" in faults:
        metrics["rmse"] = metrics["rmse_best_seen_own_thresholds"]
    missingness = learned_curves(model.mechanism, looks.problem, imputed)
    arrays = {"imputed": imputed, "missingness": missingness, "step": step}
    return Fit(metrics, {**arrays, "errors_seen": chosen_by})


def fit_binary(mechanism: str, starts: Sequence[Start], effort: Effort) -> list[Fit]:
    """Train the model that the report could not from each start, on zeros and ones.

    A missing cell is summed over its two values, so that nothing has to be drawn with a gradient.
    """
    starts = [Start(binarised(problem), seed) for problem, seed in starts]
    models = build_all(starts, mechanism, "bernoulli")
    for _ in stages(models, starts, effort.n_epochs):
        pass
    return [
        score_binary(problem.held_out, fill_rows(model, NONE, problem.held_out.holes))
        for (problem, _), model in zip(starts, models, strict=True)
    ]


def score_binary(rows: Rows, imputed: np.ndarray) -> Fit:
    """Score probabilities of a one: their RMSE, and how often the likelier value is wrong."""
    truth, guess = rows.truth[rows.missing], imputed[rows.missing] > 0.5
    return Fit({"rmse": rows.error(imputed), "error_rate": float((guess != truth).mean())}, {})


def to_model(holes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return zero-filled values and mask ``(N, D)``."""
    mask = torch.from_numpy(~np.isnan(holes))
    x = torch.from_numpy(np.nan_to_num(holes))
    return x.to(torch.get_default_dtype()), mask.to(torch.get_default_dtype())


def build_all(
    starts: Sequence[Start], mechanism: str, observation: str, faults: Faults = NONE
) -> list[LatentVariableModel]:
    """Put a model together for each start, whose seed start values come from."""
    models = []
    for problem, seed in starts:
        _, mask = to_model(problem.training.holes)
        with seeded(seed):
            models.append(build(mechanism, observation, mask, faults))
    return models


def build(
    mechanism: str, observation: str, mask: Tensor, faults: Faults = NONE
) -> LatentVariableModel:
    """Put a model together for training rows with this mask ``(N, D)``."""
    n_features = mask.shape[1]
    decoder = faulty.decoder(faults, N_LATENT, n_features)
    explanation: Any = MECHANISMS[mechanism]
    parts = (
        ZeroFill(n_features, N_LATENT),
        build_observation(observation, n_features, decoder),
        explanation(n_features, link="logit"),
    )
    parts[-1].start(1 - mask.mean(0))
    if observation == "bernoulli":
        return LatentVariableModel(*parts)
    return FaultyModel(*parts, faults=faults)


def build_observation(name: str, n_features: int, decoder: Callable[[int], Any]) -> Observation:
    """Return p(x | z), whose scale, where there is one, is a function of z."""
    family: Any = OBSERVATIONS[name]
    options = {} if family is Bernoulli else {"scale": "network"}
    observation: Observation = family(n_features, decoder, **options)
    return observation


def n_weights(model: LatentVariableModel) -> int:
    """Number of trainable weights of the mechanism."""
    return sum(weights.numel() for weights in model.mechanism.parameters())


def stages(
    models: Sequence[LatentVariableModel],
    starts: Sequence[Start],
    n_epochs: int,
    bound: Callable[[Tensor], Tensor] = importance_weighted,
) -> Iterator[int]:
    """Train each model on the rows of its start, and pause for every look, at these steps.

    The schedule is that of the whole. By way of checkpoints, through which a training goes on as if
    it had not been interrupted.
    """
    x, mask, rows = one_table([start.problem.training.holes for start in starts])
    per_epoch = math.ceil(rows.shape[1] / BATCH)
    n_steps = n_epochs * per_epoch
    pauses = {math.ceil(n_steps * look / LOOKS) for look in range(1, LOOKS + 1)}
    seeds = [start.seed for start in starts]
    train = partial(fit_together, models, x, mask, rows=rows, bound=bound, seeds=seeds, **TRAINING)
    with TemporaryDirectory() as folder:
        for step in sorted({per_epoch, *pauses}):
            train(
                max_steps=step,
                evaluate_every=n_steps,
                schedule=lambda optimizer, _: one_cycle(optimizer, n_steps, **CYCLE),
                checkpoint=Path(folder, "models.safetensors"),
            )
            yield step


def one_table(parts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """Return zero-filled values and mask of several tables ``(R, D)``, and the rows of each."""
    x, mask = to_model(np.concatenate(parts))
    return x, mask, torch.arange(len(x)).view(len(parts), -1)


def fill_rows(
    model: LatentVariableModel, faults: Faults, holes: np.ndarray, n_samples: int = DRAWS
) -> np.ndarray:
    """Fill rows ``(N, D)`` that have NaN."""
    x, mask = to_model(holes)
    with seeded(0):
        imputed = faulty.impute(model, x, mask, faults, n_samples=n_samples, batch_size=BATCH)
    return np.where(np.isnan(holes), imputed.double().numpy(), holes)
