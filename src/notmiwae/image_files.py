"""Files of labelled colour images, read without executing anything that they contain.

    .npz          arrays `images` (N, H, W, 3) or (N, 3, H, W) and `labels` (N,), bytes
    .parquet      a column of encoded pictures (`img` or `image`: bytes, or a struct with `bytes`)
                  and a column `label`; needs the extra ``parquet`` and Pillow
    .bin          CIFAR-10's binary version: one byte of label and 3,072 of pixels per image
    no extension  CIFAR-10's Python version, a pickle
    .mat          SVHN's cropped digits: X (32, 32, 3, N) and y (N, 1), where 10 stands for 0

A pickle can name any function to be called with any arguments, so that opening one from somebody
else runs their code. `read_python_batch` resolves the few names that an array needs to inert
stand-ins, which only keep what they are given, and refuses every other name; the array is then made
from the bytes that were kept. Each reader returns images ``(N, 3, H, W)`` and labels ``(N,)``.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

Bytes = NDArray[np.uint8]

_SHAPE = (3, 32, 32)
_INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


class Labelled(NamedTuple):
    """Images and what they show.

    Attributes
    ----------
    images : array of uint8, shape (N, 3, H, W)
    labels : array of int, shape (N,)
    """

    images: Bytes
    labels: NDArray[np.int64]


def read_npz(path: Path) -> Labelled:
    """Read arrays `images` and `labels`; object arrays, which are pickles, are refused."""
    with np.load(path, allow_pickle=False) as arrays:
        return _checked(path, arrays["images"], arrays["labels"])


def read_parquet(path: Path) -> Labelled:
    """Read encoded pictures, as dataset hubs store them."""
    try:
        import pyarrow.parquet as parquet
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"{path.name} needs {error.name}, which is not installed: "
            "pip install 'notmiwae[parquet,report]'"
        ) from error
    columns = parquet.read_table(path).to_pydict()
    pictures = columns.get("img") or columns.get("image")
    labels = columns.get("label") or columns.get("labels")
    if not pictures or not labels:
        raise ValueError(f"it has columns {', '.join(columns)}, and needs img and label")
    images = []
    for picture in pictures:
        data = picture["bytes"] if isinstance(picture, dict) else picture
        with Image.open(io.BytesIO(data)) as image:
            images.append(np.asarray(image.convert("RGB")))
    return _checked(path, np.stack(images), np.asarray(labels))


def read_binary_batch(path: Path) -> Labelled:
    """Read a batch of CIFAR-10's binary version."""
    records = np.fromfile(path, dtype=np.uint8)
    size = 1 + math.prod(_SHAPE)
    if not records.size or records.size % size:
        raise ValueError(f"it must hold records of {size:,} bytes; it has {records.size:,} bytes")
    records = records.reshape(-1, size)
    return _checked(path, records[:, 1:].reshape(-1, *_SHAPE), records[:, 0])


def read_python_batch(path: Path) -> Labelled:
    """Read a batch of CIFAR-10's Python version, without executing what it pickles."""
    with path.open("rb") as file:
        batch = _Inert(file, encoding="bytes").load()
    if not isinstance(batch, dict):
        raise ValueError("it must hold a dict of data and labels")
    named = {_text(key): value for key, value in batch.items()}
    pixels, labels = _array(named.get("data")), named.get("labels")
    if pixels.ndim != 2 or pixels.shape[1] != math.prod(_SHAPE):
        raise ValueError(f"data must have shape (N, {math.prod(_SHAPE)}); got {pixels.shape}")
    numbers = labels if isinstance(labels, list) else _array(labels)
    return _checked(path, pixels.reshape(-1, *_SHAPE), np.asarray(numbers))


def read_mat(path: Path) -> Labelled:
    """Read SVHN's cropped digits."""
    found = loadmat(path, variable_names=["X", "y"])
    return _checked(path, np.moveaxis(found["X"], -1, 0), found["y"].ravel() % 10)


class _Kept:
    """What a pickle wanted to build: the arguments and the state, and nothing is called."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, tuple) else ()


class _Reconstructed(_Kept):
    """numpy's `_reconstruct(type, shape, code)`, whose state holds the array."""


class _FromBuffer(_Kept):
    """numpy's `_frombuffer(buffer, dtype, shape, order)`."""


class _Type(_Kept):
    """`numpy.dtype(code, …)`, and the name `numpy.ndarray`."""


def _latin(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which Python 3 writes bytes in old protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("only text in latin1 is decoded")
    return text.encode("latin1")


class _Inert(pickle.Unpickler):
    """An unpickler for containers, numbers, text, bytes and, inertly, numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            module = "multiarray"
        elif module in ("numpy.core.numeric", "numpy._core.numeric"):
            module = "numeric"
        known: dict[tuple[str, str], Any] = {
            ("multiarray", "_reconstruct"): _Reconstructed,
            ("numeric", "_frombuffer"): _FromBuffer,
            ("numpy", "ndarray"): _Type,
            ("numpy", "dtype"): _Type,
            ("_codecs", "encode"): _latin,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(
                f"it wants to call {module}.{name}, which no batch of images needs"
            )
        return known[module, name]


def _array(kept: Any) -> NDArray[Any]:
    """Make an array of integers from what was kept of it."""
    order = "C"
    if isinstance(kept, _Reconstructed) and len(kept.state) == 5:
        _, shape, dtype, fortran, data = kept.state
        order = "F" if fortran else "C"
    elif isinstance(kept, _FromBuffer) and len(kept.arguments) == 4:
        data, dtype, shape, order = kept.arguments
    else:
        raise ValueError("data and labels must be arrays or lists of whole numbers")
    code = _text(dtype.arguments[0]) if isinstance(dtype, _Type) and dtype.arguments else ""
    if code not in _INTEGERS or (dtype.state and _text(dtype.state[1]) == ">"):
        raise ValueError(f"arrays must hold whole numbers; got a dtype {code or dtype!r}")
    return np.frombuffer(data, dtype="<" + code).reshape(shape, order=_text(order))  # type: ignore[call-overload]


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _checked(path: Path, images: NDArray[Any], labels: NDArray[Any]) -> Labelled:
    """Return images with the channels first, or say what is wrong with them."""
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 3 and images.shape[1] != 3:
        images = np.moveaxis(images, -1, 1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images must be bytes of shape (N, H, W, 3) or (N, 3, H, W); "
            f"got {images.dtype} of shape {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "ui":
        raise ValueError(f"labels must be {len(images)} whole numbers; got shape {labels.shape}")
    return Labelled(np.ascontiguousarray(images), labels.astype(np.int64))


def read_all(read: Callable[[Path], Labelled], paths: Iterable[Path]) -> Labelled:
    """Read files one after the other and put their images together.

    Raises
    ------
    ValueError
        With the file's name, if one is not what it should be.
    """
    parts = []
    for path in paths:
        try:
            parts.append(read(path))
        except (ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} cannot be read as images: {error}") from error
    images, labels = zip(*parts, strict=True)
    return Labelled(np.concatenate(images), np.concatenate(labels))
