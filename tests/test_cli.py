import csv
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import notmiwae
from notmiwae import NotMIWAEImputer, training
from notmiwae.amputation import AMPUTATIONS
from notmiwae.cli import main, modelling, reproduce
from notmiwae.latent_imputer import ESTIMATORS
from notmiwae.mechanisms import MECHANISMS
from notmiwae.observations import OBSERVATIONS

QUICK = ["--steps", "30", "--mechanism", "self-masking"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in: a table with holes, a complete one, and a model."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    z = rng.normal(size=80)
    lines, whole = ["name,day,code,age,income,weight"], ["age,income,weight,name"]
    for i, value in enumerate(z):
        age, income = f"{round(40 + 12 * value)}", f"{20000 + 9000 * value:.2f}"
        weight = f"{70 + 10 * value + rng.normal():.2f}" if i else "7.05e1"
        whole.append(f'{age},{income},{weight},"Smith, {i}"')
        name = f'"Smith, {i}"' if i % 10 else ""
        age, income = "" if value > 0.9 else age, "NA" if value > 0.8 else income
        lines.append(f"{name},2020-01-{1 + i % 28:02d},{i:03d},{age},{income},{weight}")
    (tmp_path / "holes.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "whole.csv").write_text("\n".join(whole) + "\n")
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    x = np.random.default_rng(0).normal(size=(60, 2))
    x[x > 1] = np.nan
    path = tmp_path_factory.mktemp("models")
    named = pd.DataFrame(x, columns=["age", "weight"])
    imputer = NotMIWAEImputer("self-masking", max_steps=20, n_models=1, random_state=0)
    imputer.fit(named).save(path / "named")
    imputer.fit(x).save(path / "nameless")
    (path / "damaged").mkdir()
    (path / "damaged" / "imputer.json").write_text("{")
    (path / "damaged" / "weights.safetensors").write_text("")
    return path


def cells(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class TestImpute:
    def test_fills_numeric_holes_and_leaves_the_rest(self, folder, capsys):
        assert main(["impute", "holes.csv", "-o", "filled.csv", *QUICK]) == 0
        before, after = cells("holes.csv"), cells("filled.csv")
        assert before[0] == after[0]
        for was, now in zip(before[1:], after[1:], strict=True):
            assert was[:3] == now[:3]
            for old, new in zip(was[3:], now[3:], strict=True):
                assert new == old or (old in ("", "NA") and np.isfinite(float(new)))
        said = capsys.readouterr()
        assert said.out == ""
        assert "80 rows, 6 columns" in said.err
        assert "code           0    0.0%  left as it is: it holds 80 different labels" in said.err
        assert "8 holes left in 'name'" in said.err

    def test_lines_without_holes_are_the_same_bytes(self, folder):
        main(["impute", "holes.csv", "-o", "filled.csv", *QUICK, "--quiet"])
        before = (folder / "holes.csv").read_text().splitlines()
        after = (folder / "filled.csv").read_text().splitlines()
        whole = [i for i, row in enumerate(cells("holes.csv")) if not {"", "NA"} & set(row[3:])]
        assert len(whole) > 40
        assert [before[i] for i in whole] == [after[i] for i in whole]

    def test_saved_model_gives_the_same_file_in_another_process(self, folder):
        assert main(["impute", "holes.csv", "-o", "a.csv", *QUICK, "--save", "kept/model"]) == 0
        command = [sys.executable, "-W", "error", "-m", "notmiwae", "impute", "holes.csv"]
        source = str(Path(notmiwae.__file__).parents[1])  # works before installation, too
        done = subprocess.run(
            [*command, "-o", "b.csv", "--load", "kept/model"],
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "training" not in done.stderr
        assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes()

    def test_seed_fixes_the_file(self, folder):
        for name, seed in [("a", "1"), ("b", "1"), ("c", "2")]:
            main(["impute", "holes.csv", "-o", f"{name}.csv", *QUICK, "--seed", seed])
        assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes()
        assert (folder / "a.csv").read_bytes() != (folder / "c.csv").read_bytes()

    def test_options_reach_the_imputer(self, folder, monkeypatch):
        made = []

        class Noted(NotMIWAEImputer):
            def fit(self, x, y=None):
                made.append((self.get_params(), list(x)))
                return super().fit(x)

            __init__ = NotMIWAEImputer.__init__

        monkeypatch.setattr(modelling, "NotMIWAEImputer", Noted)
        arguments = "--mechanism self-masking-known --sign -1 --observation truncated-normal"
        arguments += " --bounds 0,300 --estimator median --steps 7 --seed 3 --columns age,weight"
        assert main(["impute", "holes.csv", "-o", "a.csv", *arguments.split()]) == 0
        given, columns = made[-1]
        assert columns == ["age", "weight"]
        expected = {"sign": -1, "bounds": [0, 300], "max_steps": 7, "random_state": 3}
        assert expected.items() <= given.items()
        assert (given["mechanism"], given["estimator"]) == ("self-masking-known", "median")
        assert not given["verbose"]

    def test_only_named_columns_are_filled(self, folder, capsys):
        main(["impute", "holes.csv", "-o", "a.csv", *QUICK, "--columns", "age,weight"])
        assert [row[4] for row in cells("a.csv")] == [row[4] for row in cells("holes.csv")]
        assert "left as it is: not among --columns" in capsys.readouterr().err

    def test_nothing_missing(self, folder):
        assert main(["impute", "whole.csv", "-o", "a.csv"]) == 0
        assert (folder / "a.csv").read_bytes() == (folder / "whole.csv").read_bytes()

    def test_one_row(self, folder, model):
        (folder / "one.csv").write_text("age,weight\n1.50,\n")
        assert main(["impute", "one.csv", "-o", "a.csv", *QUICK]) == 0
        assert (folder / "a.csv").read_text() == "age,weight\n1.50,\n"
        assert main(["impute", "one.csv", "-o", "b.csv", "--load", str(model / "named")]) == 0
        [age, weight] = cells("b.csv")[1]
        assert age == "1.50"
        assert np.isfinite(float(weight))

    def test_columns_that_the_model_does_not_know_are_carried_through(self, folder, model, capsys):
        arguments = ["--load", str(model / "named"), "--estimator", "median"]
        assert main(["impute", "holes.csv", "-o", "a.csv", *arguments]) == 0
        assert [row[4] for row in cells("a.csv")] == [row[4] for row in cells("holes.csv")]
        assert "left as it is: the model does not use it" in capsys.readouterr().err

    def test_parquet(self, folder):
        pytest.importorskip("pyarrow")
        frame = pd.read_csv("holes.csv", dtype={"age": "Int64", "code": str})
        frame.to_parquet("holes.parquet", index=False)
        assert main(["impute", "holes.parquet", "-o", "filled.parquet", *QUICK]) == 0
        filled, before = pd.read_parquet("filled.parquet"), pd.read_parquet("holes.parquet")
        rest = ["name", "day", "code", "weight"]
        pd.testing.assert_frame_equal(filled[rest], before[rest])
        assert not filled[["age", "income"]].isna().any(axis=None)

    def test_the_default_mechanism_is_chosen_and_named(self, folder, capsys):
        assert main(["impute", "holes.csv", "-o", "a.csv", "--steps", "2"]) == 0
        assert "held-out nats per row of the others against it" in capsys.readouterr().err

    def test_quiet(self, folder, capsys):
        main(["impute", "holes.csv", "-o", "a.csv", *QUICK, "--quiet"])
        assert capsys.readouterr() == ("", "")

    def test_interruption(self, folder, capsys, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(NotMIWAEImputer, "fit", interrupted)
        assert main(["impute", "holes.csv", "-o", "a.csv"]) == 130
        assert capsys.readouterr().err == "notmiwae: interrupted\n"
        assert not (folder / "a.csv").exists()

    def test_bug_shows_its_traceback(self, folder, monkeypatch):
        def faulty(*_):
            return np.zeros(2).reshape(3)

        monkeypatch.setattr(NotMIWAEImputer, "fit", faulty)
        with pytest.raises(ValueError, match="cannot reshape"):
            main(["impute", "holes.csv", "-o", "a.csv"])


class TestMixed:
    """Labels beside numbers, and what is said of columns."""

    TINY = ("--steps", "2", "--mechanism", "self-masking", "--samples", "5")

    @pytest.fixture
    def people(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(
            {
                "person": [f"P{i:03}" for i in range(60)],
                "income": rng.normal(40, 9, 60).round(2),
                "owner": rng.choice(["yes", "no"], 60).astype(object),
                "grade": rng.choice(["low", "middle", "high"], 60).astype(object),
                "children": rng.poisson(2, 60),
            }
        )
        frame.loc[frame["income"] > 48, "income"] = np.nan
        frame.loc[::7, "owner"] = None
        frame.loc[3::9, "grade"] = None
        frame["children"] = frame["children"].astype("Int64")
        frame.loc[5::8, "children"] = pd.NA
        frame.to_csv("people.csv", index=False)
        return frame

    def test_labels_are_filled_with_labels(self, people, capsys):
        assert main(["impute", "people.csv", "-o", "filled.csv", *self.TINY]) == 0
        filled = pd.read_csv("filled.csv", dtype=str)
        before = pd.read_csv("people.csv", dtype=str)
        pd.testing.assert_frame_equal(filled.where(before.notna()), before)
        assert not filled.isna().any(axis=None)
        assert set(filled["owner"]) == {"yes", "no"}
        assert set(filled["grade"]) <= {"low", "middle", "high"}
        said = capsys.readouterr().err
        assert "person" in said
        assert "left as it is: it holds 60 different labels" in said

    def test_types_and_mechanisms_by_column(self, people, capsys):
        Path("types.json").write_text(
            '{"grade": ["low", "middle", "high"], "children": "count", "owner": "left-out"}'
        )
        Path("why.json").write_text('{"income": "above:48", "*": "ignorable"}')
        command = ["impute", "people.csv", "-o", "filled.csv", "--types", "types.json"]
        arguments = ["--mechanism", "why.json", "--steps", "2", "--samples", "5"]
        assert main([*command, *arguments, "--save", "model"]) == 0
        filled = pd.read_csv("filled.csv")
        assert filled["income"][people["income"].isna()].ge(48).all()
        assert (filled["children"] % 1 == 0).all()
        assert filled["owner"].isna().sum() == people["owner"].isna().sum()
        schema = NotMIWAEImputer.load("model").schema_
        assert [kind.name for kind in schema.columns] == ["continuous", "ordinal", "count"]

    @pytest.mark.parametrize("more", [[], ["--draws", "2", "--long"]])
    def test_batches_give_the_same_file(self, people, tmp_path, monkeypatch, more):
        pytest.importorskip("pyarrow")
        monkeypatch.setattr("notmiwae.cli.impute.ROWS_PER_SEED", 16)
        monkeypatch.setattr("notmiwae.latent_imputer.ROWS_PER_SEED", 16)
        assert main(["impute", "people.csv", "-o", "a.csv", *self.TINY, "--save", "model"]) == 0
        people["grade"] = people["grade"].astype(pd.CategoricalDtype(["low", "middle", "high"]))
        people.to_parquet("people.parquet", index=False)
        for suffix in ["csv", "parquet"]:
            for name, rows in [("once", "1000"), ("parts", "16")]:
                command = ["impute", f"people.{suffix}", "-o", f"{name}.{suffix}", *more]
                assert main([*command, "--load", "model", "--batch-rows", rows]) == 0
        assert Path("once.csv").read_bytes() == Path("parts.csv").read_bytes()
        once, parts = pd.read_parquet("once.parquet"), pd.read_parquet("parts.parquet")
        pd.testing.assert_frame_equal(once, parts)
        assert once["grade"].cat.categories.tolist() == ["low", "middle", "high"]
        assert once[["owner", "grade", "income"]].notna().all(axis=None)
        if not more:
            pd.testing.assert_frame_equal(pd.read_csv("once.csv"), pd.read_csv("a.csv"))

    def test_a_label_that_the_model_does_not_know_is_noted(self, people, capsys):
        assert main(["impute", "people.csv", "-o", "a.csv", *self.TINY, "--save", "model"]) == 0
        people.loc[1, "owner"] = "perhaps"
        people.to_csv("more.csv", index=False)
        assert main(["impute", "more.csv", "-o", "b.csv", "--load", "model"]) == 0
        assert "note: labels that were not there in fit" in capsys.readouterr().err
        assert pd.read_csv("b.csv").loc[1, "owner"] == "perhaps"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{", "is no JSON"),
            ("[1]", "must hold names of columns"),
            ('{"size": "count"}', "'size'"),
            ('{"income": "large"}', "'continuous'"),
            ('{"owner": "count"}', "'owner' is said to be count, and holds no numbers"),
        ],
    )
    def test_mistakes(self, people, capsys, content, said):
        Path("types.json").write_text(content)
        assert main(["impute", "people.csv", "-o", "a.csv", "--types", "types.json"]) == 2
        printed = capsys.readouterr().err
        assert said in printed
        assert printed.count("\n") == 1
        assert not Path("a.csv").exists()


class TestDraws:
    @pytest.fixture
    def loaded(self, folder, model):
        return ["impute", "holes.csv", "--load", str(model / "named"), "--samples", "30"]

    def test_a_file_for_each(self, folder, loaded, capsys):
        assert main([*loaded, "-o", "filled.csv", "--draws", "10"]) == 0
        files = sorted(folder.glob("filled*"))
        assert [file.name for file in files] == [f"filled-{i:02}.csv" for i in range(1, 11)]
        tables = [pd.read_csv(file, dtype=str) for file in files]
        before = pd.read_csv("holes.csv", dtype=str)
        missing = before["age"].isna()
        for table in tables:
            assert table["age"].notna().all()
            pd.testing.assert_frame_equal(table[~missing], before[~missing])
        assert all((tables[0]["age"] != other["age"]).any() for other in tables[1:])
        assert "filled-01.csv to filled-10.csv" in capsys.readouterr().err

    def test_one_long_table(self, folder, loaded):
        main([*loaded, "-o", "filled.csv", "--draws", "3"])
        main([*loaded, "-o", "long.csv", "--draws", "3", "--long"])
        long = pd.read_csv("long.csv", dtype=str)
        assert long.columns[0] == "imputation"
        for number, part in long.groupby("imputation"):
            single = pd.read_csv(f"filled-{number}.csv", dtype=str)
            pd.testing.assert_frame_equal(
                part.drop(columns="imputation").reset_index(drop=True), single
            )

    def test_long_parquet_table(self, folder, model):
        pytest.importorskip("pyarrow")
        pd.read_csv("holes.csv").to_parquet("holes.parquet")
        arguments = ["--load", str(model / "named"), "--draws", "2", "--long"]
        assert main(["impute", "holes.parquet", "-o", "long.parquet", *arguments]) == 0
        long = pd.read_parquet("long.parquet")
        assert long["imputation"].tolist() == [1, 2] * 80
        assert long["name"].iloc[::2].tolist() == long["name"].iloc[1::2].tolist()
        assert long["age"].notna().all()

    def test_a_table_without_holes_is_copied(self, folder):
        assert main(["impute", "whole.csv", "-o", "a.csv", "--draws", "2"]) == 0
        for name in ["a-1.csv", "a-2.csv"]:
            assert (folder / name).read_bytes() == (folder / "whole.csv").read_bytes()


class TestPipes:
    @pytest.fixture
    def stdin(self, monkeypatch):
        def give(content):
            monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=BytesIO(content)))

        return give

    def test_csv_in_and_out(self, folder, model, stdin, capsysbinary):
        load = ["--load", str(model / "named"), "--samples", "30"]
        assert main(["impute", "holes.csv", "-o", "a.csv", *load]) == 0
        stdin((folder / "holes.csv").read_bytes())
        assert main(["impute", "-", "-o", "-", *load]) == 0
        said = capsysbinary.readouterr()
        assert said.out == (folder / "a.csv").read_bytes()
        assert b"standard input: 80 rows" in said.err
        assert b"\r" not in said.err  # no progress bar where there is no terminal

    def test_nothing_is_written_after_a_mistake(self, stdin, capsysbinary):
        stdin(b"a,b\n1,2,3\n")
        assert main(["impute", "-", "-o", "-"]) == 2
        said = capsysbinary.readouterr()
        assert said.out == b""
        assert said.err.startswith(b"notmiwae: standard input has 3 cells in line 2")

    def test_a_reader_that_leaves_is_no_mistake(self, folder, monkeypatch, capsys):
        class Left:
            def write(self, _):
                raise BrokenPipeError

        monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=Left(), flush=lambda: None))
        assert main(["ampute", "whole.csv", "-o", "-", "--columns", "age"]) == 141
        assert "notmiwae:" not in capsys.readouterr().err

    def test_parquet_is_recognised(self, stdin, capsysbinary):
        pytest.importorskip("pyarrow")
        frame = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0)})
        stdin(frame.to_parquet(index=False))
        assert main(["ampute", "-", "-o", "-", "--columns", "a"]) == 0
        written = pd.read_parquet(BytesIO(capsysbinary.readouterr().out))
        assert written["a"].isna().sum() == 10
        pd.testing.assert_series_equal(written["b"], frame["b"])


class TestBatches:
    @pytest.fixture
    def many(self, folder, monkeypatch):
        """A table of batches that are unlike: some complete, one with nothing observed."""
        monkeypatch.setattr("notmiwae.cli.impute.ROWS_PER_SEED", 16)
        monkeypatch.setattr("notmiwae.latent_imputer.ROWS_PER_SEED", 16)
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(
            {
                "age": pd.array(rng.integers(10, 90, 64), dtype="Int64"),
                "name": pd.array([None] * 16 + ["x"] * 48, dtype=object),
                "weight": rng.normal(70, 9, 64).round(2),
            }
        )
        frame.loc[10:30, "age"] = pd.NA
        frame.loc[48:55, "weight"] = np.nan
        frame.to_csv("many.csv", index=False)
        return frame

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    @pytest.mark.parametrize("more", [[], ["--draws", "2", "--long"]])
    def test_batches_give_the_same_file(self, many, folder, model, kind, more):
        pytest.importorskip("pyarrow")
        many.to_parquet("many.parquet", index=False, row_group_size=7)
        command = ["impute", f"many.{kind}", "--load", str(model / "named"), "--samples", "20"]
        for name, rows in [("once", "1000"), ("parts", "16")]:
            assert main([*command, *more, "-o", f"{name}.{kind}", "--batch-rows", rows]) == 0
        if kind == "csv":
            assert (folder / "once.csv").read_bytes() == (folder / "parts.csv").read_bytes()
        else:
            once, parts = pd.read_parquet("once.parquet"), pd.read_parquet("parts.parquet")
            pd.testing.assert_frame_equal(once, parts)
            assert once["age"].dtype == "float64"

    def test_csv_becomes_parquet_of_one_type(self, many, folder, model):
        pytest.importorskip("pyarrow")
        command = ["impute", "many.csv", "--load", str(model / "named"), "--batch-rows", "16"]
        assert main([*command, "-o", "filled.parquet"]) == 0
        filled = pd.read_parquet("filled.parquet")
        assert filled["age"].dtype == "float64"
        assert filled["age"].notna().all()
        assert filled["name"].isna().sum() == 16

    def test_a_mistake_in_a_late_row_leaves_nothing(self, many, folder, model, capsys):
        with (folder / "many.csv").open("a") as file:
            file.write("old,x,70\n")
        (folder / "out.csv").write_text("former")
        before = contents(folder)
        command = ["impute", "many.csv", "-o", "out.csv", "--load", str(model / "named")]
        assert main([*command, "--batch-rows", "16"]) == 2
        assert "column 'age' is not numeric (it holds 'old')" in capsys.readouterr().err
        assert contents(folder) == before


class TestResume:
    def test_an_interrupted_training_goes_on(self, folder, monkeypatch, capsys):
        arguments = ["impute", "holes.csv", "--steps", "110", "--mechanism", "self-masking"]
        steps = []
        descend = training._Run.descend
        monkeypatch.setattr(
            training._Run, "descend", lambda *of: (steps.append(1), descend(*of))[1]
        )
        assert main([*arguments, "-o", "whole-run.csv"]) == 0
        n_whole = len(steps)
        save = training.save_checkpoint

        def interrupted(*of):
            save(*of)
            raise KeyboardInterrupt

        before = contents(folder)
        monkeypatch.setattr(training, "save_checkpoint", interrupted)
        assert main([*arguments, "-o", "a.csv"]) == 130
        said = capsys.readouterr().err
        assert "interrupted; the training so far is in a.csv.checkpoint: the same comm" in said
        kept = set(contents(folder)) - set(before)
        assert {path.parent.name for path in kept} == {"a.csv.checkpoint"}
        monkeypatch.setattr(training, "save_checkpoint", save)
        steps.clear()
        assert main([*arguments, "-o", "a.csv", "--resume"]) == 0
        assert len(steps) == n_whole - 100  # the steps that were saved
        assert (folder / "a.csv").read_bytes() == (folder / "whole-run.csv").read_bytes()
        assert not (folder / "a.csv.checkpoint").exists()

    def test_without_resume_it_starts_afresh(self, folder):
        kept = folder / "a.csv.checkpoint"
        kept.mkdir()
        (kept / "self-masking-0.safetensors").write_bytes(b"of something else")
        (kept / "notes.txt").write_text("a user's own")
        assert main(["impute", "holes.csv", "-o", "a.csv", *QUICK]) == 0
        assert [file.name for file in kept.iterdir()] == ["notes.txt"]

    def test_a_damaged_checkpoint_is_named(self, folder, capsys):
        kept = folder / "a.csv.checkpoint"
        kept.mkdir()
        (kept / "self-masking-0.safetensors").write_bytes(b"of something else")
        arguments = ["--resume", *QUICK]
        assert main(["impute", "holes.csv", "-o", "a.csv", *arguments]) == 2
        assert "a.csv.checkpoint/self-masking-0.safetensors is no" in capsys.readouterr().err


class TestAmpute:
    def test_deletes_above_the_mean_and_nothing_else(self, folder, capsys):
        assert main(["ampute", "whole.csv", "-o", "a.csv", "--columns", "age,income"]) == 0
        x, holes = pd.read_csv("whole.csv"), pd.read_csv("a.csv")
        for name in ["age", "income"]:
            assert (holes[name].isna() == (x[name] > x[name].mean())).all()
        for was, now in zip(cells("whole.csv"), cells("a.csv"), strict=True):
            assert was[2:] == now[2:]
            assert all(new in ("", old) for old, new in zip(was, now, strict=True))
        deleted = int(holes.isna().sum().sum())
        assert f"a.csv: {deleted} cells deleted" in capsys.readouterr().err

    def test_seed_fixes_the_file(self, folder):
        for name, seed in [("a", "1"), ("b", "1"), ("c", "2")]:
            arguments = ["--kind", "mcar", "--share", "0.4", "--seed", seed]
            assert main(["ampute", "whole.csv", "-o", f"{name}.csv", *arguments]) == 0
        assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes()
        assert (folder / "a.csv").read_bytes() != (folder / "c.csv").read_bytes()

    @pytest.mark.parametrize(
        "arguments",
        [
            "--kind mar --columns first-half --share 0.2 --slope 2",
            "--kind self-masking --threshold -0.5 --slope 1,2 --columns age,weight",
            "--kind clipping --limit 70 --columns weight",
            "--kind extremes --share 0.1",
            "--kind around-mean",
        ],
    )
    def test_kinds(self, folder, arguments):
        assert main(["ampute", "whole.csv", "-o", "a.csv", *arguments.split()]) == 0
        assert pd.read_csv("a.csv").isna().any(axis=None)


class TestReproduce:
    @pytest.fixture
    def asked(self, monkeypatch):
        asked = {}

        def study(**arguments):
            """Run something."""
            asked.update(arguments)
            arguments["output"].mkdir(parents=True)
            (arguments["output"] / "report.html").write_text("")
            return SimpleNamespace(table=lambda: "the table")

        monkeypatch.setattr(reproduce, "find_studies", lambda: {"trial": study})
        return asked

    def test_runs_the_study_and_prints_its_table(self, folder, asked, capsys):
        assert main(["reproduce", "trial", "--preset", "full", "--seed", "4", "--jobs", "2"]) == 0
        assert str(asked.pop("output")).replace("\\", "/") == "out/trial"
        assert asked == {"preset": "full", "seed": 4, "progress": True, "n_jobs": 2}
        assert capsys.readouterr().out == "the table\n"

    def test_studies_are_listed(self, asked, capsys):
        assert main(["reproduce", "nonesuch"]) == 2
        assert "must be one of 'trial'; got 'nonesuch'" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main(["reproduce", "--help"])
        assert "trial" in capsys.readouterr().out

    def test_a_choice_is_passed_on_where_there_is_one(self, folder, monkeypatch, capsys):
        asked = {}

        def study(output, device="cpu", **arguments):
            asked.update(arguments, device=device)
            output.mkdir(parents=True)
            return SimpleNamespace(table=lambda: "the table")

        monkeypatch.setattr(reproduce, "find_studies", lambda: {"trial": study})
        assert main(["reproduce", "trial", "--device", "cuda"]) == 0
        assert asked["device"] == "cuda"
        assert "precision" not in asked
        assert main(["reproduce", "trial", "--precision", "bfloat16"]) == 2
        assert "no precisions to choose from: leave --precision out" in capsys.readouterr().err

    def test_missing_extra(self, folder, monkeypatch, capsys):
        def study(**_):
            raise ImportError("the page needs jinja2: pip install 'notmiwae[report]'")

        monkeypatch.setattr(reproduce, "find_studies", lambda: {"trial": study})
        assert main(["reproduce", "trial"]) == 2
        assert "notmiwae[report]" in capsys.readouterr().err


class TestHelp:
    @pytest.mark.parametrize(
        ("command", "names"),
        [
            ("impute", [*MECHANISMS, *OBSERVATIONS, *ESTIMATORS]),
            ("ampute", AMPUTATIONS),
        ],
    )
    def test_explains_every_name(self, command, names, capsys):
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        said = capsys.readouterr().out
        assert "examples:" in said
        lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
        assert all(lines.get(name) for name in names)

    def test_does_not_wait_for_torch(self):
        source = str(Path(notmiwae.__file__).parents[1])
        script = "import sys; import notmiwae.cli as c; c.build_parser().format_help();"
        script += "print({'torch', 'numpy', 'pandas'} & {*sys.modules})"
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            text=True,
        )
        assert (done.stdout, done.stderr) == ("set()\n", "")

    def test_version(self, capsys):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out == f"notmiwae {notmiwae.__version__}\n"


@pytest.fixture
def mistaken(folder):
    """More tables, that cannot be used."""
    for name, content in {
        "empty": "",
        "header": "a,b\n",
        "twice": "a,b,a\n1,2,3\n",
        "ragged": "a,b\n1,2,3\n",
        "quotes": 'a,b\n"1,2\n3,4\n',
        "text": "a,b\n2020-01-02,2020-01-03\n2020-01-04,\n",
        "infinite": "a,b\n1,inf\n,2\n",
        "barren": "a,b\n1,\n2,\n",
    }.items():
        (folder / f"{name}.csv").write_text(content)
    (folder / "damaged.parquet").write_bytes(b"PAR1 and no more PAR1")
    (folder / "out.csv").write_text("former")
    (folder / "folder.csv").mkdir()
    return folder


class TestMistakes:
    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("", "COMMAND"),
            ("guess", "invalid choice: 'guess'"),
            ("impute", "required: TABLE, --output/-o"),
            ("impute holes.csv -o out.csv --fast", "unrecognized arguments: --fast"),
            ("impute holes.csv -o out.csv --mech linear", "unrecognized arguments: --mech linear"),
            ("impute nowhere.csv -o out.csv", "nowhere.csv does not exist"),
            ("impute holes.csv -o out.xlsx", "got 'out.xlsx'"),
            ("impute holes.csv -o none/out.csv", "folder none of --output does not exist"),
            ("impute holes.csv -o folder.csv", "folder.csv is a folder"),
            ("impute folder.csv -o out.csv", "folder.csv cannot be read"),
            ("impute holes.csv -o holes.csv", "is the table that is read"),
            ("impute empty.csv -o out.csv", "nothing in its first line"),
            ("impute header.csv -o out.csv", "no rows"),
            ("impute twice.csv -o out.csv", "2 columns called 'a'"),
            ("impute ragged.csv -o out.csv", "3 cells in line 2"),
            ("impute quotes.csv -o out.csv", "repair its quotes"),
            ("impute text.csv -o out.csv", "no numeric column"),
            ("impute infinite.csv -o out.csv", "'b' holds an infinite value in row 1"),
            ("impute barren.csv -o out.csv --columns b", "nothing is observed in 'b'"),
            ("impute damaged.parquet -o out.csv", "no intact Parquet file"),
            (
                "impute holes.csv -o out.csv --columns code",
                "'code' is not numeric (it holds '000')",
            ),
            ("impute holes.csv -o out.csv --columns size", "no column 'size'"),
            ("impute holes.csv -o out.csv --columns age,age", "once each"),
            ("impute holes.csv -o out.csv --mechanism selfmask", "'self-masking-known'"),
            ("impute holes.csv -o out.csv --sign 2", "must be +1 or -1; got '2'"),
            ("impute holes.csv -o out.csv --sign -1", "leave --sign out"),
            ("impute holes.csv -o out.csv --steps 0", "at least 1; got '0'"),
            ("impute holes.csv -o out.csv --seed -1", "--seed"),
            ("impute holes.csv -o out.csv --seed 9999999999", "got '9999999999'"),
            ("impute holes.csv -o out.csv --observation bernoulli", "values 0 and 1"),
            ("impute holes.csv -o out.csv --observation truncated-normal", "--bounds LOW,HIGH"),
            ("impute holes.csv -o out.csv --bounds 2,1", "LOW below HIGH; got '2,1'"),
            ("impute holes.csv -o out.csv --save holes.csv", "holes.csv is a file"),
            ("impute holes.csv -o out.csv --load nomodel", "is not a saved model"),
            ("impute holes.csv -o out.csv --load MODELS/damaged", "damaged"),
            ("impute holes.csv -o out.csv --load MODELS/nameless", "without column names"),
            ("impute twins.csv -o out.csv --load MODELS/named", "twins.csv does not exist"),
            ("impute barren.csv -o out.csv --load MODELS/named", "column(s) 'age', 'weight'"),
            (
                "impute holes.csv -o out.csv --load MODELS/named --steps 3 --save m",
                "--steps, --save",
            ),
            ("impute holes.csv -o out.csv --long", "say how many by --draws"),
            ("impute holes.csv -o - --draws 2", "give --long"),
            ("impute holes.csv -o out.csv --draws 0", "at least 1; got '0'"),
            ("impute holes.csv -o out.csv --resume", "finds no interrupted training in out.csv.c"),
            ("impute holes.csv -o - --resume", "needs an --output that is a file"),
            ("impute holes.csv -o out.csv --load MODELS/named --resume", "--resume cannot apply"),
            ("ampute whole.csv -o out.csv --kind above", "invalid choice: 'above'"),
            ("ampute whole.csv -o out.csv --kind clipping", "needs limit"),
            ("ampute whole.csv -o out.csv --kind mcar --share 2", "share must be"),
            ("ampute whole.csv -o out.csv --share 0.2", "takes no option"),
            ("ampute whole.csv -o out.csv --kind mar", "leave one out"),
            ("ampute whole.csv -o out.csv --columns name", "'name' is not numeric"),
            ("ampute whole.csv -o out.csv --slope steep", "must be a number; got 'steep'"),
            ("ampute holes.csv -o out.csv", "'age', 'income'"),
            ("ampute text.csv -o out.csv", "no numeric column"),
            ("reproduce", "required: STUDY"),
        ],
    )
    def test_one_line_code_2_and_nothing_written(self, mistaken, model, capsys, command, said):
        before = contents(mistaken)
        assert main(command.replace("MODELS", str(model)).split()) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("notmiwae: ")
        assert printed.err.count("\n") == 1
        assert said in printed.err
        assert contents(mistaken) == before
