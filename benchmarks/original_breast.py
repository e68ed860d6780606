"""The original paper's protocol on breast cancer data: ``python benchmarks/original_breast.py``.

All 569 rows are standardised, values above the mean go missing in the first 15 of 30 columns, and
the same rows are fitted and imputed. Five seeds; RMSE over missing cells beside the paper's
Table 1. Writes ``results/original-breast/``. Seeds run side by side, one thread each.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.preprocessing import StandardScaler

from notmiwae import MIWAEImputer, NotMIWAEImputer, metrics
from notmiwae.amputation import Amputer
from notmiwae.datasets import load
from notmiwae.experiments.results import HELD_OUT, Published, Results, Row, describe_run

PAPER = "Ipsen, Mattei & Frellsen (2021), Table 1"
METHODS = {
    "not-MIWAE self-masking-known, linear decoder": partial(
        NotMIWAEImputer, "self-masking-known", decoder="linear"
    ),
    "not-MIWAE self-masking-known": partial(NotMIWAEImputer, "self-masking-known"),
    "MIWAE": MIWAEImputer,
}
PUBLISHED = {
    "not-MIWAE self-masking-known, linear decoder": 0.72,
    "not-MIWAE self-masking-known": 0.76,
    "MIWAE": 1.20,
}


def run_one(method: str, seed: int) -> Row:
    """Fit, impute and score."""
    torch.set_num_threads(1)
    truth = StandardScaler().fit_transform(load("breast").x)
    holes = Amputer("above-mean", columns="first-half").fit_transform(truth)
    started = time.perf_counter()
    filled = METHODS[method](random_state=seed, device="cpu").fit_transform(holes)
    seconds = time.perf_counter() - started
    errors = {"rmse": float(metrics.rmse(truth, filled, ~np.isnan(holes)))}
    return Row(method, "breast/original", seed, HELD_OUT, errors, round(seconds, 1))


def main() -> None:
    """Run all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/original-breast"))
    args = parser.parse_args()
    started = time.perf_counter()
    rows = joblib.Parallel(n_jobs=-1, verbose=5)(
        joblib.delayed(run_one)(method, seed) for method in METHODS for seed in range(args.seeds)
    )
    results = Results(
        study="original-breast",
        title="RMSE over missing cells, original protocol, standardised columns",
        rows=rows,
        metadata=describe_run(range(args.seeds), time.perf_counter() - started),
        published={name: Published(value, "*", PAPER) for name, value in PUBLISHED.items()},
    )
    results.write(args.output)
    print(results.table())


if __name__ == "__main__":
    main()
