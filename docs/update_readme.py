"""Write the tables of README and docs from ``results/``: ``python docs/update_readme.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from notmiwae.experiments.results import Published, spread

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def grid(corner: str, columns: list[str], cells: dict[str, dict[str, str]]) -> list[str]:
    """Return the lines of a table of cells by row, then by column."""
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, by in cells.items():
        lines.append(f"| {name} | {' | '.join(by.get(column, '–') for column in columns)} |")
    return lines


def tables(results: dict[str, Any]) -> list[str]:
    """Return the lines of a study's table: methods by data set, on held-out rows."""
    cells: dict[str, dict[str, str]] = {}
    for entry in results["summary"]:
        if entry["split"] == "held-out":
            number = results["published"].get(entry["data"], {}).get(entry["method"])
            beside = f" ({Published(**number)})" if number else ""
            cells.setdefault(entry["method"], {})[entry["data"]] = spread(entry["rmse"]) + beside
    return grid("method", list(results["metadata"]["data"]), cells)


def selected(results: dict[str, Any]) -> list[str]:
    """Return the lines of the report's models: at the end of training, and as it selected them."""
    cells: dict[str, dict[str, str]] = {}
    for entry in results["summary"]:
        if entry["split"] == "held-out" and entry["method"].startswith("as reported"):
            name = entry["method"].removeprefix("as reported: ")
            number = results["published"].get(entry["data"], {}).get(entry["method"])
            errors = [spread(entry[key]) for key in ("rmse", "rmse_best_seen")]
            published = str(Published(**number)) if number else "–"
            weights = f"{entry['n_mechanism_weights']['mean']:,.0f}"
            cells.setdefault(name, {"weights": weights})[entry["data"]] = " / ".join(
                [*errors, published]
            )
    return grid("model", ["weights", *results["metadata"]["data"]], cells)


def binarised(results: dict[str, Any]) -> list[str]:
    """Return the lines of the models of zeros and ones: error of the probability, wrong guesses."""
    cells: dict[str, dict[str, str]] = {}
    for entry in results["summary"]:
        if entry["split"] == "binarised":
            pair = f"{spread(entry['rmse'])} / {entry['error_rate']['mean']:.1%}"
            cells.setdefault(entry["method"], {})[entry["data"]] = pair
    return grid("method", list(results["metadata"]["data"]), cells)


def faults(results: dict[str, Any]) -> list[str]:
    """Return the lines of the ablation: faults by mechanism, and what was published."""
    cells: dict[str, dict[str, str]] = {}
    for entry in results["summary"]:
        if entry["split"] == "ablation" and ": " in entry["method"]:
            mechanism, fault = entry["method"].split(": ")
            cells.setdefault(fault, {})[mechanism] = spread(entry["rmse"])
    mechanisms = list(dict.fromkeys(name for by in cells.values() for name in by))
    published = results["published"]["above-mean"]
    cells["published"] = {
        name: str(Published(**published[f"as reported: {name}, Gaussian"])) for name in mechanisms
    }
    return grid("fault", mechanisms, cells)


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


def development(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table of geometric means: methods by deletion."""
    means = results["geometric_means"]
    deletions = list(next(iter(means.values())))
    lines = [f"| | {' | '.join(deletions)} |", "|---" * (len(deletions) + 1) + "|"]
    for method, by in means.items():
        cells = " | ".join(f"{by[name]:.3f}" if name in by else "–" for name in deletions)
        lines.append(f"| {method} | {cells} |")
    return lines


def images(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table of mechanisms and baselines on images."""
    lines = ["| method | weights | RMSE | published |", "|---|---|---|---|"]
    for entry in results["summary"]:
        if entry["split"] == "table 4":
            number = results["published"].get(entry["data"], {}).get(entry["method"])
            n_weights = f"{entry['n_weights']['mean']:,.0f}" if "n_weights" in entry else "–"
            published = str(Published(**number)) if number else "–"
            cells = (entry["method"], n_weights, spread(entry["rmse"], 4), published)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def other_images(results: dict[str, Any]) -> list[str]:
    """Return the lines of the tables of the other parts: methods by data."""
    lines = []
    for part, corner in {"batch size": "", "channels": "", "clipping": "over-exposed"}.items():
        cells: dict[str, dict[str, str]] = {}
        published = results["published"].get(part, {})
        for entry in results["summary"]:
            if entry["split"] == part:
                by = cells.setdefault(entry["method"], {})
                by["RMSE" if corner else entry["data"]] = spread(entry["rmse"], 4)
                if entry["method"] in published:
                    by["published"] = str(Published(**published[entry["method"]]))
        columns = list(dict.fromkeys(data for by in cells.values() for data in by))
        if part == "batch size":
            columns.sort(key=int)
        if columns:
            lines += [*grid(corner or part, columns, cells), ""]
    return lines[:-1]


def intervals(results: dict[str, Any]) -> list[str]:
    """Return the lines of the tables of coverage: methods by measure, for estimand and deletion."""
    lines = []
    for estimand, by in results["performance"].items():
        for deletion, methods in by.items():
            count = next(iter(methods.values()))["n_simulations"]
            head = f"{estimand}, {deletion}, {count} surveys"
            lines.append(f"| {head} | coverage | bias | spread | claimed | width |")
            lines.append("|---" * 6 + "|")
            for method, found in methods.items():
                share = f"{found['coverage']:.1%} ± {found['coverage_error']:.1%}"
                names = ("bias", "spread", "std_error", "width")
                numbers = (f"{found[name]:.2f}".replace("-", "−") for name in names)
                lines.append(f"| {method} | {share} | {' | '.join(numbers)} |")
            lines.append("")
    return lines[:-1]


def kinds(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table of mixed tables: methods by table, best mean rank first."""
    datasets = list(results["metadata"]["data"])
    lines = [f"| method | {' | '.join(datasets)} | mean rank |", "|---" * (len(datasets) + 2) + "|"]
    cells = {
        (entry["method"], entry["data"]): " / ".join(
            f"{entry[measure]['mean']:.2f}" for measure in ("nrmse", "error_rate")
        )
        for entry in results["summary"]
    }
    for method, rank in sorted(results["ranks"].items(), key=lambda item: item[1]):
        found = " | ".join(cells[method, data] for data in datasets)
        lines.append(f"| {method} | {found} | {rank:.2f} |")
    return lines


class Study(NamedTuple):
    """What a document says of a study, whose results are in the folder of its name or another."""

    about: str
    table: Callable[[dict[str, Any]], list[str]]
    folder: str = ""
    over_seeds: str = ", mean ± standard deviation"


STUDIES = {
    "defaults": Study(
        "Geometric means, over the tables, of the RMSE over missing cells in standard deviations.",
        development,
    ),
    "breast": Study(
        "The report's Tables 1 to 3: breast cancer data, values deleted in 14 of 29 columns, above "
        "the mean, in the lowest and highest quarter, or around the mean; fitted on 455 rows, RMSE "
        "over the missing cells of the other 114, in standard deviations. In brackets: the "
        "report's best validation RMSE seen, selected with the true values (*), or the baseline "
        "run again on its split and masks (†). Around the mean and at the extremes every number "
        "that the report printed is worse than filling in the column's mean.",
        tables,
        over_seeds=", mean ± standard deviation; where there is only a mean, it is of one seed, or "
        "no seed makes a difference",
    ),
    "breast-selected": Study(
        "The models of the report with its settings, right: RMSE at the end of training / the best "
        "seen while training, which takes the true values to know (as the report selected) / "
        "published. Weights are those of the mechanism.",
        selected,
        folder="breast",
    ),
    "breast-binarised": Study(
        "The same table as zeros and ones (is a value above its column's median?), which the "
        "report could not train: RMSE of the probability of a one / share of wrong guesses.",
        binarised,
        folder="breast",
    ),
    "breast-faults": Study(
        "Table 1, Gaussian, with the faults of the report's implementation, one at a time and all "
        "together; RMSE on held-out rows, of one seed. Published "
        "(*): the best validation RMSE seen.",
        faults,
        folder="breast",
    ),
    "uci": Study(
        "The original paper's benchmark and protocol: values above the mean deleted in the first "
        "half of the columns, RMSE over the missing cells of the rows that were fitted. "
        "Published (*): Ipsen et al. (2021), Table 1; its copy of Yeast (†) differs from ours. A "
        "mean rank is over the data sets, among all methods of the table.",
        league,
    ),
    "uci-survey": Study(
        "The same with every mechanism and decoder, but of one seed: it says what differs by much, "
        "and does not rank neighbours.",
        league,
    ),
    "cifar10": Study(
        "The report's Table 4: images of CIFAR-10 (values from 0 to 1), blue deleted where it "
        "exceeds red and green; RMSE over the missing values of 600 test images, learned from "
        "2,400 with gaps. Published: the report's best validation RMSE seen, selected with the "
        "true values, from 50,000 images (*); its mean, averaged over images (†); measured on "
        "other images (‡).",
        images,
    ),
    "cifar10-parts": Study(
        "RMSE over missing values of test images: by size of a batch; by missing channel; of grey "
        "photographs without their values above 0.75, where the model is told that high ones go "
        "missing. Published: Ipsen et al. (2021), of SVHN (§).",
        other_images,
        folder="cifar10",
    ),
    "mixed": Study(
        "Root mean squared error of missing numbers in standard deviations of their column / share "
        "of missing labels that are filled with another. A mean rank is over tables and both "
        "measures.",
        kinds,
        over_seeds=", means",
    ),
    "coverage": Study(
        "Coverage of 95% intervals ± its standard error; bias of the estimates, their standard "
        "deviation over surveys, the mean standard error that they claim, the mean width of the "
        "intervals.",
        intervals,
        over_seeds="",
    ),
}


def seeds(numbers: list[int], over_seeds: str) -> str:
    """Say which seeds there were, and what is shown of several."""
    if len(numbers) == 1:
        return f"seed {numbers[0]}"
    return f"seeds {numbers[0]} to {numbers[-1]}{over_seeds}"


def section(name: str, study: Study) -> list[str]:
    """Return the lines about a study, none if it has no results yet."""
    path = ROOT / "results" / (study.folder or name) / "results.json"
    if not path.exists():
        return []
    results = json.loads(path.read_text("utf-8"))
    run = results["metadata"]
    return [
        study.about,
        "",
        *([run["remark"], ""] if "remark" in run else []),
        *study.table(results),
        "",
        f"`{run['command']}`; {seeds(run['seeds'], study.over_seeds)}; {run['cpu_count']} cores, "
        f"{run['duration_seconds'] / 60:.0f} minutes of fitting and imputing, on one of them each; "
        f"notmiwae {run['versions']['notmiwae']}, torch {run['versions']['torch']}.",
        "",
    ]


SHOWN = {
    ROOT / "README.md": ("breast", "uci", "cifar10"),
    ROOT / "docs" / "breast.md": ("breast-selected", "breast-binarised", "breast-faults"),
    ROOT / "docs" / "uci.md": ("uci-survey",),
    ROOT / "docs" / "images.md": ("cifar10", "cifar10-parts"),
    ROOT / "docs" / "defaults.md": ("defaults",),
    ROOT / "docs" / "mixed.md": ("mixed",),
    ROOT / "docs" / "coverage.md": ("coverage",),
}


def updated(path: Path) -> str:
    """Return a document with the tables of today."""
    before, rest = path.read_text("utf-8").split(BEGIN)
    lines = [line for name in SHOWN[path] for line in section(name, STUDIES[name])]
    return before + "\n".join([BEGIN, "", *lines, END]) + rest.split(END)[1]


if __name__ == "__main__":
    for document in SHOWN:
        document.write_text(updated(document), "utf-8")
