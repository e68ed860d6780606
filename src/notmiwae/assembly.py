"""From names and numbers to a model: what the imputers' parameters mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from notmiwae.blocks import Embedded
from notmiwae.encoders import ENCODERS
from notmiwae.kinds import Kind
from notmiwae.mechanisms import MECHANISMS, Mechanism, SelfMaskingKnown
from notmiwae.mixing import Plan
from notmiwae.model import LatentVariableModel
from notmiwae.networks import DECODERS
from notmiwae.observations import OBSERVATIONS, LocationScale, Observation, TruncatedNormal
from notmiwae.preprocessing import Standardiser
from notmiwae.skewness import SkewedModel
from notmiwae.statements import Statement
from notmiwae.validation import resolve

Described = tuple[Sequence[Kind], Sequence[Statement]]

KNOWN_DECODERS = {"auto": DECODERS["linear+mlp"], **DECODERS}
MAX_LATENT = 20
CROWDED = 0.25
"""A column is crowded if one value is so large a share of what is observed of it."""


def build_model(
    settings: Mapping[str, Any],
    preprocessing: Standardiser,
    missing_share: Tensor,
    described: Described | None = None,
) -> LatentVariableModel:
    """Put a model together.

    Parameters
    ----------
    settings : mapping
        Parameters of `notmiwae.NotMIWAEImputer` by name.
    preprocessing : Standardiser
        Fitted; says which columns are modelled, and in what units.
    missing_share : Tensor
        Share of missing values per modelled column ``(D,)``.
    described : pair, optional
        Kind and statement of each modelled column, where these differ.

    Returns
    -------
    LatentVariableModel
    """
    if described is not None:
        return _build_blocks(settings, preprocessing, missing_share, described)
    n_features = len(missing_share)
    n_latent = latents(settings, n_features)
    encoder = _network(settings, "encoder", ENCODERS)
    decoder = _network(settings, "decoder", KNOWN_DECODERS)
    mechanism = build_mechanism(settings, preprocessing)
    mechanism.start(missing_share)
    parts = (
        encoder(n_features, n_latent),
        build_observation(settings, preprocessing, partial(decoder, n_latent)),
        mechanism,
    )
    skewable = torch.tensor(parts[1].skewable and mechanism.unit_free)
    return _join(settings, preprocessing, missing_share, parts, skewable)


def _join(
    settings: Mapping[str, Any],
    preprocessing: Standardiser,
    missing_share: Tensor,
    parts: tuple[Any, Any, Any],
    skewable: Tensor,
) -> LatentVariableModel:
    """Make encoder, observation and mechanism a model, some of whose columns may be skewed."""
    # A crowd has a place, and no shape to learn from.
    learns = skewable & ~torch.as_tensor(crowded(preprocessing)) & (missing_share > 0)
    options: dict[str, Any] = {"integrate": settings["integrate"]}
    if settings["skew"] and learns.any():
        return SkewedModel(*parts, learns=learns, **options)
    return LatentVariableModel(*parts, **options)


def _build_blocks(
    settings: Mapping[str, Any],
    preprocessing: Standardiser,
    missing_share: Tensor,
    described: Described,
) -> LatentVariableModel:
    """Put a model of columns that differ together."""
    floors = {"scale_floor": scale_floor(settings["scale_floor"], preprocessing)}
    plan = Plan({**settings, **floors}, preprocessing, missing_share, *described)
    n_latent = latents(settings, len(missing_share))
    embedding = plan.embedding()
    encoder = _network(settings, "encoder", ENCODERS)(embedding.n_outputs, n_latent)
    observation = plan.observation(partial(_network(settings, "decoder", KNOWN_DECODERS), n_latent))
    mechanism = plan.mechanism()
    mechanism.start(missing_share)
    parts = Embedded(embedding, encoder), observation, mechanism
    return _join(settings, preprocessing, missing_share, parts, mechanism.skewable(observation))


def latents(settings: Mapping[str, Any], n_features: int) -> int:
    """Return the number of latent dimensions, L."""
    return settings["n_latent"] or min(max(n_features - 1, 1), MAX_LATENT)


def _network(
    settings: Mapping[str, Any], role: str, known: Mapping[str, Callable[..., nn.Module]]
) -> Callable[..., Any]:
    """Return the factory of a network; those that have names take the width and activation."""
    factory = resolve(role, settings[role], known)
    if callable(settings[role]):
        return factory
    return partial(factory, hidden=tuple(settings["hidden"]), activation=settings["activation"])


def build_observation(
    settings: Mapping[str, Any],
    preprocessing: Standardiser,
    decoder: Callable[[int], nn.Module],
) -> Observation:
    """Build p(x | z) in the model's units."""
    family = resolve("observation", settings["observation"], OBSERVATIONS)
    options: dict[str, Any] = {}
    if isinstance(settings["observation"], str) and issubclass(family, LocationScale):
        floor = scale_floor(settings["scale_floor"], preprocessing)
        options = {"scale": settings["scale"], "scale_floor": floor}
    if family is TruncatedNormal:
        options |= standardised_bounds(settings["bounds"], preprocessing)
    return family(len(preprocessing.mean), decoder, **options)


def scale_floor(least: float, preprocessing: Standardiser) -> np.ndarray:
    """Return the least scale of each column: in a crowded one, as much as its crowd's share.

    A density rewards a spike at a value that many rows share, such as zero, by more than all the
    rest of the column can outweigh; and next to a spike, any missing value would do.
    """
    return np.where(crowded(preprocessing), np.maximum(preprocessing.crowding, least), least)


def crowded(preprocessing: Standardiser) -> np.ndarray:
    """Return which columns ``(D,)`` have a crowd at one value."""
    return preprocessing.crowding >= CROWDED


def standardised_bounds(bounds: Any, preprocessing: Standardiser) -> dict[str, np.ndarray]:
    """Turn bounds in the table's units, numbers or one per column, into the model's."""
    if bounds is None:
        raise ValueError(
            "observation='truncated-normal' needs bounds=(low, high): numbers, or one of each per "
            "column, in the table's units; -inf and inf are allowed"
        )
    n_columns = len(preprocessing.modelled)
    try:
        low, high = (np.broadcast_to(np.asarray(end, dtype=float), n_columns) for end in bounds)
    except (TypeError, ValueError):
        low = high = np.zeros(1)
    if not (low < high).all():
        raise ValueError(
            f"bounds must be a pair (low, high) with low < high, each a number or one for each of "
            f"the {n_columns} columns; got {bounds!r}"
        )
    ends = {"low": low, "high": high}
    kept = preprocessing.modelled
    return {name: preprocessing.standardise(end[kept]) for name, end in ends.items()}


def build_mechanism(settings: Mapping[str, Any], preprocessing: Standardiser) -> Mechanism:
    """Build p(s | x)."""
    family = resolve("mechanism", settings["mechanism"], MECHANISMS)
    n_features = len(preprocessing.mean)
    if family is not SelfMaskingKnown:
        return family(n_features)
    sign = settings["sign"]
    if np.shape(sign) == preprocessing.modelled.shape:
        sign = np.asarray(sign)[preprocessing.modelled].tolist()
    return family(n_features, sign=sign)


def choose_device(device: str) -> torch.device:
    """Return the torch device called `device`; 'auto' is a GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, TypeError, AssertionError):
        raise ValueError(
            f"device must be 'auto', 'cpu' or 'cuda', and there; got {device!r}"
        ) from None
    return chosen
