"""Which rows a model is trained on, and which are held out to watch it.

An ensemble whose models see the same rows differs by their starts only. One whose models each see
a *bootstrap* sample, N rows drawn from N with replacement, differs by what another sample of the
same population could have taught them: draws from such models in turn carry the uncertainty of the
parameters, which pooled intervals need (the approximate Bayesian bootstrap of Rubin & Schenker,
1986, for a parametric model). The rows that a bootstrap sample leaves out, about one in e, are held
out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from notmiwae.training import seeded


class Rows(NamedTuple):
    """Indices of rows.

    Attributes
    ----------
    train, held_out : Tensor
        ``(T,)`` and ``(H,)``; nothing may be held out.
    """

    train: Tensor
    held_out: Tensor


def split(n_rows: int, held_out: float, seed: int) -> Rows:
    """Hold out a share of the rows, none if that would leave nothing to train on."""
    with seeded(seed):
        chosen = torch.rand(n_rows) < held_out
    if chosen.all():
        chosen = torch.zeros_like(chosen)
    return Rows((~chosen).nonzero().squeeze(-1), chosen.nonzero().squeeze(-1))


def bootstrap(n_rows: int, held_out: float, seed: int) -> Rows:
    """Draw as many rows as there are, with replacement; hold out of the others up to a share."""
    with seeded(seed):
        train = torch.randint(n_rows, (n_rows,))
        order = torch.randperm(n_rows)
    unseen = order[torch.isin(order, train, invert=True)]
    return Rows(train, unseen[: round(held_out * n_rows)])
