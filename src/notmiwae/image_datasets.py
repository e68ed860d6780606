"""Named sets of complete colour images, for experiments that delete values and put them back.

`load_images` looks in the folder that the environment variable ``NOTMIWAE_DATA`` names, then in the
cache of `notmiwae.datasets`, then downloads CIFAR-10 into it. Either folder holds the images in a
folder called as the set, or as its archive unpacks, in any of the forms of `notmiwae.image_files`:

    cifar10/      or cifar-10-batches-bin/, cifar-10-batches-py/: .npz, .parquet, binary or Python
    svhn/         train_32x32.mat and test_32x32.mat

Files whose names have "test" in them are the test images; without one, the last fifth of the images
are. `photographs` needs no file: patches of the two that scikit-learn ships.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from notmiwae.datasets import folders
from notmiwae.image_files import (
    Labelled,
    read_all,
    read_binary_batch,
    read_mat,
    read_npz,
    read_parquet,
    read_python_batch,
)
from notmiwae.validation import lookup

CIFAR10 = "Krizhevsky, Learning multiple layers of features from tiny images, 2009"
_ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_MD5 = "md5:c32a1d4ab5d03f1284b67883e8d87530"
_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Complete colour images, the training images first.

    Attributes
    ----------
    name : str
        The name that `load_images` knows it by.
    images : array of uint8, shape (N, 3, H, W)
    labels : array of int, shape (N,)
        Indices of `classes`.
    classes : tuple of str
    n_training : int
        How many of the images are for training; the rest are for testing.
    source, licence : str
        Where it comes from and under what terms.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    n_training: int
    source: str
    licence: str

    def training(self) -> Labelled:
        """Return the training images and their labels."""
        return Labelled(self.images[: self.n_training], self.labels[: self.n_training])

    def test(self) -> Labelled:
        """Return the test images and their labels."""
        return Labelled(self.images[self.n_training :], self.labels[self.n_training :])


class _Form(NamedTuple):
    """How files are called, and what reads them."""

    pattern: str
    read: Callable[[Path], Labelled]


class _Set(NamedTuple):
    folders: tuple[str, ...]
    forms: tuple[_Form, ...]
    classes: str
    source: str
    licence: str


SETS = {
    "cifar10": _Set(
        ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"),
        (
            _Form("*.npz", read_npz),
            _Form("*.parquet", read_parquet),
            _Form("*_batch*.bin", read_binary_batch),
            _Form("*_batch*", read_python_batch),
        ),
        _CLASSES,
        CIFAR10,
        "not stated",
    ),
    "svhn": _Set(
        ("svhn",),
        (_Form("t*_32x32.mat", read_mat),),
        "0 1 2 3 4 5 6 7 8 9",
        "Netzer et al., Reading digits in natural images, 2011",
        "for non-commercial use",
    ),
}
_PYTHON_NAMES = ("data_batch_", "test_batch")


def available_images() -> list[str]:
    """Return the names that `load_images` knows."""
    return ["photographs", *SETS]


def load_images(name: str) -> ImageDataset:
    """Return a set of images: from ``$NOTMIWAE_DATA``, else from the cache, else downloaded.

    Parameters
    ----------
    name : str
        One of `available_images`. ``'photographs'`` ships with scikit-learn and needs no file.

    Raises
    ------
    ValueError
        If the name is unknown, or a file does not hold images.
    FileNotFoundError
        If there is no file, and none can be downloaded; it says where to put the files.
    ImportError
        If a file or the download needs an extra that is not installed.
    """
    if name == "photographs":
        return photographs()
    known: Mapping[str, _Set | None] = {"photographs": None, **SETS}
    asked = lookup("name", name, known)
    assert asked is not None
    found = find_images(name)
    if found is None and name == "cifar10":
        _download(folders()[-1])
        found = find_images(name)
    if found is None:
        raise FileNotFoundError(
            f"no images of {name} were found: put {' or '.join(f.pattern for f in asked.forms)} "
            f"into $NOTMIWAE_DATA/{asked.folders[0]}"
        )
    form, paths = found
    parts = [read_all(form.read, some) for some in _split(paths) if some]
    whole = Labelled(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    n_training = len(parts[0].labels) if len(parts) > 1 else round(0.8 * len(whole.labels))
    classes = tuple(asked.classes.split())
    return ImageDataset(name, *whole, classes, n_training, asked.source, asked.licence)


def find_images(name: str) -> tuple[_Form, list[Path]] | None:
    """Return the form that a member of `SETS` has and its files; None if there are none."""
    asked = lookup("name", name, SETS)
    for base in folders():
        for folder in (base / name for name in asked.folders):
            for form in asked.forms if folder.is_dir() else ():
                paths = sorted(filter(Path.is_file, folder.rglob(form.pattern)))
                if form.read is read_python_batch:
                    paths = [path for path in paths if path.name.startswith(_PYTHON_NAMES)]
                if paths:
                    return form, paths
    return None


def _split(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files of training images, and those of test images."""
    test = [path for path in paths if "test" in path.name]
    return [path for path in paths if path not in test], test


def photographs(size: int = 32) -> ImageDataset:
    """Return the patches of scikit-learn's two photographs, side by side without overlap.

    The right fifth of either photograph is for testing, so that no patch of it lies between
    training patches.
    """
    shown = load_sample_images()
    parts: dict[bool, list[NDArray[np.uint8]]] = {True: [], False: []}
    labels: dict[bool, list[int]] = {True: [], False: []}
    for label, photograph in enumerate(shown.images):
        height, width = (length // size * size for length in photograph.shape[:2])
        for left in range(0, width, size):
            trains = left + size <= 0.8 * width
            for top in range(0, height, size):
                patch = photograph[top : top + size, left : left + size]
                parts[trains].append(np.moveaxis(patch, -1, 0))
                labels[trains].append(label)
    return ImageDataset(
        "photographs",
        np.stack(parts[True] + parts[False]),
        np.array(labels[True] + labels[False]),
        tuple(Path(name).stem for name in shown.filenames),
        len(parts[True]),
        "scikit-learn, load_sample_images",
        "CC BY 2.0 and 3.0",
    )


def _download(folder: Path) -> None:
    """Fetch CIFAR-10's binary version into the cache; its checksum is the one of its page."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "CIFAR-10 was not found in $NOTMIWAE_DATA/cifar10, and a download needs pooch, which "
            "is not installed: pip install 'notmiwae[images]', or put the files there"
        ) from error
    target = folder / "cifar10"
    try:
        pooch.retrieve(
            _ARCHIVE,
            _MD5,
            path=target,
            fname="cifar-10-binary.tar.gz",
            processor=pooch.Untar(extract_dir="."),
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"CIFAR-10 was not found and could not be downloaded ({error}); put its batches, a "
            "Parquet file or an .npz into $NOTMIWAE_DATA/cifar10, or go online"
        ) from error
