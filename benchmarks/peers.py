r"""Other libraries on the problems of ``notmiwae reproduce uci``: ``python benchmarks/peers.py``.

Each library, with its own defaults, fills the tables of the transductive protocol in an environment
of its own, so that it can have the dependencies that it wants. Make these first, in a folder that
``--environments`` names; one that is not there, or fails, is recorded as such:

    python -m venv FOLDER/miceforest
    FOLDER/miceforest/bin/pip install miceforest==6.0.5 lightgbm==4.5.0
    python -m venv FOLDER/notmiwae-pytorch
    FOLDER/notmiwae-pytorch/bin/pip install notmiwae-pytorch==0.1.3 torch==2.13.0 \
        tensorboard matplotlib
    python -m venv FOLDER/hyperimpute
    FOLDER/hyperimpute/bin/pip install --no-deps hyperimpute==0.1.17 xgboost
    FOLDER/hyperimpute/bin/pip install torch==2.13.0 "scikit-learn<1.4" "numpy<2" "pandas<2.2" \
        "pydantic<2" "scipy<1.13" catboost lightgbm optuna loguru geomloss redis cloudpickle

miceforest 6.0.5 calls a function of LightGBM that later releases do not have; notmiwae-pytorch does
not declare tensorboard and matplotlib. With pandas 3, hyperimpute assigns to copies and returns its
first guess; all of its dependencies would bring TensorFlow, CUDA libraries and Jupyter, which the
imputers used here do not need. Writes ``results/peers/``, one thread per fit; rows that are done
are kept in ``rows.jsonl``, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from peer_fill import METHODS

from notmiwae.experiments.benchmark import Benchmark
from notmiwae.experiments.results import KeptRows, Row, describe_run
from notmiwae.experiments.uci import METRICS, TRANSDUCTIVE, describe, make_problem

TITLE = "RMSE over missing cells, in standard deviations of a column"
SCRIPT = Path(__file__).with_name("peer_fill.py").resolve()
N_SEEDS = {"hyperimpute": 1, "notmiwae-pytorch": 1, "miceforest": 5}  # by how long they take
LIMIT = 900  # seconds that a fit may take


class Failure(Exception):
    """Why a peer gave no result."""


def fill(python: Path, method: str, seed: int, holes: np.ndarray) -> dict[str, np.ndarray]:
    """Run `peer_fill` in an environment; return what it wrote."""
    if not python.exists():
        raise Failure("not installed")
    with TemporaryDirectory() as folder:  # some write logs to where they are
        np.save(Path(folder, "in.npy"), holes)
        command = [python, SCRIPT, method, str(seed), "in.npy", "out.npz"]
        threads = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            subprocess.run(
                command, cwd=folder, env=threads, timeout=LIMIT, check=True, capture_output=True
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"took longer than {LIMIT} s") from None
        except subprocess.CalledProcessError as error:
            if error.returncode < 0:  # killed: not the peer's doing
                raise
            raise Failure(error.stderr.decode().splitlines()[-1]) from None
        return dict(np.load(Path(folder, "out.npz")))


def compute(environments: Path, method: str, data: str, seed: int) -> Row:
    """Fill a table with a peer, and score."""
    library, _ = METHODS[method]
    python = environments.resolve() / library / "bin" / "python"
    problem = make_problem(data, TRANSDUCTIVE, 0)
    out = fill(python, method, seed, problem.holes)
    observed = ~np.isnan(problem.holes)
    errors = {
        name: float(metric(problem.truth, out["filled"], observed))
        for name, metric in METRICS.items()
    }
    about = (f"{library} {out['version']}",)
    return Row(method, data, seed, TRANSDUCTIVE, errors, round(float(out["seconds"]), 2), about)


def compute_all(
    datasets: list[str], environments: Path, kept: KeptRows
) -> tuple[list[Row], dict[str, str]]:
    """Return rows, and what failed."""
    rows, failed = [], {}
    for method, data in product(METHODS, datasets):
        library, _ = METHODS[method]
        try:
            for seed in range(N_SEEDS[library]):
                name = f"{method}, {data}, seed {seed}"
                if name not in kept:
                    kept[name] = compute(environments, method, data, seed)
                rows.append(kept[name])
        except Failure as failure:
            failed[f"{method}, {data}"] = str(failure)
        print(method, data, failed.get(f"{method}, {data}", "done"), file=sys.stderr)
    return rows, failed


def main() -> None:
    """Run all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", default=["banknote", "concrete", "breast"])
    parser.add_argument("--output", type=Path, default=Path("results/peers"))
    args = parser.parse_args()
    kept = KeptRows(args.output / "rows.jsonl")
    rows, failed = compute_all(args.datasets, args.environments, kept)
    about = describe_run(
        range(max(N_SEEDS.values())),
        sum(row.seconds for row in rows),
        data={data: describe(data) for data in args.datasets},
        n_seeds=N_SEEDS,
        failed=failed,
    )
    results = Benchmark("peers", TITLE, rows, about, published_split=TRANSDUCTIVE)
    results.write(args.output)
    print(results.table(), *(f"{name}: {why}" for name, why in failed.items()), sep="\n")


if __name__ == "__main__":
    main()
