"""The section of a study's page that says how to run it again."""

from __future__ import annotations

from collections.abc import Mapping

from notmiwae.experiments.results import Results
from notmiwae.report import page
from notmiwae.report.page import Section


def provenance(results: Results, more: Mapping[str, str]) -> Section:
    """Return the command, seeds, versions and machine of a run, and `more` facts by name."""
    about = results.metadata
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    minutes = about["duration_seconds"] / 60
    facts = {
        "Seeds": ", ".join(map(str, about["seeds"])) + ".",
        "Versions": f"{versions}.",
        "Machine": f"{about['platform']}, {about['cpu_count']} CPUs; {minutes:.0f} minutes of "
        "fitting and filling in all, on one thread each.",
        **more,
    }
    return {
        "title": "Run it again",
        "blocks": [
            page.code(about["command"]),
            page.terms(facts),
            page.text(
                "All numbers are in results.json and results.csv, next to this page. Rows that are "
                "done are kept in rows.jsonl: an interrupted run goes on from there."
            ),
        ],
    }
