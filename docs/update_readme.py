"""Write the README's tables from ``results/``: ``python docs/update_readme.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from notmiwae.experiments.results import spread

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
STUDIES = {
    "breast": (
        "Breast cancer data, values above the mean deleted in 15 of 30 columns; fitted on 455 "
        "rows, RMSE over the missing cells of the other 114, in standard deviations. Published: "
        "the report of 2024, its best validation RMSE seen, selected with the true values "
        "(mechanisms), or the baseline run again on its masks.",
        "`notmiwae reproduce breast --preset full --output results/breast`",
    ),
    "original-breast": (
        "The original paper's protocol on the same data: all 569 rows fitted and imputed. "
        "Published: Ipsen et al. (2021), Table 1.",
        "`python benchmarks/original_breast.py`",
    ),
}


def table(results: dict[str, Any]) -> list[str]:
    """Return the lines of a study's table."""
    lines = ["| method | RMSE | published | fit (s) |", "|---|---|---|---|"]
    for entry in results["summary"]:
        if entry["split"] != "held-out":
            continue
        published = results["published"].get(entry["method"])
        known = f"{published['value']:.3f}" if published else "–"
        lines.append(
            f"| {entry['method']} | {spread(entry['rmse'])} | {known} | "
            f"{entry['seconds']['mean']:.0f} |"
        )
    return lines


def block() -> str:
    """Return what stands between the marks."""
    lines = [BEGIN, ""]
    for name, (about, command) in STUDIES.items():
        results = json.loads((ROOT / "results" / name / "results.json").read_text("utf-8"))
        about_run = results["metadata"]
        lines += [
            about,
            "",
            *table(results),
            "",
            f"{command}; seeds {about_run['seeds'][0]} to {about_run['seeds'][-1]}, mean ± "
            f"standard deviation; {about_run['cpu_count']} cores, "
            f"{about_run['duration_seconds'] / 60:.0f} minutes in all; notmiwae "
            f"{about_run['versions']['notmiwae']}, torch {about_run['versions']['torch']}.",
            "",
        ]
    return "\n".join([*lines, END])


def updated(text: str) -> str:
    """Return the README with the tables of today."""
    before, rest = text.split(BEGIN)
    return before + block() + rest.split(END)[1]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(updated(readme.read_text("utf-8")), "utf-8")
