"""Several models of one architecture trained as one, by stacking their parameters.

Small networks leave a processor waiting: most of a step on a mini-batch of a few dozen rows is the
cost of calling some hundreds of operations. With the parameters of M models stacked along a leading
axis, θ ``(M, ...)``, every operation is called once for all of them (``torch.vmap``). Each model
keeps rows and noise of its own, so that the sum of the M losses has each loss's gradient in its
slice of the stack:

    ∂/∂θ_m Σ_i loss_i(θ_i) = ∂ loss_m / ∂θ_m.

Adam and its relatives work elementwise, hence on each model alone. The norm that a gradient is
clipped to is not elementwise, and is each slice's own. One model needs no stack: `Single`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from notmiwae.model import LatentVariableModel

Loss = Callable[[LatentVariableModel, Tensor, Tensor], Tensor]
"""From a model, values and mask of a batch to a scalar."""


class Together(ABC):
    """Models as one thing to train.

    Parameters
    ----------
    models : sequence of LatentVariableModel
        M of them, on one device.
    """

    def __init__(self, models: Sequence[LatentVariableModel]) -> None:
        self.models = list(models)

    @property
    @abstractmethod
    def parameters(self) -> dict[str, nn.Parameter]:
        """What the optimiser changes, by the name that it has in a model."""

    @abstractmethod
    def losses(self, loss: Loss, x: Tensor, mask: Tensor) -> Tensor:
        """Return each model's loss ``(M,)`` on its own batch ``(M, B, D)``."""

    @abstractmethod
    def clip(self, limit: float) -> None:
        """Scale each model's gradient to a norm of at most `limit`.

        Raises
        ------
        RuntimeError
            If a gradient is not finite.
        """

    @abstractmethod
    def read(self) -> None:
        """Take up the weights that the models have."""

    @abstractmethod
    def write(self) -> None:
        """Give the models the weights that training has reached."""


class Single(Together):
    """One model, trained in place."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.models[0].named_parameters())

    def losses(self, loss: Loss, x: Tensor, mask: Tensor) -> Tensor:
        return loss(self.models[0], x[0], mask[0]).unsqueeze(0)

    def clip(self, limit: float) -> None:
        nn.utils.clip_grad_norm_(self.models[0].parameters(), limit, error_if_nonfinite=True)

    def read(self) -> None:
        """Nothing to do, since it is trained in place."""

    def write(self) -> None:
        """Nothing to do."""


class Stack(Together):
    """Several models, their parameters stacked.

    Buffers that are the same in all models stay as they are, so that a model may compute indices
    from them.

    Raises
    ------
    ValueError
        If the models differ in the names or shapes of their parameters.
    """

    def __init__(self, models: Sequence[LatentVariableModel]) -> None:
        super().__init__(models)
        shapes = [{name: p.shape for name, p in m.named_parameters()} for m in models]
        if any(other != shapes[0] for other in shapes):
            raise ValueError("models that are trained together must have the same architecture")
        self._parameters = {
            name: nn.Parameter(self._stacked(name), requires_grad=first.requires_grad)
            for name, first in self.models[0].named_parameters()
        }
        buffers = [dict(model.named_buffers()) for model in models]
        self.shared = {
            name: first
            for name, first in buffers[0].items()
            if all(torch.equal(first, other[name]) for other in buffers)
        }
        own = buffers[0].keys() - self.shared
        self.own = {name: torch.stack([part[name] for part in buffers]) for name in own}

    def _stacked(self, name: str) -> Tensor:
        return torch.stack([model.get_parameter(name).detach() for model in self.models])

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return self._parameters

    def losses(self, loss: Loss, x: Tensor, mask: Tensor) -> Tensor:
        wrapped = _Loss(self.models[0], loss)

        def one(own: dict[str, Tensor], *batch: Tensor) -> Tensor:
            state = {f"model.{name}": value for name, value in (own | self.shared).items()}
            return functional_call(wrapped, state, batch)

        return torch.vmap(one, randomness="different")({**self._parameters, **self.own}, x, mask)

    def clip(self, limit: float) -> None:
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
        norm = torch.linalg.vector_norm(norms, dim=0)
        if not norm.isfinite().all():
            raise RuntimeError("the norm of a gradient is non-finite")
        scale = (limit / (norm + 1e-6)).clamp_max(1)
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))

    @torch.no_grad()
    def read(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(self._stacked(name))

    @torch.no_grad()
    def write(self) -> None:
        for index, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                parameter.copy_(self._parameters[name][index])


class _Loss(nn.Module):
    """A loss of a model, as a module, which is what is called with other parameters."""

    def __init__(self, model: LatentVariableModel, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.loss(self.model, x, mask)


def together(models: Sequence[LatentVariableModel]) -> Together:
    """Return models as one thing to train; a single one needs no stack, which costs time."""
    return Single(models) if len(models) == 1 else Stack(models)
