"""Arrays that the figures of a study need, on disk between the fits and the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class KeptArrays(NamedTuple):
    """Where they are kept: those of the first seed.

    Attributes
    ----------
    folder : Path
    seed : int
    """

    folder: Path
    seed: int

    def path(self, *names: str) -> Path:
        """Return the file of the arrays with these names: those of a method and its data, say."""
        words = "".join(letter if letter.isalnum() else " " for letter in " ".join(names))
        return self.folder / f"{'-'.join(words.split())}.npz"

    def write(self, seed: int, arrays: Mapping[str, Any], *names: str) -> None:
        """Keep what there is of the first seed."""
        if seed == self.seed and arrays:
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(self.path(*names), **arrays)

    def read(self, *names: str) -> dict[str, np.ndarray]:
        """Return what was kept, by name; nothing if there is none."""
        path = self.path(*names)
        if not path.exists():
            return {}
        with np.load(path) as arrays:
            return dict(arrays)
