"""Does a rehearsal know when a line extrapolates better? ``python benchmarks/rehearsals.py``.

Tables of `notmiwae.experiments.longer_tables` without the values above the mean in half of the
columns, the direction told: with the decoder 'linear+mlp', with a linear one, with the average of
both, and with 'auto', which averages where a rehearsal says so. Geometric means of the RMSE over
missing cells. Writes ``results/rehearsals/``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import geometric_mean

import numpy as np

from notmiwae import NotMIWAEImputer
from notmiwae.experiments.development import make_problem
from notmiwae.experiments.longer_tables import LONGER_TABLES, load
from notmiwae.experiments.results import Results, Row, describe_run
from notmiwae.experiments.runner import Task, side_by_side

DELETION = "above the mean"
DECODERS = ("linear+mlp", "linear", "auto")


def run_one(decoder: str, table: str, seed: int) -> tuple[np.ndarray, Row]:
    """Fit, impute and score; return how far off each missing value is, too."""
    problem = make_problem(table, DELETION, seed, load)
    started = time.perf_counter()
    imputer = NotMIWAEImputer(
        "self-masking-known", decoder=decoder, random_state=seed, device="cpu"
    )
    filled = imputer.fit_transform(problem.holes)
    seconds = round(time.perf_counter() - started, 1)
    notes = (str(imputer.rehearsal_),) if imputer.rehearsal_ else ()
    misses = (filled - problem.truth)[np.isnan(problem.holes)]
    return misses, row(decoder, table, seed, misses, seconds, notes)


def row(
    method: str,
    table: str,
    seed: int,
    misses: np.ndarray,
    seconds: float = 0.0,
    notes: Sequence[str] = (),
) -> Row:
    """Return the row of a method on a table."""
    scores = {"rmse": float(np.sqrt(np.mean(misses**2)))}
    return Row(method, table, seed, DELETION, scores, seconds, tuple(notes))


def main() -> None:
    """Run all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/rehearsals"))
    args = parser.parse_args()
    started = time.perf_counter()
    problems = [*product(LONGER_TABLES, range(args.seeds))]
    cases = [(decoder, *problem) for problem in problems for decoder in DECODERS]
    fits = dict(
        zip(
            cases,
            side_by_side(
                [Task(f"{d}, {t}, {s}", partial(run_one, d, t, s)) for d, t, s in cases],
                progress=True,
            ),
            strict=True,
        )
    )
    rows = [found for _, found in fits.values()]
    for table, seed in problems:
        both = [fits[decoder, table, seed][0] for decoder in ("linear+mlp", "linear")]
        rows.append(row("average of both", table, seed, np.mean(both, axis=0)))
    results = Results(
        study="rehearsals",
        title="Values above the mean missing, direction told: RMSE over missing cells",
        rows=rows,
        metadata=describe_run(range(args.seeds), time.perf_counter() - started),
    )
    results.write(args.output)
    for method in dict.fromkeys(each.method for each in rows):
        errors = [each.metrics["rmse"] for each in rows if each.method == method]
        print(f"{method:16} {geometric_mean(errors):.3f}")


if __name__ == "__main__":
    main()
