import io
import os
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import savemat

from notmiwae.image_datasets import available_images, load_images

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no route to host")

    fake = SimpleNamespace(retrieve=offline, Untar=lambda **_: None)
    monkeypatch.setitem(sys.modules, "pooch", fake)
    monkeypatch.delenv("NOTMIWAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTMIWAE_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    return tmp_path / "data" / "cifar10"


def some(n, channels_last=False):
    shape = (n, 32, 32, 3) if channels_last else (n, 3, 32, 32)
    return RNG.integers(0, 256, shape, dtype=np.uint8), np.arange(n) % 10


def write_binary(path, images, labels):
    rows = np.column_stack([labels, images.reshape(len(images), -1)]).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.tofile(path)


def write_python(path, images, labels, protocol=2):
    batch = {
        b"batch_label": b"batch 1 of 5",
        b"labels": [int(label) for label in labels],
        b"data": images.reshape(len(images), -1),
        b"filenames": [b"a.png"] * len(images),
    }
    path.write_bytes(pickle.dumps(batch, protocol=protocol))


def write_parquet(path, images, labels):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    from PIL import Image

    rows = []
    for image in images:
        data = io.BytesIO()
        Image.fromarray(np.moveaxis(image, 0, -1)).save(data, "PNG")
        rows.append({"bytes": data.getvalue(), "path": None})
    parquet.write_table(pyarrow.table({"img": rows, "label": [int(y) for y in labels]}), path)


def write_npz(path, images, labels):
    np.savez(path, images=np.moveaxis(images, 1, -1), labels=labels.astype(np.uint8))


WRITERS = {
    "cifar-10-batches-bin/{}.bin": write_binary,
    "{}": write_python,
    "{}.parquet": write_parquet,
    "{}.npz": write_npz,
}


@pytest.mark.parametrize(("name", "write"), WRITERS.items())
def test_every_form_gives_the_same_images(name, write, folder):
    parts = [some(4), some(4), some(3)]
    for stem, part in zip(("data_batch_1", "data_batch_2", "test_batch"), parts, strict=True):
        write(folder / name.format(stem), *part)
    found = load_images("cifar10")
    assert found.n_training == 8
    np.testing.assert_array_equal(found.images, np.concatenate([part[0] for part in parts]))
    np.testing.assert_array_equal(found.labels, np.concatenate([part[1] for part in parts]))
    np.testing.assert_array_equal(found.test().images, parts[2][0])
    assert found.classes[found.labels[3]] == "cat"


def test_without_a_file_of_test_images_the_last_fifth_is_for_testing(folder):
    images, labels = some(10)
    write_npz(folder / "first.npz", images, labels)
    found = load_images("cifar10")
    np.testing.assert_array_equal(found.training().images, images[:8])
    np.testing.assert_array_equal(found.test().labels, labels[8:])


def test_other_files_of_the_python_archive_are_left_alone(folder):
    write_python(folder / "data_batch_1", *some(5))
    (folder / "batches.meta").write_bytes(b"not read")
    (folder / "my_batch_notes").write_text("not read either")
    assert len(load_images("cifar10").images) == 5


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_python_batches_of_every_protocol_are_read(folder, protocol):
    images, labels = some(5)
    write_python(folder / "data_batch_1", images, labels, protocol)
    np.testing.assert_array_equal(load_images("cifar10").images, images)


class Attack:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize(
    "attack",
    [
        Attack(os.mkdir, "harm"),
        Attack(eval, "__import__('os').mkdir('harm')"),
        Attack(getattr, b"x", "join"),
        Attack(np.frombuffer, b"1"),
        np.array([Attack(os.mkdir, "harm")], dtype=object),
    ],
    ids=["os", "eval", "getattr", "numpy", "object array"],
)
def test_code_in_a_python_batch_is_not_executed(folder, attack, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": attack, b"labels": [1]}, 2))
    with pytest.raises(ValueError, match=r"data_batch_1 cannot be read .* wants to call"):
        load_images("cifar10")
    assert not (folder / "harm").exists()


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2],
        {b"labels": [1]},
        {b"data": np.zeros((1, 3072), object), b"labels": [1]},
        {b"data": np.zeros((1, 3072), float), b"labels": [1]},
        {b"data": np.zeros((1, 3072), ">u2"), b"labels": [1]},
        {b"data": np.zeros((1, 7), np.uint8), b"labels": [1]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [1, 2]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": ["one"]},
    ],
)
def test_python_batches_that_hold_something_else_are_refused(folder, batch):
    (folder / "data_batch_1").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(ValueError, match="data_batch_1 cannot be read as images"):
        load_images("cifar10")


def test_object_arrays_in_an_npz_are_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    content = np.array([Attack(os.mkdir, "harm")], dtype=object)
    np.savez(folder / "a.npz", images=content, labels=np.zeros(1, int))
    with pytest.raises(ValueError, match=r"a\.npz cannot be read as images"):
        load_images("cifar10")
    assert not (folder / "harm").exists()


def test_a_cut_off_binary_batch_is_named(folder):
    write_binary(folder / "data_batch_1.bin", *some(2))
    path = folder / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_1\.bin cannot .* records of 3,073 bytes"):
        load_images("cifar10")


def test_svhn_in_matlab_files(folder):
    digits = folder.parent / "svhn"
    digits.mkdir()
    for name, n in (("train", 4), ("test", 2)):
        images = np.moveaxis(some(n)[0], (0, 1), (3, 2))
        savemat(
            digits / f"{name}_32x32.mat", {"X": images, "y": np.array([[1], [10], [2], [3]])[:n]}
        )
    found = load_images("svhn")
    assert found.images.shape == (6, 3, 32, 32)
    assert found.labels.tolist() == [1, 0, 2, 3, 1, 0]
    assert found.n_training == 4


def test_without_files_it_says_where_to_put_them():
    with pytest.raises(FileNotFoundError, match=r"into \$NOTMIWAE_DATA/cifar10, or go online"):
        load_images("cifar10")
    with pytest.raises(FileNotFoundError, match=r"into \$NOTMIWAE_DATA/svhn"):
        load_images("svhn")


def test_without_pooch_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"notmiwae\[images\]"):
        load_images("cifar10")


def test_a_download_is_checked_and_kept(monkeypatch, tmp_path):
    asked = []

    def retrieve(url, known_hash, path, fname, processor):
        asked.append((url, known_hash))
        write_binary(path / "cifar-10-batches-bin" / "data_batch_1.bin", *some(3))
        write_binary(path / "cifar-10-batches-bin" / "test_batch.bin", *some(2))

    fake = SimpleNamespace(retrieve=retrieve, Untar=lambda **_: None)
    monkeypatch.setitem(sys.modules, "pooch", fake)
    first, second = load_images("cifar10"), load_images("cifar10")
    assert len(asked) == 1
    assert asked[0][1].startswith("md5:")
    np.testing.assert_array_equal(first.images, second.images)
    assert (tmp_path / "cache" / "notmiwae" / "cifar10").is_dir()


def test_photographs_need_no_file_and_test_patches_are_apart():
    found = load_images("photographs")
    assert found.images.shape == (520, 3, 32, 32)
    assert found.n_training == 416
    assert set(found.labels[: found.n_training]) == set(found.test().labels) == {0, 1}
    assert found.classes == ("china", "flower")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'photographs', 'cifar10', 'svhn'; got 'mnist'"):
        load_images("mnist")
    assert available_images() == ["photographs", "cifar10", "svhn"]
