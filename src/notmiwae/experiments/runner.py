"""Fits side by side: processes with one thread each, a progress bar, results in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import joblib
import torch
from tqdm.auto import tqdm


class Task(NamedTuple):
    """Something to compute.

    Attributes
    ----------
    name : str
        What the progress bar shows, and a store knows it by; no two tasks of a run share it.
    compute : callable
        Without arguments; it is sent to another process.
    """

    name: str
    compute: Callable[[], Any]


def side_by_side(
    tasks: Sequence[Task],
    n_jobs: int | None = None,
    progress: bool = False,
    store: MutableMapping[str, Any] | None = None,
) -> list[Any]:
    """Compute all tasks, and return their results in order.

    Parameters
    ----------
    tasks : sequence of Task
        In the order in which they are started.
    n_jobs : int, optional
        Processes, of one thread each; by default, one per core. Results do not depend on it.
    progress : bool
        Show a progress bar on stderr.
    store : mutable mapping, optional
        Results by name. What it has is not computed again, and it is given each new result as that
        comes in: one that keeps them on disk makes a run resumable.
    """
    results = {} if store is None else store
    left = [task for task in tasks if task.name not in results]
    n_jobs = min(n_jobs or joblib.cpu_count(), max(len(left), 1))
    n_done = len(tasks) - len(left)
    bar = tqdm(total=len(tasks), initial=n_done, desc="fitting", unit="fit", disable=not progress)
    with bar, joblib.parallel_config("loky", inner_max_num_threads=1):
        run = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        for name, result in run(map(joblib.delayed(_named), left)):
            results[name] = result
            bar.set_postfix_str(name, refresh=False)
            bar.update()
    return [results[task.name] for task in tasks]


def _named(task: Task) -> tuple[str, Any]:
    # More than one thread each would fight for the cores.
    with torch_threads(1):
        return task.name, task.compute()


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Set torch's number of threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
