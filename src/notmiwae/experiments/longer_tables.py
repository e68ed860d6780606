"""Complete tables of 600 rows and more, on which rehearsals were judged.

As those of `notmiwae.experiments.development`, none of them is a benchmark of the papers. Some are
taken from scikit-learn, statsmodels and R's collections; others are made of what scikit-learn
ships: what is seen in patches of a photograph, the shapes of digits, its made regressions, and
series beside their own past. Here relations bend, which few of the short tables show.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import entropy, kurtosis, skew
from sklearn import datasets
from sklearn.decomposition import PCA

from notmiwae.experiments.development import MISSING_EXTRA, TABLES, r_table, standardised

MOST_ROWS = 2000
NOISE = 0.1
"""Of what is made, in standard deviations of the column that is a function of the others."""


def patches(photograph: int, side: int = 20) -> np.ndarray:
    """Return patches of a photograph of scikit-learn ``(P, side, side, 3)``."""
    image = datasets.load_sample_images().images[photograph].astype(float)
    windows = sliding_window_view(image, (side, side), axis=(0, 1))[::side, ::side]
    return np.moveaxis(windows, 2, -1).reshape(-1, side, side, 3)


def textures(photograph: int) -> pd.DataFrame:
    """Brightness, entropy, and the moments of differences between neighbours."""
    grey = patches(photograph).mean(-1)
    steps = np.diff(grey, axis=1).reshape(len(grey), -1)
    shades = [np.histogram(patch, 32, (0, 256))[0] for patch in grey]
    return pd.DataFrame(
        {
            "brightness": grey.mean((1, 2)),
            "entropy": entropy(np.array(shades), axis=1),
            "variance": np.log1p(steps.var(1)),
            "skewness": skew(steps, axis=1),
            "kurtosis": kurtosis(steps, axis=1),
        }
    )


def colours(photograph: int) -> pd.DataFrame:
    """Mean and spread of each channel."""
    channels = patches(photograph, side=16).reshape(-1, 16 * 16, 3)
    return pd.DataFrame(np.hstack([channels.mean(1), np.log1p(channels.std(1))]))


def digit_shapes() -> pd.DataFrame:
    """Ink, centre, and second moments of handwritten digits."""
    images = datasets.load_digits().images
    ink = images.sum((1, 2))
    row, column = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")

    def mean(of: np.ndarray) -> np.ndarray:
        return (images * of).sum((1, 2)) / ink

    down, right = mean(row), mean(column)
    moments = {
        "tall": mean(row**2) - down**2,
        "wide": mean(column**2) - right**2,
        "slant": mean(row * column) - down * right,
    }
    return pd.DataFrame({"ink": ink, "down": down, "right": right, **moments})


def digit_components() -> pd.DataFrame:
    """The first principal components of digits."""
    return pd.DataFrame(PCA(6, random_state=0).fit_transform(datasets.load_digits().data))


def regression(make: Callable[..., tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Return inputs and output of one of scikit-learn's made regressions."""
    x, y = make(n_samples=1000, noise=0.0, random_state=0)
    noise = np.random.default_rng(0).normal(size=len(y))
    return pd.DataFrame(np.column_stack([x[:, :5], y + NOISE * y.std() * noise]))


def arm() -> pd.DataFrame:
    """Angles of an arm of three parts, and where its hand is."""
    rng = np.random.default_rng(0)
    angles = rng.normal(0, 0.6, size=(1000, 3)).cumsum(1)
    lengths = np.array([1.0, 0.8, 0.6])
    hand = np.column_stack([np.cos(angles) @ lengths, np.sin(angles) @ lengths])
    return pd.DataFrame(np.hstack([angles, hand + 0.02 * rng.normal(size=hand.shape)]))


def beside_its_past(name: str, apart: int) -> pd.DataFrame:
    """Return five values of one of R's series in each row, so many steps apart."""
    series = np.log1p(r_table("datasets", name).iloc[:, -1].to_numpy(dtype=float))
    return pd.DataFrame(sliding_window_view(series, 4 * apart + 1)[:, ::apart])


def survey(name: str) -> pd.DataFrame:
    """Return a table of statsmodels."""
    try:
        from statsmodels import datasets as tables
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    table: pd.DataFrame = getattr(tables, name).load_pandas().data
    return table


LONGER_TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    **{name: TABLES[name] for name in ("quakes", "EuStockMarkets")},
    "SLID": partial(r_table, "carData", "SLID"),
    "Mroz": partial(r_table, "carData", "Mroz"),
    "nlschools": partial(r_table, "MASS", "nlschools"),
    "modechoice": partial(survey, "modechoice"),
    "randhie": partial(survey, "randhie"),
    "sunspots": partial(beside_its_past, "sunspot.month", 9),
    "treering": partial(beside_its_past, "treering", 1),
    "china": partial(textures, 0),
    "flower": partial(textures, 1),
    "china, colours": partial(colours, 0),
    "flower, colours": partial(colours, 1),
    "digits, shapes": digit_shapes,
    "digits, components": digit_components,
    "friedman 1": partial(regression, datasets.make_friedman1),
    "friedman 2": partial(regression, datasets.make_friedman2),
    "friedman 3": partial(regression, datasets.make_friedman3),
    "arm": arm,
}


def load(name: str) -> np.ndarray:
    """Return a table's standardised values ``(N, D)``, of no more than `MOST_ROWS` rows."""
    return standardised(LONGER_TABLES[name]().head(MOST_ROWS))
