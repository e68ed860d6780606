from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest

from notmiwae import datasets

WRITTEN = "mcg,gvh,site\n0.58,1,MIT\n0.43,0,CYT\n"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def offline(**_):
        raise URLError("no route to host")

    monkeypatch.setattr(datasets, "fetch_openml", offline)
    monkeypatch.delenv("NOTMIWAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTMIWAE_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "uci").mkdir(parents=True)
    return tmp_path / "data" / "uci"


def openml(monkeypatch, name, values=None, **extra):
    columns = datasets.FILES[name].columns.split()
    values = np.arange(2.0 * len(columns)).reshape(2, -1) if values is None else values
    frame = pd.DataFrame(values).add_prefix("V").assign(**extra)
    target = pd.Series(["MIT", "CYT"], dtype="category", name="Class")
    asked = []

    def fetch(**arguments):
        asked.append(arguments)
        return SimpleNamespace(data=frame, target=target)

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    return asked


def test_breast_needs_no_file():
    dataset = datasets.load("breast")
    assert dataset.x.shape == (569, 30)
    assert "target" not in dataset.x
    assert set(dataset.x.dtypes) == {np.dtype(float)}


@pytest.mark.parametrize("name", datasets.FILES)
def test_local_folder_gives_the_features_without_the_target(name, folder):
    (folder / datasets.FILES[name].name).write_text(WRITTEN)
    dataset = datasets.load(name)
    assert dataset.name == name
    assert dataset.source.startswith("UCI")
    assert dataset.licence == "CC BY 4.0"
    expected = pd.DataFrame({"mcg": [0.58, 0.43], "gvh": [1.0, 0.0]})
    pd.testing.assert_frame_equal(dataset.x, expected)


def test_local_folder_comes_before_the_cache_and_the_cache_before_the_network(
    folder, tmp_path, monkeypatch
):
    asked = openml(monkeypatch, "yeast")
    cached = tmp_path / "cache" / "notmiwae" / "uci" / "yeast.csv"
    cached.parent.mkdir(parents=True)
    cached.write_text("mcg,site\n7,MIT\n")
    assert datasets.load("yeast").x.to_numpy().tolist() == [[7.0]]
    (folder / "yeast.csv").write_text(WRITTEN)
    assert list(datasets.load("yeast").x) == ["mcg", "gvh"]
    assert not asked


def test_download_is_cached_in_the_form_of_the_local_files(monkeypatch, tmp_path):
    asked = openml(monkeypatch, "yeast", sequence=["ADT1", "ADT2"])
    first, second = datasets.load("yeast"), datasets.load("yeast")
    assert [arguments["data_id"] for arguments in asked] == [181]
    pd.testing.assert_frame_equal(first.x, second.x)
    assert list(first.x) == ["mcg", "gvh", "alm", "mit", "erl", "pox", "vac", "nuc"]
    assert first.x.iloc[1, 0] == 8
    folder = tmp_path / "cache" / "notmiwae" / "uci"
    assert [path.name for path in folder.iterdir()] == ["yeast.csv"]
    assert pd.read_csv(folder / "yeast.csv").iloc[:, -1].tolist() == ["MIT", "CYT"]


def test_failed_download_says_where_to_put_the_file():
    with pytest.raises(FileNotFoundError, match=r"put red_wine\.csv into \$NOTMIWAE_DATA/uci"):
        datasets.load("red")


def test_download_of_another_table_is_refused_and_leaves_no_file(monkeypatch, tmp_path):
    openml(monkeypatch, "white", values=np.zeros((2, 3)))
    with pytest.raises(FileNotFoundError, match="must have 11 numeric features; got 3"):
        datasets.load("white")
    assert not list(tmp_path.rglob("white_wine*"))


def test_file_that_is_no_table_of_numbers_is_named(folder):
    (folder / "concrete.csv").write_text("a,b\nhigh,1\n")
    with pytest.raises(ValueError, match=r"concrete\.csv must be a CSV file"):
        datasets.load("concrete")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'breast', 'banknote', .*; got 'iris'"):
        datasets.load("iris")


def test_available_names_are_those_that_load_knows():
    assert set(datasets.available()) == {"breast", *datasets.FILES}
