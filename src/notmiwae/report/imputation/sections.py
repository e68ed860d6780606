"""The sections of a report on an imputation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from notmiwae.report import page, sensitivity
from notmiwae.report.figures import (
    PALETTE,
    Curve,
    embed,
    probability_curves,
    training_curves,
)
from notmiwae.report.imputation import drawings, wording
from notmiwae.report.imputation.findings import COVERAGE, N_DRAWS, Findings
from notmiwae.report.imputation.wording import minus, number, percent, probability
from notmiwae.report.page import Block, Panel, Section
from notmiwae.selection import BENDS

MOST_PANELS = 24
MOST_PATTERNS = 12
MOST_COLUMNS = 16
MOST_PAIRED = 12
MOST_CELLS = 12


def overview(found: Findings) -> Section:
    """One line for each column: how much is missing, why, and what fills it."""
    cells = found.cells()
    rows = []
    for name in found.modelled:
        if name in found.levels:
            rows.append(_of_labels(found, name))
            continue
        filled = found.filled(name)
        widths = cells.loc[cells["column"] == name, "width"]
        rows.append(
            [
                name,
                percent(found.missing[name].mean()),
                wording.finding(found, name),
                number(found.observed(name).mean() if len(found.observed(name)) else np.nan),
                number(filled.mean() if filled.size else np.nan),
                f"{widths.median():.1f} sd" if len(widths) else "–",
            ]
        )
    header = ["Column", "Missing", "What goes missing", "Mean of the observed"]
    header += ["Mean of the filled", "Width of the interval"]
    labels = "Of labels, the one most frequent among the observed, and its shares."
    note = (
        f"Width of the interval: of the one that holds a filled value with probability "
        f"{percent(COVERAGE)}, in standard deviations of the observed values; the middle cell of "
        "the column. About 3.3 would say that nothing is known beyond the column as a whole."
    )
    blocks: list[Block] = [page.text(*wording.in_short(found))]
    notes = [note, labels] if found.levels else [note]
    if rows:
        blocks.append(page.table("Columns with holes", header, rows, notes=notes, words=[2]))
    return {"title": "In short", "blocks": blocks}


def _of_labels(found: Findings, name: str) -> list[str]:
    observed, filled = found.shares(name)
    most = int(observed.argmax())
    said = [f"{found.levels[name][most]}: {percent(observed[most])}", percent(filled[most]), "–"]
    return [name, percent(found.missing[name].mean()), wording.finding(found, name), *said]


def where(found: Findings) -> Section:
    """Shares, patterns, and what is missing together."""
    blocks: list[Block] = [page.text(*wording.where(found))]
    names = found.holed[:MOST_COLUMNS]
    if names:
        blocks += [_patterns(found, names)]
    if len(names) > 1:
        blocks += [_together(found, names[:MOST_PAIRED])]
    if names:
        blocks += [_differences(found, names)]
    return {"title": "What is missing where", "blocks": blocks}


def _patterns(found: Findings, names: Sequence[str]) -> Block:
    counts = (~found.missing[list(names)]).value_counts()
    shown = counts.head(MOST_PATTERNS)
    present = np.array([np.atleast_1d(key) for key in shown.index], dtype=bool)
    shares = [percent(count / len(found.missing)) for count in shown]
    drawing = drawings.patterns(present, shares, names)
    top = wording.pattern(present[0], names)
    alt = (
        f"A matrix of the {len(shown)} most frequent patterns of missing values over "
        f"{len(names)} columns. The most frequent, {shares[0]} of the rows: {top}."
    )
    caption = (
        "Each line is a pattern: coloured where a column is missing, grey where it is there, with "
        "the share of the rows that have it."
    )
    if len(counts) > len(shown):
        rest = percent(counts.iloc[len(shown) :].sum() / len(found.missing))
        caption += f" {len(counts) - len(shown)} rarer patterns, {rest} of the rows, are left out."
    if len(found.holed) > len(names):
        caption += f" Only the {len(names)} columns with the most holes are shown."
    return page.figure(caption, [{"title": "", "image": embed(drawing, alt)}])


def _together(found: Findings, names: Sequence[str]) -> Block:
    missing = found.missing[list(names)].to_numpy(dtype=float)
    shares = (missing.T @ missing) / missing.sum(0)[:, None]
    apart = shares - np.eye(len(names))
    line, column = np.unravel_index(apart.argmax(), apart.shape)
    alt = (
        f"A grid of shares in percent. The largest off its diagonal: of the rows that miss "
        f"{names[line]}, {percent(shares[line, column])} miss {names[column]} too."
    )
    caption = (
        "Of the rows that miss the column at the left, so many percent miss the column at the top, "
        "too. Columns that always go together were often lost together: a page of a form, a visit."
    )
    image = embed(drawings.together(shares, names), alt)
    return page.figure(caption, [{"title": "", "image": image}])


def _differences(found: Findings, names: Sequence[str]) -> Block:
    rows = []
    for name in names:
        n_missing = int(found.missing[name].sum())
        rows.append([name, f"{n_missing:,}", percent(found.missing[name].mean())])
        rows[-1].append(wording.apart(found.apart(name)))
    header = ["Column", "Missing", "Share", "Rows without it differ most"]
    note = (
        "The last column compares rows that miss the column with rows that do not, by the means of "
        "every other column, in standard deviations. Where the largest difference is more than "
        "chance makes of so many comparisons (Bonferroni, 5 %), values are not missing completely "
        "at random. Of the missing value itself it says nothing."
    )
    return page.table("How much is missing", header, rows, notes=[note], words=[3])


def why(found: Findings) -> Section:
    """What was compared and what was learned of the mechanism."""
    blocks: list[Block] = [page.text(*wording.why(found))]
    if len(found.imputer.selection_.bounds) > 1:
        blocks.append(_comparison(found))
    if wording.models_mechanism(found):
        blocks.append(_mechanisms(found))
        blocks += [_curves(found)] if found.numeric else []
    blocks.append(page.terms(wording.LIMITS))
    return {"title": "Why values are missing", "blocks": blocks}


def _comparison(found: Findings) -> Block:
    selection = found.imputer.selection_
    rows, names = [], list(selection.bounds)
    for name, bound in selection.bounds.items():
        margin = selection.margins.get(name)
        gain = bound - selection.bounds[selection.chosen]
        over = f" over “{BENDS[name]}”" if name in BENDS else ""
        needed = "–" if margin is None else f"{margin:.2f}{over}"
        apart = minus(f"{gain:+.2f}") if gain else "–"
        rows.append([name, minus(f"{bound:.2f}"), apart, needed])
    note = (
        "In nats per row: the logarithm of how probable the model finds rows that it was not "
        "trained on, their holes included; outlying gains and losses are left out. From top to "
        "bottom, a mechanism replaces the one kept so far only if it gains the margin, or is "
        "better and gains it over the mechanism that is named; those that miss little against it "
        "are averaged with it, but none with bends and one without."
    )
    header = ["Mechanism", "Held-out bound", "Against the one kept", "Gain needed"]
    kept = names.index(selection.chosen)
    caption = "Mechanisms that were compared"
    return page.table(caption, header, rows, notes=[note], best=kept, best_label="kept")


def _mechanisms(found: Findings) -> Block:
    rows = []
    for name in found.modelled:
        line = found.mechanism.loc[name]
        curve = [probability(line[key]) for key in ("at_low", "at_mean", "at_high")]
        spread = probability(line["spread"])
        threshold = number(line["threshold"]) if wording.reach(line) > wording.SOME else "–"
        rows.append([name, wording.sign(line), *curve, threshold, spread])
    header = ["Column", "Signs that the value itself decides", "P low", "P mean", "P high"]
    header += ["Threshold", "Models differ"]
    note = (
        "P: the learned probability that a value is missing, two standard deviations below the "
        "mean of the observed values, at it, and above it. Threshold: the value at which it passes "
        "one half, where there is one. Models differ: the largest standard deviation of these "
        "probabilities between the models that are averaged; beyond 0.15 they do not agree."
    )
    return page.table("What was learned, column by column", header, rows, notes=[note], words=[1])


def _curves(found: Findings) -> Block:
    panels: list[Panel] = []
    for name in found.numeric[:MOST_PANELS]:
        grid, curve = found.curve(name)
        alt = (
            f"The learned probability that {name} is missing: {curve[0]:.2f} at {number(grid[0])}, "
            f"{curve[len(curve) // 2]:.2f} at {number(grid[len(grid) // 2])}, {curve[-1]:.2f} at "
            f"{number(grid[-1])}."
        )
        drawing = probability_curves(grid, [Curve(curve, PALETTE[0])])
        panels.append({"title": name, "image": embed(drawing, alt)})
    caption = (
        "How probable it is that a value is missing, by what it is. A flat line: the value itself "
        "does not matter. Where few values were observed, the curve is what the shape of the "
        "mechanism makes of the rest." + _more(found.modelled)
    )
    return page.figure(
        caption, panels, columns=4, across="value", up="probability of being missing"
    )


def fills(found: Findings) -> Section:
    """Observed values beside what fills the holes."""
    panels: list[Panel] = []
    for name in found.modelled[:MOST_PANELS]:
        if name in found.levels:
            panels.append(_labels(found, name))
            continue
        observed, filled = found.observed(name), found.filled(name)
        alt = (
            f"Two histograms of {name}: observed values with mean {number(observed.mean())}, "
            f"filled values with mean {number(filled.mean() if filled.size else np.nan)}."
        )
        drawing = drawings.distributions(observed, filled)
        panels.append({"title": name, "image": embed(drawing, alt)})
    caption = (
        f"Observed values, and {N_DRAWS} draws of each missing one, as histograms of equal area. "
        "They need not be alike: if high values go missing, the filled ones are higher. They "
        "should not surprise somebody who knows the column." + _more(found.modelled)
    )
    legend: list[page.Key] = [
        {"label": "observed", "colour": drawings.OBSERVED, "mark": "line"},
        {"label": "filled", "colour": drawings.FILLED, "mark": "line"},
    ]
    figure = page.figure(caption, panels, columns=4, legend=legend, across="value")
    blocks = [figure] if panels else [page.text("Nothing was missing.")]
    return {"title": "What fills the holes", "blocks": blocks}


def _labels(found: Findings, name: str) -> Panel:
    observed, filled = found.shares(name)
    labels = [str(label) for label in found.levels[name]]
    told = ", ".join(
        f"{label} {percent(seen)} and {percent(drawn)}"
        for label, seen, drawn in zip(labels, observed, filled, strict=True)
    )
    alt = f"Bars for the labels of {name}, with the shares of the observed and the filled: {told}."
    return {"title": name, "image": embed(drawings.bars(labels, observed, filled), alt)}


def _more(names: Sequence[str]) -> str:
    rest = len(names) - MOST_PANELS
    return f" {rest} columns with fewer holes are not shown." if rest > 0 else ""


def trust(found: Findings) -> Section:
    """Diagnostics of the rows, and the least certain cells."""
    diagnosis = found.diagnosis
    k = diagnosis["pareto_k"].replace([np.inf, -np.inf], np.nan)
    effective, apart = diagnosis["effective_sample_size"], diagnosis["disagreement"]
    rows = [
        ["Effective draws, of " + f"{found.imputer.n_impute_samples:,}", *_quartiles(effective, 0)],
        ["Pareto k", *_quartiles(k, 2)],
        ["Disagreement between models, in sd", *_quartiles(apart, 2)],
    ]
    caption = f"How far the imputations of {wording.looked_at(found)} can be trusted"
    table = page.table(caption, ["", "5 %", "Middle", "95 %"], rows, notes=[wording.DIAGNOSTICS])
    blocks = [page.text(*wording.trust(found)), table]
    cells = found.cells().head(MOST_CELLS)
    if len(cells):
        blocks.append(_uncertain(cells))
    return {"title": "What not to trust", "blocks": blocks}


def _quartiles(values: pd.Series, digits: int) -> list[str]:
    if values.isna().all():
        return ["–"] * 3
    return [minus(f"{values.quantile(level):.{digits}f}") for level in (0.05, 0.5, 0.95)]


def _uncertain(cells: pd.DataFrame) -> Block:
    rows = [
        [
            str(cell.row),
            str(cell.column),
            number(cell.mean),
            f"{number(cell.low)} to {number(cell.high)}",
            f"{cell.width:.1f} sd",
        ]
        for cell in cells.itertuples()
    ]
    header = ["Row", "Column", "Mean of the draws", f"{percent(COVERAGE)} interval", "Width"]
    return page.table("The least certain cells", header, rows, words=[1])


def what_if(found: Findings, max_rows: int) -> list[Section]:
    """What becomes of a mean if the model is wrong about missing values."""
    sweep = found.sweep(max_rows)
    if sweep is None:
        return []
    section = sensitivity.section(sweep)
    caution = wording.caution(found, sweep.column, max_rows)
    return [{**section, "blocks": [*section["blocks"], page.text(caution)]}]


def training(found: Findings) -> Section:
    """Bounds of the models while they were trained."""
    histories = [vars(history) for history in found.imputer.histories_]
    panels: list[Panel] = []
    for index, history in enumerate(histories):
        last = history["bound"][-1] if history["bound"] else np.nan
        alt = (
            f"Model {index + 1} in training: its bound on the training rows ends at {last:.2f} "
            f"nats per row; the weights of step {history['best_step']} were kept."
        )
        image = embed(training_curves([history]), alt)
        panels.append({"title": f"model {index + 1}", "image": image})
    caption = (
        "The bound on the log-likelihood of a row and its holes, in nats: higher is better. The "
        "dot marks the weights that were kept. Curves that still rise at the right would gain from "
        "more steps; a held-out curve that falls says that the model learns its rows by heart."
    )
    legend: list[page.Key] = [
        {"label": "training rows", "colour": "#98a3ae", "mark": "line"},
        {"label": "held-out rows", "colour": PALETTE[0], "mark": "line"},
    ]
    figure = page.figure(
        caption, panels[:MOST_PANELS], columns=4, legend=legend, across="step", up="nats per row"
    )
    return {"title": "Training", "blocks": [page.text(wording.training(found)), figure]}


def assumptions(found: Findings) -> Section:
    """What has to be true for all this."""
    return {"title": "What this assumes", "blocks": [page.terms(wording.assumptions(found))]}


def settings(found: Findings, command: str | None) -> Section:
    """All that somebody else would need to do it again."""
    blocks: list[Block] = [page.code(command)] if command else []
    blocks.append(page.terms(wording.settings(found)))
    return {"title": "Settings", "blocks": blocks}
