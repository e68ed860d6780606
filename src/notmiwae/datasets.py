"""Named complete data sets, for experiments that delete values and put them back.

`load` returns the features of the UCI data sets that the papers' tables use, without the target.
A file is looked for in the folder that the environment variable ``NOTMIWAE_DATA`` names, then in a
cache (``$XDG_CACHE_HOME/notmiwae`` or ``~/.cache/notmiwae``), then downloaded from OpenML into the
cache. Both folders have the form ``uci/<file>.csv``: a header, the features, the target last.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.datasets import fetch_openml, load_breast_cancer

from notmiwae.validation import lookup

UCI = "UCI Machine Learning Repository, https://doi.org/10.24432/"
_WINE = (
    "fixed_acidity volatile_acidity citric_acid residual_sugar chlorides free_sulfur_dioxide "
    "total_sulfur_dioxide density ph sulphates alcohol"
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A complete table of numbers.

    Attributes
    ----------
    name : str
        The name that `load` knows it by.
    x : DataFrame, shape (N, D)
        Features as floats, in their original units; the target is left out.
    source, licence : str
        Where it comes from and under what terms.
    """

    name: str
    x: pd.DataFrame
    source: str
    licence: str = "CC BY 4.0"


@dataclass(frozen=True)
class _File:
    name: str
    openml_id: int
    doi: str
    columns: str  # separated by spaces; OpenML's copies name some of them V1, V2, …


FILES = {
    "banknote": _File("banknote.csv", 1462, "C55P57", "variance skewness kurtosis entropy"),
    "concrete": _File(
        "concrete.csv",
        44959,
        "C5PK67",
        "cement blast_furnace_slag fly_ash water superplasticizer coarse_aggregate "
        "fine_aggregate age",
    ),
    "red": _File("red_wine.csv", 40691, "C56S3T", _WINE),
    "white": _File("white_wine.csv", 40498, "C56S3T", _WINE),
    "yeast": _File("yeast.csv", 181, "C5KG68", "mcg gvh alm mit erl pox vac nuc"),
}


def available() -> list[str]:
    """Return the names that `load` knows."""
    return ["breast", *FILES]


def load(name: str) -> Dataset:
    """Return a data set: from ``$NOTMIWAE_DATA``, else from the cache, else downloaded.

    Parameters
    ----------
    name : str
        One of `available`. ``'breast'`` ships with scikit-learn and needs no file.

    Raises
    ------
    ValueError
        If the name is unknown, or a file is not a table of numbers.
    FileNotFoundError
        If there is no file and the download fails; it says where to put the file.
    """
    if name == "breast":
        return Dataset(name, load_breast_cancer(as_frame=True).data, UCI + "C5DW2B")
    file = lookup("name", name, {"breast": None, **FILES})
    assert file is not None
    return Dataset(name, _read(_find(file)), UCI + file.doi)


def _find(file: _File) -> Path:
    """Return the path of a file that exists, after a download if need be."""
    paths = [folder / "uci" / file.name for folder in folders()]
    for path in paths:
        if path.is_file():
            return path
    _download(file, paths[-1])
    return paths[-1]


def folders() -> list[Path]:
    """Return where files are looked for: the user's folder, if there is one, and the cache."""
    own = os.environ.get("NOTMIWAE_DATA")
    return [*([Path(own)] if own else []), _cache()]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "notmiwae"


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path).iloc[:, :-1].astype(float)
    except ValueError as error:
        raise ValueError(
            f"{path} must be a CSV file with a header, numeric features and the target in its "
            f"last column; {error}"
        ) from error


def _download(file: _File, path: Path) -> None:
    """Fetch a data set from OpenML and write it to `path` in the form of the local files."""
    try:
        table = _fetch(file)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{file.name} was not found and could not be downloaded ({error}); put {file.name} "
            "into $NOTMIWAE_DATA/uci, or go online"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    table.to_csv(part, index=False)
    part.replace(path)  # at once, so that an interrupted run leaves no half a file


def _fetch(file: _File) -> pd.DataFrame:
    fetched = fetch_openml(data_id=file.openml_id, data_home=_cache(), as_frame=True)
    features = fetched.data.select_dtypes("number")  # without the name of a row
    columns = file.columns.split()
    if features.shape[1] != len(columns):
        raise ValueError(
            f"OpenML's data set {file.openml_id} must have {len(columns)} numeric features; "
            f"got {features.shape[1]}"
        )
    return features.set_axis(columns, axis=1).assign(target=fetched.target)
