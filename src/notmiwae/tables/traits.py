"""What a column is over all rows of a table, of which a batch shows only some.

The sum of squares about the mean of two parts is that of each plus δ² n m / (n + m), δ the
difference of their means (Chan, Golub & LeVeque, 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMPTY = "it is empty"


@dataclass(frozen=True)
class Traits:
    """Of a column, or of its part in a batch.

    Attributes
    ----------
    obstacle : str
        Why it is not numeric; empty if it is.
    n_rows, n_missing : int
    mean, squares : float
        Of the observed numbers; squares are about the mean.
    whole : bool
        All that is observed are whole numbers, as texts.
    comma : bool
        Some number has a decimal comma.
    exact : bool
        All numbers stay what they are as double precision floats.
    """

    obstacle: str
    n_rows: int
    n_missing: int
    mean: float = 0.0
    squares: float = 0.0
    whole: bool = False
    comma: bool = False
    exact: bool = True

    @classmethod
    def of(cls, obstacle: str, numbers: NDArray[np.float64], **more: bool) -> Traits:
        """Look at the numbers ``(N,)`` of a numeric column, NaN where missing."""
        observed = numbers[~np.isnan(numbers)]
        with np.errstate(over="ignore", invalid="ignore"):
            mean = observed.mean().item() if len(observed) else 0.0
            squares = np.square(observed - mean).sum().item()
        return cls(obstacle, len(numbers), len(numbers) - len(observed), mean, squares, **more)

    def __add__(self, other: Traits) -> Traits:
        n, m = self.n_rows - self.n_missing, other.n_rows - other.n_missing
        share, apart = m / max(n + m, 1), other.mean - self.mean
        mean = self.mean + share * apart
        squares = self.squares + other.squares + np.square(apart).item() * n * share
        return Traits(
            _first(self.obstacle, other.obstacle),
            self.n_rows + other.n_rows,
            self.n_missing + other.n_missing,
            mean,
            squares,
            self.whole and other.whole,
            self.comma or other.comma,
            self.exact and other.exact,
        )

    @property
    def decimals(self) -> int | None:
        """Decimals that resolve a ten-thousandth of the spread; None where that is unreadable."""
        n_observed = self.n_rows - self.n_missing
        spread = np.sqrt(self.squares / n_observed) if n_observed else 0.0
        if not 1e-9 < spread < 1e15:
            return None
        return max(0, 4 - int(np.floor(np.log10(spread))))


def _first(one: str, other: str) -> str:
    """Combine obstacles; that a part is empty does not count where another is not."""
    if EMPTY in (one, other):
        return other if one == EMPTY else one
    return one or other
