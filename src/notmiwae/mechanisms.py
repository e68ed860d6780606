"""Missingness mechanisms p(s | x): s is 1 where a value is observed, 0 where it is missing.

A mechanism returns a ``torch.distributions`` object over s with batch shape ``(..., D)``. Most are
a *score* η(x) per cell and a link, with p(missing) = Φ(η) (probit) or 1/(1 + e^-η) (logit):

    self-masking          η_j = a_j x_j + c_j        the sign of a_j is learned
    self-masking-known    η_j = ±|a_j| x_j + c_j     the sign is given
    self-masking-quadratic  η_j = q_j x_j² + a_j x_j + c_j
    self-masking-spline   η_j = a_j x_j + Σ_b w_jb |x_j - κ_b| + c_j
    of categories         η_j = w_jk + c_j for x_j of category k
    linear                η = A x + c                "agnostic" in Ipsen et al. (2021)
    nonlinear             η = mlp(x)

*Factorised* mechanisms, in which a cell's fate depends on its own value only, can say what a
missing cell's value is given the latents, p(x_j | z, s_j=0), with no sampling in data space.
The same classes with fixed parameters delete values from complete data: `Mechanism.delete`.
Those for images are in `notmiwae.image_mechanisms`; to them, a row of a table is a single pixel.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.nn.functional import softplus

from notmiwae.image_mechanisms import Convolutional, Pixelwise, TwoConvolutions
from notmiwae.integration import Discretised, MissingCells, ProbitTilted, Spliced, Untilted
from notmiwae.missingness import LINKS as LINKS
from notmiwae.missingness import FactorisedMechanism as FactorisedMechanism
from notmiwae.missingness import Logit as Logit
from notmiwae.missingness import Mechanism as Mechanism
from notmiwae.missingness import Probit as Probit
from notmiwae.missingness import Unexplained
from notmiwae.networks import Penalised, PenalisedLinear, mlp
from notmiwae.observations import Observation
from notmiwae.validation import lookup

Columns = Tensor | slice
ALL = slice(None)


def missing_cells(mask: Tensor, learns: Tensor) -> Tensor:
    """Return indices ``(M,)`` of missing cells ``(N, D)``, row by row, in columns that learn.

    Where models are stacked, which do not miss the same number, of all cells in these columns.
    """
    columns = (learns > 0).expand_as(mask)
    try:
        cells = (columns & (mask == 0)).flatten().nonzero()
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        cells = columns.flatten().nonzero()
    return cells.squeeze(-1)


class Ignorable(FactorisedMechanism):
    """Missing at random: nothing to model. This is MIWAE."""

    unit_free = True

    def __init__(self, n_features: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Unexplained:
        return Unexplained(x)

    def tilt(
        self, observation: Observation, distribution: Any, x: Tensor, mask: Tensor
    ) -> MissingCells:
        return Untilted(distribution, torch.zeros(()))


class ColumnwiseMechanism(FactorisedMechanism):
    """η_j = f_j(x_j) + c_j, or + Σ_{k∈C} B_jk x_k + c_j with `context`.

    With context, values that are missing at random, because of other columns, are explained by
    these and need not be explained by themselves. Only columns that are complete in training
    serve, so that nothing in the sum is ever missing. B is under weight decay: complete columns
    that resemble an incomplete one could else take the credit for all that its own value does. The
    price is that a sharp threshold on another column is in part credited to the cell's own value.

    Parameters
    ----------
    n_features : int
        D.
    link : {'probit', 'logit'}
    context : bool
        Whether complete columns may explain what is missing in the others.
    """

    unit_free = True
    learns: Tensor

    def __init__(self, n_features: int, *, link: str = "probit", context: bool = False) -> None:
        super().__init__()
        self.link = lookup("link", link, LINKS)
        self.intercept = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("learns", torch.ones(n_features))
        self.context = PenalisedLinear(n_features, n_features, bias=False) if context else None
        if self.context is not None:
            nn.init.zeros_(self.context.weight)

    @abstractmethod
    def shape(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        """Return f_j(x_j) for values ``(..., C)`` of the columns of these indices."""

    @torch.no_grad()
    def start(self, missing_share: Tensor) -> None:
        """Start at the columns' shares; one without missing values says nothing of its shape."""
        self.intercept.copy_(self.link.score_of(missing_share.clamp(0.01, 0.99)))
        self.learns.copy_(missing_share > 0)

    def offset(self, x: Tensor) -> Tensor:
        """Return what of the score does not depend on the cell's own value, ``(N, D)``."""
        if self.context is None:
            return self.intercept
        return self.intercept + self.context(x * (1 - self.learns)) * self.learns

    def forward(self, x: Tensor) -> Distribution:
        return self.link(self.shape(x) * self.learns + self.offset(x))

    def given(self, x: Tensor, offset: Tensor) -> Distribution:
        """Return p(s | x) where something else adds `offset` to the scores."""
        return self.link(self.shape(x) * self.learns + self.intercept + offset)

    def tilt(
        self, observation: Observation, distribution: Any, x: Tensor, mask: Tensor
    ) -> MissingCells:
        """Integrate over missing cells in columns that have a shape, and over no others."""
        offset = self.offset(x).expand_as(x)
        cells = missing_cells(mask, self.learns)
        some = observation.pick(distribution, cells)
        missing = self.integrate(observation, some, offset.flatten()[cells], cells % x.shape[-1])
        return Spliced(cells, missing, Untilted(distribution, self.log_missing(offset)))

    def integrate(
        self, observation: Observation, distribution: Any, offset: Tensor, columns: Columns = ALL
    ) -> MissingCells:
        """Return p(x_j | z, s_j=0) in columns of these indices, with c_j and all else in offset."""
        nodes, log_weights = observation.nodes(distribution)
        log_missing = self.log_missing(self.shape(nodes, columns) + offset)
        return Discretised(nodes, log_weights, log_missing, observation.continuous)

    def log_missing(self, score: Tensor) -> Tensor:
        """Log p(s=0) at a score."""
        return self.link.log_missing(score)


class AtRandom(ColumnwiseMechanism):
    """f_j = 0: what is missing depends on complete columns only, if on anything.

    Imputes as `Ignorable` does, but explains the mask, so that its bound can be compared with that
    of the other columnwise mechanisms.
    """

    def __init__(self, n_features: int, *, link: str = "probit", context: bool = True) -> None:
        super().__init__(n_features, link=link, context=context)

    def shape(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        return torch.zeros_like(x)

    def tilt(
        self, observation: Observation, distribution: Any, x: Tensor, mask: Tensor
    ) -> MissingCells:
        return self.integrate(observation, distribution, self.offset(x))

    def integrate(
        self, observation: Observation, distribution: Any, offset: Tensor, columns: Columns = ALL
    ) -> MissingCells:
        return Untilted(distribution, self.log_missing(offset))


class SelfMasking(ColumnwiseMechanism):
    """f_j = a_j x_j: missing above or below a threshold; data decide which.

    Slopes start at zero, so that no direction is preferred.

    Parameters
    ----------
    n_features, link, context
        See `ColumnwiseMechanism`. With a Gaussian observation, the probit is integrated in closed
        form.
    """

    def __init__(self, n_features: int, *, link: str = "probit", context: bool = False) -> None:
        super().__init__(n_features, link=link, context=context)
        self.weight = nn.Parameter(torch.zeros(n_features))

    @property
    def slope(self) -> Tensor:
        """The slopes a ``(D,)``; zero in columns that never miss a value."""
        return self.weight * self.learns

    @property
    def line(self) -> Tensor | None:
        return torch.stack([self.slope, self.intercept]).detach().cpu()

    @torch.no_grad()
    def start_from(self, line: Tensor) -> None:
        """Start from slopes and intercepts ``(2, D)``."""
        self.weight.copy_(line[0])
        self.intercept.copy_(line[1])

    def shape(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        return self.slope[columns] * x

    def tilt(
        self, observation: Observation, distribution: Any, x: Tensor, mask: Tensor
    ) -> MissingCells:
        if self.closed_form and isinstance(distribution, Normal):
            # So little work that it costs more to pick the missing cells.
            return ProbitTilted(distribution, self.slope, self.offset(x))
        return super().tilt(observation, distribution, x, mask)

    @property
    def closed_form(self) -> bool:
        """Whether the integral with a Gaussian is known."""
        return self.link is Probit

    def integrate(
        self, observation: Observation, distribution: Any, offset: Tensor, columns: Columns = ALL
    ) -> MissingCells:
        if self.closed_form and isinstance(distribution, Normal):
            return ProbitTilted(distribution, self.slope[columns], offset)
        return super().integrate(observation, distribution, offset, columns)


NEARLY_FLAT = -3.0
"""Start of a slope of known sign, through softplus: what it is told, data must still confirm."""


class SelfMaskingKnown(SelfMasking):
    """Missing above (sign +1) or below (sign -1) a threshold.

    Parameters
    ----------
    n_features, link, context
        See `SelfMasking`.
    sign : float or sequence of D floats
        +1: high values go missing; -1: low values do.
    """

    sign: Tensor

    def __init__(
        self,
        n_features: int,
        *,
        sign: float | Sequence[float] = 1.0,
        link: str = "probit",
        context: bool = False,
    ) -> None:
        super().__init__(n_features, link=link, context=context)
        try:
            signs = torch.as_tensor(sign, dtype=torch.get_default_dtype())
        except (TypeError, ValueError):
            signs = torch.zeros(1)
        if signs.dim() > 1 or signs.numel() not in (1, n_features) or (signs.abs() != 1).any():
            raise ValueError(
                f"sign must be +1 (high values go missing), -1 (low values do), or one of these "
                f"for each of the {n_features} columns; got {sign!r}"
            )
        self.register_buffer("sign", signs.expand(n_features).clone())
        nn.init.constant_(self.weight, NEARLY_FLAT)

    @property
    def slope(self) -> Tensor:
        return self.sign * softplus(self.weight) * self.learns

    @torch.no_grad()
    def start_from(self, line: Tensor) -> None:
        steepness = (line[0] * self.sign).clamp_min(1e-6)
        super().start_from(torch.stack([steepness + (-(-steepness).expm1()).log(), line[1]]))


BENDING = 0.1
"""Weight decay of bends, relative to a decoder's: `auto` asks of them that they pay, too."""

SHARPNESS = 30.0
"""Bends per unit of their weights: what weight decay and a step of training are relative to.

Where values go missing in a band, the score at its edge has to fall by many units within a tenth
of a standard deviation, which a bend of a few units never does, however long it is trained.
"""


class Curvature(Penalised):
    """q_j x_j² with q a multiple of the weights, which starts without curvature."""

    strength = BENDING

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_features))

    def forward(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        """Return the squares for values ``(..., C)`` of the columns of these indices."""
        return SHARPNESS * self.weight[columns] * x.square()


class BentMechanism(SelfMasking):
    """f_j = a_j x_j + b_j(x_j) with bends b under weight decay.

    A straight line is what remains where the data ask for nothing else. Integrated by quadrature,
    for which the logit is the faster link.

    Parameters
    ----------
    n_features, link, context
        See `ColumnwiseMechanism`.
    """

    bends: Penalised

    def __init__(self, n_features: int, *, link: str = "logit", context: bool = False) -> None:
        super().__init__(n_features, link=link, context=context)

    @property
    def line(self) -> None:
        return None

    def shape(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        return super().shape(x, columns) + self.bends(x, columns)

    @property
    def closed_form(self) -> bool:
        return False


class Levels(Penalised):
    """w_{j, k} for a cell of category k, which start equal."""

    strength = BENDING

    def __init__(self, n_features: int, n_codes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_features, n_codes))

    def forward(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        """Return the weights for categories ``(..., C)``, from 1 on, of these columns."""
        n_columns, n_codes = self.weight.shape
        place = x.detach().round().clamp(1, n_codes).long() - 1
        place = place + torch.arange(n_columns, device=x.device)[columns] * n_codes
        return self.weight.flatten()[place]


class SelfMaskingCategories(ColumnwiseMechanism):
    """f_j(k) = w_jk for each category k: some go missing more often than others.

    Parameters
    ----------
    n_features, link, context
        See `ColumnwiseMechanism`.
    n_codes : int
        The largest number of categories of a column.
    """

    def __init__(
        self, n_features: int, *, n_codes: int = 4, link: str = "logit", context: bool = False
    ) -> None:
        super().__init__(n_features, link=link, context=context)
        self.levels = Levels(n_features, n_codes)

    def shape(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        return self.levels(x, columns)


class SelfMaskingQuadratic(BentMechanism):
    """f_j = q_j x_j² + a_j x_j: missing in the tails, in the middle, or on one side."""

    def __init__(self, n_features: int, *, link: str = "logit", context: bool = False) -> None:
        super().__init__(n_features, link=link, context=context)
        self.bends = Curvature(n_features)


class Hinges(Penalised):
    """Σ_b w_jb |x_j - κ_b| with knots κ from -4 to 4, w a multiple of the weights.

    They start without a bend.
    """

    knots: Tensor
    reach = 4.0
    strength = BENDING

    def __init__(self, n_features: int, n_knots: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-self.reach, self.reach, n_knots))
        self.weight = nn.Parameter(torch.zeros(n_features, n_knots))

    def forward(self, x: Tensor, columns: Columns = ALL) -> Tensor:
        """Return the sum for values ``(..., C)`` of the columns of these indices.

        As the straight line that holds between two knots.
        """
        n_knots = len(self.knots)
        pieces = torch.arange(n_knots + 1, device=x.device).unsqueeze(-1)
        sides = (pieces > torch.arange(n_knots, device=x.device)).to(x) * 2 - 1
        weight = SHARPNESS * self.weight
        slopes, levels = weight @ sides.T, -(weight * self.knots) @ sides.T
        per_knot = (n_knots - 1) / (2 * self.reach)
        piece = ((x.detach() + self.reach) * per_knot).ceil().clamp(0, n_knots).int()
        piece += torch.arange(len(weight), device=x.device)[columns].int() * (n_knots + 1)
        # The gradient of a selection along one axis is added up faster than that of indexing.
        slope, level = (
            table.flatten().index_select(0, piece.flatten()).view_as(x)
            for table in (slopes, levels)
        )
        return torch.addcmul(level, slope, x)


class SelfMaskingSpline(BentMechanism):
    """f_j = a_j x_j + Σ_b w_jb |x_j - κ_b|, a linear spline: any shape.

    The knots κ lie from -4 to 4 standard deviations of the observed values, since missing ones may
    lie beyond these.

    Parameters
    ----------
    n_features, link, context
        See `ColumnwiseMechanism`.
    n_knots : int
    """

    def __init__(
        self, n_features: int, *, n_knots: int = 9, link: str = "logit", context: bool = False
    ) -> None:
        super().__init__(n_features, link=link, context=context)
        self.bends = Hinges(n_features, n_knots)


class Linear(Mechanism):
    """η = A x + c: every column may depend on every other. "Agnostic" in the original paper."""

    unit_free = True

    def __init__(self, n_features: int, *, link: str = "logit") -> None:
        super().__init__()
        self.link = lookup("link", link, LINKS)
        self.score = nn.Linear(n_features, n_features)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    @property
    def line(self) -> Tensor:
        return torch.stack([self.score.weight.diagonal(), self.score.bias]).detach().cpu()

    def forward(self, x: Tensor) -> Distribution:
        return self.link(self.score(x))


class Nonlinear(Mechanism):
    """η = mlp(x), with one hidden layer (as in the report)."""

    unit_free = True

    def __init__(self, n_features: int, *, n_hidden: int = 128, link: str = "logit") -> None:
        super().__init__()
        self.link = lookup("link", link, LINKS)
        self.score = mlp(n_features, n_features, (n_hidden,), "tanh")
        nn.init.zeros_(self.score[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.score[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Distribution:
        return self.link(self.score(x))


MECHANISMS: dict[str, type[Mechanism]] = {
    "ignorable": Ignorable,
    "at-random": AtRandom,
    "self-masking": SelfMasking,
    "self-masking-known": SelfMaskingKnown,
    "self-masking-quadratic": SelfMaskingQuadratic,
    "self-masking-spline": SelfMaskingSpline,
    "linear": Linear,
    "nonlinear": Nonlinear,
    "convolutional": Convolutional,
    "convolutional-2": TwoConvolutions,
    "pixelwise": Pixelwise,
}
