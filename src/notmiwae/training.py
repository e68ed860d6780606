"""Training: maximise a bound by stochastic gradients, watching it on held-out rows.

The loop draws mini-batches by index from tensors in memory, clips the gradient's norm, keeps the
weights with the best held-out bound, and stops when these have not improved for `patience`
evaluations. Nothing here looks at the true value of a missing cell.

Three groups of parameters are treated apart. The mechanism learns `mechanism_rate` times faster:
a hard threshold needs a steep slope, which a slow one never reaches. Weight decay (decoupled)
shrinks `notmiwae.networks.Penalised` layers only. The rest learns at the plain rate.

Models of one architecture can be trained side by side, see `fit_together` and `notmiwae.stacking`.
"""

from __future__ import annotations

import copy
import hashlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR
from tqdm.auto import tqdm

from notmiwae.bounds import importance_weighted
from notmiwae.model import LatentVariableModel
from notmiwae.networks import Penalised
from notmiwae.persistence import (
    ModelFileError,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from notmiwae.stacking import Together, together
from notmiwae.validation import lookup, resolve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pair = tuple[Tensor, Tensor]
"""Values and mask of some rows."""

Validation = Pair | Sequence[Pair | None]
CELLS = 2**20
"""Values of held-out rows that are looked at at once."""

Schedule = Callable[[torch.optim.Optimizer, int], LRScheduler]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
}


def one_cycle(optimizer: torch.optim.Optimizer, n_steps: int, **options: Any) -> LRScheduler:
    """Warm up to the learning rate of each group, then anneal to almost nothing."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=n_steps, **options)


def short_warm_up(optimizer: torch.optim.Optimizer, n_steps: int) -> LRScheduler:
    """`one_cycle` that warms up for a tenth of the steps (as in the report, for images)."""
    # OneCycleLR divides by the length of the warm-up less one step.
    return one_cycle(optimizer, n_steps, pct_start=max(0.1, min(2 / n_steps, 0.5)))


def constant(optimizer: torch.optim.Optimizer, n_steps: int) -> LRScheduler:
    """Keep the learning rate."""
    return ConstantLR(optimizer, factor=1.0)


SCHEDULES: dict[str, Schedule] = {"one-cycle": one_cycle, "constant": constant}


@dataclass
class History:
    """What happened during training, one entry per evaluation.

    Attributes
    ----------
    step : list of int
        Optimiser steps taken.
    bound : list of float
        Mean training bound per row since the evaluation before, in nats.
    validation_bound : list of float
        Mean bound per held-out row; empty without held-out rows.
    best_step : int
        Where the weights that were kept come from.
    stopped_early : bool
        Whether patience ended the training.
    """

    step: list[int] = field(default_factory=list)
    bound: list[float] = field(default_factory=list)
    validation_bound: list[float] = field(default_factory=list)
    best_step: int = 0
    stopped_early: bool = False

    @property
    def held_out_bound(self) -> float:
        """The best held-out bound; NaN without held-out rows."""
        return max(self.validation_bound, default=float("nan"))

    @property
    def final_bound(self) -> float:
        """The best held-out bound; without held-out rows, the last on training rows."""
        return max(self.validation_bound, default=self.bound[-1])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the bounds over the steps (needs matplotlib, in the extra ``report``)."""
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                "plotting needs matplotlib: pip install 'notmiwae[report]'"
            ) from error
        ax = plt.gca() if ax is None else ax
        ax.plot(self.step, self.bound, label="training rows")
        if self.validation_bound:
            ax.plot(self.step, self.validation_bound, label="held-out rows")
            ax.axvline(self.best_step, color="0.6", linestyle=":", label="weights kept")
        ax.set(xlabel="step", ylabel="bound per row (nats)")
        ax.legend()
        return ax


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's generators within the block, and leave the global ones as they were."""
    devices = [device] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def apart(seed: int, number: int) -> int:
    """Return the seed of the part of a stream with this number, far from those of the others."""
    return (seed + number * 0x9E3779B9) % 2**63


@contextmanager
def evaluating(
    models: Sequence[nn.Module], seed: int, device: torch.device | str = "cpu"
) -> Iterator[None]:
    """Look at models in training without a trace: no gradients, no noise spent, no statistics."""
    modes = [model.training for model in models]
    with torch.no_grad(), seeded(seed, device):
        for model in models:
            model.eval()
        try:
            yield
        finally:
            for model, mode in zip(models, modes, strict=True):
                model.train(mode)


def fingerprint(rows: Sequence[Tensor], settings: tuple[Any, ...]) -> str:
    """Return what tells one training from another: its rows, settings and seed."""
    content = b"".join(part.cpu().numpy().tobytes() for part in rows)
    return hashlib.sha256(content + repr(settings).encode()).hexdigest()


class Batches:
    """Row indices of the mini-batch of any step: each epoch is a permutation fixed by the seed."""

    def __init__(self, n_rows: int, size: int, seed: int, device: torch.device) -> None:
        self.n_rows, self.size, self.seed, self.device = n_rows, size, seed, device
        self.per_epoch = -(-n_rows // size)
        self.epoch = -1

    def __getitem__(self, step: int) -> Tensor:
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(apart(self.seed, epoch))
            self.order = torch.randperm(self.n_rows, generator=generator).to(self.device)
            self.epoch = epoch
        return self.order[position * self.size : (position + 1) * self.size]


class Samples:
    """Row indices ``(M, B)`` of the mini-batches of any step, each model's in its own order.

    Parameters
    ----------
    n_rows, size : int
        Rows of the table, and of a mini-batch.
    seeds : sequence of M int
    rows : Tensor or None
        What each model is trained on ``(M, R)``; all rows if None.
    device : torch.device
    """

    def __init__(
        self,
        n_rows: int,
        size: int,
        seeds: Sequence[int],
        rows: Tensor | None,
        device: torch.device,
    ) -> None:
        self.rows = rows
        n_used = n_rows if rows is None else rows.shape[1]
        self.orders = [Batches(n_used, size, seed, device) for seed in seeds]

    def __getitem__(self, step: int) -> Tensor:
        index = torch.stack([order[step] for order in self.orders])
        return index if self.rows is None else self.rows.gather(1, index)


def each(validation: Validation | None, n_models: int) -> list[Pair | None]:
    """Return the held-out rows of each model."""
    if validation is None or isinstance(validation, tuple):
        return [validation] * n_models
    return list(validation)


def parameter_groups(
    model: LatentVariableModel, learning_rate: float, mechanism_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Split the parameters as the head of this module says."""
    decays = {
        parameter: weight_decay * module.strength
        for module in model.modules()
        if isinstance(module, Penalised)
        for parameter in module.parameters()
    }
    rates = dict.fromkeys(model.parameters(), learning_rate)
    fast = set(model.mechanism.parameters()) - set(decays)
    rates |= dict.fromkeys(fast, learning_rate * mechanism_rate)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        groups.setdefault((rates[parameter], decays.get(parameter, 0.0)), []).append(parameter)
    return [
        {"params": members, "lr": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]


def stacked_groups(groups: Sequence[dict[str, Any]], stack: Together) -> list[dict[str, Any]]:
    """Put in place of the first model's parameters what is trained for all models."""
    names = {parameter: name for name, parameter in stack.models[0].named_parameters()}
    return [
        {**group, "params": [stack.parameters[names[member]] for member in group["params"]]}
        for group in groups
    ]


def mean_bound(
    model: LatentVariableModel, x: Tensor, mask: Tensor, n_samples: int, seed: int
) -> float:
    """Mean bound per row, with the same noise at every call."""
    n_rows = max(1, CELLS // x.shape[1])
    with evaluating([model], seed, x.device):
        bounds = [
            importance_weighted(model(*rows, n_samples).log_weights)
            for rows in zip(x.split(n_rows), mask.split(n_rows), strict=True)
        ]
    return torch.cat(bounds).mean().item()


def fit(
    model: LatentVariableModel, x: Tensor, mask: Tensor, *, seed: int = 0, **settings: Any
) -> History:
    """Train one model in place and return its history; see `fit_together`."""
    [history] = fit_together([model], x, mask, seeds=[seed], **settings)
    return history


def fit_together(
    models: Sequence[LatentVariableModel],
    x: Tensor,
    mask: Tensor,
    *,
    seeds: Sequence[int],
    rows: Tensor | None = None,
    validation: Validation | None = None,
    bound: Callable[[Tensor], Tensor] = importance_weighted,
    n_samples: int = 5,
    max_steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 1e-2,
    mechanism_rate: float = 10.0,
    weight_decay: float = 1.0,
    optimizer: str = "adamw",
    schedule: str | Schedule = "one-cycle",
    clip_norm: float = 10.0,
    evaluate_every: int = 100,
    patience: int | None = None,
    on_evaluation: Callable[[int, Sequence[LatentVariableModel]], None] | None = None,
    progress: str | None = None,
    checkpoint: str | Path | None = None,
) -> list[History]:
    """Train models of one architecture in place, side by side, and return their histories.

    Each has mini-batches and noise of its own, a gradient that is clipped by its own norm, and
    keeps the weights of its own best held-out bound.

    Parameters
    ----------
    models : sequence of LatentVariableModel
        M of them. If there are several, they must be what ``torch.vmap`` can map over.
    x, mask : Tensor
        Zero-filled values and mask ``(N, D)``, on the models' device.
    seeds : sequence of M int
        Fix mini-batches and noise; the global generators are left as they were. Noise depends on
        all of them.
    rows : Tensor, optional
        Indices ``(M, R)`` of the rows that each model is trained on, which may repeat (a bootstrap
        sample); by default, all rows once.
    validation : pair of Tensor, or sequence of M such pairs, optional
        The same for held-out rows, or for those of each model; without them the last weights are
        kept.
    bound : callable
        From log weights ``(K, N)`` to a bound ``(N,)``.
    n_samples : int
        K.
    max_steps : int
        Optimiser steps.
    batch_size : int
        Rows of a mini-batch; an epoch's last batch may be smaller.
    learning_rate, mechanism_rate, weight_decay : float
        See the head of this module.
    optimizer : {'adam', 'adamw'}
    schedule : {'one-cycle', 'constant'} or callable
        ``(optimizer, n_steps) -> LRScheduler``, stepped once a step.
    clip_norm : float
        Largest norm of the gradient.
    evaluate_every : int
        Steps between evaluations of the held-out bound.
    patience : int, optional
        Stop a model after so many evaluations without a better held-out bound.
    on_evaluation : callable, optional
        ``(step, models)``, called at every evaluation; it has no influence on training.
    progress : str, optional
        What a progress bar on stderr is called; none without.
    checkpoint : path, optional
        File that is written at every evaluation; if it exists, training goes on from there and
        reaches what an uninterrupted run would have.

    Returns
    -------
    list of M History

    Raises
    ------
    FloatingPointError
        If the bound or its gradient stops being finite.
    """
    stack = together(models)
    groups = parameter_groups(models[0], learning_rate, mechanism_rate, weight_decay)
    stepper = lookup("optimizer", optimizer, OPTIMIZERS)(stacked_groups(groups, stack))
    rates = resolve("schedule", schedule, SCHEDULES)(stepper, max_steps)
    settings = (n_samples, batch_size, learning_rate, mechanism_rate, weight_decay, optimizer)
    held_out_rows = each(validation, len(models))
    used = [x, mask, *chain(*filter(None, held_out_rows)), *([] if rows is None else [rows])]
    run = _Run(stack, stepper, rates, fingerprint(used, (*settings, clip_norm, *seeds)))
    if checkpoint is not None:
        run.resume(checkpoint)
    for model in models:
        model.train()
    batches = Samples(len(x), batch_size, seeds, rows, x.device)

    def loss(model: LatentVariableModel, x: Tensor, mask: Tensor) -> Tensor:
        return -bound(model(x, mask, n_samples).log_weights).mean()

    total = torch.zeros(len(models), device=x.device)
    bar = tqdm(
        total=max_steps, initial=run.n_steps, desc=progress, unit="step", disable=progress is None
    )
    with seeded(seeds[0], x.device), bar:
        run.restore_noise()
        while run.n_steps < max_steps and not run.stopped_early:
            index = batches[run.n_steps]
            with _diverging(run):
                losses = stack.losses(loss, x[index], mask[index])
                run.descend(losses.sum(), clip_norm)
            total -= losses.detach()
            bar.update()
            if run.n_steps % evaluate_every and run.n_steps < max_steps:
                continue
            with _diverging(run):
                held_out = run.evaluate(held_out_rows, 5 * n_samples, seeds)
                run.record(total.tolist(), held_out, patience)
            if on_evaluation is not None:
                with evaluating(models, seeds[0], x.device):
                    on_evaluation(run.n_steps, models)
            total.zero_()
            first = run.histories[0]
            bar.set_postfix(bound=f"{first.bound[-1]:.2f}", best_step=first.best_step)
            if checkpoint is not None:
                run.save(checkpoint)
    for model, best in zip(models, run.best, strict=True):
        model.load_state_dict(best)
        model.eval()
    return run.histories


@contextmanager
def _diverging(run: _Run) -> Iterator[None]:
    """Say what to do about a bound or gradient that is not finite."""
    try:
        yield
    except (FloatingPointError, RuntimeError) as error:
        # What torch raises for a gradient or a factorisation that is not finite.
        if not re.search("non-finite|not finite|cholesky", str(error)):
            raise
        raise FloatingPointError(
            f"the bound or its gradient is not finite at step {run.n_steps}: lower learning_rate, "
            "raise scale_floor, or look for extreme outliers in the table"
        ) from error


class _Run:
    """A training in progress: all that a checkpoint holds."""

    def __init__(
        self,
        stack: Together,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        identity: str,
    ) -> None:
        self.stack, self.optimizer, self.schedule = stack, optimizer, schedule
        self.identity = identity
        self.histories = [History() for _ in stack.models]
        self.n_steps = 0
        self.best = [copy.deepcopy(model.state_dict()) for model in stack.models]
        self.noise: dict[str, Tensor] = {}

    @property
    def stopped_early(self) -> bool:
        """Whether patience has ended the training of every model."""
        return all(history.stopped_early for history in self.histories)

    def descend(self, loss: Tensor, clip_norm: float) -> None:
        """Take one step down the gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.stack.clip(clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self.n_steps += 1

    def evaluate(
        self, validation: Sequence[Pair | None], n_samples: int, seeds: Sequence[int]
    ) -> list[float | None]:
        """Give the models their weights of now, and return their held-out bounds."""
        self.stack.write()
        return [
            pair and mean_bound(model, *pair, n_samples, seed)
            for model, pair, seed in zip(self.stack.models, validation, seeds, strict=True)
        ]

    def record(
        self, totals: Sequence[float], held_out: Sequence[float | None], patience: int | None
    ) -> None:
        """Note an evaluation, keep weights that are the best, decide which models are done.

        `totals` are the sums of training bounds since the evaluation before.
        """
        if not all(math.isfinite(value or 0) for value in (*totals, *held_out)):
            raise FloatingPointError("the bound is not finite")
        for index, history in enumerate(self.histories):
            if history.stopped_early:
                continue
            value = held_out[index]
            if value is None or value > max(history.validation_bound, default=-torch.inf):
                self.best[index] = copy.deepcopy(self.stack.models[index].state_dict())
                history.best_step = self.n_steps
            history.bound.append(totals[index] / (self.n_steps - (history.step or [0])[-1]))
            history.step.append(self.n_steps)
            if value is not None:
                history.validation_bound.append(value)
                waited = len(history.step) - 1 - history.step.index(history.best_step)
                history.stopped_early = patience is not None and waited >= patience

    def restore_noise(self) -> None:
        """Continue the noise where a checkpoint left it."""
        if "cpu" in self.noise:
            torch.set_rng_state(self.noise["cpu"])
        if "cuda" in self.noise:
            torch.cuda.set_rng_state(self.noise["cuda"])

    def save(self, file: str | Path) -> None:
        """Write everything that `resume` needs."""
        noise = {"cpu": torch.get_rng_state()}
        if next(iter(self.stack.parameters.values())).is_cuda:
            noise["cuda"] = torch.cuda.get_rng_state()
        state = self.optimizer.state_dict()
        models = enumerate(self.stack.models)
        tensors = {
            **{f"model.{index}": model.state_dict() for index, model in models},
            **{f"best.{index}": best for index, best in enumerate(self.best)},
            "noise": noise,
            **{f"optimizer.{index}": values for index, values in state["state"].items()},
        }
        meta = {
            "n_steps": self.n_steps,
            "histories": [asdict(history) for history in self.histories],
            "groups": state["param_groups"],
            "identity": self.identity,
        }
        save_checkpoint(file, tensors, meta)

    def resume(self, file: str | Path) -> None:
        """Take up the checkpoint `file`, if there is one."""
        if (found := load_checkpoint(file)) is None:
            return
        tensors, meta = found
        if meta["identity"] != self.identity:
            raise ModelFileError(
                f"checkpoint {file} belongs to other rows, settings or seed: remove it, or name "
                "another"
            )
        for index, model in enumerate(self.stack.models):
            load_weights(model, tensors[f"model.{index}"], file)
        self.stack.read()
        self.best = [tensors[f"best.{index}"] for index in range(len(self.best))]
        self.noise = tensors["noise"]
        moments = {
            int(name.removeprefix("optimizer.")): values
            for name, values in tensors.items()
            if name.startswith("optimizer.")
        }
        self.n_steps = meta["n_steps"]
        self.histories = [History(**history) for history in meta["histories"]]
        # Replayed rather than restored: a schedule may hold others, and functions.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            for _ in range(self.n_steps):
                self.schedule.step()
        self.optimizer.load_state_dict({"state": moments, "param_groups": meta["groups"]})
        # A file keeps no order of memory, and a fused optimiser trusts that moments have that of
        # their parameters.
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                if value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter).copy_(value)
