"""`notmiwae reproduce`: run a published study again."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from notmiwae._glossary import glossary
from notmiwae.cli import parsing, words
from notmiwae.cli.mistakes import UsageError, missing_extras, mistakes
from notmiwae.cli.parsing import Parser


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.set_defaults(run=run)
    parser.description = parsing.prose(
        "Run a published study again: prepare its data, fit every method, and write the results, "
        "with the published numbers beside them, and a page to look at."
    )
    parser.epilog = _describe_studies()
    add = parser.add_argument
    add("study", metavar="STUDY", help="name of the study, see below")
    about = "quick: minutes, to look around; full: as published; short: in between"
    add("--preset", default="quick", metavar="NAME", help=f"{about} (default: quick)")
    about = "only these, where a study has several (default: those of the preset)"
    add("--datasets", type=parsing.names, metavar="A,B", help=about)
    add("--output", "-o", type=Path, metavar="DIR", help="where to write (default: out/STUDY)")
    add(
        "--jobs",
        type=parsing.positive,
        metavar="N",
        help="processes side by side (default: one a core)",
    )
    about = "cpu, cuda or auto, where the study can use a GPU (default: cpu)"
    add("--device", metavar="NAME", help=about)
    about = "float32 or bfloat16 for the networks, where a study says so (default: float32)"
    add("--precision", metavar="NAME", help=about)
    parsing.add_seed(parser, "numbers")


def _describe_studies() -> str:
    modules = {name: inspect.getmodule(study) for name, study in find_studies().items()}
    return "\n\n".join(
        [
            glossary("studies", modules, {}),
            parsing.examples(
                "notmiwae reproduce breast --preset quick",
                "notmiwae reproduce uci --preset full --datasets banknote,concrete",
                "notmiwae reproduce cifar10 --preset full --device cuda --precision bfloat16",
            ),
        ]
    )


def run(args: argparse.Namespace) -> None:
    """Run a published study again."""
    studies = find_studies()
    if args.study not in studies:
        raise UsageError(f"STUDY must be one of {words.listed(studies)}; got {args.study!r}")
    study = studies[args.study]
    output = args.output or Path("out", args.study)
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file: name a folder")
    options = {"preset": args.preset, "output": output, "seed": args.seed or 0, "n_jobs": args.jobs}
    with missing_extras(), mistakes():
        results = study(progress=True, **options, **_chosen(args, study))
    print(results.table())
    print(
        f"{output}: {words.listed(sorted(file.name for file in output.iterdir()))}", file=sys.stderr
    )


CHOICES = {
    "datasets": "data sets",
    "device": "devices",
    "precision": "precisions",
}
"""Arguments that some studies have, and what there is to choose from."""


def _chosen(args: argparse.Namespace, study: Callable[..., Any]) -> dict[str, Any]:
    """Return what such arguments ask for, where there is a choice."""
    given = {name: getattr(args, name) for name in CHOICES if getattr(args, name) is not None}
    for name in given:
        if name not in inspect.signature(study).parameters:
            raise UsageError(
                f"{args.study} has no {CHOICES[name]} to choose from: leave --{name} out"
            )
    return given


def find_studies() -> Mapping[str, Callable[..., Any]]:
    """Return the studies by name, which import what only they need."""
    with missing_extras():
        from notmiwae.experiments import STUDIES
    return STUDIES
