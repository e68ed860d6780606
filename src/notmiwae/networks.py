"""Networks: functions that return an ``nn.Module`` from a number of inputs to one of outputs.

A decoder trunk maps latents ``(..., L)`` to the raw parameters ``(..., n_outputs)`` of an
observation distribution. ``linear`` makes the model a probabilistic PCA, ``mlp`` is the published
deep model, and ``linear+mlp`` is their sum

    f(z) = A z + c + m(z),

where the last layer of the multilayer perceptron m starts at zero. The sum starts as the linear
model and departs from it only as far as the data pay for it against the weight decay on m: where
nothing is observed, which is where missing values are imputed, a free m would extrapolate freely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

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
