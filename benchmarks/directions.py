"""What trying columns the other way round is worth: ``python benchmarks/directions.py``.

Self-masking of unknown directions on the development tables, with and without the trials of
`notmiwae.directions`: RMSE over missing cells, one model, columns that end in the wrong direction
(whose missing values are lower than the observed ones, and are taken to be higher), and processor
seconds. Writes ``results/directions/``.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from notmiwae import NotMIWAEImputer, ensembles, metrics
from notmiwae.experiments.development import TABLES, make_problem
from notmiwae.experiments.results import Results, Row, describe_run
from notmiwae.experiments.runner import Task, side_by_side

DELETIONS = ("above the mean", "either side of the mean")
ROUNDS = {"without trials": 0, "with trials": ensembles.ROUNDS}


def run_one(name: str, table: str, deletion: str, seed: int) -> Row:
    """Fit, impute and score."""
    problem = make_problem(table, deletion, seed)
    holes = np.isnan(problem.holes)
    imputer = NotMIWAEImputer(
        "self-masking", n_models=1, n_impute_samples=300, random_state=seed, device="cpu"
    )
    started = time.process_time()
    with patch.object(ensembles, "ROUNDS", ROUNDS[name]):
        imputer.fit(problem.holes)
    seconds = round(time.process_time() - started, 1)
    filled = imputer.transform(problem.holes)
    slopes = imputer.model_.mechanism.line[0].numpy()
    truly_higher = [
        problem.truth[gone, j].mean() > problem.truth[~gone, j].mean() if gone.any() else True
        for j, gone in enumerate(holes.T)
    ]
    wrong = holes.any(0) & ((slopes > 0) != np.array(truly_higher))
    scores = {
        "rmse": float(metrics.rmse(problem.truth, filled, ~holes)),
        "wrong_directions": float(wrong.sum()),
        "columns": float(holes.any(0).sum()),
    }
    return Row(name, table, seed, deletion, scores, seconds)


def main() -> None:
    """Run all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=Path("results/directions"))
    args = parser.parse_args()
    tasks = [
        Task(str(case), partial(run_one, *case))
        for seed in args.seeds
        for table in TABLES
        for deletion in DELETIONS
        for case in [(name, table, deletion, seed) for name in ROUNDS]
    ]
    rows = side_by_side(tasks, progress=True)
    results = Results(
        study="directions",
        title="Self-masking on the development tables, with and without trials of directions",
        rows=rows,
        metadata=describe_run(args.seeds, sum(row.seconds for row in rows)),
    )
    results.write(args.output)
    for name in ROUNDS:
        of = [row for row in rows if row.method == name]
        geometric = np.exp(np.mean([np.log(row.metrics["rmse"]) for row in of]))
        wrong = sum(row.metrics["wrong_directions"] for row in of)
        columns = sum(row.metrics["columns"] for row in of)
        seconds = np.median([row.seconds for row in of])
        print(
            f"{name}: geometric mean RMSE {geometric:.3f}, {wrong:.0f} of {columns:.0f} columns "
            f"in the wrong direction, median {seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
