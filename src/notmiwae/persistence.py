"""Files: tensors in safetensors, everything else in JSON, nothing pickled.

A saved imputer is a folder of two files, ``weights.safetensors`` and ``imputer.json``; the second
names the version of the library, of this schema, and a digest of both. A training checkpoint
is one safetensors file with JSON in its header.
Files are written under another name and then renamed, so that an interrupted write leaves the
earlier state.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

SCHEMA = 1
WEIGHTS = "weights.safetensors"


class ModelFileError(ValueError):
    """A saved model or checkpoint cannot be read; the message says why and what to do."""


def write(
    folder: str | Path, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON file called `name` into `folder`, each in one step.

    Raises
    ------
    TypeError
        If `meta` holds what JSON cannot say.
    """
    folder = Path(folder)
    payload = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    # Through JSON, so that the digest is of what will be read.
    meta = json.loads(json.dumps(meta))
    header = {"schema": SCHEMA, "sha256": digest(payload, meta)}
    text = json.dumps({**header, **meta}, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in {folder / WEIGHTS: payload, folder / name: text.encode()}.items():
        unsaved = file.with_name(f".{file.name}.part")
        unsaved.write_bytes(content)
        os.replace(unsaved, file)


def read(folder: str | Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote.

    Raises
    ------
    ModelFileError
        If a file is missing, damaged, or from a newer version.
    """
    folder = Path(folder)
    for file in (folder / name, folder / WEIGHTS):
        if not file.is_file():
            raise ModelFileError(
                f"{file} does not exist: {folder} is not a saved model; check the path, or save one"
            )
    try:
        meta = json.loads((folder / name).read_text(encoding="utf-8"))
        schema, signed = meta.pop("schema"), meta.pop("sha256")
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ModelFileError(
            f"{folder / name} is damaged ({error}): save the model again"
        ) from None
    if schema != SCHEMA:
        raise ModelFileError(
            f"{folder} was written in schema {schema!r} (notmiwae {meta.get('version', '?')}), and "
            f"this version reads schema {SCHEMA}: upgrade notmiwae, or save the model again"
        )
    payload = (folder / WEIGHTS).read_bytes()
    if digest(payload, meta) != signed:
        raise ModelFileError(
            f"{folder / WEIGHTS} or {name} is truncated or changed, or they belong to different "
            "models: save the model again"
        )
    return load(payload), meta


def digest(payload: bytes, meta: Mapping[str, Any]) -> str:
    """Return a digest of weights and settings, by which a change of either shows."""
    settings = json.dumps(meta, sort_keys=True).encode()
    return hashlib.sha256(payload + settings).hexdigest()


def save_checkpoint(
    file: str | Path, tensors: Mapping[str, Mapping[str, Tensor]], meta: Mapping[str, Any]
) -> None:
    """Write groups of tensors, named ``group/key``, and their JSON, as one file in one step."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    flat = {
        f"{group}/{key}": value.detach().cpu().contiguous()
        for group, values in tensors.items()
        for key, value in values.items()
    }
    unsaved = file.with_name(f".{file.name}.part")
    save_file(flat, unsaved, metadata={"checkpoint": json.dumps(meta)})
    os.replace(unsaved, file)


def load_checkpoint(
    file: str | Path,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """Read what `save_checkpoint` wrote, or None where there is nothing yet.

    Raises
    ------
    ModelFileError
        If the file is damaged or is no checkpoint.
    """
    if not Path(file).exists():
        return None
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(file, framework="pt") as handle:
            meta = json.loads(handle.metadata()["checkpoint"])
            for name in handle.keys():  # noqa: SIM118 (no mapping)
                group, key = name.split("/", 1)
                tensors.setdefault(group, {})[key] = handle.get_tensor(name)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{file} is no intact checkpoint ({error}): remove it to start afresh"
        ) from None
    return tensors, meta


def load_weights(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Load tensors into a module of the same shape.

    Raises
    ------
    ModelFileError
        If they do not fit.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError:
        raise ModelFileError(
            f"{source} holds the weights of another model: remove it, or restore its settings"
        ) from None
