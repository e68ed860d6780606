"""From names and numbers to a model of images: what the parameters of `ImageImputer` mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from notmiwae.encoders import ImageEncoder
from notmiwae.image_mechanisms import ImageMechanism, Pixelwise
from notmiwae.image_model import ImageModel
from notmiwae.image_observations import IMAGE_OBSERVATIONS
from notmiwae.mechanisms import MECHANISMS, Mechanism, Nonlinear, SelfMaskingKnown
from notmiwae.networks import IMAGE_DECODERS, IMAGE_ENCODERS, ImageShape, Rowwise
from notmiwae.validation import lookup, resolve

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}

NONLINEAR_WIDTH = 512
"""Hidden units of the non-linear mechanism (as in the report)."""

COLOUR_UNIT = 0.05
"""Difference of two channels that a pixelwise mechanism counts as one."""


def build_image_model(
    settings: Mapping[str, Any], shape: ImageShape, missing_share: Tensor
) -> ImageModel:
    """Put a model together.

    Parameters
    ----------
    settings : mapping
        Parameters of `notmiwae.ImageImputer` by name.
    shape : ImageShape
    missing_share : Tensor
        Share of missing values of each cell ``(D,)``.
    """
    precision = lookup("precision", settings["precision"], PRECISIONS)
    n_latent = settings["n_latent"]
    encoder = resolve("encoder", settings["encoder"], IMAGE_ENCODERS)
    decoder = resolve("decoder", settings["decoder"], IMAGE_DECODERS)
    observation = resolve("observation", settings["observation"], IMAGE_OBSERVATIONS)
    mechanism = build_image_mechanism(settings, shape)
    mechanism.start(missing_share)

    def maps(n_maps: int) -> nn.Module:
        return Rowwise(decoder(shape, n_latent, n_maps), precision)

    return ImageModel(
        ImageEncoder(Rowwise(encoder(shape, 2 * n_latent), precision)),
        observation(shape, maps),
        mechanism,
        integrate=settings["integrate"],
    )


def build_image_mechanism(settings: Mapping[str, Any], shape: ImageShape) -> Mechanism:
    """Build p(s | x)."""
    if callable(settings["mechanism"]):
        return settings["mechanism"](shape)
    family = lookup("mechanism", settings["mechanism"], MECHANISMS)
    options: dict[str, Any] = {}
    if issubclass(family, ImageMechanism):
        options["image_shape"] = shape
    if family is Pixelwise:
        options["unit"] = COLOUR_UNIT
    if family is Nonlinear:
        options["n_hidden"] = NONLINEAR_WIDTH
    if family is SelfMaskingKnown:
        sign = settings["sign"]
        by_channel = np.shape(sign) == (shape.channels,)
        options["sign"] = np.repeat(sign, shape.n_pixels).tolist() if by_channel else sign
    build: Callable[..., Mechanism] = partial(family, **options)
    return build(shape.n_features)
