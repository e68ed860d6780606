"""How the models of an imputer are trained: each from a start of its own, then averaged.

The mechanism *waits*: while the rest of a model learns as if values were missing at random, for
one step in `WARM_UP`, it stays at its start, since what it would learn from a model that does not
know yet what a missing value would be is seldom undone. Then everything learns. Then columns of the
first model are tried the other way round, and with a sharp edge (`notmiwae.directions`); if some
are changed, it learns again. The other models start from the lines that it learned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from notmiwae import directions
from notmiwae.imputation import diagnose
from notmiwae.model import LatentVariableModel
from notmiwae.resampling import Rows
from notmiwae.training import History, fit_together, seeded

WARM_UP = 5
"""The mechanism waits while the rest is trained for one step in so many."""

TRIAL = 0.3
"""Steps of a training that tries a column the other way round, as a share of `max_steps`."""


class Trained(NamedTuple):
    """Models of one mechanism.

    Attributes
    ----------
    models : list of LatentVariableModel
    histories : list of History
    start : Tensor or None
        Lines ``(2, D)`` with the columns turned that had to be, for other mechanisms to start from.
    """

    models: list[LatentVariableModel]
    histories: list[History]
    start: Tensor | None = None


@dataclass(frozen=True)
class Course:
    """A table, and how the models of a mechanism are trained on it.

    Attributes
    ----------
    build : callable
        Makes a model.
    values, mask : Tensor
        Zero-filled values and mask ``(N, D)``, on the models' device.
    rows : callable
        From the number of a model to its rows.
    seed : int
        That of a model is this one plus its number.
    max_steps : int
    settings : mapping
        Further arguments of `notmiwae.training.fit_together`.
    turnable : sequence of int
        Columns that are tried the other way round.
    crowded : sequence of int
        Columns that are not, but may pile up at an end.
    side_by_side : bool
        Whether the models are trained side by side, or one after the other.
    name : str, optional
        What progress bars are called; none without.
    checkpoint : path, optional
        Beginning of the names of the files by which an interrupted training goes on.
    """

    build: Callable[[], LatentVariableModel]
    values: Tensor
    mask: Tensor
    rows: Callable[[int], Rows]
    seed: int
    max_steps: int
    settings: Mapping[str, Any]
    turnable: Sequence[int] = ()
    crowded: Sequence[int] = ()
    side_by_side: bool = False
    name: str | None = None
    checkpoint: str | None = None

    def train(self, members: Sequence[int], start: Tensor | None = None) -> Trained:
        """Train the models of these numbers.

        Parameters
        ----------
        members : sequence of int
        start : Tensor, optional
            Lines ``(2, D)`` from which self-masking starts; without them it starts flat.
        """
        models = [_from(waited, start) for waited in self._waited(members)]
        return Trained(models, self._fit(models, members, self.side_by_side))

    def explore(self, member: int, start: Tensor | None = None, settled: bool = False) -> Trained:
        """Train the model of this number, and turn and sharpen columns for which that pays.

        Parameters
        ----------
        member : int
        start : Tensor, optional
            See `train`.
        settled : bool
            Whether directions were looked at before, so that no column is turned.
        """
        [waited] = self._waited([member])
        first = _from(waited, start)
        found = Trained([first], self._fit([first], [member]))
        if not directions.straight(first):
            return found

        def try_out(models: Sequence[LatentVariableModel], share: float) -> None:
            steps = max(1, round(share * TRIAL * self.max_steps))
            same = [member] * len(models)
            self._fit(models, same, True, False, max_steps=steps, stage="directions")

        trials = directions.Trials(self.values, self.mask, try_out, self.seed)
        learned = turned = directions.lines(first)
        if not settled and directions.undecided(first) and self.turnable:
            turned = directions.turn(waited, learned, self.turnable, trials)
        best = directions.sharpen_all(waited, turned, self.turnable, trials)
        best = directions.sharpen(first, best, [*self.turnable, *self.crowded], trials)
        if best.equal(learned):
            return found
        again = directions.started(waited, best)
        histories = self._fit([again], [member], stage="again")
        return Trained([again], histories, None if turned.equal(learned) else turned)

    def go_on(self, models: Sequence[LatentVariableModel], members: Sequence[int]) -> list[History]:
        """Train these models in place once more, from where they are, all of their parameters."""
        for model in models:
            model.requires_grad_(True)
        return self._fit(models, members, self.side_by_side, stage="on")

    def held_out_bounds(self, member: int, model: LatentVariableModel) -> Tensor:
        """Return the bound of each row ``(R,)`` that the model of this number has not seen.

        One NaN if there is none.
        """
        rows = self.rows(member).held_out
        if not len(rows):
            return torch.full((1,), torch.nan)
        table = self.values[rows], self.mask[rows]
        return diagnose([model], *table, directions.N_SAMPLES, seed=self.seed).log_likelihood

    def _waited(self, members: Sequence[int]) -> list[LatentVariableModel]:
        """Return models whose mechanism has not learned yet."""
        models = []
        for index in members:
            with seeded(self.seed + index):
                models.append(self.build().to(self.values.device))
        for model in models:
            model.mechanism.requires_grad_(False)
        self._fit(models, members, self.side_by_side, max_steps=max(1, self.max_steps // WARM_UP))
        for model in models:
            model.mechanism.requires_grad_(True)
        table = self.crowded, self.values, self.mask
        return [directions.away_from_piles(model, *table) for model in models]

    def _fit(
        self,
        models: Sequence[LatentVariableModel],
        members: Sequence[int],
        together: bool = False,
        watched: bool = True,
        stage: str = "",
        **options: Any,
    ) -> list[History]:
        """Train models, those of the same number on the same rows."""
        if together and len(models) > 1:
            try:
                return self._fit_group(models, members, watched, stage, options)
            except RuntimeError as error:
                if "vmap" not in str(error):
                    raise
                # A part that was given as a callable does what cannot be stacked.
        return [
            self._fit_group([model], [index], watched, stage, options)[0]
            for model, index in zip(models, members, strict=True)
        ]

    def _fit_group(
        self,
        models: Sequence[LatentVariableModel],
        members: Sequence[int],
        watched: bool,
        stage: str,
        options: Mapping[str, Any],
    ) -> list[History]:
        rows = [self.rows(index) for index in members]
        held_out = [(self.values[part.held_out], self.mask[part.held_out]) for part in rows]
        numbers = sorted({index + 1 for index in members})
        label = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
        # Short trainings are done again rather than gone on with.
        resumable = self.checkpoint is not None and not options
        file = f"{self.checkpoint}-{members[0]}{stage and '-'}{stage}.safetensors"
        return fit_together(
            models,
            x=self.values,
            mask=self.mask,
            seeds=[self.seed + index for index in members],
            rows=torch.stack([part.train for part in rows]).to(self.values.device),
            validation=held_out if watched and len(rows[0].held_out) else None,
            progress=self.name and " ".join(filter(None, [self.name, label, stage])),
            checkpoint=file.replace(" ", "-") if resumable else None,
            **{"max_steps": self.max_steps, **self.settings, **options},
        )


def explore(courses: Mapping[str, Course]) -> tuple[dict[str, Trained], Tensor | None]:
    """Explore each of these with its first model; what one finds of directions serves the next.

    Returns
    -------
    dict of str to Trained
    Tensor or None
        Lines ``(2, D)`` with the columns turned that had to be.
    """
    first: dict[str, Trained] = {}
    start, settled = None, False
    for name, course in courses.items():
        found = first[name] = course.explore(0, start, settled)
        settled = settled or directions.undecided(found.models[0])
        start = start if found.start is None else found.start
    return first, start


def _from(waited: LatentVariableModel, start: Tensor | None) -> LatentVariableModel:
    """Return a copy whose mechanism starts from these lines, if there are any and it can."""
    if start is None or not directions.can_start(waited):
        return copy.deepcopy(waited)
    return directions.started(waited, start)
