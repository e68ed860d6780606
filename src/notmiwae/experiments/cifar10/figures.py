"""The figures on the page of `notmiwae.experiments.cifar10`, as blocks of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from notmiwae.experiments.cifar10 import Kept, Work, clipping
from notmiwae.experiments.cifar10.batches import BOUNDS, PUBLISHED_BOUND
from notmiwae.experiments.cifar10.methods import LONGER, OURS
from notmiwae.experiments.cifar10.problem import CHANNEL, Problem, clipping_problem, make_problem
from notmiwae.experiments.cifar10.published import FIGURE_2, as_reported
from notmiwae.experiments.cifar10.study import BATCHES, CHANNELS, CLIPPING, TABLE_4, Study
from notmiwae.experiments.cifar10.transfer import PAIRS, TRAINED, adapted_from, zero_shot_from
from notmiwae.experiments.results import mean_sd, spread
from notmiwae.report import figures, page
from notmiwae.report.figures import Dots
from notmiwae.report.page import Block, Key, Panel

ERROR = "RMSE over missing values, from 0 to 1"
BASELINE, REPORT, OWN = "#7b8794", "#a0522d", "#005f94"
SIZES = dict(zip((8, 16, 32, 46, 128, 256), figures.PALETTE, strict=True))
FROG = "frog"
SHOWN = (LONGER, OURS, as_reported("linear"), as_reported("self-masking"), "MIWAE, colour chain")
"""Methods of table 4 in the gallery: three of those that were run."""


def key(label: str, colour: str, mark: str) -> Key:
    """Return an entry of a legend."""
    return {"label": label, "colour": colour, "mark": mark}


def colour(method: str) -> str:
    """Return a method's colour in table 4."""
    if method.startswith("as reported"):
        return REPORT
    return OWN if "," in method else BASELINE


def errors(results: Study) -> Block:
    """Return a chart of table 4."""
    values: dict[str, list[float]] = {}
    for row in results.rows:
        if row.split == TABLE_4:
            values.setdefault(row.method, []).append(row.metrics["rmse"])
    published = results.published[CHANNEL]
    dots = [
        Dots(name, seeds, colour(name), published[name].value if name in published else None)
        for name, seeds in values.items()
    ]
    alt = f"Root mean squared error by method: {'; '.join(map(_say, dots))}."
    image = figures.embed(figures.dot_chart(dots, ERROR), alt)
    legend = [
        key("networks of the report, without its faults", REPORT, "dot"),
        key("with another observation or mechanism", OWN, "dot"),
        key("baseline", BASELINE, "dot"),
        key("published", figures.MUTED, "diamond"),
    ]
    caption = "Further left is better. Ticks, where there are some, are single seeds."
    return page.figure(caption, [{"title": "", "image": image}], legend=legend)


def _say(dots: Dots) -> str:
    published = f" (published {dots.published:.3f})" if dots.published is not None else ""
    return f"{dots.label} {spread(mean_sd(dots.values))}{published}"


class Gallery:
    """Test images of a problem, and what methods made of them.

    Parameters
    ----------
    problem : Problem
    filled : mapping of str to array
        By method: what `methods.scored` kept.
    """

    def __init__(self, problem: Problem, filled: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        self.problem = problem
        self.filled = {name: kept for name, kept in filled.items() if kept}
        self.indices = next((kept["shown"] for kept in self.filled.values()), np.array([], int))

    def of_class(self, name: str | None, number: int) -> list[int]:
        """Return positions of images that are shown: of one class, or one or two of each."""
        labels = self.problem.test.labels[self.indices]
        if name in self.problem.classes:
            return np.flatnonzero(labels == self.problem.classes.index(name))[:number].tolist()
        nth = [int((labels[:i] == label).sum()) for i, label in enumerate(labels)]
        return sorted(np.argsort(nth, kind="stable")[:number].tolist())

    def tiles(self, position: int) -> Iterator[Panel]:
        """Yield an image: original, with holes, mask, and as each method filled it."""
        index = int(self.indices[position])
        truth, holes = self.problem.test.truth[index], self.problem.test.holes[index]
        missing = np.isnan(holes)
        label = self.problem.classes[self.problem.test.labels[index]]
        about = f"Test image {index}, {label}"
        yield _tile(label, truth, f"{about}: the original.")
        shown = np.where(missing, 0, holes)
        yield _tile("with holes", shown, f"{about}: zero where a value is missing.")
        share = f"{missing.any(0).mean():.0%} of the pixels have a gap"
        yield _tile("mask", 1 - missing.any(0, keepdims=True), f"{about}, mask: {share}.")
        for name, kept in self.filled.items():
            filled = np.where(missing, kept["filled"][position].astype(float), holes)
            error = np.sqrt(np.mean((filled - truth)[missing] ** 2))
            yield _tile(
                f"{name} {error:.3f}", filled, f"{about}, filled by {name}: RMSE {error:.3f}."
            )

    def block(self, caption: str, name: str | None = None, number: int = 8) -> Block | None:
        """Return a figure with a row of tiles for each image; none if nothing was kept."""
        panels = [tile for position in self.of_class(name, number) for tile in self.tiles(position)]
        if not panels:
            return None
        whole = (
            f"{caption} With holes: a missing value is shown as 0; in the mask, black is missing. "
            "A number is the RMSE of that image."
        )
        return page.figure(whole, panels, columns=3 + len(self.filled), least=6)


def _tile(title: str, pixels: np.ndarray, alt: str) -> Panel:
    return {"title": title, "image": figures.picture(pixels, alt)}


def imputations(work: Work) -> Block | None:
    """Return Figures 1 and 3: blue missing, filled by our model and two of the report's."""
    found = {name: work.kept.read(TABLE_4, name, CHANNEL) for name in SHOWN}
    if found[LONGER]:
        del found[OURS]
    filled = {name: kept for name, kept in found.items() if kept}
    gallery = Gallery(make_problem(work.source), dict([*filled.items()][:3]))
    caption = (
        "As the report’s Figures 1 and 3. The first images of each class with gaps in a tenth to "
        "nine tenths of their pixels; errors had no say. First seed."
    )
    return gallery.block(caption, number=12)


def transfers(work: Work) -> Iterator[Block]:
    """Yield Figures 4 to 6: other channels missing."""
    for before, after in PAIRS:
        problem = make_problem(work.source, after)
        names = {
            TRAINED: (TABLE_4, OURS) if after == CHANNEL else (CHANNELS, TRAINED),
            zero_shot_from(before): (CHANNELS, zero_shot_from(before)),
            adapted_from(before): (CHANNELS, adapted_from(before)),
        }
        filled = {name: work.kept.read(*there, after) for name, there in names.items()}
        if not any(kept for name, kept in filled.items() if name != TRAINED):
            continue
        caption = f"{after.capitalize()} missing where it dominates."
        frogs = FROG if after == "green" else None
        if block := Gallery(problem, filled).block(caption, frogs, 6):
            yield block


def over_exposed(work: Work) -> Block | None:
    """Return grey images whose light values are missing."""
    problem = clipping_problem(work.greys, clipping.LIMIT)
    names = (*clipping.MECHANISMS, clipping.ONES)
    filled = {name: work.kept.read(CLIPPING, name, CLIPPING) for name in names}
    return Gallery(problem, filled).block("Grey images, light values missing.", number=6)


def batch_curves(results: Study, kept: Kept) -> Block | None:
    """Return Figure 2 and its answer: errors while training, by size of a batch."""
    panels: list[Panel] = []
    found = {
        bound: {
            int(size): fit
            for size in results.columns(BATCHES)
            if (fit := kept.read(BATCHES, bound, size))
        }
        for bound in BOUNDS
    }
    sizes = sorted({size for curves in found.values() for size in curves})
    seen = [fit["errors_seen"].max() for curves in found.values() for fit in curves.values()]
    top = 1.05 * max(seen, default=1.0)
    for bound, curves in found.items():
        if not curves:
            continue
        said = "; ".join(f"{size}: {fit['errors_seen'][-1]:.3f}" for size, fit in curves.items())
        alt = f"{bound}: error while training, by size of a batch. At the end {said}."
        published = FIGURE_2 if bound == PUBLISHED_BOUND else {}
        drawn = draw_curves(curves, published, _levels(results), top)
        panels.append({"title": bound.capitalize(), "image": figures.embed(drawn, alt)})
    if not panels:
        return None
    legend = [key(f"{size} images", SIZES.get(size, figures.INK), "line") for size in sizes]
    legend += [
        key("where the report’s curve ends", figures.MUTED, "diamond"),
        key("mean of the image; largest other channel", figures.MUTED, "dash"),
    ]
    caption = (
        "The report’s Figure 2, and the same with the right bound. Every fit sees the same number "
        "of images. The report’s curves end after 100 epochs of 50,000 images."
    )
    return page.figure(
        caption, panels, columns=2, least=14, legend=legend, across="images seen", up=ERROR
    )


def _levels(results: Study) -> list[float]:
    """Return the errors of baselines that are drawn as lines."""
    names = ("mean of the image", "largest other channel")
    found = [results.of(TABLE_4, name, CHANNEL) for name in names]
    return [entry["rmse"]["mean"] for entry in found if entry]


@figures.style
def draw_curves(
    curves: Mapping[int, Mapping[str, Any]],
    published: Mapping[int, float],
    levels: Sequence[float],
    top: float,
) -> Figure:
    """Draw errors, up to `top`, over images seen: a line for each size of a batch."""
    figure = Figure(figsize=(3.4, 2.5), layout="constrained")
    axes = figure.add_subplot()
    for level in levels:
        axes.axhline(level, color=figures.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    for size, fit in curves.items():
        shade = SIZES.get(size, figures.INK)
        axes.plot(fit["images_seen"], fit["errors_seen"], color=shade)
        if size in published:
            at = fit["images_seen"][-1]
            axes.plot(at, published[size], "D", mfc="white", mec=shade, ms=4, clip_on=False)
    axes.set_xlim(left=0)
    axes.set_ylim(0, top)
    axes.locator_params(nbins=5)
    return figure
