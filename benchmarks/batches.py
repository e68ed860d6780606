"""Fill a Parquet table that is larger than memory is meant to be: ``python benchmarks/batches.py``.

Fits a model to 2,000 rows, writes a table of 1,000,000 rows and 20 columns of which ten have holes,
and has ``notmiwae impute --load`` fill it in a process of its own, whose peak of resident memory
is measured. The results go to ``benchmarks/batches.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from notmiwae import NotMIWAEImputer

N_COLUMNS, N_FACTORS, N_TRAINING = 20, 5, 2000
ROW_GROUP = 100_000


def rows(n_rows: int, seed: int) -> pd.DataFrame:
    """Make rows of a linear model of five factors; high values of ten columns are missing."""
    loadings = np.random.default_rng(0).normal(size=(N_FACTORS, N_COLUMNS))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, N_FACTORS)) @ loadings + 0.3 * rng.normal(size=(n_rows, N_COLUMNS))
    half = x[:, : N_COLUMNS // 2]
    half[half > 1] = np.nan
    return pd.DataFrame(x, columns=[f"c{column:02}" for column in range(N_COLUMNS)])


def write_table(path: Path, n_rows: int) -> int:
    """Write row groups one by one; return the number of holes."""
    n_missing, writer = 0, None
    for number, start in enumerate(range(0, n_rows, ROW_GROUP), 1):
        frame = rows(min(ROW_GROUP, n_rows - start), seed=number)
        n_missing += int(frame.isna().to_numpy().sum())
        group = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, group.schema)
        writer.write_table(group)
    assert writer is not None
    writer.close()
    return n_missing


def impute(folder: Path, samples: int, threads: int) -> tuple[float, float, float]:
    """Fill the table; return seconds, CPU seconds, and the peak of resident memory in MiB."""
    command = [sys.executable, "-m", "notmiwae", "impute", folder / "holes.parquet"]
    command += ["-o", folder / "filled.parquet", "--load", folder / "model"]
    started = time.perf_counter()
    subprocess.run(
        [*map(str, command), "--samples", str(samples)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
    )
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def error(folder: Path, imputer: NotMIWAEImputer, n_samples: int) -> float:
    """Compare 2,000 rows with 1,000 samples for each, in standard deviations of the columns."""
    holes = rows(N_TRAINING, seed=1)
    few = imputer.set_params(n_impute_samples=n_samples).transform(holes)
    many = imputer.set_params(n_impute_samples=1000).transform(holes)
    differences = ((few - many) / np.nanstd(holes, axis=0))[holes.isna().to_numpy()]
    return float(np.sqrt(np.mean(differences**2)))


def check(folder: Path) -> None:
    """Compare what was written with what was read, row group by row group."""
    before, after = (pq.ParquetFile(folder / f"{name}.parquet") for name in ("holes", "filled"))
    pairs = zip(before.iter_batches(2**16), after.iter_batches(2**16), strict=True)
    for old, new in pairs:
        a, b = old.to_pandas().to_numpy(), new.to_pandas().to_numpy()
        assert np.isfinite(b).all()
        assert np.array_equal(b[~np.isnan(a)], a[~np.isnan(a)])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        imputer = NotMIWAEImputer("self-masking", random_state=0).fit(rows(N_TRAINING, seed=0))
        imputer.save(folder / "model")
        n_missing = write_table(folder / "holes.parquet", args.rows)
        seconds, processor, peak = impute(folder, args.samples, args.threads)
        check(folder)
        size = (folder / "holes.parquet").stat().st_size / 2**20
        found = {
            "rows": args.rows,
            "columns": N_COLUMNS,
            "cells filled": n_missing,
            "models averaged": len(imputer.models_),
            "importance samples per row": args.samples,
            "threads": args.threads,
            "seconds": round(seconds, 1),
            "CPU seconds": round(processor, 1),
            "rows per second": round(args.rows / seconds),
            "rows per CPU second": round(args.rows / processor),
            "peak memory, MiB": round(peak),
            "Parquet file, MiB": round(size),
            "RMS difference from 1,000 samples, in sd": round(
                error(folder, imputer, args.samples), 4
            ),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": {
                package: version(package) for package in ("notmiwae", "torch", "pyarrow", "pandas")
            },
        }
    args.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
