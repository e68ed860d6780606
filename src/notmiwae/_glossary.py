"""What the command line's help says of the names that it takes."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Mapping

WIDTH = 90

MECHANISM_MEANINGS = {
    "auto": "whichever of at-random and the self-masking shapes explain held-out rows best",
    "ignorable": "that a value is missing says nothing about the value (the MIWAE model)",
    "at-random": "the same, but other columns may explain what goes missing",
    "self-masking": "high values go missing, or low ones: learned for each column",
    "self-masking-known": "high values go missing (or low, with --sign -1)",
    "self-masking-quadratic": "high, low, extreme or middling values go missing: learned",
    "self-masking-spline": "any part of a column's range may go missing: learned",
    "linear": "a weighted sum of all columns, missing values too, decides what goes missing",
    "nonlinear": "the same with a small neural network in place of the sum",
    "pixelwise": "the same, and how a value compares with the others of its row",
    "convolutional": "for images; of a table, the same as linear",
    "convolutional-2": "for images; of a table, a wide neural network of all columns",
}
OBSERVATION_MEANINGS = {
    "gaussian": "numbers of any sign",
    "student-t": "the same with outliers",
    "truncated-normal": "numbers between --bounds",
    "bernoulli": "0 or 1",
    "categorical": "categories, which numbers stand for, without an order",
    "ordinal": "levels in an order, which numbers stand for",
    "count": "counts: whole numbers from 0 on",
}
TYPE_MEANINGS = {
    "continuous": "numbers of any sign",
    "positive": "amounts above zero",
    "bounded:LOW,HIGH": "numbers between these, for example bounded:0,100",
    "count": "whole numbers from zero on",
    "binary": "one of two labels",
    "categorical": "one of several labels",
    '["low", "high"]': "labels in their order, from the lowest to the highest, in place of a name",
    "left-out": "nothing that the model is to see",
}
ESTIMATOR_MEANINGS = {
    "conditional-mean": "the average of what the value may have been",
    "median": "the middle of it",
    "decoder-mean": "as in the published code, for comparison: ignores why the value is missing",
}
KIND_MEANINGS = {
    "above-mean": "values above the mean of their column",
    "extremes": "the lowest and the highest --share of a column (0.25 at either end)",
    "around-mean": "the --share of a column that is nearest its mean (0.3)",
    "mcar": "any value, with probability --share (0.3), by chance alone",
    "mar": "a --share (0.3) that depends on the columns left whole, more so with --slope (1)",
    "self-masking": "high values rather than low ones: half of those at --threshold standard "
    "deviations from the mean (0), more sharply with --slope (2; low ones if negative)",
    "clipping": "values above --limit, as a detector that saturates",
}


def glossary(title: str, known: Iterable[str], meanings: Mapping[str, str]) -> str:
    """Explain names, one each; a mapping's members say the rest of themselves."""
    entries = []
    for name in known:
        member = known[name] if isinstance(known, Mapping) else None
        meaning = meanings.get(name) or (inspect.getdoc(member) or "").split("\n")[0]
        indent = " " * 25
        entries.append(textwrap.fill(f"  {name:<22} {meaning}", WIDTH, subsequent_indent=indent))
    return "\n".join([f"{title}:", *entries])
