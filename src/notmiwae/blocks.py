"""Tables whose columns differ in kind or mechanism: a model of blocks of columns.

Columns of the same family and mechanism make a block. p(x | z), p(s | x) and p(x | z, s=0) of a
table are those of its blocks side by side, with batch shape ``(..., D)`` as everywhere: each block
keeps its own closed form, quadrature or enumeration. One trunk makes the raw parameters of all.

What is *expected* of a cell is its mean, or the probability of each of its categories where these
have no order: ``(..., E)`` values, block after block, of which `Blocks.settle` makes one per cell.
Networks see categories *embedded*: one number for each, which is 0 on average and where the cell is
missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from notmiwae.codes import Codes
from notmiwae.encoders import Encoder
from notmiwae.integration import Discretised, MissingCells, Untilted
from notmiwae.mechanisms import ColumnwiseMechanism, FactorisedMechanism
from notmiwae.networks import PenalisedLinear
from notmiwae.observations import Categorical, Decoder, Observation


class Layout(nn.Module):
    """Which columns are in which block.

    Parameters
    ----------
    blocks : sequence of sequences of int
        Columns of each block; together, all columns once.
    """

    order: Tensor

    def __init__(self, blocks: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.n_blocks = len(blocks)
        for number, columns in enumerate(blocks):
            self.register_buffer(f"columns_{number}", torch.tensor(columns), persistent=False)
        together = torch.tensor([column for columns in blocks for column in columns])
        self.register_buffer("order", together.argsort(), persistent=False)

    def split(self, x: Tensor) -> list[Tensor]:
        """Return the columns ``(..., D)`` of each block."""
        return [x.index_select(-1, self.columns(number)) for number in range(self.n_blocks)]

    def columns(self, number: int) -> Tensor:
        """Return the columns of a block."""
        columns: Tensor = getattr(self, f"columns_{number}")
        return columns

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Put the columns of all blocks in their order ``(..., D)``."""
        shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
        # A part that is a constant may not know of the device.
        here = [part.to(self.order.device) for part in parts]
        together = torch.cat([part.expand(*shape, part.shape[-1]) for part in here], -1)
        return together.index_select(-1, self.order)


class Joined(Distribution):
    """Distributions of blocks of columns, side by side."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, parts: Sequence[Distribution], layout: Layout) -> None:
        self.parts, self.layout = parts, layout
        leading = np.broadcast_shapes(*(part.batch_shape[:-1] for part in parts))
        super().__init__(torch.Size((*leading, len(layout.order))), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Means; of codes, for categories."""
        return self.layout.join([part.mean for part in self.parts])

    @property
    def expected(self) -> Tensor:
        """See the head of this module."""
        return torch.cat([_expected(part, part.mean) for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability or density of each cell."""
        values = self.layout.split(value)
        pairs = zip(self.parts, values, strict=True)
        return self.layout.join([part.log_prob(each) for part, each in pairs])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw each cell."""
        return self.layout.join([part.sample(sample_shape) for part in self.parts])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw each cell, differentiably, where all families can."""
        return self.layout.join([part.rsample(sample_shape) for part in self.parts])


def _expected(distribution: Distribution, mean: Tensor) -> Tensor:
    if is_nominal(distribution):
        return distribution.probabilities.flatten(-2)  # type: ignore[attr-defined]
    return mean


def is_nominal(distribution: Any) -> bool:
    """Whether a distribution is one of categories without an order."""
    return isinstance(distribution, Codes) and distribution.nominal


class Narrow(nn.Module):
    """Some outputs of a trunk."""

    def __init__(self, start: int, length: int) -> None:
        super().__init__()
        self.start, self.length = start, length

    def forward(self, raw: Tensor) -> Tensor:
        """Return them."""
        return raw.narrow(-1, self.start, self.length)


class Blocks(Observation):
    """p(x | z) of blocks of columns.

    Parameters
    ----------
    blocks : sequence of sequences of int
        Columns of each block.
    families : sequence of callables
        ``(n_features, decoder) -> Observation`` of each block.
    decoder : callable
        ``n_outputs -> nn.Module``: the trunk.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[int]],
        families: Sequence[Callable[[int, Decoder], Observation]],
        decoder: Decoder,
    ) -> None:
        super().__init__()
        self.layout = Layout(blocks)
        self.n_outputs = 0
        self.parts = nn.ModuleList(
            family(len(columns), self._claim)
            for columns, family in zip(blocks, families, strict=True)
        )
        self.continuous = all(part.continuous for part in self.parts)  # type: ignore[misc]
        self.trunk = decoder(self.n_outputs)

    def _claim(self, n_outputs: int) -> Narrow:
        start = self.n_outputs
        self.n_outputs += n_outputs
        return Narrow(start, n_outputs)

    def forward(self, z: Tensor) -> Joined:
        raw = self.trunk(z)
        return Joined([part(raw) for part in self.parts], self.layout)

    def nodes(self, distribution: Any) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("each block has its own nodes")

    def supports(self, x: Tensor) -> Tensor:
        pairs = zip(self.parts, self.layout.split(x), strict=True)
        return self.layout.join([part.supports(each) for part, each in pairs])  # type: ignore[operator]

    def widen(self, mask: Tensor) -> Tensor:
        return torch.cat(
            [
                each.repeat_interleave(part.n_codes, -1) if isinstance(part, Categorical) else each
                for part, each in zip(self.parts, self.layout.split(mask), strict=True)
            ],
            -1,
        )

    def untilted(self, distribution: Any) -> JoinedCells:
        pairs = zip(self.parts, distribution.parts, strict=True)
        cells = [family.untilted(part) for family, part in pairs]  # type: ignore[operator]
        return JoinedCells(cells, distribution.parts, self.layout)

    def skew_only(self, learns: Tensor) -> None:
        for part, each in zip(self.parts, self.layout.split(learns), strict=True):
            part.skew_only(each)  # type: ignore[operator]

    def skewed(self, cells: Any, skewness: Tensor) -> JoinedCells:
        triples = zip(self.parts, cells.parts, self.layout.split(skewness), strict=True)
        parts = [family.skewed(part, each) for family, part, each in triples]  # type: ignore[operator]
        return JoinedCells(parts, cells.distributions, self.layout)

    def settle(self, expected: Tensor) -> Tensor:
        widths = [
            len(self.layout.columns(number))
            * (part.n_codes if isinstance(part, Categorical) else 1)
            for number, part in enumerate(self.parts)
        ]
        parts = zip(self.parts, expected.split(widths, -1), strict=True)
        return self.layout.join([part.settle(each) for part, each in parts])  # type: ignore[operator]


class JoinedCells:
    """p(x | z, s=0) of blocks of columns, side by side.

    Parameters
    ----------
    parts : sequence of MissingCells
    distributions : sequence of Distribution
        p(x | z) of each block.
    layout : Layout
    """

    def __init__(
        self, parts: Sequence[MissingCells], distributions: Sequence[Distribution], layout: Layout
    ) -> None:
        self.parts, self.distributions, self.layout = parts, distributions, layout

    @property
    def width(self) -> int:
        """Values that it holds per draw and cell, if more than one."""
        nominal = [part for part in self.distributions if is_nominal(part)]
        codes = [part.log_probabilities.shape[-1] for part in nominal]  # type: ignore[attr-defined]
        return max([*codes, *(part.width for part in self.parts)])

    @property
    def log_normaliser(self) -> Tensor:
        """Log r(z)."""
        pairs = zip(self.parts, self.distributions, strict=True)
        return self.layout.join(
            [part.log_normaliser.expand(whole.batch_shape) for part, whole in pairs]
        )

    @property
    def mean(self) -> Tensor:
        """E[x | z, s=0]; of codes, for categories."""
        return self.layout.join([part.mean for part in self.parts])

    @property
    def expected(self) -> Tensor:
        """See the head of this module."""
        pairs = zip(self.parts, self.distributions, strict=True)
        return torch.cat([_expected_missing(part, whole) for part, whole in pairs], -1)

    def sample(self) -> Tensor:
        """One draw of x for every cell."""
        return self.layout.join([part.sample() for part in self.parts])


def _expected_missing(part: MissingCells, distribution: Any) -> Tensor:
    if not is_nominal(distribution):
        return part.mean
    if isinstance(part, Discretised):
        return part.probabilities.movedim(0, -1).flatten(-2)
    assert isinstance(part, Untilted)
    return _expected(distribution, part.mean)


class Embedding(nn.Module):
    """One number per cell, or one for each of its categories, less the average.

    Parameters
    ----------
    n_codes : sequence of int
        Number of categories of each column; 0 where it has none.
    average : Tensor
        What the observed cells of each column are on average, embedded ``(E,)``.
    """

    average: Tensor
    column: Tensor
    code: Tensor

    def __init__(self, n_codes: Sequence[int], average: Tensor) -> None:
        super().__init__()
        pairs = [
            (column, code)
            for column, number in enumerate(n_codes)
            for code in (range(1, number + 1) if number else [0])
        ]
        column, code = torch.tensor(pairs).T
        self.register_buffer("column", column.clone(), persistent=False)
        self.register_buffer("code", code.clone(), persistent=False)
        self.register_buffer("average", average, persistent=False)

    @property
    def n_outputs(self) -> int:
        """E."""
        return len(self.column)

    def widen(self, mask: Tensor) -> Tensor:
        """Repeat what is said of columns ``(..., D)`` for their categories ``(..., E)``."""
        return mask.index_select(-1, self.column)

    def forward(self, x: Tensor) -> Tensor:
        """Embed zero-filled values ``(..., D)``."""
        wide = self.widen(x)
        hot = torch.where(self.code > 0, (wide == self.code).to(x), wide)
        # No category is 0: a missing cell is as the average.
        known = (self.code == 0) | (wide > 0)
        return torch.where(known, hot - self.average, 0.0)


class Embedded(Encoder):
    """An encoder of embedded values.

    Parameters
    ----------
    embedding : Embedding
    encoder : Encoder
        Of E columns.
    """

    def __init__(self, embedding: Embedding, encoder: Encoder) -> None:
        super().__init__()
        self.embedding, self.encoder = embedding, encoder

    def forward(self, x: Tensor, mask: Tensor) -> Distribution:
        wide = self.embedding.widen(mask)
        proposal: Distribution = self.encoder(self.embedding(x) * wide, wide)
        return proposal


class BlockMechanism(FactorisedMechanism):
    """p(s | x) of blocks of columns.

    Parameters
    ----------
    blocks : sequence of sequences of int
        Columns of each block.
    mechanisms : sequence of FactorisedMechanism
        One for each, without context.
    embedding : Embedding
    listens : sequence of bool
        Whether complete columns may explain what is missing, by block.
    """

    complete: Tensor
    listening: Tensor

    def __init__(
        self,
        blocks: Sequence[Sequence[int]],
        mechanisms: Sequence[FactorisedMechanism],
        embedding: Embedding,
        listens: Sequence[bool],
    ) -> None:
        super().__init__()
        self.layout = Layout(blocks)
        self.parts = nn.ModuleList(mechanisms)
        self.embedding = embedding
        n_features = len(self.layout.order)
        each = [
            torch.full((len(columns),), float(yes))
            for columns, yes in zip(blocks, listens, strict=True)
        ]
        self.register_buffer("listening", self.layout.join(each))
        self.register_buffer("complete", torch.zeros(n_features))
        self.context = None
        if any(listens):
            self.context = PenalisedLinear(embedding.n_outputs, n_features, bias=False)
            nn.init.zeros_(self.context.weight)

    def start(self, missing_share: Tensor) -> None:
        self.complete.copy_(missing_share == 0)
        for part, share in zip(self.parts, self.layout.split(missing_share), strict=True):
            part.start(share)  # type: ignore[operator]

    def skewable(self, observation: Blocks) -> Tensor:
        """Return which columns ``(D,)`` may be skewed."""
        pairs = zip(observation.parts, self.parts, strict=True)
        may = [family.skewable and part.unit_free for family, part in pairs]
        each = [
            torch.full((len(self.layout.columns(number)),), bool(both))
            for number, both in enumerate(may)
        ]
        return self.layout.join(each)

    def offsets(self, x: Tensor) -> list[Tensor]:
        """Return what complete columns add to the scores of each block."""
        if self.context is None:
            return [torch.zeros((), device=x.device)] * len(self.parts)
        complete = self.embedding.widen(self.complete)
        added = self.context(self.embedding(x) * complete)
        return self.layout.split(added * self.listening * (1 - self.complete))

    def forward(self, x: Tensor) -> Joined:
        triples = zip(self.parts, self.layout.split(x), self.offsets(x), strict=True)
        found = [
            part.given(each, offset) if isinstance(part, ColumnwiseMechanism) else part(each)
            for part, each, offset in triples
        ]
        return Joined(found, self.layout)

    def tilt(
        self, observation: Observation, distribution: Any, x: Tensor, mask: Tensor
    ) -> JoinedCells:
        assert isinstance(observation, Blocks)
        cells: list[MissingCells] = []
        for part, family, whole, each, seen, offset in zip(
            self.parts,
            observation.parts,
            distribution.parts,
            self.layout.split(x),
            self.layout.split(mask),
            self.offsets(x),
            strict=True,
        ):
            assert isinstance(family, Observation)
            if isinstance(part, ColumnwiseMechanism):
                cells.append(part.integrate(family, whole, part.intercept + offset))
            else:
                cells.append(part.tilt(family, whole, each, seen))
        return JoinedCells(cells, distribution.parts, self.layout)

    @property
    def line(self) -> Tensor | None:
        lines = [
            torch.full((2, len(self.layout.columns(number))), torch.nan)
            if part.line is None
            else part.line
            for number, part in enumerate(self.parts)
        ]
        return torch.cat(lines, -1)[:, self.layout.order.cpu()]  # type: ignore[arg-type]
