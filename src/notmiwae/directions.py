"""In which direction a column goes missing: every column is tried the other way round.

The score of self-masking, η_j = a_j x_j + c_j, is learned from a_j = 0. Where data say little at
that point, or where other columns misled the model of the data, a_j stays near zero or takes the
wrong sign, and hardly ever turns round later: between a_j > 0 and a_j < 0 lies a valley of the
bound. Random starts do not help, since all of the columns must start well.

So columns are tried one by one. From the state in which the mechanism began to learn, short
trainings run side by side: one goes on with the lines (a, c) that were learned; each of the others
has one column turned, whose threshold is put at the other edge of its observed values,

    a_j = ∓A,    c_j = -a_j q_j,    q_j = a low or a high quantile of what is observed of column j.

Turning a column leaves the number of parameters as it is, so that bounds on all rows can be
compared, row by row; a turn is taken where the mean gain exceeds `CERTAINTY` standard errors.
Columns of which a crowd at one value is most of what is seen are left as they are: what the bound
says of their direction is about the crowd. The true values of missing cells have no part in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from notmiwae.imputation import diagnose
from notmiwae.mechanisms import BentMechanism, SelfMasking, SelfMaskingKnown
from notmiwae.model import LatentVariableModel

STEEPNESS = 2.0
"""A: slope of a turned column per standard deviation."""

EDGE = 0.9
"""Quantile of the observed values at which a column would go missing upwards."""

CERTAINTY = 2.0
"""A turn has to gain so many standard errors."""

N_SAMPLES = 50

Train = Callable[[Sequence[LatentVariableModel]], object]
"""Trains models in place, side by side."""


def can_start(model: LatentVariableModel) -> bool:
    """Whether its mechanism may start from lines: self-masking whose direction is not given."""
    kind = model.mechanism
    return isinstance(kind, SelfMasking) and not isinstance(kind, SelfMaskingKnown)


def undecided(model: LatentVariableModel) -> bool:
    """Whether its mechanism has a direction, one per column, that is for the data to say.

    One with bends has not: it may go missing at both ends.
    """
    return can_start(model) and not isinstance(model.mechanism, BentMechanism)


def lines(model: LatentVariableModel) -> Tensor:
    """Return slopes and intercepts ``(2, D)``."""
    mechanism = model.mechanism
    assert isinstance(mechanism, SelfMasking)
    return torch.stack([mechanism.weight, mechanism.intercept]).detach().clone()


def turn(
    waited: LatentVariableModel,
    learned: Tensor,
    columns: Sequence[int],
    values: Tensor,
    mask: Tensor,
    train: Train,
    seed: int,
) -> Tensor:
    """Return the lines ``(2, D)`` with those columns turned for which that pays.

    Parameters
    ----------
    waited : LatentVariableModel
        As it was before its mechanism learned; it stays so.
    learned : Tensor
        The lines that it learned ``(2, D)``.
    columns : sequence of int
        Which to try.
    values, mask : Tensor
        All rows ``(N, D)``.
    train : callable
        A short training.
    seed : int
        Of the noise with which bounds are compared.
    """
    tries = [learned, *(turned(learned, column, values, mask) for column in columns)]
    models = [started(waited, start) for start in tries]
    train(models)
    kept, *others = (
        diagnose([model], values, mask, n_samples=N_SAMPLES, seed=seed).log_likelihood
        for model in models
    )
    result = learned.clone()
    for column, bounds, start in zip(columns, others, tries[1:], strict=True):
        gain = bounds - kept
        if gain.mean() > CERTAINTY * gain.std() / len(gain) ** 0.5:
            result[:, column] = start[:, column]
    return result


def turned(learned: Tensor, column: int, values: Tensor, mask: Tensor) -> Tensor:
    """Return the lines ``(2, D)`` with one column turned."""
    result = learned.clone()
    slope = -STEEPNESS if learned[0, column] > 0 else STEEPNESS
    seen = values[mask[:, column] > 0, column]
    edge = seen.quantile(EDGE if slope > 0 else 1 - EDGE)
    result[:, column] = torch.stack([torch.full_like(edge, slope), -slope * edge])
    return result


def started(waited: LatentVariableModel, start: Tensor) -> LatentVariableModel:
    """Return a copy whose mechanism starts at these lines ``(2, D)``.

    If it can bend, no steeper than a turned column: it could not bend a steep line any more.
    """
    model = copy.deepcopy(waited)
    assert isinstance(model.mechanism, SelfMasking)
    if isinstance(model.mechanism, BentMechanism):
        start = start * (STEEPNESS / start[0].abs().clamp_min(STEEPNESS))
    with torch.no_grad():
        model.mechanism.weight.copy_(start[0])
        model.mechanism.intercept.copy_(start[1])
    return model
