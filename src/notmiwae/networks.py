"""Networks: functions that return an ``nn.Module`` from a number of inputs to one of outputs.

A decoder trunk maps latents ``(..., L)`` to the raw parameters ``(..., n_outputs)`` of an
observation distribution. ``linear`` makes the model a probabilistic PCA, ``mlp`` is the published
deep model, and ``linear+mlp`` is their sum

    f(z) = A z + c + m(z),

where the last layer of the multilayer perceptron m starts at zero. The sum starts as the linear
model and departs from it only as far as the data pay for it against the weight decay on m: where
nothing is observed, which is where missing values are imputed, a free m would extrapolate freely.

Images are rows too, channel by channel: the convolutional networks fold a row ``(..., C H W)`` into
an image, and their outputs back into a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from notmiwae.validation import lookup

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Penalised(nn.Module):
    """A module that the optimiser shrinks by its weight decay, times `strength`; no others are."""

    strength = 1.0


class PenalisedLinear(nn.Linear, Penalised):
    """A linear map under weight decay."""


class PenalisedSequential(nn.Sequential, Penalised):
    """Layers under weight decay."""


class ImageShape(NamedTuple):
    """Channels, height and width of an image."""

    channels: int
    height: int
    width: int

    @property
    def n_pixels(self) -> int:
        """Pixels of a channel."""
        return self.height * self.width

    @property
    def n_features(self) -> int:
        """Length of an image as a row."""
        return self.channels * self.n_pixels


class Sum(nn.Module):
    """The sum of the outputs of several modules.

    Parameters
    ----------
    *terms : nn.Module
        Modules with the same inputs and outputs.
    """

    def __init__(self, *terms: nn.Module) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)

    def forward(self, x: Tensor) -> Tensor:
        """Sum the terms at ``x``."""
        first, *others = (term(x) for term in self.terms)
        return sum(others, start=first)


def mlp(
    n_inputs: int,
    n_outputs: int,
    hidden: Sequence[int] = (128, 128),
    activation: str = "tanh",
    container: type[nn.Sequential] = nn.Sequential,
) -> nn.Sequential:
    """Build a multilayer perceptron with a linear last layer.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths of the input and of the output.
    hidden : sequence of int
        Widths of the hidden layers.
    activation : {'relu', 'silu', 'tanh'}
        Nonlinearity after each hidden layer.
    container : type
        `PenalisedSequential` puts the layers under weight decay.

    Returns
    -------
    nn.Sequential
        Maps ``(..., n_inputs)`` to ``(..., n_outputs)``.
    """
    nonlinearity = lookup("activation", activation, ACTIVATIONS)
    widths = [n_inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nonlinearity()]
    return container(*layers, nn.Linear(widths[-1], n_outputs))


def linear_decoder(
    n_latent: int, n_outputs: int, hidden: Sequence[int] = (), activation: str = "tanh"
) -> nn.Module:
    """Build an affine map: with a Gaussian observation, a probabilistic PCA."""
    return nn.Linear(n_latent, n_outputs)


def mlp_decoder(
    n_latent: int, n_outputs: int, hidden: Sequence[int] = (128, 128), activation: str = "tanh"
) -> nn.Module:
    """Build the published decoder, a multilayer perceptron."""
    return mlp(n_latent, n_outputs, hidden, activation, container=PenalisedSequential)


def linear_plus_mlp_decoder(
    n_latent: int, n_outputs: int, hidden: Sequence[int] = (128, 128), activation: str = "tanh"
) -> nn.Module:
    """Build an affine map plus a multilayer perceptron that starts at zero."""
    correction = mlp(n_latent, n_outputs, hidden, activation, container=PenalisedSequential)
    nn.init.zeros_(correction[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(correction[-1].bias)  # type: ignore[arg-type]
    return Sum(nn.Linear(n_latent, n_outputs), correction)


DECODERS: dict[str, Callable[..., nn.Module]] = {
    "linear": linear_decoder,
    "mlp": mlp_decoder,
    "linear+mlp": linear_plus_mlp_decoder,
}


class Rowwise(nn.Module):
    """Apply a network of one leading axis to rows of any number of leading axes.

    In mixed precision, if told so: the network computes in `precision`, and what it returns is in
    that of its input again, so that densities and weights never see less.

    Parameters
    ----------
    network : nn.Module
        Maps ``(B, n_inputs)`` to ``(B, n_outputs)``.
    precision : torch.dtype, optional
    """

    def __init__(self, network: nn.Module, precision: torch.dtype | None = None) -> None:
        super().__init__()
        # The order of memory in which convolutions are fastest, on a processor as on a GPU.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = precision

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to ``(..., n_inputs)``."""
        reduced = self.precision is not None
        with torch.autocast(x.device.type, self.precision, enabled=reduced):
            output = self.network(x.flatten(end_dim=-2))
        return output.to(x.dtype).unflatten(0, x.shape[:-1])


class FoldImage(nn.Unflatten):
    """Fold the last axis of rows into channels, height and width."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__(-1, (channels, height, width))

    def forward(self, x: Tensor) -> Tensor:
        """Fold ``(B, C H W)`` into ``(B, C, H, W)``."""
        return super().forward(x).contiguous(memory_format=torch.channels_last)


HALVINGS = 3
WIDTHS = (64, 128, 256)
"""Feature maps at half, a quarter and an eighth of the height and width (as in the report)."""


def coarsest(shape: ImageShape) -> tuple[int, int]:
    """Height and width after all halvings.

    Raises
    ------
    ValueError
        If an image cannot be halved so often.
    """
    step = 2**HALVINGS
    if shape.height % step or shape.width % step:
        raise ValueError(
            f"convolutional networks halve height and width {HALVINGS} times, so both must be "
            f"multiples of {step}; got {shape.height} x {shape.width}: crop or pad the images, or "
            "use encoder='mlp' and decoder='mlp'"
        )
    return shape.height // step, shape.width // step


def conv_encoder(
    shape: ImageShape, n_outputs: int, *, n_channels: int | None = None
) -> nn.Sequential:
    """Build the report's encoder: (convolution 3 x 3, ReLU, maximum of 2 x 2) thrice, then linear.

    Parameters
    ----------
    shape : ImageShape
    n_outputs : int
    n_channels : int, optional
        Channels that it is shown, if not those of the image.

    Returns
    -------
    nn.Sequential
        Maps ``(B, n_channels H W)`` to ``(B, n_outputs)``.
    """
    height, width = coarsest(shape)
    before = n_channels or shape.channels
    layers: list[nn.Module] = [FoldImage(before, shape.height, shape.width)]
    for after in WIDTHS:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * height * width, n_outputs))


def conv_decoder(shape: ImageShape, n_latent: int, n_maps: int) -> nn.Sequential:
    """Build the report's decoder: linear, then transposed convolutions 4 x 4 of stride 2.

    Batch normalisation and ReLU follow all but the last, which gives all maps at once: the report
    has two, one for a mean and one for a scale, with as many weights together.

    Parameters
    ----------
    shape : ImageShape
    n_latent : int
    n_maps : int
        Values per pixel.

    Returns
    -------
    nn.Sequential
        Maps ``(B, n_latent)`` to ``(B, n_maps H W)``, map by map.
    """
    height, width = coarsest(shape)
    coarse, middle, fine = reversed(WIDTHS)
    return nn.Sequential(
        nn.Linear(n_latent, coarse * height * width),
        FoldImage(coarse, height, width),
        nn.ConvTranspose2d(coarse, middle, 4, stride=2, padding=1),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.ConvTranspose2d(middle, fine, 4, stride=2, padding=1),
        nn.BatchNorm2d(fine),
        nn.ReLU(),
        nn.ConvTranspose2d(fine, n_maps, 4, stride=2, padding=1),
        nn.Flatten(),
    )


DENSE = (512, 512)
"""Hidden layers of the dense networks for images."""


def dense_image_encoder(
    shape: ImageShape, n_outputs: int, *, n_channels: int | None = None
) -> nn.Sequential:
    """Build a multilayer perceptron over all cells; see `conv_encoder`."""
    return mlp((n_channels or shape.channels) * shape.n_pixels, n_outputs, DENSE, "relu")


def dense_image_decoder(shape: ImageShape, n_latent: int, n_maps: int) -> nn.Sequential:
    """Build a multilayer perceptron to all cells; see `conv_decoder`."""
    return mlp(n_latent, n_maps * shape.n_pixels, DENSE, "relu")


IMAGE_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "convolutional": conv_encoder,
    "mlp": dense_image_encoder,
}
IMAGE_DECODERS: dict[str, Callable[..., nn.Module]] = {
    "convolutional": conv_decoder,
    "mlp": dense_image_decoder,
}
