"""Published studies, run again: each one a function of a preset, an output folder and a seed.

A study uses nothing but what a user of the library could, writes ``results.json``, ``results.csv``
and ``report.html`` into its folder, and returns `notmiwae.experiments.results.Results`.
"""

from __future__ import annotations

from collections.abc import Callable

from notmiwae.experiments import breast, cifar10, coverage, defaults, mixed, uci
from notmiwae.experiments.results import Results

STUDIES: dict[str, Callable[..., Results]] = {
    "breast": breast.run,
    "uci": uci.run,
    "cifar10": cifar10.run,
    "defaults": defaults.run,
    "coverage": coverage.run,
    "mixed": mixed.run,
}

__all__ = ["STUDIES", "Results"]
