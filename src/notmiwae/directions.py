"""In which direction a column goes missing, and how sharply: every column is tried otherwise.

The score of self-masking, η_j = a_j x_j + c_j, is learned from a_j = 0. Where data say little at
that point, or where other columns misled the model of the data, a_j stays near zero or takes the
wrong sign, and hardly ever turns round later: between a_j > 0 and a_j < 0 lies a valley of the
bound. Random starts do not help, since all of the columns must start well.

So columns are tried one by one. From the state in which the mechanism began to learn, short
trainings run side by side: one goes on with the lines (a, c) that were learned; each of the others
has one column turned, whose threshold is put at the other edge of its observed values,

    a_j = ∓A,    c_j = -a_j q_j,    q_j = a low or a high quantile of what is observed of column j.

Turning a column leaves the number of parameters as it is, so that bounds on all rows can be
compared, row by row: z is the mean gain in standard errors. It is an average of two: after a few
steps, when the model of the data has hardly bent to the mechanism yet, and, of those that are not
hopeless then, after more of them.

Values of the columns of a table often go missing for like reasons. How often, those columns say
whose direction is clear: with n₊ of the others clearly in the direction to which a column would be
turned, and n₋ in the one that it has, it is turned if

    z + log (n₊ + 1) / (n₋ + 1) > `CERTAINTY`.

Columns of which a crowd at one value is much of what is seen are not turned: what the bound says of
their direction is about the crowd. But where they *pile up* at an end, as at zero, and any other
value is rare beside that, the end is a limit of the column: had values beyond it gone missing, the
pile would have gone first, or would be their end by chance. They start with missing values on the
other side.

Where values are missing beyond a limit, the mechanism is steep there. What it learns from a_j = 0
often stays flat: while values on this side of the limit are held possible, the model of the data
makes them likely, and a slope of one or two goes well with that. So columns are *sharpened*, too.
Short trainings of the learned model run side by side: one goes on as it is; in each of the others
one column has its threshold where what is seen of it ends, and the slope ±`SHARP`. It starts so
unless the data speak against it, by more than `AGAINST` standard errors: where values go missing
gradually, they do. Where several columns are still flat, each may need the others to be sharp: so
all are tried at once first, from the state in which the mechanism began to learn.

The true values of missing cells have no part in any of this.

Of images, whose cells are many and whose units differ, a direction is tried only if it is told, and
then against none. Between these, bounds differ by little where both explain the gaps: what is told
has to be far from the data to be given up.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from notmiwae.imputation import diagnose
from notmiwae.mechanisms import BentMechanism, SelfMasking, SelfMaskingKnown
from notmiwae.model import LatentVariableModel

STEEPNESS = 2.0
"""A: slope of a turned column per standard deviation."""

EDGE = 0.9
"""Quantile of the observed values at which a column would go missing upwards."""

FIRST_LOOK = 0.2
"""Share of the steps of a short training after which most turns are seen to be hopeless."""

HOPELESS = -3.0
"""Standard errors that a turn has to gain by then."""

MOST = 4
"""So many turns are looked at again at most, the most promising."""

CERTAINTY = 0.5
"""Standard errors that it has to gain to be taken."""

SHARP = 10.0
"""Slope of a sharpened column per standard deviation."""

AGAINST = -1.0
"""Standard errors by which sharpening may fall behind, to be taken nevertheless."""

PILE = 10
"""How many times more frequent than any other value the one is at which a column piles up."""

CLEAR = 4.0
"""Standard errors by which the bounds of both directions differ where one is clear."""

CERTAIN_OF_IMAGES = 2.0
"""Standard errors that no direction has to gain over the one that is told of images."""

N_SAMPLES = 50
N_IMAGE_SAMPLES = 5
"""Importance samples by which bounds are compared, of rows and of images."""

DOUBT = 0.2
"""Nats per missing cell of an image that speak against a direction before it is given up."""

LEAST_SPREAD = 0.01
"""A channel of images has at least this standard deviation."""

MANY = 2**23
"""A quantile is that of no more values than about so many."""

Model = TypeVar("Model", bound=LatentVariableModel)


@dataclass(frozen=True)
class Trials:
    """Short trainings by which starts of a mechanism are compared.

    Attributes
    ----------
    values, mask : Tensor
        All rows ``(N, D)``.
    train : callable
        ``(models, share)``: this share of a short training, of models in place, side by side.
    seed : int
        Of the noise with which bounds are compared.
    n_samples : int
        Importance samples by which they are.
    """

    values: Tensor
    mask: Tensor
    train: Callable[[Sequence[LatentVariableModel], float], object]
    seed: int
    n_samples: int = N_SAMPLES

    def gains(
        self, model: LatentVariableModel, starts: Sequence[Tensor], share: float = 1.0
    ) -> list[Tensor]:
        """Return the gain in bound of each start but the first over it, by row ``(N,)``.

        Parameters
        ----------
        model : LatentVariableModel
            Whose mechanism starts so; it stays as it is.
        starts : sequence of Tensor
            Lines ``(2, D)``.
        share : float
            Of a short training.
        """
        models = [started(model, start) for start in starts]
        self.train(models, share)
        first, *others = map(self._bounds, models)
        return [bounds - first for bounds in others]

    def _bounds(self, model: LatentVariableModel) -> Tensor:
        found = diagnose([model], self.values, self.mask, n_samples=self.n_samples, seed=self.seed)
        return found.log_likelihood

    def seen(self, column: int) -> Tensor:
        """Return what is observed of a column."""
        return self.values[self.mask[:, column] > 0, column]


def can_start(model: LatentVariableModel) -> bool:
    """Whether its mechanism may start from lines: self-masking."""
    return isinstance(model.mechanism, SelfMasking)


def straight(model: LatentVariableModel) -> bool:
    """Whether its mechanism has a direction, one per column.

    One with bends has not: values may go missing at both ends.
    """
    return can_start(model) and not isinstance(model.mechanism, BentMechanism)


def told(model: LatentVariableModel) -> bool:
    """Whether the direction of its mechanism is given."""
    return isinstance(model.mechanism, SelfMaskingKnown)


def undecided(model: LatentVariableModel) -> bool:
    """Whether its mechanism has a direction that is for the data to say."""
    return straight(model) and not told(model)


def lines(model: LatentVariableModel) -> Tensor:
    """Return slopes and intercepts ``(2, D)``."""
    mechanism = model.mechanism
    assert isinstance(mechanism, SelfMasking)
    return torch.stack([mechanism.slope, mechanism.intercept]).detach()


def turn(
    waited: LatentVariableModel, learned: Tensor, columns: Sequence[int], trials: Trials
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
    trials : Trials
    """
    starts = [turned(learned, column, trials.seen(column)) for column in columns]

    def compare(which: Sequence[int], share: float) -> Tensor:
        tries = [learned, *(starts[index] for index in which)]
        return torch.tensor([*map(standard_errors, trials.gains(waited, tries, share))])

    first = compare(range(len(columns)), FIRST_LOOK)
    odds = like_others(learned[0, columns].cpu(), first)
    promise = first + odds
    best = promise.argsort(descending=True)[:MOST]
    hopeful = best[promise[best] > HOPELESS].tolist()
    result = learned.clone()
    for index, second in zip(hopeful, compare(hopeful, 1.0) if hopeful else [], strict=True):
        if (first[index] + second) / 2 + odds[index] > CERTAINTY:
            result[:, columns[index]] = starts[index][:, columns[index]]
    return result


def sharpen_all(
    waited: LatentVariableModel, start: Tensor, columns: Sequence[int], trials: Trials
) -> Tensor:
    """Return the lines ``(2, D)`` with all columns sharp, or else `start` if data object to that.

    Parameters
    ----------
    waited : LatentVariableModel
        As it was before its mechanism learned; it stays so.
    start : Tensor
        Lines ``(2, D)``.
    columns : sequence of int
        Which to sharpen.
    trials : Trials
    """
    sharp = start
    for column in columns:
        if start[0, column].abs() < SHARP:
            sharp = sharpened(sharp, column, trials.seen(column))
    if sharp.equal(start):
        return start
    [gain] = trials.gains(waited, [start, sharp])
    return sharp if standard_errors(gain) > AGAINST else start


def sharpen(
    model: LatentVariableModel, start: Tensor, columns: Sequence[int], trials: Trials
) -> Tensor:
    """Return the lines ``(2, D)`` with those columns sharpened to which data do not object.

    Parameters
    ----------
    model : LatentVariableModel
        That has learned; it stays as it is.
    start : Tensor
        Lines ``(2, D)``. Columns that are turned or sharpened in these are left so.
    columns : sequence of int
        Which to try.
    trials : Trials
    """
    learned = lines(model)
    soft = (start == learned).all(0) & (learned[0].abs() < SHARP)
    tried = [column for column in columns if soft[column]]
    sharp = [sharpened(learned, column, trials.seen(column)) for column in tried]
    result = start.clone()
    gained = trials.gains(model, [learned, *sharp], FIRST_LOOK) if tried else []
    for column, line, gain in zip(tried, sharp, gained, strict=True):
        if standard_errors(gain) > AGAINST:
            result[:, column] = line[:, column]
    return result


def like_others(slopes: Tensor, z: Tensor) -> Tensor:
    """Return the log odds ``(C,)`` by which other columns speak for turning each of C.

    Parameters
    ----------
    slopes : Tensor
        As they are ``(C,)``.
    z : Tensor
        What speaks for turning them ``(C,)``, in standard errors.
    """
    clear = z.abs() > CLEAR
    is_up = slopes > 0
    ups = clear & (is_up != (z > 0))
    up = ups.sum() - ups.long()
    down = clear.sum() - clear.long() - up
    odds = (up + 1).to(z).log() - (down + 1).to(z).log()
    return torch.where(is_up, -odds, odds)


def standard_errors(gain: Tensor) -> float:
    """Return how many standard errors the mean of a gain by row ``(N,)`` is from zero."""
    return (gain.mean() / gain.std() * len(gain) ** 0.5).nan_to_num().item()


def turned(learned: Tensor, column: int, seen: Tensor) -> Tensor:
    """Return the lines ``(2, D)`` with one column turned, of which this is seen."""
    result = learned.clone()
    result[:, column] = at_edge(seen, -STEEPNESS if learned[0, column] > 0 else STEEPNESS)
    return result


def sharpened(learned: Tensor, column: int, seen: Tensor) -> Tensor:
    """Return the lines ``(2, D)`` with one column sharpened, of which this is seen."""
    result = learned.clone()
    result[:, column] = at_edge(seen, SHARP if learned[0, column] > 0 else -SHARP, edge=1.0)
    return result


def at_edge(seen: Tensor, slope: float, edge: float = EDGE) -> Tensor:
    """Return the line ``(2,)`` of this slope whose threshold is at an edge of what is seen.

    That is the quantile `edge` if it goes missing upwards.
    """
    threshold = quantile(seen, edge if slope > 0 else 1 - edge)
    return torch.stack([torch.full_like(threshold, slope), -slope * threshold])


def quantile(seen: Tensor, level: float) -> Tensor:
    """Return a quantile of these values, of evenly spaced ones among them if they are many."""
    return seen[:: 1 + len(seen) // MANY].quantile(level)


def away_from_piles(model: Model, columns: Sequence[int], values: Tensor, mask: Tensor) -> Model:
    """Let those of these columns that pile up at an end start towards the other side.

    If a direction is for the data to say.
    """
    if told(model) or not can_start(model):
        return model
    start = lines(model)
    for column in columns:
        seen = values[mask[:, column] > 0, column]
        if side := open_side(seen):
            start[:, column] = at_edge(seen, side * STEEPNESS)
    return model if start.equal(lines(model)) else started(model, start)


def open_side(seen: Tensor) -> int:
    """Return where further values may lie: above (1) a pile at the low end, below (-1), or 0."""
    found, counts = seen.unique(return_counts=True)
    if len(found) < 2 or counts.max() < PILE * counts.topk(2).values[1]:
        return 0
    return {0: 1, len(found) - 1: -1}.get(int(counts.argmax()), 0)


def start_of_images(waited: Model, n_channels: int, trials: Trials) -> Tensor | None:
    """Return lines from which the mechanism of images starts, or None if it is told no direction.

    By what it is told, values of a channel go missing beyond an edge of those that are seen. That
    holds unless the flat lines that it has gain more than `DOUBT` in a short training.

    Parameters
    ----------
    waited : LatentVariableModel
        As it was before its mechanism learned; it stays so.
    n_channels : int
        C of the D cells.
    trials : Trials
    """
    if not isinstance(waited.mechanism, SelfMaskingKnown):
        return None
    told, flat = beyond_edges(waited, trials.values, trials.mask, n_channels), lines(waited)
    [gain] = trials.gains(waited, [told, flat])
    against = standard_errors(gain - DOUBT * (1 - trials.mask).sum(-1).to(gain))
    return flat if against > CERTAIN_OF_IMAGES else told


def beyond_edges(
    waited: LatentVariableModel, values: Tensor, mask: Tensor, n_channels: int
) -> Tensor:
    """Return the lines ``(2, D)`` by which values go missing beyond the edges of their channel.

    They are the same in all cells of a channel, but for those that never miss a value: these keep
    their share, and have no slope.
    """
    channels = values.unflatten(-1, (n_channels, -1)).unbind(1)
    known = mask.bool().unflatten(-1, (n_channels, -1)).unbind(1)
    # Of a channel that is nowhere seen, zeros stand for what is.
    seen = [x[s] if s.any() else x.flatten() for x, s in zip(channels, known, strict=True)]
    slopes = [STEEPNESS / max(x.std().item(), LEAST_SPREAD) for x in seen]
    high, low = (
        torch.stack(
            [at_edge(x, sign * a) for x, a in zip(seen, slopes, strict=True)], dim=-1
        ).repeat_interleave(channels[0].shape[-1], dim=-1)
        for sign in (1, -1)
    )
    mechanism = waited.mechanism
    assert isinstance(mechanism, SelfMaskingKnown)
    told = torch.where(mechanism.sign > 0, high, low)
    return torch.where(mechanism.learns > 0, told, lines(waited))


def started(waited: Model, start: Tensor) -> Model:
    """Return a copy whose mechanism starts at these lines ``(2, D)``.

    If it can bend, no steeper than a turned column: it could not bend a steep line any more.
    """
    model = copy.deepcopy(waited)
    assert isinstance(model.mechanism, SelfMasking)
    if isinstance(model.mechanism, BentMechanism):
        start = start * (STEEPNESS / start[0].abs().clamp_min(STEEPNESS))
    model.mechanism.start_from(start)
    return model
