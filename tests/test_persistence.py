import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from notmiwae import MIWAEImputer, NotMIWAEImputer
from notmiwae.mechanisms import SelfMasking
from notmiwae.persistence import (
    SCHEMA,
    WEIGHTS,
    ModelFileError,
    load_checkpoint,
    load_weights,
    read,
    save_checkpoint,
    write,
)

SMALL = {
    "hidden": (6,),
    "n_latent": 2,
    "n_samples": 2,
    "max_steps": 6,
    "n_models": 1,
    "n_impute_samples": 15,
    "random_state": 0,
}
META = "imputer.json"


def table():
    x = np.random.default_rng(0).normal(size=(30, 4)) + 2
    x[:, 3] = x[:, 3] > 2
    x[x[:, 0] > 2.5, 0] = np.nan
    x[::3, 3] = np.nan
    return x


def fitted(kind=NotMIWAEImputer, **settings):
    if kind is NotMIWAEImputer:
        settings = {"mechanism": "self-masking", **settings}
    return kind(**{**SMALL, **settings}).fit(table())


def assert_same_imputer(first, second, x):
    assert type(first) is type(second)
    assert np.array_equal(first.transform(x), second.transform(x))
    assert np.array_equal(first.sample(x, 3), second.sample(x, 3))
    assert np.array_equal(first.predict_interval(x), second.predict_interval(x))
    assert first.score(x) == second.score(x)
    assert first.history_ == second.history_
    assert list(first.get_feature_names_out()) == list(second.get_feature_names_out())


@pytest.fixture
def saved(tmp_path):
    fitted().save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mechanism": "auto"},
        {"mechanism": "self-masking-known", "sign": [1, -1, 1, -1]},
        {"mechanism": "self-masking-known", "sign": np.array([1.0, -1, 1, -1])},
        {"mechanism": "linear"},
        {"observation": "truncated-normal", "bounds": (-10, 20)},
        {"observation": "truncated-normal", "bounds": (np.full(4, -np.inf), np.full(4, np.inf))},
        {"observation": "student-t", "scale": "network"},
        {"n_models": 2},
        {"add_indicator": True},
        {"n_latent": np.int64(2), "learning_rate": np.float32(0.01)},
        {"random_state": np.random.RandomState(3)},
        {"random_state": np.int64(3)},
        {"random_state": None},
        {"estimator": "median"},
        {"verbose": False, "patience": 1, "validation_fraction": 0.3},
    ],
    ids=lambda options: "-".join(options) or "defaults",
)
def test_a_loaded_imputer_is_the_saved_one_bit_for_bit(tmp_path, settings):
    imputer = fitted(**settings)
    imputer.save(tmp_path / "model")
    assert_same_imputer(imputer, NotMIWAEImputer.load(tmp_path / "model"), table())


def test_a_miwae_imputer_round_trips(tmp_path):
    imputer = fitted(MIWAEImputer)
    imputer.save(tmp_path / "model")
    assert_same_imputer(imputer, MIWAEImputer.load(tmp_path / "model"), table())


def test_another_stand_in_for_missing_values_round_trips(tmp_path):
    x = np.nan_to_num(table(), nan=-1)
    imputer = NotMIWAEImputer("self-masking", missing_values=-1, **SMALL).fit(x)
    imputer.save(tmp_path / "model")
    assert_same_imputer(imputer, NotMIWAEImputer.load(tmp_path / "model"), x)


def test_names_of_columns_and_dropped_columns_round_trip(tmp_path):
    frame = pd.DataFrame(table(), columns=["a", "b", "c", "d"]).assign(e=np.nan)
    imputer = NotMIWAEImputer(
        "self-masking", add_indicator=True, keep_empty_features=False, **SMALL
    )
    with pytest.warns(UserWarning, match=r"nothing is observed in column\(s\) \['e'\]"):
        imputer.fit(frame)
    imputer.save(tmp_path / "model")
    loaded = NotMIWAEImputer.load(tmp_path / "model")
    assert_same_imputer(imputer, loaded, frame)
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d", "e"]
    with pytest.raises(ValueError, match="feature names"):
        loaded.transform(frame[["b", "a", "c", "d", "e"]])


def test_parameters_round_trip(tmp_path):
    imputer = fitted(sign=-1.0, scale="shared", clip_norm=3.0)
    imputer.save(tmp_path / "model")
    loaded = NotMIWAEImputer.load(tmp_path / "model").get_params()
    for name, value in imputer.get_params().items():
        same = loaded[name] == value or (value != value and loaded[name] != loaded[name])
        assert same or tuple(loaded[name]) == tuple(value)


def test_a_loaded_imputer_can_be_fitted_again(tmp_path):
    imputer = fitted()
    imputer.save(tmp_path / "model")
    again = NotMIWAEImputer.load(tmp_path / "model").fit(table())
    assert np.array_equal(again.transform(table()), imputer.transform(table()))


def test_loading_leaves_the_global_generators_as_they_were(saved):
    state = torch.get_rng_state()
    NotMIWAEImputer.load(saved)
    assert torch.equal(state, torch.get_rng_state())


def test_saving_again_replaces_what_was_there(saved):
    other = fitted(random_state=1)
    other.save(saved)
    assert_same_imputer(other, NotMIWAEImputer.load(saved), table())
    assert sorted(file.name for file in saved.iterdir()) == sorted([META, WEIGHTS])


@pytest.mark.slow
def test_another_process_imputes_the_same(saved, tmp_path):
    np.save(tmp_path / "x.npy", table())
    program = (
        "import sys, numpy as np; from notmiwae import NotMIWAEImputer; "
        "folder = sys.argv[1]; x = np.load(folder + '/x.npy'); "
        "np.save(folder + '/y.npy', NotMIWAEImputer.load(folder + '/model').transform(x))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    expected = NotMIWAEImputer.load(saved).transform(table())
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)


def test_nothing_is_pickled(saved, tmp_path):
    fitted(checkpoint=tmp_path / "run")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 5  # the model's two; the first training, again with sharp edges, and on
    for file in files:
        content = file.read_bytes()
        if file.suffix == ".json":
            json.loads(content)
        else:
            header = int.from_bytes(content[:8], "little")
            json.loads(content[8 : 8 + header])
        assert not content.startswith((b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"))


@pytest.mark.parametrize("name", ["mechanism", "observation", "encoder", "decoder", "schedule"])
def test_a_callable_cannot_be_saved(tmp_path, name):
    imputer = fitted()
    imputer.set_params(**{name: SelfMasking})
    with pytest.raises(TypeError, match=rf"\['{name}'\] are callables.*use names instead"):
        imputer.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_file_that_is_not_there_is_named(tmp_path, saved):
    with pytest.raises(ModelFileError, match=r"nowhere.*does not exist"):
        NotMIWAEImputer.load(tmp_path / "nowhere")
    (saved / WEIGHTS).unlink()
    with pytest.raises(ModelFileError, match=rf"{WEIGHTS} does not exist"):
        NotMIWAEImputer.load(saved)


@pytest.mark.parametrize("length", [0, 1, 0.5, -1])
@pytest.mark.parametrize("name", [META, WEIGHTS])
def test_a_truncated_file_says_what_to_do(saved, name, length):
    content = (saved / name).read_bytes()
    kept = int(len(content) * length) if isinstance(length, float) else length
    (saved / name).write_bytes(content[:kept])
    with pytest.raises(ModelFileError, match="save the model again"):
        NotMIWAEImputer.load(saved)


def test_a_flipped_bit_in_the_weights_is_seen(saved):
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (saved / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelFileError, match="truncated or changed"):
        NotMIWAEImputer.load(saved)


def edit(saved, change):
    meta = json.loads((saved / META).read_text())
    change(meta)
    (saved / META).write_text(json.dumps(meta))


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta["parameters"].update(n_latent=3),
        lambda meta: meta["parameters"].update(mechanism="magic"),
        lambda meta: meta["parameters"].update(unknown=3),
        lambda meta: meta["parameters"].update(n_impute_samples="many"),
        lambda meta: meta["parameters"].update(n_impute_samples=3),
        lambda meta: meta["fitted"].update(n_features_in=7),
        lambda meta: meta["fitted"].update(seed=None),
        lambda meta: meta["fitted"].update(feature_names_in=["a"]),
        lambda meta: meta["fitted"].pop("seed"),
        lambda meta: meta.pop("parameters"),
        lambda meta: meta.update(fitted=None),
        lambda meta: meta.update(parameters=[1, 2]),
        lambda meta: meta.pop("imputer"),
        lambda meta: meta.update(imputer=["NotMIWAEImputer"]),
        lambda meta: meta.pop("sha256"),
    ],
)
def test_an_edited_file_is_seen(saved, change):
    edit(saved, change)
    with pytest.raises(ModelFileError):
        NotMIWAEImputer.load(saved)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"model"', "{}"])
def test_other_json_is_no_model(saved, text):
    (saved / META).write_text(text)
    with pytest.raises(ModelFileError, match="damaged"):
        NotMIWAEImputer.load(saved)


def test_a_newer_schema_asks_for_an_upgrade(saved):
    edit(saved, lambda meta: meta.update(schema=SCHEMA + 1, version="99.0"))
    with pytest.raises(ModelFileError, match=r"notmiwae 99.0.*upgrade notmiwae"):
        NotMIWAEImputer.load(saved)


def test_the_wrong_class_is_named(saved):
    with pytest.raises(ModelFileError, match="holds a NotMIWAEImputer, which MIWAEImputer"):
        MIWAEImputer.load(saved)


def test_a_gpu_that_is_not_there_is_no_obstacle(saved):
    """A model saved with device='auto' on another machine loads anywhere."""
    assert NotMIWAEImputer.load(saved).device == "auto"


def test_tensors_and_text_round_trip(tmp_path):
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(True), "c": torch.zeros(0)}
    write(tmp_path / "m", "meta.json", tensors, {"x": [1, 2.5, None, "ä"]})
    found, meta = read(tmp_path / "m", "meta.json")
    assert meta == {"x": [1, 2.5, None, "ä"]}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], value) for key, value in tensors.items())


@pytest.mark.parametrize("wrong", [{"x": object()}, {"x": {1, 2}}, {"x": b"bytes"}])
def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(TypeError):
        write(tmp_path / "m", "meta.json", {}, wrong)
    assert not (tmp_path / "m").exists()


def test_weights_that_are_views_of_one_tensor_can_be_written(tmp_path):
    whole = torch.randn(4, 4)
    write(tmp_path / "m", "meta.json", {"a": whole[:2], "b": whole.T}, {})
    found, _ = read(tmp_path / "m", "meta.json")
    assert torch.equal(found["b"], whole.T)


def test_checkpoints_round_trip(tmp_path):
    tensors = {"model": {"a.b": torch.randn(2)}, "optimizer.0": {"step": torch.tensor(3.0)}}
    save_checkpoint(tmp_path / "deep" / "run", tensors, {"n": 1})
    found, meta = load_checkpoint(tmp_path / "deep" / "run")
    assert meta == {"n": 1}
    assert torch.equal(found["model"]["a.b"], tensors["model"]["a.b"])
    assert torch.equal(found["optimizer.0"]["step"], tensors["optimizer.0"]["step"])
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["run"]


def test_no_checkpoint_yet_is_nothing(tmp_path):
    assert load_checkpoint(tmp_path / "run") is None


def test_weights_of_another_shape_are_refused():
    tensors = SelfMasking(3).state_dict()
    with pytest.raises(ModelFileError, match="here holds the weights of another model"):
        load_weights(SelfMasking(4), tensors, "here")
