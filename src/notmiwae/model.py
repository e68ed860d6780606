"""The latent variable model of data and mask: importance weights, nothing else.

    z ~ N(0, I),   x | z ~ p(x | z),   s | x ~ p(s | x),   proposal q(z | x_o)

For K draws z_k ~ q(z | x_o) the weights are (Ipsen et al., 2021, eq. 6)

    w_k = p(x_o | z_k) p(s | x_o, x_m^k) p(z_k) / q(z_k | x_o),     x_m^k ~ p(x_m | z_k),

with both draws reparameterised. Where the mechanism is factorised the missing cells integrate out,

    w_k = p(x_o | z_k) Π_obs p(s_j=1 | x_j) Π_mis r_j(z_k) p(z_k) / q(z_k | x_o),

see `notmiwae.integration`. The sample axis leads: latents (K, N, L), log weights (K, N).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from notmiwae._special import log_density
from notmiwae.encoders import Encoder, draw
from notmiwae.integration import Drawn, MissingCells
from notmiwae.mechanisms import FactorisedMechanism, Mechanism
from notmiwae.observations import Observation
from notmiwae.validation import lookup


class ImportanceSample(NamedTuple):
    """K weighted draws for each of N rows.

    Attributes
    ----------
    latents : Tensor
        z_k ``(K, N, L)``.
    log_weights : Tensor
        log w_k ``(K, N)``.
    likelihood : Distribution
        p(x | z_k), batch shape ``(K, N, D)``.
    missing : MissingCells
        p(x | z_k, s=0), batch shape ``(K, N, D)``.
    """

    latents: Tensor
    log_weights: Tensor
    likelihood: Any
    missing: MissingCells


class LatentVariableModel(nn.Module):
    """p(z) p(x | z) p(s | x) with proposal q(z | x_o).

    Parameters
    ----------
    encoder : Encoder
    observation : Observation
    mechanism : Mechanism
    integrate : {'auto', 'sample'}
        'auto' integrates missing cells out whenever the mechanism is factorised; 'sample' always
        draws them.

    Raises
    ------
    ValueError
        If missing cells must be drawn and the observation has no reparameterised draw.
    """

    def __init__(
        self,
        encoder: Encoder,
        observation: Observation,
        mechanism: Mechanism,
        integrate: str = "auto",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.observation = observation
        self.mechanism = mechanism
        factorised = isinstance(mechanism, FactorisedMechanism)
        self.integrated = lookup("integrate", integrate, {"auto": factorised, "sample": False})
        if not (self.integrated or observation.continuous):
            raise ValueError(
                f"a {type(observation).__name__} observation cannot be drawn with a gradient, and "
                f"{type(mechanism).__name__} with integrate={integrate!r} needs such draws: use a "
                "self-masking mechanism with integrate='auto', which sums over the values exactly, "
                "or mechanism='ignorable', or observation='gaussian'"
            )

    def forward(self, x: Tensor, mask: Tensor, n_samples: int) -> ImportanceSample:
        """Draw and weigh.

        Parameters
        ----------
        x : Tensor
            Values ``(N, D)``, zero where missing.
        mask : Tensor
            ``(N, D)``, 1 where observed, 0 where missing.
        n_samples : int
            K.

        Returns
        -------
        ImportanceSample
        """
        x = x * mask
        latents, log_proposal = draw(self.encoder(x, mask), n_samples)
        likelihood = self.likelihood(latents, x, mask)
        missing, log_mechanism = self.explain(likelihood, x, mask)
        log_weights = (
            (likelihood.log_prob(x) * mask + log_mechanism).sum(-1)
            + log_density(latents).sum(-1)
            - log_proposal
        )
        return ImportanceSample(latents, log_weights, likelihood, missing)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    def inward(self, x: Tensor) -> Tensor:
        """Return values ``(..., D)`` in the units that encoder and mechanism see."""
        return x

    def outward(self, y: Tensor) -> Tensor:
        """Return values ``(..., D)`` in the table's scale, from those units."""
        return y

    def likelihood(self, latents: Tensor, x: Tensor, mask: Tensor) -> Any:
        """Return p(x | z), or what it becomes given x_o where cells hang together given z."""
        return self.observation(latents)

    def explain(self, likelihood: Any, x: Tensor, mask: Tensor) -> tuple[MissingCells, Tensor]:
        """Return p(x | z, s=0), and log p(s | z, x_o) or log p(s | x_o, x_m) per cell."""
        if self.integrated:
            missing = self.tilted(likelihood, x, mask)
            observed = self.mechanism(x).log_prob(torch.ones_like(mask)) * mask
            return missing, observed + missing.log_normaliser * (1 - mask)
        draws = likelihood.rsample()
        completed = torch.where(mask.bool(), x, draws)
        return Drawn(draws), self.mechanism(completed).log_prob(mask)

    def tilted(self, likelihood: Any, x: Tensor, mask: Tensor) -> MissingCells:
        """Return p(x | z, s=0) under a factorised mechanism."""
        assert isinstance(self.mechanism, FactorisedMechanism)
        return self.mechanism.tilt(self.observation, likelihood, x, mask)

    def resumable(self, sample: ImportanceSample) -> Tensor:
        """Return what a draw is remembered by ``(K, N, ·)``: its latents, or the draw itself.

        Integrated cells can be drawn afresh given the latents; a drawn value has its own weight.
        """
        return sample.latents if self.integrated else sample.missing.mean

    def complete(self, remembered: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Draw missing values ``(S, N, D)`` given what `resumable` returned for S choices."""
        if not self.integrated:
            return remembered
        return self.tilted(self.observation(remembered), x, mask).sample()
