"""The tables on the page of `notmiwae.experiments.cifar10`, as sections with what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from notmiwae.experiments.cifar10 import Kept
from notmiwae.experiments.cifar10.batches import PUBLISHED_BOUND, RIGHT_BOUND
from notmiwae.experiments.cifar10.methods import LONGER, OURS
from notmiwae.experiments.cifar10.problem import CHANNEL
from notmiwae.experiments.cifar10.published import FIGURE_2, REPORTED, as_reported
from notmiwae.experiments.cifar10.study import (
    BATCHES,
    CHANNELS,
    CLIPPING,
    TABLE_4,
    Study,
    weights,
)
from notmiwae.experiments.cifar10.transfer import PAIRS, TRAINED, adapted_from, zero_shot_from
from notmiwae.experiments.results import spread
from notmiwae.report import page
from notmiwae.report.page import Block

LARGEST = "largest other channel"


def table_4(results: Study) -> Block:
    """Return the report's Table 4 with ours and baselines."""
    entries = results.of_split(TABLE_4)
    rows = [
        (
            entry["method"],
            weights(entry),
            f"{entry['n_epochs']['mean']:.0f}" if "n_epochs" in entry else "–",
            spread(entry["rmse"], 4),
            results.published_text(entry),
            spread(entry["rmse_by_image"], 4),
            spread(entry["bias"], 3),
            f"{entry['seconds']['mean']:.0f}",
        )
        for entry in entries
    ]
    header = (
        "Method",
        "Weights",
        "Epochs",
        "RMSE",
        "Published",
        "RMSE averaged per image",
        "Bias",
        "Time (s)",
    )
    means = [
        entry["rmse"]["mean"] if "oracle" not in entry["method"] else float("inf")
        for entry in entries
    ]
    notes = [*results.notes(), "Time is that of one core, filling the test images included."]
    caption = "RMSE over missing blue values of the test images; values run from 0 to 1"
    return page.table(caption, header, rows, notes=notes, best=means.index(min(means)))


def seen(results: Study) -> str:
    """Say how many images each model of table 4 saw."""
    epochs: dict[int, list[str]] = {}
    for entry in results.of_split(TABLE_4):
        if "n_epochs" in entry:
            epochs.setdefault(round(entry["n_epochs"]["mean"]), []).append(entry["method"])
    n_images = facts(results)["n_training_images"]
    usual = max(epochs, key=lambda number: len(epochs[number]), default=0)
    said = [f"models were trained for {usual} of them and saw {usual * n_images:,} images"]
    for number, names in epochs.items():
        if number != usual:
            said.append(f"{_and(names)} for {number} ({number * n_images:,} images)")
    return "; ".join(said) + "."


def beside_the_bound(results: Study) -> Iterator[str]:
    """Say how methods compare with the least that a missing value can be."""
    least = results.of(TABLE_4, LARGEST, CHANNEL)
    ours = results.of(TABLE_4, LONGER, CHANNEL) or results.of(TABLE_4, OURS, CHANNEL)
    if least:
        bound = least["rmse"]["mean"]
        worse = [
            entry["method"].removeprefix("as reported: ")
            for entry in results.of_split(TABLE_4)
            if entry["method"].startswith("as reported") and entry["rmse"]["mean"] > bound
        ]
        yield (
            "A missing blue value exceeds red and green, so that the larger of these is the least "
            f"that it can be. Filling it in takes no model, and gives {bound:.3f} here: less than "
            "every number that the report printed for its models."
            + (f" Of its mechanisms, trained here, {_and(worse)} stay above that." if worse else "")
        )
    if least and ours:
        gain = 1 - ours["rmse"]["mean"] / least["rmse"]["mean"]
        yield (
            f"Our model ({ours['method']}) comes to {spread(ours['rmse'], 4)}, "
            f"{abs(gain):.0%} {'below' if gain > 0 else 'above'} it."
        )


def beside_the_report(results: Study) -> Iterator[str]:
    """Say how its mechanisms compare with what it printed, and what they lack."""
    errors = {
        name: (entry["rmse"]["mean"], REPORTED[name][0])
        for name in REPORTED
        if (entry := results.of(TABLE_4, as_reported(name), CHANNEL))
    }
    if not errors or results.metadata["images"]["name"] != "cifar10":
        return
    better = [name for name, (ours, theirs) in errors.items() if ours < theirs]
    worse = [name for name in errors if name not in better]
    if better:
        yield f"Of the report’s mechanisms, {_and(better)} come below its number."
    if worse:
        share = facts(results)["n_training_images"] / 50_000
        yield (
            f"{_and(worse).capitalize()} stay{'s' * (len(worse) == 1)} above what the report "
            f"printed, with {share:.0%} of its images, fewer passes over them and no choice of the "
            "best epoch by the truth. It is not the budget alone: in the report’s model the "
            "channels of a pixel are independent given 128 hidden numbers, which are to carry the "
            "blue of 1,024 pixels, though red and green of the same pixel say most of it. And what "
            "is the case, that a value goes missing where it exceeds two others of its pixel, a "
            "value alone or a weighted sum of values cannot say; networks with a hidden layer can, "
            "and would have to find it from draws of all missing values at once."
        )
    yield from _what_counts(results)


def _what_counts(results: Study) -> Iterator[str]:
    """Say what the observation and the mechanism contribute, each alone."""
    names = ("MIWAE, Gaussian", "pixelwise, Gaussian", "MIWAE, colour chain", OURS)
    found = {name: results.of(TABLE_4, name, CHANNEL) for name in names}
    known = {name: entry["rmse"]["mean"] for name, entry in found.items() if entry}
    if len(known) > 2 and OURS in known:
        said = ", ".join(f"{name} {error:.3f}" for name, error in known.items())
        yield f"What the two parts of our model are worth, at the same budget: {said}."


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def batch_sizes(results: Study) -> Block | None:
    """Return errors at the end of training, by bound and size of a batch."""
    sizes = results.columns(BATCHES)
    rows = []
    for bound, by in results.measured(BATCHES).items():
        found = [by[size]["rmse"]["mean"] for size in sizes if size in by]
        cells = [spread(by[size]["rmse"]) if size in by else "–" for size in sizes]
        rows.append((bound, *cells, f"{max(found) / min(found) - 1:.0%}"))
    if not rows:
        return None
    published = [FIGURE_2.get(int(size)) for size in sizes]
    texts = [f"{value:.3f}*" if value else "–" for value in published]
    known = [value for value in published if value]
    rows.append(("the report, Figure 2", *texts, f"{max(known) / min(known) - 1:.0%}"))
    header = ("Bound", *(f"{size} images" for size in sizes), "Worst above best")
    note = "* read off the figure; 50,000 images, 100 epochs"
    return page.table("RMSE at the end of training, by size of a batch", header, rows, notes=[note])


def what_batches_show(results: Study) -> Iterator[str]:
    """Say what the two bounds have to do with the size of a batch."""
    ends = {
        bound: [entry["rmse"]["mean"] for entry in by.values()]
        for bound, by in results.measured(BATCHES).items()
    }
    if len(ends) < 2:
        return
    right, wrong = ends[RIGHT_BOUND], ends[PUBLISHED_BOUND]
    apart = max(right) / min(right) - 1
    yield (
        f"With the right bound the worst size ({max(right):.3f}) is {apart:.0%} above the best "
        f"({min(right):.3f}). With the published one the errors run from {min(wrong):.3f} to "
        f"{max(wrong):.3f}: "
        + (
            "even the best of them is above the worst with the right bound."
            if min(wrong) > max(right)
            else "some of them are as low as with the right bound."
        )
    )
    if apart > 0.1:
        entries = results.measured(BATCHES)[RIGHT_BOUND]
        size = max(entries, key=int)
        n_steps = entries[size]["n_steps"]["mean"]
        yield (
            "So the size of a batch still matters with the right bound, at this budget: at an "
            f"equal number of images, batches of {size} take {n_steps:.0f} steps in all, which is "
            "few for any model to settle."
        )


def channels(results: Study) -> Block | None:
    """Return trained, zero-shot and adapted errors by missing channel."""
    by = results.measured(CHANNELS)
    rows = []
    for before, after in PAIRS:
        entries = [
            by.get(name, {}).get(after)
            for name in (TRAINED, zero_shot_from(before), adapted_from(before))
        ]
        if not any(entries[1:]):
            continue
        texts = [spread(entry["rmse"], 4) if entry else "–" for entry in entries]
        trained, _, adapted = (entry and entry["rmse"]["mean"] for entry in entries)
        ratio = f"{adapted / trained - 1:+.0%}".replace("-", "−") if trained and adapted else "–"
        rows.append((f"{after}, from {before}", *texts, ratio))
    if not rows:
        return None
    header = ("Missing channel, and before", "Trained on it", "Zero-shot", "Adapted", "Adapted")
    header = (*header[:-1], "Adapted against trained")
    return page.table("RMSE over missing values of the test images", header, rows)


def classes(results: Study, kept: Kept, names: Sequence[str]) -> Block | None:
    """Return errors and shares of missing pixels by class."""
    methods = [OURS, as_reported("linear"), as_reported("self-masking"), LARGEST]
    found = {name: kept.read(TABLE_4, name, CHANNEL).get("by_class") for name in methods}
    tables = {name: values for name, values in found.items() if values is not None}
    if not tables:
        return None
    first: Any = next(iter(tables.values()))
    rows = [
        (
            names[int(label)],
            f"{share:.0%}",
            *(f"{values[i, 1]:.3f}" for values in tables.values()),
        )
        for i, (label, _, share) in enumerate(first)
    ]
    header = ("Class", "Pixels with a gap", *tables)
    return page.table("RMSE over missing blue values by class; first seed", header, rows)


def clipped(results: Study) -> Block | None:
    """Return the errors of the original paper's experiment."""
    rows = [
        (
            entry["method"],
            spread(entry["rmse"], 4),
            results.published_text(entry),
            spread(entry["bias"], 3),
        )
        for entry in results.of_split(CLIPPING)
    ]
    header = ("Method", "RMSE", "Published, other images", "Bias")
    notes = [note for note in results.notes() if note.startswith("§")]
    caption = "RMSE over missing values of grey test images"
    return page.table(caption, header, rows, notes=notes) if rows else None


def facts(results: Study) -> Mapping[str, Any]:
    """Return what the metadata says about the images of table 4."""
    found: Mapping[str, Any] = results.metadata["data"][CHANNEL]
    return found
