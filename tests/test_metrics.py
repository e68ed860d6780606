import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from notmiwae import metrics

POINTWISE = [metrics.rmse, metrics.mae, metrics.bias]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def brute_force_crps(draws, truth):
    m = len(draws)
    pairs = np.abs(draws[:, None] - draws[None, :]).sum((0, 1))
    return np.abs(draws - truth).mean(0) - pairs / (2 * m * (m - 1))


def gaussian_crps(mean, scale, truth):
    t = (truth - mean) / scale
    return scale * (t * (2 * norm.cdf(t) - 1) + 2 * norm.pdf(t) - 1 / np.sqrt(np.pi))


def test_pointwise_errors_by_hand():
    truth = [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]
    imputed = [[4.0, 10.0], [2.0, 16.0], [3.0, 30.0]]
    mask = [[0, 1], [1, 0], [1, 1]]
    assert metrics.rmse(truth, imputed, mask) == pytest.approx(np.sqrt((9 + 16) / 2))
    assert metrics.mae(truth, imputed, mask) == pytest.approx(3.5)
    assert metrics.bias(truth, imputed, mask) == pytest.approx(-0.5)


@pytest.mark.parametrize("metric", POINTWISE)
def test_observed_cells_do_not_count(metric, rng):
    truth, imputed = rng.normal(size=(2, 20, 3))
    mask = rng.random((20, 3)) < 0.5
    score = metric(truth, imputed, mask)
    truth[mask], imputed[mask] = np.nan, 1e9
    assert metric(truth, imputed, mask) == score


@pytest.mark.parametrize("metric", POINTWISE)
def test_by_column_scores_each_column_alone(metric, rng):
    truth, imputed = rng.normal(size=(2, 20, 3))
    mask = rng.random((20, 3)) < 0.5
    mask[:, 1] = True
    scores = metric(truth, imputed, mask, by_column=True)
    assert scores.shape == (3,)
    assert np.isnan(scores[1])
    for j in (0, 2):
        alone = metric(truth[:, [j]], imputed[:, [j]], mask[:, [j]])
        assert scores[j] == pytest.approx(alone)


def test_frames_are_accepted(rng):
    truth, imputed = rng.normal(size=(2, 5, 2))
    mask = np.eye(5, 2) == 0
    frames = [pd.DataFrame(a, columns=["a", "b"]) for a in (truth, imputed, mask)]
    assert metrics.rmse(*frames) == metrics.rmse(truth, imputed, mask)


def test_coverage_and_width_by_hand():
    truth = np.array([[0.0, 5.0], [1.0, 5.0]])
    intervals = np.array([[[0.0, 1.0], [9.0, 9.5]], [[2.0, 5.0], [0.0, 99.0]]])
    mask = np.array([[0, 0], [0, 1]])
    assert metrics.coverage(truth, intervals, mask) == pytest.approx(1 / 3)
    np.testing.assert_allclose(metrics.coverage(truth, intervals, mask, by_column=True), [0.5, 0])
    assert metrics.width(intervals, mask) == pytest.approx((1 + 0.5 + 3) / 3)
    np.testing.assert_allclose(metrics.width(intervals, mask, by_column=True), [2, 0.5])


def test_intervals_of_the_true_distribution_cover_at_their_level(rng):
    truth = rng.normal(size=(4000, 2))
    intervals = np.broadcast_to(norm.interval(0.9), (4000, 2, 2))
    assert metrics.coverage(truth, intervals, np.zeros((4000, 2))) == pytest.approx(0.9, abs=0.02)


def test_crps_equals_the_double_sum(rng):
    truth, draws = rng.normal(size=(6, 3)), rng.normal(size=(11, 6, 3))
    mask = rng.random((6, 3)) < 0.4
    cells = np.where(mask, np.nan, brute_force_crps(draws, truth))
    assert metrics.crps(truth, draws, mask) == pytest.approx(np.nanmean(cells))
    np.testing.assert_allclose(
        metrics.crps(truth, draws, mask, by_column=True), np.nanmean(cells, axis=0)
    )


def test_crps_of_gaussian_draws_approaches_the_closed_form(rng):
    truth = np.array([[0.0, 1.0, -3.0]])
    draws = 0.5 + 2 * rng.normal(size=(200_000, 1, 3))
    scores = metrics.crps(truth, draws, np.zeros((1, 3)), by_column=True)
    np.testing.assert_allclose(scores, gaussian_crps(0.5, 2, truth[0]), rtol=0.01)


def test_crps_is_fair_however_few_the_draws(rng):
    truth = np.full((40_000, 1), 0.3)
    scores = metrics.crps(truth, rng.normal(size=(2, 40_000, 1)), np.zeros((40_000, 1)))
    assert scores == pytest.approx(gaussian_crps(0, 1, 0.3), abs=0.015)


def test_crps_does_not_depend_on_the_block_size_nor_change_its_input(rng, monkeypatch):
    truth, draws = rng.normal(size=(9, 4)), rng.normal(size=(5, 9, 4))
    mask, before = rng.random((9, 4)) < 0.3, draws.copy()
    whole = metrics.crps(truth, draws, mask)
    monkeypatch.setattr(metrics, "_BLOCK", 12)
    assert metrics.crps(truth, draws, mask) == pytest.approx(whole, rel=1e-12)
    np.testing.assert_array_equal(draws, before)


def test_crps_keeps_its_precision_far_from_zero(rng):
    truth, draws = rng.normal(size=(3, 2)), rng.normal(size=(50, 3, 2))
    near = metrics.crps(truth, draws, np.zeros((3, 2)))
    far = metrics.crps(truth + 1e8, draws + 1e8, np.zeros((3, 2)))
    assert far == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize("metric", POINTWISE)
@pytest.mark.parametrize(
    ("truth", "imputed", "mask", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 2)), np.ones((3, 2)), "no missing cell"),
        (np.zeros((3, 2)), np.zeros((2, 2)), np.zeros((3, 2)), r"imputed .*\(3, 2\); got \(2, 2\)"),
        (np.zeros((3, 1)), np.zeros((3, 2)), np.zeros((3, 2)), r"truth .*\(3, 2\); got \(3, 1\)"),
        (np.zeros((3, 2)), np.zeros((3, 2)), np.full((3, 2), np.nan), "mask must"),
        (np.zeros(3), np.zeros(3), np.zeros(3), "mask must"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), np.zeros((3, 2)), "NaN in 6 missing cells"),
    ],
)
def test_errors_say_what_is_wrong(metric, truth, imputed, mask, message):
    with pytest.raises(ValueError, match=message):
        metric(truth, imputed, mask)


def test_interval_and_draw_shapes_are_checked():
    x, mask = np.zeros((3, 2)), np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"intervals must have shape \(3, 2, 2\)"):
        metrics.coverage(x, np.zeros((2, 3, 2)), mask)
    with pytest.raises(ValueError, match=r"intervals must have shape \(3, 2, 2\)"):
        metrics.width(x, mask)
    with pytest.raises(ValueError, match="at least 2 draws"):
        metrics.crps(x, x[None], mask)
    with pytest.raises(ValueError, match=r"draws\[0\] must have the mask's shape"):
        metrics.crps(x, np.zeros((4, 2, 2)), mask)
