"""A fitted imputer on disk: what of it is kept, and how it comes back to life."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.impute import MissingIndicator
from torch import Tensor

from notmiwae import persistence
from notmiwae.assembly import choose_device
from notmiwae.ensembles import Trained
from notmiwae.preprocessing import Standardiser
from notmiwae.rehearsal import Rehearsal
from notmiwae.schema import Schema
from notmiwae.selection import Selection
from notmiwae.training import History, seeded

FILE = "imputer.json"
BY_COLUMN = ("mechanism", "types")
"""Parameters that may be mappings from names of columns."""
SCALES = ("modelled", "mean", "std", "crowding", "largest", "average")


def save(imputer: Any, path: str | Path) -> None:
    """Write a fitted imputer to a folder.

    Raises
    ------
    TypeError
        If a parameter is a callable, which a file cannot hold.
    """
    persistence.write(
        path,
        FILE,
        {**_weights(imputer), **_scales(imputer)},
        {
            "version": version(),
            "imputer": type(imputer).__name__,
            "parameters": plain(parameters(imputer)),
            "fitted": plain(_learned(imputer)),
        },
    )


def load(expected: type, kinds: Mapping[str, type], path: str | Path) -> Any:
    """Read an imputer.

    Parameters
    ----------
    expected : type
        What it should be.
    kinds : mapping of str to type
        All imputers, by name.
    path : path
        The folder.

    Raises
    ------
    ModelFileError
        If files are missing, damaged, from a newer version, or of another imputer.
    """
    tensors, meta = persistence.read(path, FILE)
    kind = kinds.get(meta.get("imputer", ""))
    if kind is None or not issubclass(kind, expected):
        raise persistence.ModelFileError(
            f"{path} holds a {meta.get('imputer')}, which {expected.__name__}.load cannot read"
        )
    try:
        parameters = meta["parameters"]
        if parameters["missing_values"] == "nan":
            parameters["missing_values"] = np.nan
        for name in BY_COLUMN:
            if isinstance(parameters.get(name), dict):
                parameters[name] = dict(parameters[name]["by column"])
        imputer = kind(**parameters)
        _restore(imputer, tensors, meta["fitted"], path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise persistence.ModelFileError(
            f"{Path(path) / FILE} is damaged ({error}): save the model again"
        ) from error
    return imputer


def parameters(imputer: Any) -> dict[str, Any]:
    """Parameters as a file can hold them."""
    result: dict[str, Any] = imputer.get_params(deep=False)
    mappings = {name: result[name] for name in BY_COLUMN if isinstance(result.get(name), Mapping)}
    given = result | {
        f"{name} of {column!r}": value
        for name, mapping in mappings.items()
        for column, value in mapping.items()
    }
    if factories := [name for name, value in given.items() if callable(value)]:
        raise TypeError(f"{factories} are callables, which cannot be saved: use names instead")
    for name, mapping in mappings.items():
        # As pairs, since a key of JSON is a text, and a column may have a number for a name.
        result[name] = {"by column": [list(pair) for pair in mapping.items()]}
    if not isinstance(result["random_state"], (int, type(None))):
        result["random_state"] = imputer.seed_
    return result


def _weights(imputer: Any) -> dict[str, Tensor]:
    return {
        f"model.{index}.{key}": value
        for index, model in enumerate(imputer.models_)
        for key, value in model.state_dict().items()
    }


def _scales(imputer: Any) -> dict[str, Tensor]:
    values = vars(imputer.preprocessing_)
    return {f"preprocessing.{key}": torch.from_numpy(values[key]) for key in SCALES}


def _learned(imputer: Any) -> dict[str, Any]:
    return {
        "n_features_in": imputer.n_features_in_,
        "feature_names_in": getattr(imputer, "feature_names_in_", None),
        "schema": imputer.schema_ and imputer.schema_.to_list(),
        "seed": imputer.seed_,
        "missing_share": imputer.missing_share_,
        "indicated": imputer.indicator_.features_ if imputer.add_indicator else None,
        "selection": vars(imputer.selection_),
        "rehearsal": imputer.rehearsal_ and vars(imputer.rehearsal_),
        "mechanisms": imputer.mechanisms_,
        "histories": [vars(history) for history in imputer.histories_],
    }


def _restore(
    imputer: Any, tensors: dict[str, Tensor], fitted: dict[str, Any], path: str | Path
) -> None:
    imputer.n_features_in_, imputer.seed_ = fitted["n_features_in"], fitted["seed"]
    imputer.missing_share_ = np.asarray(fitted["missing_share"], dtype=np.float32)
    if fitted["feature_names_in"] is not None:
        imputer.feature_names_in_ = np.asarray(fitted["feature_names_in"], dtype=object)
    imputer.schema_ = fitted["schema"] and Schema.from_list(fitted["schema"])
    imputer.histories_ = [History(**history) for history in fitted["histories"]]
    imputer.selection_ = Selection(**fitted["selection"])
    imputer.rehearsal_ = fitted.get("rehearsal") and Rehearsal(**fitted["rehearsal"])
    imputer.mechanisms_ = fitted["mechanisms"]
    imputer.preprocessing_ = Standardiser()
    for key in SCALES:
        setattr(imputer.preprocessing_, key, tensors.pop(f"preprocessing.{key}").numpy())
    if fitted["indicated"] is not None:
        pattern = np.zeros((1, imputer.n_features_in_))
        pattern[:, fitted["indicated"]] = np.nan
        imputer.indicator_ = MissingIndicator(error_on_new=False).fit(pattern)
    # A model from a machine with a GPU works without one.
    imputer.device_ = choose_device(imputer.device if torch.cuda.is_available() else "cpu")
    imputer.models_ = _models(imputer, tensors, path)
    # From behind, so that of a mechanism with several models the first stays.
    imputer.candidates_ = {
        name: Trained([model], [history])
        for name, model, history in zip(
            reversed(imputer.mechanisms_),
            reversed(imputer.models_),
            reversed(imputer.histories_),
            strict=True,
        )
    }


def _models(imputer: Any, tensors: dict[str, Tensor], path: str | Path) -> list[Any]:
    models = []
    for index, mechanism in enumerate(imputer.mechanisms_):
        prefix = f"model.{index}."
        weights = {
            key.removeprefix(prefix): value
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
        with seeded(0):
            model = imputer._build(mechanism)
        persistence.load_weights(model, weights, path)
        models.append(model.to(imputer.device_).eval())
    return models


def version() -> str:
    """Version of the library."""
    from notmiwae import __version__

    return __version__


def plain(value: Any) -> Any:
    """Turn arrays, tuples, paths and NaN into what JSON can say."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
