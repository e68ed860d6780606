"""Fill a table with another library: what `peers.py` runs within that library's environment.

``python peer_fill.py METHOD SEED IN.npy OUT.npz`` reads a table with NaN where a value is missing,
and writes the filled one, the seconds that it took and the library's version. It imports nothing of
notmiwae, and each library only where it is used.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

import numpy as np


def miceforest(holes, seed):
    """Chained gradient-boosted trees, five rounds: one draw, as by default."""
    from miceforest import ImputationKernel

    kernel = ImputationKernel(frame(holes), num_datasets=1, random_state=seed)
    kernel.mice(5)
    return kernel.complete_data(0)


def hyperimpute(holes, seed, plugin="hyperimpute"):
    """Its plugin for mixed models, column by column, or another."""
    from hyperimpute.plugins.imputers import Imputers

    return Imputers().get(plugin, random_state=seed).fit_transform(frame(holes))


def hyperimpute_miwae(holes, seed):
    return hyperimpute(holes, seed, "miwae")


def notmiwae_pytorch(holes, seed, model="NotMIWAE", **options):
    """Its quick start: 100 epochs in batches of 64; zeros stand for missing values."""
    import notmiwae_pytorch as library
    import torch
    from notmiwae_pytorch.utils import impute, set_seed
    from torch.utils.data import DataLoader, TensorDataset

    set_seed(seed)
    mask = ~np.isnan(holes)
    data = TensorDataset(*(torch.tensor(part).float() for part in (np.nan_to_num(holes), mask)))
    fitted = getattr(library, model)(holes.shape[1], **options)
    library.Trainer(fitted).train(DataLoader(data, batch_size=64, shuffle=True))
    return impute(fitted, data)


def notmiwae_pytorch_known(holes, seed):
    return notmiwae_pytorch(holes, seed, missing_process="selfmasking_known_signs")


def notmiwae_pytorch_miwae(holes, seed):
    return notmiwae_pytorch(holes, seed, "MIWAE")


def frame(holes):
    """Return a table whose columns have names, which some libraries ask for."""
    import pandas as pd

    return pd.DataFrame(holes, columns=[f"x{j}" for j in range(holes.shape[1])])


METHODS = {  # by the name in the results: the distribution, and what fills
    "miceforest": ("miceforest", miceforest),
    "hyperimpute": ("hyperimpute", hyperimpute),
    "hyperimpute, MIWAE": ("hyperimpute", hyperimpute_miwae),
    "notmiwae-pytorch, MIWAE": ("notmiwae-pytorch", notmiwae_pytorch_miwae),
    "notmiwae-pytorch, self-masking": ("notmiwae-pytorch", notmiwae_pytorch),
    "notmiwae-pytorch, self-masking-known": ("notmiwae-pytorch", notmiwae_pytorch_known),
}


if __name__ == "__main__":
    method, seed, source, target = sys.argv[1:]
    distribution, fill = METHODS[method]
    holes = np.load(source)
    started = time.perf_counter()
    filled = np.asarray(fill(holes, int(seed)), dtype=float)
    seconds = time.perf_counter() - started
    np.savez(target, filled=filled, seconds=seconds, version=version(distribution))
