"""Whatever a file holds: a valid result, or one line with a remedy, and nothing overwritten."""

import contextlib
import csv
import datetime
import io
import math
import shutil
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notmiwae import NotMIWAEImputer
from notmiwae.cli import main
from notmiwae.tables import Table

TINY = ["--steps", "1", "--mechanism", "self-masking", "--samples", "5"]
FORMER = b"former"

NUMBERS = st.floats() | st.sampled_from([0.0, 1.0, -1.5, 1e300, -1e300, 5e-324, 1e9])
CELLS = {
    "float": NUMBERS,
    "single": st.floats(width=32),
    "modest": st.floats(-100, 100).map(lambda value: round(value, 3)),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(-5, 5),
    "flag": st.booleans(),
    "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    "category": st.sampled_from(["a", "b", "c"]),
    "day": st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1)),
    "decimal": st.decimals(-1000, 1000, places=2),
    "empty": st.none(),
    "constant": st.just(3.0),
}
NAMES = st.sampled_from(["age", "income", "a,b", 'say "x"', "größe", "name", "weight"])


@st.composite
def tables(draw):
    """Columns of any type, most of them with numbers: a name, the kind and its cells each."""
    n_rows = draw(st.integers(0, 12))
    columns = {}
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    if draw(st.booleans()):
        names = dict.fromkeys(["age", "weight", *names])  # those of the model
    for name in names:
        kind = draw(st.sampled_from([*CELLS, "modest", "modest", "small"]))
        cells = CELLS[kind] | st.none() if draw(st.booleans()) else CELLS[kind]
        columns[name] = kind, draw(st.lists(cells, min_size=n_rows, max_size=n_rows))
    return columns


def write(columns, path):
    """Write columns to a file."""
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        types = {"single": arrow.float32(), "category": arrow.dictionary("int32", "string")}
        arrays = {
            name: arrow.array(cells, types.get(kind)) for name, (kind, cells) in columns.items()
        }
        pyarrow.parquet.write_table(arrow.table(arrays), path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, "excel-tab" if path.suffix == ".tsv" else "excel")
        writer.writerow(columns)
        writer.writerows(zip(*(cells for _, cells in columns.values()), strict=True))


def run(folder, arguments):
    """Run a command; return its exit code and what it said on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.chdir(folder):
        code = main([str(argument) for argument in arguments])
    return code, said.getvalue()


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_sound(folder, source, arguments):
    """A valid result, or one line with a remedy and nothing written."""
    target = folder / f"out{source.suffix}"
    target.write_bytes(FORMER)
    before = files(folder)
    code, said = run(folder, ["impute", source.name, "-o", target.name, *arguments])
    if code == 0:
        assert_filled(Table.read(source), Table.read(target), said)
        assert {*files(folder)} == {*before}
    else:
        assert code == 2
        assert said.startswith("notmiwae: ")
        assert said.count("\n") == 1
        assert ":" in said.removeprefix("notmiwae: "), said
        assert source.name in said or "model" in said, said
        assert files(folder) == before


def assert_filled(before, after, said):
    """Observed cells are untouched, and what was modelled has no hole."""
    assert list(before.columns) == list(after.columns)
    assert len(before) == len(after)
    left = said.rpartition(" left in ")[2] if " left in " in said else ""
    for name, column in before.columns.items():
        new = after.columns[name]
        seen = ~column.missing
        assert not new.missing[seen].any()
        if column.obstacle:
            texts = np.array(column.as_text(), dtype=object)
            assert (texts[seen] == np.array(new.as_text(), dtype=object)[seen]).all()
            continue
        assert np.array_equal(column.numbers[seen], new.numbers[seen])
        assert not new.missing.any() or repr(name) in left
        assert np.isfinite(new.numbers[~seen & ~new.missing]).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(40, 2)), columns=["age", "weight"])
    x = x.mask(rng.random(x.shape) < 0.2)
    path = tmp_path_factory.mktemp("models") / "model"
    settings = {"max_steps": 2, "n_models": 1, "hidden": (4,), "n_impute_samples": 5}
    NotMIWAEImputer("self-masking", random_state=0, **settings).fit(x).save(path)
    return path


@contextlib.contextmanager
def workplace():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def check_any_table(model, columns, suffix, loads):
    with workplace() as folder:
        source = folder / f"table{suffix}"
        write(columns, source)
        assert_sound(folder, source, ["--load", model] if loads else TINY)


def damaged(content, damage, at, junk):
    """Return content that is cut off, or has other bytes in it."""
    at = math.floor(at * len(content))
    if damage == "cut":
        return content[:at]
    if damage == "insert":
        return content[:at] + junk + content[at:]
    return content[:at] + junk + content[at + len(junk) :]


def sample_table(suffix, folder):
    rng = np.random.default_rng(0)
    columns = {
        name: ("modest", [None, *rng.normal(size=8).round(2).tolist()])
        for name in ("age", "weight")
    }
    path = folder / f"table{suffix}"
    write({**columns, "name": ("text", list("abcdefghi"))}, path)
    return path


def check_damaged_table(model, suffix, damage, at, junk):
    with workplace() as folder:
        source = sample_table(suffix, folder)
        source.write_bytes(damaged(source.read_bytes(), damage, at, junk))
        assert_sound(folder, source, ["--load", model])


def check_damaged_model(model, file, damage, at, junk):
    with workplace() as folder:
        kept = folder / "model"
        shutil.copytree(model, kept)
        content = (kept / file).read_bytes()
        (kept / file).write_bytes(damaged(content, damage, at, junk))
        assert_sound(folder, sample_table(".csv", folder), ["--load", "model"])


ANY_TABLE = {
    "columns": tables(),
    "suffix": st.sampled_from([".csv", ".tsv", ".parquet"]),
    "loads": st.booleans(),
}
DAMAGE = {
    "damage": st.sampled_from(["cut", "insert", "replace"]),
    "at": st.floats(0, 1),
    "junk": st.binary(min_size=1, max_size=4)
    | st.sampled_from([b'"', b",", b"\n", b"\xff", b"nan"]),
}
TABLES = st.sampled_from([".csv", ".parquet"])
MODEL_FILES = st.sampled_from(["imputer.json", "weights.safetensors"])


@settings(max_examples=15, deadline=None)
@given(**ANY_TABLE)
def test_any_table_is_filled_or_refused(model, **example):
    check_any_table(model, **example)


@settings(max_examples=25, deadline=None)
@given(suffix=TABLES, **DAMAGE)
def test_a_damaged_table_is_filled_or_refused(model, **example):
    check_damaged_table(model, **example)


@settings(max_examples=25, deadline=None)
@given(file=MODEL_FILES, **DAMAGE)
def test_a_damaged_model_is_refused(model, **example):
    check_damaged_model(model, **example)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(**ANY_TABLE)
def test_very_many_tables_are_filled_or_refused(model, **example):
    check_any_table(model, **example)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(suffix=TABLES, **DAMAGE)
def test_very_many_damaged_tables_are_filled_or_refused(model, **example):
    check_damaged_table(model, **example)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(file=MODEL_FILES, **DAMAGE)
def test_very_many_damaged_models_are_refused(model, **example):
    check_damaged_model(model, **example)


@pytest.mark.parametrize("loads", [True, False])
@pytest.mark.parametrize("number", [Decimal("1.5"), 2**60, 1e300, 5e-324, float("inf")])
def test_odd_numbers_are_filled_or_refused(model, number, loads):
    """Large whole numbers would not stay exact beside filled values; others have no spread."""
    columns = {
        "age": ("number", [number, None, number, None]),
        "weight": ("modest", [1.0, 2.0, None, 4.0]),
    }
    with workplace() as folder:
        source = folder / "table.parquet"
        write(columns, source)
        assert_sound(folder, source, ["--load", model] if loads else TINY)
