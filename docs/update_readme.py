"""Write the README's tables from ``results/``: ``python docs/update_readme.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from notmiwae.experiments.results import Published, spread

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def tables(results: dict[str, Any]) -> list[str]:
    """Return the lines of a study's table: methods by data set, on held-out rows."""
    cells: dict[str, dict[str, str]] = {}
    for entry in results["summary"]:
        if entry["split"] == "held-out":
            number = results["published"].get(entry["data"], {}).get(entry["method"])
            beside = f" ({Published(**number)})" if number else ""
            cells.setdefault(entry["method"], {})[entry["data"]] = spread(entry["rmse"]) + beside
    datasets = list(results["metadata"]["data"])
    lines = [f"| method | {' | '.join(datasets)} |", "|---" * (len(datasets) + 1) + "|"]
    for method, errors in cells.items():
        found = " | ".join(errors.get(data, "–") for data in datasets)
        lines.append(f"| {method} | {found} |")
    return lines


def league(results: dict[str, Any]) -> list[str]:
    """Return the lines of a benchmark's table: methods and published ones, best mean rank first."""
    cells: dict[str, dict[str, str]] = {}
    for entry in results["summary"]:
        if entry["split"] == "transductive":
            cells.setdefault(entry["method"], {})[entry["data"]] = spread(entry["rmse"])
    for data, numbers in results["published"].items():
        for number in numbers.values():
            name = f"{number['name']} (published)"
            cells.setdefault(name, {})[data] = str(Published(**number))
    datasets = list(results["metadata"]["data"])
    lines = [f"| method | {' | '.join(datasets)} | mean rank |", "|---" * (len(datasets) + 2) + "|"]
    for method, rank in sorted(results["ranks"]["transductive"].items(), key=lambda item: item[1]):
        errors = " | ".join(cells[method][data] for data in datasets)
        lines.append(f"| {method} | {errors} | {rank:.1f} |")
    return lines


SPENT = "minutes of fitting and imputing, on one of them each"


class Study(NamedTuple):
    """What the README says of a study."""

    about: str
    command: str
    table: Callable[[dict[str, Any]], list[str]]
    minutes: str = "minutes in all"


STUDIES = {
    "breast": Study(
        "The report's Tables 1 to 3: breast cancer data, values deleted in 14 of 29 columns, above "
        "the mean, in the lowest and highest quarter, or around the mean; fitted on 455 rows, RMSE "
        "over the missing cells of the other 114, in standard deviations. In brackets: the "
        "report's best validation RMSE seen, selected with the true values (*), or the baseline "
        "run again on its split and masks (†).",
        "`notmiwae reproduce breast --preset full --output results/breast`",
        tables,
        SPENT,
    ),
    "uci": Study(
        "The original paper's benchmark and protocol: values above the mean deleted in the first "
        "half of the columns, RMSE over the missing cells of the rows that were fitted. "
        "Published (*): Ipsen et al. (2021), Table 1; its copy of Yeast (†) differs from ours. A "
        "mean rank is over the data sets, among all methods of the table.",
        "`notmiwae reproduce uci --preset full --output results/uci`",
        league,
        SPENT,
    ),
}


def section(name: str, study: Study) -> list[str]:
    """Return the lines about a study, none if it has no results yet."""
    path = ROOT / "results" / name / "results.json"
    if not path.exists():
        return []
    results = json.loads(path.read_text("utf-8"))
    run = results["metadata"]
    return [
        study.about,
        "",
        *study.table(results),
        "",
        f"{study.command}; seeds {run['seeds'][0]} to {run['seeds'][-1]}, mean ± standard "
        f"deviation; {run['cpu_count']} cores, {run['duration_seconds'] / 60:.0f} {study.minutes}; "
        f"notmiwae {run['versions']['notmiwae']}, torch {run['versions']['torch']}.",
        "",
    ]


def block() -> str:
    """Return what stands between the marks."""
    lines = [line for name, study in STUDIES.items() for line in section(name, study)]
    return "\n".join([BEGIN, "", *lines, END])


def updated(text: str) -> str:
    """Return the README with the tables of today."""
    before, rest = text.split(BEGIN)
    return before + block() + rest.split(END)[1]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(updated(readme.read_text("utf-8")), "utf-8")
