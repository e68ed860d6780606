"""How far a decoder can be trusted beyond what is seen, rehearsed on what is seen.

Where values are missing beyond an edge, the model of the data is asked for what lies there, and has
seen nothing of it. A flexible decoder goes on in one way, a linear one in another, and bounds do
not say which is right: both explain what is seen, and agree that the rest lies beyond. But it can
be rehearsed. Of what is seen of each column, the outermost share `SHARE` is hidden as well, as if
the edge were nearer. A model with each decoder learns from the rest, with a mechanism that starts
at that edge, and fills what is hidden, whose values are known.

Let e and l be by how much the decoder and a linear one miss these. Their average with the share

    w = -Σ e (l - e) / Σ (l - e)²,   cut off at 0 and 1,

of the linear one misses them least. If more than half of it is linear, models with a linear decoder
are averaged with the others.

True values of missing cells have no part in this: what is hidden was observed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from notmiwae.directions import SHARP, at_edge, lines, quantile
from notmiwae.ensembles import Course
from notmiwae.imputation import conditional_mean
from notmiwae.model import LatentVariableModel

SHARE = 0.4
"""Of what is seen of a column, so much is hidden in a rehearsal."""

FEWEST_ROWS = 600
"""With fewer, weight decay keeps the decoder near a line anyway, and little would be left."""

MOST_ROWS = 2048
"""No more than about so many are filled."""

N_SAMPLES = 100
"""Importance samples with which a rehearsal fills."""


@dataclass(frozen=True)
class Rehearsal:
    """How two decoders did.

    Attributes
    ----------
    error : float
        Root mean squared error of the decoder over what was seen and hidden, in standard
        deviations.
    linear_error : float
        That of a linear one.
    linear_share : float
        Share of the linear one in their best average, w.
    """

    error: float
    linear_error: float
    linear_share: float

    @property
    def calls_for_linear(self) -> bool:
        """Whether models with a linear decoder are to be averaged with the others."""
        return self.linear_share > 0.5

    def __str__(self) -> str:
        decision = "both are averaged" if self.calls_for_linear else "the linear one is not needed"
        return (
            f"beyond the edge of what it was shown, on trial, it was wrong by {self.error:.2f} "
            f"standard deviations, a linear one by {self.linear_error:.2f}; {decision}"
        )


def rehearse(course: Course, linear: Course, model: LatentVariableModel) -> Rehearsal | None:
    """Compare two decoders on what is seen.

    None if values are no quantities, if there are too few rows or nothing to hide, if a rehearsal
    diverges, or if crowded columns miss values: what is beyond a crowd cannot be rehearsed, and
    models with a linear decoder would fill it, too.

    Parameters
    ----------
    course, linear : Course
        How a model with the decoder is trained, and one with a linear decoder.
    model : LatentVariableModel
        That has learned in which directions columns go missing.
    """
    if not model.observation.continuous:
        return None
    learned = lines(model)
    hidden = outermost(course.values, course.mask, learned[0], course.turnable)
    if len(hidden) < FEWEST_ROWS or course.crowded or not hidden.any():
        return None
    try:
        misses = [_misses(each, learned, hidden) for each in (course, linear)]
    except FloatingPointError:
        return None
    error, linear_error = (miss.square().mean().sqrt().item() for miss in misses)
    return Rehearsal(error, linear_error, best_share(*misses))


def outermost(
    values: Tensor, mask: Tensor, slopes: Tensor, columns: Sequence[int], share: float = SHARE
) -> Tensor:
    """Return where values are hidden ``(N, D)``, as a mask of truth values.

    Parameters
    ----------
    values, mask : Tensor
        ``(N, D)``.
    slopes : Tensor
        ``(D,)``; the outermost values are the highest of a column with a positive one.
    columns : sequence of int
        Of which values are hidden.
    share : float
        Of what is seen of a column.
    """
    hidden = torch.zeros_like(mask, dtype=torch.bool)
    for column in columns:
        outward = values[:, column] * slopes[column].sign()
        seen = mask[:, column] > 0
        hidden[:, column] = seen & (outward > quantile(outward[seen], 1 - share))
    return hidden


def best_share(miss: Tensor, other: Tensor) -> float:
    """Return the share of the other in that average of both whose squares are least, w."""
    apart = other - miss
    share = -(miss * apart).sum() / apart.square().sum()
    return share.nan_to_num().clamp(0, 1).item()


def _misses(course: Course, learned: Tensor, hidden: Tensor) -> Tensor:
    """Train a model on what is not hidden, and return by how much it misses what is."""
    mask = course.mask * ~hidden
    rehearsing = replace(
        course,
        values=course.values * mask,
        mask=mask,
        name=course.name and f"{course.name}, rehearsed",
        checkpoint=course.checkpoint and f"{course.checkpoint}, rehearsed",
    )
    start = learned.clone()
    for column in course.turnable:
        seen = course.values[mask[:, column] > 0, column]
        start[:, column] = at_edge(seen, SHARP * learned[0, column].sign().item(), edge=1.0)
    [model] = rehearsing.train([0], start).models
    rehearsing.go_on([model], [0])
    rows = hidden.any(1).nonzero().squeeze(-1)
    rows = rows[:: 1 + len(rows) // MOST_ROWS]
    filled = conditional_mean(
        [model], rehearsing.values[rows], mask[rows], N_SAMPLES, seed=course.seed
    )
    return (filled.to(course.values) - course.values[rows])[hidden[rows]]
