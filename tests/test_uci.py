from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from notmiwae import cli
from notmiwae.cli import reproduce
from notmiwae.experiments import STUDIES, uci
from notmiwae.experiments.baselines import BASELINES
from notmiwae.experiments.benchmark import Benchmark
from notmiwae.experiments.results import HELD_OUT, KeptRows, Published, Row
from notmiwae.experiments.runner import Task, side_by_side
from notmiwae.experiments.uci import DEFAULT, LINEAR, TRANSDUCTIVE, Case
from notmiwae.experiments.uci import page as uci_page
from notmiwae.report import figures

FAST = {"max_steps": 3, "n_models": 1, "n_impute_samples": 5, "n_samples": 2, "hidden": (4,)}
METHODS = ["column mean", "MIWAE", "MIWAE, linear decoder", DEFAULT]
TABLE_1 = """
PPCA                               1.39 1.61 1.61 1.57 1.67 0.90
not-MIWAE-PPCA agnostic            1.25 1.47 1.32 1.27 1.20 0.78
not-MIWAE-PPCA self-masking        0.57 1.31 1.13 0.99 0.78 0.72
not-MIWAE-PPCA self-masking known  0.57 1.31 1.13 0.99 0.77 0.72
MIWAE                              1.19 1.66 1.62 1.55 1.72 1.20
not-MIWAE agnostic                 0.80 2.63 1.30 1.37 1.43 1.10
not-MIWAE self-masking             1.88 1.26 1.08 1.04 1.48 0.74
not-MIWAE self-masking known       0.74 1.12 1.07 1.04 1.38 0.76
low-rank joint model               0.79 1.57 1.42 1.39 1.19 1.22
missForest                         1.28 1.76 1.64 1.63 1.66 1.57
MICE                               1.41 1.70 1.68 1.41 1.72 1.17
mean                               1.73 1.85 1.83 1.74 1.69 1.82
"""


def a_table(seed, n_columns=5):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(60, 1))
    return factor + 0.5 * rng.normal(size=(60, n_columns)) + 10 * np.arange(n_columns)


@pytest.fixture
def tables(monkeypatch):
    """Small tables in place of the real ones, by name; a test may change them."""
    tables = {name: a_table(i) for i, name in enumerate(uci.DATASETS)}

    def load(name):
        return SimpleNamespace(x=pd.DataFrame(tables[name]), source="made up")

    monkeypatch.setattr(uci, "load", load)
    return tables


@pytest.fixture
def computed(monkeypatch):
    """The cases that were computed, in their order."""
    compute, computed = uci.compute, []

    def recorded(case, *args):
        computed.append(case)
        return compute(case, *args)

    monkeypatch.setattr(uci, "compute", recorded)
    return computed


def run(folder, **options):
    options = {"datasets": ["red", "yeast"], "methods": METHODS, "n_jobs": 1, **FAST, **options}
    return STUDIES["uci"](output=folder, **options)


def row(method, data, rmse, seed=0, split=TRANSDUCTIVE):
    return Row(method, data, seed, split, {"rmse": rmse}, 1.0)


def benchmark(errors, published=None):
    """Make a benchmark of methods' errors on the data sets d0, d1, ..."""
    rows = [row(name, f"d{i}", e) for name, es in errors.items() for i, e in enumerate(es)]
    return Benchmark("s", "t", rows, {}, published or {}, published_split=TRANSDUCTIVE)


class TestProtocols:
    def test_transductive_scales_by_all_rows_and_deletes_above_their_means(self, tables):
        problem, x = uci.make_problem("red", TRANSDUCTIVE, 0), tables["red"]
        np.testing.assert_allclose(problem.truth, (x - x.mean(0)) / x.std(0))
        deleted = x > x.mean(0)
        deleted[:, 2:] = False  # the first half of five columns, rounded down
        np.testing.assert_array_equal(np.isnan(problem.holes), deleted)

    def test_transductive_fills_the_rows_that_were_fitted(self, tables):
        problem = uci.make_problem("red", TRANSDUCTIVE, 0)
        np.testing.assert_array_equal(problem.training, problem.holes)

    def test_held_out_rows_change_no_scale_and_no_threshold(self, tables):
        before = uci.make_problem("red", HELD_OUT, 0)
        _, held_out = train_test_split(range(60), test_size=0.2, random_state=0)
        tables["red"][held_out] += 100
        after = uci.make_problem("red", HELD_OUT, 0)
        np.testing.assert_array_equal(before.training, after.training)
        assert np.isnan(after.holes[:, :2]).all()

    def test_held_out_rows_are_drawn_by_the_seed(self, tables):
        first, again, other = (uci.make_problem("red", HELD_OUT, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first.truth, again.truth)
        assert (first.truth != other.truth).any()

    def test_the_score_is_over_deleted_cells_only(self, tables):
        case = Case(TRANSDUCTIVE, "column mean", "red", 0)
        problem = uci.make_problem("red", TRANSDUCTIVE, 0)
        missing = np.isnan(problem.holes)
        error = problem.truth - np.nanmean(problem.holes, axis=0)
        expected = np.sqrt(np.mean(error[missing] ** 2))
        assert uci.compute(case, True, {}).metrics["rmse"] == pytest.approx(expected)


class TestRanks:
    def test_are_averages_over_the_data_sets(self):
        ranks = benchmark({"a": [1, 5], "b": [2, 3], "c": [3, 4]}).ranks(TRANSDUCTIVE)
        assert ranks == {"a": 2.0, "b": 1.5, "c": 2.5}

    def test_equals_share_theirs(self):
        ranks = benchmark({"a": [1, 1], "b": [1, 2], "c": [3, 3]}).ranks(TRANSDUCTIVE)
        assert ranks == {"a": 1.25, "b": 1.75, "c": 3.0}

    def test_are_those_of_means_over_seeds(self):
        rows = [row("a", "d", 0.0), row("a", "d", 4.0, seed=1), row("b", "d", 1.0)]
        assert Benchmark("s", "t", rows, {}).ranks(TRANSDUCTIVE) == {"a": 2.0, "b": 1.0}

    def test_published_methods_compete_on_their_split_only(self):
        published = {"d0": {"a": Published(0.5, "*", "paper", name="A", digits=2)}}
        results = benchmark({"a": [1]}, published)
        assert results.ranks(TRANSDUCTIVE) == {"a": 2.0, "A (published)": 1.0}
        assert results.competitors(HELD_OUT) == {}

    def test_a_method_without_a_result_on_every_data_set_has_none(self):
        results = benchmark({"a": [1, 2], "b": [3]})
        assert results.ranks(TRANSDUCTIVE) == {"a": 1.0}
        assert results.matrix(TRANSDUCTIVE)[1] == ("b", "3.000", "–", "–")


class TestPublished:
    def test_numbers_are_those_of_the_paper(self):
        shown = Benchmark("s", "t", [], {}, uci.PUBLISHED, published_split=TRANSDUCTIVE)
        numbers = {
            f"{name} (published)": [float(value) for value in values.split()]
            for name, values in re.findall(r"^(\S.*?)  +([\d. ]+)$", TABLE_1, re.MULTILINE)
        }
        assert len(numbers) == 12
        assert numbers == {
            name: [by[data].value for data in uci.DATASETS]
            for name, by in shown.competitors(TRANSDUCTIVE).items()
        }

    def test_all_but_the_low_rank_model_stand_beside_a_method_of_ours(self):
        assert set(uci.TABLE_1) - set(uci.METHODS) == {"low-rank joint model"}

    def test_yeast_alone_is_said_to_differ(self):
        for data, numbers in uci.PUBLISHED.items():
            for number in numbers.values():
                assert ("copy of Yeast that differs" in number.note) == (data == "yeast")
                assert number.mark == ("†" if data == "yeast" else "*")


class TestPresets:
    def test_full_has_every_method_and_data_set(self):
        full = uci.PRESETS["full"]
        assert list(full.datasets) == list(uci.DATASETS)
        assert list(full.methods[TRANSDUCTIVE]) == list(uci.METHODS)
        left_out = set(uci.METHODS) - set(full.methods[HELD_OUT])
        assert left_out == {name for name in uci.METHODS if name.endswith(LINEAR)}

    def test_the_default_is_untouched(self):
        changed = {"random_state": 3, "device": "cpu"}
        imputer = uci.make_imputer(DEFAULT, 3, False, {})
        assert imputer.get_params() == type(imputer)(**changed).get_params()

    def test_the_longest_fits_come_first(self, tables, computed, tmp_path):
        tables["yeast"] = a_table(0, n_columns=6)
        run(tmp_path, methods=["column mean", DEFAULT])
        order = [(case.method, case.data) for case in computed]
        means = [("column mean", "yeast"), ("column mean", "red")]
        assert order == [(DEFAULT, "yeast"), (DEFAULT, "red"), *means]


class TestResuming:
    def test_an_interrupted_run_goes_on_and_ends_the_same(self, tables, computed, tmp_path):
        whole = run(tmp_path)
        kept = (tmp_path / "rows.jsonl").read_text("utf-8").splitlines(keepends=True)
        (tmp_path / "rows.jsonl").write_text("".join(kept[:3]) + kept[3][:40], "utf-8")
        computed.clear()
        resumed = run(tmp_path)
        assert len(computed) == len(kept) - 3
        assert [r.metrics for r in resumed.rows] == [r.metrics for r in whole.rows]

    def test_a_finished_run_computes_nothing_again(self, tables, computed, tmp_path):
        first = run(tmp_path)
        computed.clear()
        assert run(tmp_path).rows == first.rows
        assert not computed

    def test_other_settings_start_afresh_and_lose_nothing(self, tables, computed, tmp_path):
        first = run(tmp_path)
        assert run(tmp_path, max_steps=4).rows != first.rows
        computed.clear()
        assert run(tmp_path).rows == first.rows
        assert not computed

    def test_another_version_starts_afresh(self, tmp_path, monkeypatch):
        kept = KeptRows(tmp_path / "rows.jsonl")
        kept["a"] = row("m", "d", 1.0)
        assert KeptRows(kept.path)["a"] == kept["a"]
        monkeypatch.setattr("notmiwae.experiments.results.__version__", "next")
        assert not KeptRows(kept.path)

    def test_a_store_saves_work_and_is_given_what_is_new(self):
        store = {"a": 1}
        tasks = [Task("b", lambda: 2), Task("a", lambda: pytest.fail("known already"))]
        assert side_by_side(tasks, n_jobs=1, store=store) == [2, 1]
        assert store == {"a": 1, "b": 2}


class TestRun:
    def test_writes_a_row_per_method_data_seed_and_split(self, tables, tmp_path):
        run(tmp_path, preset="full", methods=["column mean"])
        record = json.loads((tmp_path / "results.json").read_text("utf-8"))
        keys = {(r["method"], r["data"], r["seed"], r["split"]) for r in record["rows"]}
        assert len(keys) == len(record["rows"]) == 1 * 2 * 5 * 2
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"results.json", "results.csv", "rows.jsonl", "rmse.svg", "report.html"}

    def test_files_have_ranks_and_published_numbers(self, tables, tmp_path):
        results = run(tmp_path)
        record = json.loads((tmp_path / "results.json").read_text("utf-8"))
        assert record["ranks"] == {TRANSDUCTIVE: results.ranks(TRANSDUCTIVE)}
        assert len(record["ranks"][TRANSDUCTIVE]) == len(METHODS) + 12
        assert record["published"]["red"]["MIWAE, linear decoder"]["value"] == 1.61
        lines = csv.DictReader((tmp_path / "results.csv").read_text("utf-8").splitlines())
        known = {(line["method"], line["data"]): line["published"] for line in lines}
        assert known["MIWAE", "yeast"] == "1.72"
        assert known[DEFAULT, "yeast"] == ""

    def test_says_what_the_default_chose(self, tables, tmp_path):
        chosen = [r.notes[-1] for r in run(tmp_path, methods=[DEFAULT]).rows]
        assert chosen
        assert all(note.startswith("chose ") for note in chosen)

    @pytest.mark.parametrize("wrong", ["preset", "datasets", "methods"])
    def test_a_mistake_is_named_before_any_work(self, tmp_path, wrong):
        with pytest.raises(ValueError, match=f"{wrong} must be .*; got"):
            run(tmp_path, **{wrong: ["unheard of"]})
        assert not list(tmp_path.iterdir())


class TestTable:
    def test_points_stand_under_points_in_all_blocks(self):
        published = {
            f"d{i}": {"a": Published(0.5, "*", "paper", name="A", digits=2)} for i in range(2)
        }
        rows = [row(m, d, i + n) for i, m in enumerate("ab") for n, d in enumerate(("d0", "d1"))]
        rows += [row("b", "d1", 0.25, seed=1), row("a", "d0", 1, split=HELD_OUT)]
        results = Benchmark("s", "title", rows, {}, published, published_split=TRANSDUCTIVE)
        title, _, *lines, _, note = results.table().splitlines()
        assert (title, note) == ("title", "* paper")
        heads = [i for i, line in enumerate(lines) if line.endswith("mean rank")]
        assert [lines[i].split()[0] for i in heads] == [TRANSDUCTIVE, "published", HELD_OUT]
        points = [[m.start() for m in re.finditer(r"(?<!± \d)\.", line)] for line in lines]
        assert len({tuple(at) for at in points if len(at) == 3}) == 1


class TestPage:
    def test_asks_for_no_other_file(self, tables, tmp_path):
        run(tmp_path, datasets=["red"])
        html = (tmp_path / "report.html").read_text("utf-8")
        outside = re.sub(r'src="data:[^"]*"', "", html)
        assert not re.search(r"<script|<link|url\(|@import|src=", outside)

    def test_has_both_protocols_and_the_published_numbers(self, tables, tmp_path):
        run(tmp_path, preset="full", methods=["column mean", "MIWAE" + LINEAR])
        html = (tmp_path / "report.html").read_text("utf-8")
        assert "on the rows learned from" in html
        assert "on rows held out" in html
        for number in ("1.61*", "1.67†"):
            assert html.count(f"<td>{number}<") == 2  # in its own row, and beside ours

    def test_marks_the_lowest_mean_rank(self, tables, tmp_path):
        ranks = run(tmp_path).ranks(TRANSDUCTIVE)
        html = (tmp_path / "report.html").read_text("utf-8")
        best = re.search(
            r'<tr class="best">\s*<th scope="row" data-best="lowest">([^<]*)</th>', html
        )[1]
        assert ranks[best] == min(ranks.values())

    def test_every_method_is_explained(self):
        told = {*BASELINES, *uci_page.MODELS}
        assert {name.removesuffix(LINEAR) for name in uci.METHODS} <= told


class TestFigure:
    def test_values_with_the_same_label_share_a_line(self):
        dots = [figures.Dots("a", [1.0], "red"), figures.Dots("a", [2.0], "blue", 3.0)]
        (axes,) = figures.dot_charts({"one": dots}, "error").axes
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a"]
        shown = {tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
        assert shown == {(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)}

    def test_published_methods_that_are_not_ours_have_a_line(self, tables, tmp_path):
        dots = uci_page.charts(run(tmp_path), TRANSDUCTIVE)["Red"]
        (low_rank,) = [line for line in dots if line.label == "low-rank joint model"]
        assert (list(low_rank.values), low_rank.published) == ([], 1.42)


class TestCommandLine:
    def test_data_sets_can_be_chosen(self, monkeypatch, tmp_path, capsys):
        asked = {}

        def study(datasets=None, **others):
            asked.update(others, datasets=datasets)
            return SimpleNamespace(table=lambda: "the table")

        monkeypatch.setattr(reproduce, "find_studies", lambda: {"trial": study})
        command = ["reproduce", "trial", "--output", str(tmp_path), "--datasets", "red,white"]
        assert cli.main(command) == 0
        assert asked["datasets"] == ["red", "white"]

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("uci --datasets red,irises", "'banknote', 'concrete', 'red', 'white', 'yeast'"),
            ("uci --datasets red,red", "once each"),
            ("breast --datasets breast", "breast has no data sets to choose from"),
        ],
    )
    def test_a_mistake_is_answered_in_one_line(self, command, said, tmp_path, capsys):
        output = tmp_path / "out"
        assert cli.main(["reproduce", *command.split(), "--output", str(output)]) == 2
        printed = capsys.readouterr().err
        assert said in printed
        assert printed.count("\n") == 1
        assert not output.exists()
