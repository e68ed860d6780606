from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from matplotlib.image import imread

from notmiwae.bounds import importance_weighted
from notmiwae.experiments import STUDIES, cifar10
from notmiwae.experiments.cifar10 import Case, baselines, batches, clipping, methods
from notmiwae.experiments.cifar10 import page as image_page
from notmiwae.experiments.cifar10.methods import METHODS, MODELS, OURS, Effort, fit_model, shown
from notmiwae.experiments.cifar10.problem import (
    CHANNEL,
    Images,
    Problem,
    Source,
    clipping_problem,
    make_problem,
)
from notmiwae.experiments.cifar10.published import FIGURE_2, REPORTED, TABLE_4, as_reported
from notmiwae.experiments.cifar10.study import BATCHES, CHANNELS, CLIPPING, PARTS
from notmiwae.experiments.cifar10.study import TABLE_4 as PART_4
from notmiwae.experiments.cifar10.transfer import PAIRS, TRAINED, adapted_from, zero_shot_from
from notmiwae.image_assembly import build_image_model
from notmiwae.networks import ImageShape
from notmiwae.report.figures import picture

SMALL = {"encoder": "mlp", "decoder": "mlp", "n_latent": 2}
EFFORT = Effort(n_epochs=1, n_impute_samples=2, quick_baselines=True, settings=SMALL)
FAST = {"n_training": 16, "n_test": 16, "n_epochs": 1, "n_jobs": 1, "n_impute_samples": 2, **SMALL}
SOME = ["mean of the image", "largest other channel", as_reported("self-masking"), OURS]


@pytest.fixture(scope="module")
def problem():
    return make_problem(Source("photographs", 16, 16))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar10")
    results = run(folder)
    return results, folder


def run(folder, **options):
    return STUDIES["cifar10"](output=folder, **{"methods": SOME, **FAST, **options})


# the problem


@pytest.mark.parametrize(("kind", "index"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_channel_is_missing_where_it_dominates_in_training_and_test_images(kind, index):
    problem = make_problem(Source("photographs"), kind)
    for images in (problem.training, problem.test):
        others = np.delete(images.truth, index, axis=1)
        np.testing.assert_array_equal(
            images.missing[:, index], images.truth[:, index] > others.max(1)
        )
        assert images.missing.sum() == images.missing[:, index].sum() > 0


def test_a_pixel_is_missing_as_a_whole():
    missing = make_problem(Source("photographs", 20, 20), "pixel").test.missing
    assert (missing.any(1) == missing.all(1)).all()
    assert 0 < missing.mean() < 1


def test_grey_values_above_the_limit_are_missing():
    images = clipping_problem(Source("photographs", 20, 20), 0.6).test
    assert images.truth.shape[1] == 1
    np.testing.assert_array_equal(images.missing, images.truth > 0.6)


def test_errors_are_over_missing_values_or_averaged_over_images():
    truth = np.zeros((3, 1, 1, 2), np.float32)
    holes = truth.copy()
    holes[0, 0, 0] = holes[1, 0, 0, 0] = np.nan
    filled = np.array([[3.0, 4.0], [1.0, 9.0], [9.0, 9.0]]).reshape(3, 1, 1, 2)
    errors = Images(truth, holes, np.arange(3)).errors(filled)
    assert errors["rmse"] == pytest.approx(math.sqrt((9 + 16 + 1) / 3))
    assert errors["rmse_by_image"] == pytest.approx((math.sqrt(12.5) + 1) / 2)
    assert errors["bias"] == pytest.approx(8 / 3)


def test_errors_by_class_make_up_the_whole(problem):
    filled = np.where(problem.test.missing, 0.5, problem.test.holes)
    labels = np.arange(len(filled)) % 3
    images = problem.test._replace(labels=labels)
    by_class = images.by_class(filled)
    counts = [images.missing[labels == label].sum() for label in by_class]
    squares = [error**2 for error, _ in by_class.values()]
    assert images.errors(filled)["rmse"] == pytest.approx(
        math.sqrt(np.average(squares, weights=counts))
    )
    pixels = images.missing.any(1)
    for label, (_, share) in by_class.items():
        assert share == pytest.approx(pixels[labels == label].mean())


# baselines


@pytest.mark.parametrize("name", [*baselines.BASELINES, "oracle regression"])
def test_baselines_fill_every_gap_and_nothing_else(name, problem):
    fill = baselines.BASELINES.get(name, baselines.oracle)
    few = replace(problem, test=Images(*(part[-6:] for part in problem.test)))
    assert few.test.missing.any()
    filled, _ = fill(few, 0, True)
    assert np.isfinite(filled).all()
    observed = ~few.test.missing
    np.testing.assert_array_equal(filled[observed], few.test.holes[observed])


def test_the_mean_is_that_of_what_is_observed_of_an_image(problem):
    filled, _ = baselines.image_mean(problem, 0, True)
    whole = problem.test.missing[:, 2].all((1, 2))
    observed = [x[~np.isnan(x)] for x in problem.test.holes[:, 2]]
    for i, missing in enumerate(problem.test.missing[:, 2]):
        mean = np.nanmean(problem.training.holes[:, 2]) if whole[i] else observed[i].mean()
        np.testing.assert_allclose(filled[i, 2][missing], mean, rtol=1e-5)


def test_the_least_that_a_missing_value_can_be_is_below_all_true_ones(problem):
    filled, _ = baselines.largest_other(problem, 0, True)
    missing = problem.test.missing
    assert (filled[missing] < problem.test.truth[missing]).all()
    np.testing.assert_array_equal(filled[:, 2][missing[:, 2]], filled[:, :2].max(1)[missing[:, 2]])


def test_the_oracle_finds_a_rule_of_the_pixel():
    rng = np.random.default_rng(0)
    truth = rng.random((6, 3, 8, 8)).astype(np.float32) / 2
    truth[:, 2] = truth[:, :2].max(1) + 0.1 + 0.2 * truth[:, 0]
    holes = truth.copy()
    holes[:, 2] = np.nan
    images = Images(truth, holes, np.zeros(6, int))
    filled, _ = baselines.oracle(Problem(CHANNEL, images, images, ["a"]), 0, True)
    np.testing.assert_allclose(filled, truth, atol=1e-5)


def test_a_row_is_a_pixel_with_its_neighbours():
    images = np.arange(2 * 3 * 4 * 5, dtype=float).reshape(2, 3, 4, 5)
    rows = baselines.pixel_rows(images).reshape(2, 4, 5, 5, 3)
    np.testing.assert_array_equal(rows[1, 2, 3, 0], images[1, :, 2, 3])
    neighbours = [images[1, :, 1, 3], images[1, :, 3, 3], images[1, :, 2, 2], images[1, :, 2, 4]]
    np.testing.assert_array_equal(rows[1, 2, 3, 1:], neighbours)
    np.testing.assert_array_equal(rows[0, 0, 0, 1], images[0, :, 0, 0])  # an edge sees itself


def test_pixels_are_drawn_once_each_and_in_blocks(monkeypatch):
    images = np.arange(5 * 16, dtype=float).reshape(5, 1, 4, 4)
    drawn = baselines.sample_pixels(images, 20, seed=1)
    assert len(np.unique(drawn[:, 0])) == 20
    monkeypatch.setattr(baselines, "BLOCK", 2)
    np.testing.assert_array_equal(baselines.sample_pixels(images, 20, seed=1), drawn)
    assert len(baselines.sample_pixels(images, 1000, seed=1)) == 80


# models


def test_nothing_of_the_truth_is_used_but_to_score(problem):
    lies = [
        Images(np.where(images.missing, 0.123, images.truth), images.holes, images.labels)
        for images in (problem.training, problem.test)
    ]
    told = replace(problem, training=lies[0], test=lies[1])
    first, second = (fit_model(OURS, given, 0, EFFORT) for given in (problem, told))
    np.testing.assert_array_equal(first.arrays["filled"], second.arrays["filled"])
    assert first.metrics["rmse"] != second.metrics["rmse"]


def test_images_that_are_shown_are_chosen_by_their_gaps(problem):
    chosen = shown(problem, 2)
    share = problem.test.missing.any(1).mean((1, 2))
    assert ((share[chosen] > 0.1) & (share[chosen] < 0.9)).all()
    labels = problem.test.labels[chosen]
    assert (np.bincount(labels) <= 2).all()


# batches


def test_the_learning_rate_grows_with_the_root_of_the_batch():
    assert batches.learning_rate(16) == batches.RATE
    assert batches.learning_rate(64) == pytest.approx(2 * batches.RATE)


def test_every_size_of_a_batch_sees_the_same_images(problem):
    effort = EFFORT._replace(n_epochs=4)
    for size in (2, 8):
        fit = batches.fit_size(batches.RIGHT_BOUND, size, problem, 0, effort)
        assert fit.metrics["n_steps"] * size == 4 * 16
        assert fit.arrays["images_seen"][-1] == 4 * 16
        assert len(fit.arrays["errors_seen"]) == batches.LOOKS


def test_bounds_agree_for_batches_of_one_image_and_one_draw_and_nowhere_else():
    right, published = batches.BOUNDS[batches.RIGHT_BOUND], batches.BOUNDS["published bound"]
    assert right is importance_weighted
    one, several = torch.randn(1, 1), torch.randn(1, 5)
    torch.testing.assert_close(right(one).mean(), published(one).mean())
    assert published(several).mean() > right(several).mean()


def test_looking_at_errors_does_not_change_them(problem, monkeypatch):
    effort = EFFORT._replace(n_epochs=2)
    before = batches.fit_size(batches.RIGHT_BOUND, 8, problem, 0, effort)
    monkeypatch.setattr(batches, "LOOKED_AT", 3)
    after = batches.fit_size(batches.RIGHT_BOUND, 8, problem, 0, effort)
    np.testing.assert_array_equal(before.arrays["filled"], after.arrays["filled"])


# the study


def test_published_numbers_are_those_of_the_report():
    assert list(REPORTED.items()) == [
        ("self-masking", (0.1526, 2616262)),
        ("self-masking-known", (0.162, 2616262)),
        ("convolutional", (0.1597, 2610202)),
        ("convolutional-2", (0.1525, 2638281)),
        ("nonlinear", (0.166, 5759430)),
        ("linear", (0.1485, 12050374)),
    ]
    assert FIGURE_2 == {8: 0.167, 16: 0.19, 32: 0.218, 46: 0.28, 128: 0.292, 256: 0.328}
    assert TABLE_4["mean of the image"].value == 0.254
    assert set(TABLE_4) <= set(METHODS)
    for name in REPORTED:
        assert "selected with the true values" in TABLE_4[as_reported(name)].note


@pytest.mark.parametrize("name", REPORTED)
def test_models_of_the_report_have_its_numbers_of_weights(name):
    imputer = methods.make_imputer(MODELS[as_reported(name)], 0, Effort(n_epochs=1))
    shape = ImageShape(3, 32, 32)
    model = build_image_model(imputer.get_params(), shape, torch.zeros(shape.n_features))
    assert sum(weights.numel() for weights in model.parameters()) == REPORTED[name][1]


def test_the_full_study_has_the_report_s_table_and_batches():
    full = cifar10.PRESETS["full"]
    assert {as_reported(name) for name in REPORTED} | {OURS} <= set(full.methods)
    assert set(full.sizes) == set(FIGURE_2)


@pytest.mark.parametrize("preset", cifar10.PRESETS.values())
def test_what_a_preset_runs_exists(preset):
    assert set(preset.methods) <= set(METHODS)
    known = {*PARTS, *METHODS, *(adapted_from(before) for before, _ in PAIRS)}
    assert set(preset.epochs) <= known


def test_the_study_has_all_its_parts(study):
    results, folder = study
    assert results.parts == list(PARTS)
    assert set(results.measured(PART_4)) == set(SOME)
    assert set(results.measured(BATCHES)) == set(batches.BOUNDS)
    moves = {
        TRAINED,
        *(move(before) for before, _ in PAIRS for move in (zero_shot_from, adapted_from)),
    }
    assert set(results.measured(CHANNELS)) == moves
    assert set(results.measured(CLIPPING)) == set(clipping.METHODS)
    names = {path.name for path in folder.iterdir()}
    assert names == {"results.json", "results.csv", "report.html", "rows.jsonl", "fits"}
    record = json.loads((folder / "results.json").read_text())
    assert len(record["rows"]) == len(results.rows)
    assert record["metadata"]["data"]["blue"]["n_test_images"] == 16


def test_trained_on_blue_is_the_fit_of_table_4(study):
    results, _ = study
    assert (
        results.of(CHANNELS, TRAINED, CHANNEL)["rmse"] == results.of(PART_4, OURS, CHANNEL)["rmse"]
    )


def test_table_shows_errors_beside_published_ones(study, problem):
    results, _ = study
    lines = {
        name: rest
        for name, *rest in (re.split(r"\s{2,}", line) for line in results.table().splitlines())
    }
    error = problem.test.errors(baselines.largest_other(problem, 0, True)[0])["rmse"]
    assert lines["largest other channel"][:2] == [f"{error:.4f}", "0.104‡"]
    assert lines[as_reported("self-masking")][1] == "0.1526*"
    assert "selected with the true values" in results.table()


def test_an_interrupted_run_goes_on_from_where_it_was(tmp_path, monkeypatch):
    options = {"parts": [PART_4, CHANNELS], "methods": [OURS]}
    before = run(tmp_path, **options)
    compute = cifar10.compute

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(cifar10, "compute", fail)
    after = run(tmp_path, **options)
    assert [row.metrics for row in after.rows] == [row.metrics for row in before.rows]
    # without its model, a transfer trains it again, to the same end
    monkeypatch.setattr(cifar10, "compute", compute)
    work = cifar10.Work(
        Source("photographs", 16, 16),
        Source("photographs", 16, 16),
        EFFORT,
        cifar10.Kept(tmp_path / "elsewhere", 0),
    )
    row = compute(Case(CHANNELS, zero_shot_from("blue"), "green", 0, 1), work)
    assert (
        row.metrics["rmse"] == before.of(CHANNELS, zero_shot_from("blue"), "green")["rmse"]["mean"]
    )


def test_results_depend_on_the_seed_alone(problem):
    first, again, other = (fit_model(OURS, problem, seed, EFFORT).metrics for seed in (3, 3, 4))
    assert first["rmse"] == again["rmse"] != other["rmse"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "fast"},
        {"methods": ["mode"]},
        {"parts": ["table 5"]},
        {"datasets": ["mnist"]},
        {"datasets": ["cifar10", "photographs"]},
        {"n_epochs": 0},
    ],
)
def test_a_mistake_is_named_before_any_work(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be .*; got"):
        run(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


# the page


def test_every_picture_says_what_it_shows(study):
    html = (study[1] / "report.html").read_text("utf-8")
    said = re.findall(r'<img [^>]*alt="([^"]*)"', html)
    assert len(said) == html.count("<img") > 20
    assert all(said)
    assert any("filled by pixelwise, colour chain: RMSE 0." in text for text in said)
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="data:[^"]*"', "", html))


def test_the_page_answers_the_report(study):
    html = (study[1] / "report.html").read_text("utf-8")
    for said in (
        "training needs the true values of missing ones. It does not",
        "Why large batches failed",
        "From one channel to another",
        "Over-exposed",
        "By class",
    ):
        assert said in html


def test_the_page_can_explain_every_method():
    explained = {*image_page.MODELS, *baselines.BASELINES, baselines.ORACLE}
    assert set(METHODS) == explained


def test_a_picture_is_that_of_its_pixels():
    pixels = np.array([[[0.0, 1.0]], [[0.2, 1.0]], [[1.4, 0.0]]])
    image = picture(pixels, "two pixels", scale=3)
    drawn = imread(BytesIO(b64decode(image["src"].split(",")[1])), format="png")
    assert (image["width"], image["height"]) == (6, 3) == drawn.shape[1::-1]
    np.testing.assert_allclose(drawn[1, 1, :3], [0, 0.2, 1], atol=0.01)
    np.testing.assert_allclose(drawn[1, 4, :3], [1, 1, 0], atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_page_in_a_browser(study, open_in_browser, width):
    html = (study[1] / "report.html").read_text("utf-8")
    found = open_in_browser(html, width)
    assert found["said"] == found["asked"] == []
    assert len(found["sizes"]) == html.count("<img")
    assert all(min(size) > 60 for size in found["sizes"])
    assert found["overflow"] <= 0
