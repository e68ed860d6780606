"""Peak memory and speed of imputing a tall table: ``python benchmarks/memory.py``.

Fits briefly on 2,000 rows, then imputes 100,000 rows of 20 columns with 1,000 importance samples,
and reports the peak resident memory of the process, also before the imputation.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from notmiwae import NotMIWAEImputer


def peak_mib() -> float:
    """Peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(args.rows, 5)) @ rng.normal(size=(5, args.columns))
    x += 0.3 * rng.normal(size=x.shape)
    half = x[:, : args.columns // 2]
    half[half > 0] = np.nan
    imputer = NotMIWAEImputer(
        "self-masking-known", max_steps=300, n_impute_samples=args.samples, random_state=0
    ).fit(x[:2000])
    before, started = peak_mib(), time.perf_counter()
    filled = imputer.set_params(verbose=True).transform(x)
    seconds = time.perf_counter() - started
    assert not np.isnan(filled).any()
    print(
        f"{args.rows} x {args.columns}, {args.samples} samples: {seconds:.0f} s "
        f"({args.rows / seconds:.0f} rows/s), peak {peak_mib():.0f} MiB ({before:.0f} before)"
    )


if __name__ == "__main__":
    main()
