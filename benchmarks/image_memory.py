"""Peak memory and speed of imputing many images: ``python benchmarks/image_memory.py``.

Fits briefly on 64 random images of 3 x 32 x 32, then imputes 10,000 with 100 importance samples
each, and reports the peak resident memory, also before the imputation. A quarter of the
pixels lack a channel, as in the study of CIFAR-10.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from notmiwae import ImageImputer


def peak_mib() -> float:
    """Peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def images(n: int) -> np.ndarray:
    """Images with noise of their own in every cell, and no blue where it is above 3/4."""
    x = np.random.default_rng(0).random((n, 3, 32, 32), dtype=np.float32)
    x[:, 2][x[:, 2] > 0.75] = np.nan
    return x


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--mechanism", default="pixelwise")
    args = parser.parse_args()
    x = images(args.images)
    imputer = ImageImputer(
        args.mechanism, max_epochs=1, n_impute_samples=args.samples, random_state=0
    ).fit(x[:64])
    before, started = peak_mib(), time.perf_counter()
    filled = imputer.set_params(verbose=True).transform(x)
    seconds = time.perf_counter() - started
    assert not np.isnan(filled).any()
    print(
        f"{args.mechanism}, {args.images} images, {args.samples} samples: {seconds:.0f} s "
        f"({args.images / seconds:.1f} images/s), peak {peak_mib():.0f} MiB ({before:.0f} before)"
    )


if __name__ == "__main__":
    main()
