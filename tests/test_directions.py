from dataclasses import replace

import numpy as np
import pytest
import torch

from notmiwae import NotMIWAEImputer, directions
from notmiwae.directions import Trials
from notmiwae.ensembles import Course

SETTINGS = {"max_steps": 250, "n_models": 1, "n_latent": 1, "hidden": (8,), "random_state": 0}


def leave_edges(monkeypatch):
    for name in ("sharpen", "sharpen_all"):
        monkeypatch.setattr(directions, name, lambda model, start, *_: start)


def untrained(values, mask=None):
    """Trials of a table in which nothing is to be trained."""
    return Trials(values, torch.ones_like(values) if mask is None else mask, pytest.fail, seed=0)


def one_factor(n_rows=500, seed=0):
    """Three columns that one factor moves; above its mean the first is missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 1)) + 0.5 * rng.normal(size=(n_rows, 3))
    holes = x.copy()
    holes[x[:, 0] > 0, 0] = np.nan
    return x, holes


@pytest.fixture
def settled(monkeypatch):
    """A fitted imputer, and what it asked of `turn` and was answered: line in, line out."""
    asked = []
    turn = directions.turn

    def watched(*arguments):
        asked.append((*arguments, turn(*arguments)))
        return asked[-1][-1]

    monkeypatch.setattr(directions, "turn", watched)
    _, holes = one_factor()
    return NotMIWAEImputer("self-masking", **SETTINGS).fit(holes), asked


def test_a_right_direction_is_left_alone(settled):
    imputer, [(_, learned, *_, answer)] = settled
    assert answer.equal(learned)
    assert imputer.model_.mechanism.slope[0] > 1


def test_a_wrong_direction_is_turned_and_no_other_column_changes(settled):
    _, [(waited, learned, columns, trials, _)] = settled
    wrong = directions.turned(learned, 0, trials.seen(0))
    assert wrong[0, 0] < 0
    answer = directions.turn(waited, wrong, columns, trials)
    assert answer[0, 0] == directions.STEEPNESS
    assert answer[:, 1:].equal(wrong[:, 1:])


def test_a_turn_that_is_hopeless_at_a_first_look_is_not_tried_for_longer(settled):
    _, [(waited, learned, columns, trials, _)] = settled
    shares = []

    def watched(models, share):
        shares.append(share)
        trials.train(models, share)

    def tried(lines):
        shares.clear()
        directions.turn(waited, lines, columns, replace(trials, train=watched))
        return list(shares)

    assert tried(learned) == [directions.FIRST_LOOK]
    wrong = directions.turned(learned, 0, trials.seen(0))
    assert tried(wrong) == [directions.FIRST_LOOK, 1.0]


def test_only_the_most_promising_turns_are_looked_at_again(monkeypatch):
    """Where no direction holds, all columns are in doubt, and there may be many."""
    n = directions.MOST + 3
    values = torch.randn(200, n)
    looks = []

    def gains(trials, waited, tries, share):
        looks.append([lines[0].nonzero().flatten().tolist() for lines in tries[1:]])
        noise = torch.randn(200)
        noise = (noise - noise.mean()) / noise.std()
        every = torch.linspace(0, 0.3, n)
        return [every[columns[0]] + noise for columns in looks[-1]]

    monkeypatch.setattr(Trials, "gains", gains)
    turned = directions.turn(None, torch.zeros(2, n), range(n), untrained(values))
    first, second = looks
    assert len(first) == n
    assert sorted(second) == [[column] for column in range(3, n)]
    assert turned[0].count_nonzero() == directions.MOST


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        # All clear, and alike: each is told by two others to stay.
        ([-9.0, -9.0, -9.0], [-3.0, -3.0, -3.0]),
        # The first is in doubt, the others go opposite ways: nothing is said of it.
        ([0.0, -9.0, 9.0], [1.0, 2.0, -2.0]),
        # Both of the others turn: so should the first.
        ([0.0, 9.0, 9.0], [3.0, 2.0, 2.0]),
        # None is clear.
        ([1.0, -2.0, 3.0], [1.0, 1.0, 1.0]),
    ],
)
def test_columns_tell_one_another_their_direction(z, expected):
    odds = torch.tensor(expected).abs().log() * torch.tensor(expected).sign()
    for slopes in (torch.ones(3), -torch.ones(3)):
        torch.testing.assert_close(directions.like_others(slopes, torch.tensor(z)), odds)


def test_a_turned_column_goes_missing_beyond_the_edge_of_what_is_seen():
    seen = torch.linspace(-1, 1, 101)
    for slope in (-1.0, 1.0):
        line = directions.turned(torch.tensor([[slope], [0.0]]), 0, seen)
        threshold = -line[1, 0] / line[0, 0]
        assert line[0, 0] * slope < 0
        assert threshold == pytest.approx(-slope * 0.8, abs=0.02)


@pytest.mark.parametrize("mechanism", ["self-masking", "self-masking-spline"])
def test_what_can_bend_starts_no_steeper_than_a_turned_column(mechanism):
    _, holes = one_factor(50)
    model = NotMIWAEImputer(mechanism, **{**SETTINGS, "max_steps": 5}).fit(holes).model_
    start = torch.tensor([[-20.0, 1.0, 0.0], [40.0, 3.0, 0.5]])
    started = directions.started(model, start).mechanism
    line = torch.stack([started.weight, started.intercept]).detach()
    steepest = 20.0 if mechanism == "self-masking" else directions.STEEPNESS
    assert line[0].abs().max() == pytest.approx(steepest)
    assert (line[1, 0] / line[0, 0]).item() == pytest.approx(-2)  # the threshold stays
    assert line[:, 1:].equal(start[:, 1:])


def test_an_imputer_that_starts_out_wrong_ends_right(monkeypatch):
    x, holes = one_factor()
    learned = directions.lines
    wrong = iter([True])

    def misled(model):
        line = learned(model)
        return torch.stack([-line[0].abs(), line[1]]) if next(wrong, False) else line

    monkeypatch.setattr(directions, "lines", misled)
    imputer = NotMIWAEImputer("self-masking", **SETTINGS).fit(holes)
    assert imputer.model_.mechanism.slope[0] > 1
    hidden = np.isnan(holes)
    assert np.sqrt(np.mean((imputer.transform(holes) - x)[hidden] ** 2)) < 0.7


@pytest.mark.parametrize(
    "mechanism", ["self-masking-known", "self-masking-spline", "at-random", "linear"]
)
def test_nothing_is_tried_where_no_direction_is_open(mechanism, monkeypatch):
    monkeypatch.setattr(directions, "turn", lambda *_: pytest.fail("tried"))
    NotMIWAEImputer(mechanism, **{**SETTINGS, "max_steps": 10}).fit(one_factor()[1])


def test_a_crowded_column_is_not_tried(monkeypatch):
    _, holes = one_factor()
    seen = np.flatnonzero(~np.isnan(holes[:, 0]))
    holes[seen[::2], 0] = -1.0
    monkeypatch.setattr(directions, "turn", lambda *_: pytest.fail("tried"))
    NotMIWAEImputer("self-masking", **{**SETTINGS, "max_steps": 10}).fit(holes)


@pytest.mark.parametrize("mechanism", ["self-masking", "self-masking-known"])
def test_further_models_start_from_the_lines_that_the_first_has_learned(mechanism, monkeypatch):
    starts = []
    started = directions.started
    monkeypatch.setattr(directions, "turn", lambda waited, learned, *_: learned)
    leave_edges(monkeypatch)
    monkeypatch.setattr(
        directions, "started", lambda model, line: starts.append(line) or started(model, line)
    )
    found = []
    explore = Course.explore

    def explored(course, *given):
        result = explore(course, *given)
        found.append(directions.lines(result.models[0]))
        return result

    monkeypatch.setattr(Course, "explore", explored)
    settings = {**SETTINGS, "max_steps": 20, "n_models": 3}
    NotMIWAEImputer(mechanism, **settings).fit(one_factor()[1])
    [learned] = found
    first, second = starts
    assert first.equal(second)
    assert first.equal(learned)


def test_only_one_mechanism_is_explored_and_what_it_found_serves_the_others(monkeypatch):
    turns, starts = [], []
    started = directions.started

    def once(waited, learned, *_):
        turns.append(type(waited.mechanism).__name__)
        return learned + 1

    monkeypatch.setattr(directions, "turn", once)
    leave_edges(monkeypatch)
    monkeypatch.setattr(
        directions, "started", lambda model, line: starts.append(line) or started(model, line)
    )
    settings = {**SETTINGS, "max_steps": 10, "n_models": 1}
    NotMIWAEImputer("auto", **settings).fit(one_factor()[1])
    assert turns == ["SelfMasking"]
    assert len(starts) == 3  # the turned one, the same in context, the spline
    assert all(start.equal(starts[0]) for start in starts)


def test_each_mechanism_asks_for_itself_whether_its_edges_are_sharp(monkeypatch):
    """What one sharpens is not handed on: with other columns heard, an edge may be gone."""
    asked, starts = [], []
    started = directions.started

    def sharpen(model, start, *_):
        asked.append(model.mechanism.context is not None)
        return start + 7

    leave_edges(monkeypatch)
    monkeypatch.setattr(directions, "turn", lambda waited, learned, *_: learned + 1)
    monkeypatch.setattr(directions, "sharpen", sharpen)
    monkeypatch.setattr(
        directions, "started", lambda model, line: starts.append(line) or started(model, line)
    )
    settings = {**SETTINGS, "max_steps": 10, "n_models": 1}
    NotMIWAEImputer("auto", **settings).fit(one_factor()[1])
    assert asked == [False, True]
    sharp, in_context, sharp_in_context, spline = starts
    assert in_context.equal(spline)
    torch.testing.assert_close(sharp, in_context + 7)
    assert not sharp_in_context.equal(sharp)


def sharpening(holes):
    """Fit self-masking; return what `sharpen` is asked, of a model whose first line is flat."""
    asked = []

    def watched(*arguments):
        asked.extend(arguments)
        return arguments[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directions, "sharpen", watched)
        NotMIWAEImputer("self-masking", **SETTINGS).fit(holes)
    model, _, columns, trials = asked
    learned = directions.lines(model)
    soft = learned.clone()
    soft[:, 0] /= learned[0, 0].abs()
    model = directions.started(model, soft)
    return model, soft, columns, trials


def missing_gradually(slope, seed=0):
    x, _ = one_factor(seed=seed)
    uniform = np.random.default_rng(seed + 1).random(len(x))
    return np.where((uniform < 1 / (1 + np.exp(-slope * x[:, 0])))[:, None] * [1, 0, 0], np.nan, x)


def test_an_edge_that_was_learned_too_flat_is_sharpened():
    _, holes = one_factor()
    model, soft, columns, trials = sharpening(holes)
    answer = directions.sharpen(model, soft, columns, trials)
    assert columns == [0]
    assert answer[0, 0] == directions.SHARP
    assert -answer[1, 0] / answer[0, 0] == pytest.approx(trials.seen(0).max().item())
    assert answer[:, 1:].equal(soft[:, 1:])
    assert directions.lines(model).equal(soft)


def test_an_edge_is_not_sharpened_where_values_go_missing_gradually():
    model, soft, *rest = sharpening(missing_gradually(2.0))
    assert directions.sharpen(model, soft, *rest).equal(soft)


def test_what_is_turned_or_sharp_is_not_sharpened():
    _, holes = one_factor()
    model, soft, columns, trials = sharpening(holes)
    rest = columns, replace(trials, train=pytest.fail)
    turned = directions.turned(soft, 0, trials.seen(0))
    assert directions.sharpen(model, turned, *rest).equal(turned)
    sharp = directions.sharpened(soft, 0, trials.seen(0)) * 1.1
    model = directions.started(model, sharp)
    assert directions.sharpen(model, sharp, *rest).equal(sharp)


@pytest.mark.parametrize(("z", "is_taken"), [(3.0, True), (-0.9, True), (-1.1, False)])
def test_all_columns_are_sharpened_at_once_unless_data_object(monkeypatch, z, is_taken):
    values = torch.linspace(-1, 1, 50).unsqueeze(-1).expand(50, 4)
    start = torch.tensor([[2.0, -2.0, -20.0, 0.0], [0.0, 0.0, 0.0, 0.5]])
    noise = torch.randn(50)
    noise = (noise - noise.mean()) / noise.std()
    tried = []

    def gains(trials, waited, tries):
        tried.append(tries)
        return [z / 50**0.5 + noise]

    monkeypatch.setattr(Trials, "gains", gains)
    trials = untrained(values)
    answer = directions.sharpen_all(None, start, [0, 1, 2], trials)
    [[first, sharp]] = tried
    assert first.equal(start)
    assert answer.equal(sharp if is_taken else start)
    assert sharp[0].tolist() == [10, -10, -20, 0]
    assert (-sharp[1, :2] / sharp[0, :2]).tolist() == [1, -1]
    assert directions.sharpen_all(None, sharp, [0, 1, 2], trials).equal(sharp)
    assert len(tried) == 1


def test_a_direction_that_is_told_is_sharpened_too():
    x, holes = one_factor()
    hidden = np.isnan(holes)
    imputer = NotMIWAEImputer("self-masking-known", **SETTINGS).fit(holes)
    assert imputer.model_.mechanism.slope[0] > 0.8 * directions.SHARP
    assert np.sqrt(np.mean((imputer.transform(holes) - x)[hidden] ** 2)) < 0.6


def grey(n_cells=4, n_channels=2):
    """Values of two channels in different units, each missing one in every cell but the last."""
    generator = torch.Generator().manual_seed(0)
    units = torch.tensor([1.0, 0.1]).repeat_interleave(n_cells)
    values = torch.rand(50, n_channels * n_cells, generator=generator) * units
    mask = torch.ones_like(values)
    mask[range(7), range(7)] = 0
    return values, mask


def waiting(mechanism, values, mask, **settings):
    holes = values.where(mask > 0, torch.nan)
    return NotMIWAEImputer(mechanism, **{**SETTINGS, "max_steps": 2, **settings}).fit(holes).model_


def test_what_images_are_told_holds_in_all_cells_of_a_channel_alike():
    values, mask = grey()
    model = waiting("self-masking-known", values, mask, sign=[1.0] * 4 + [-1.0] * 4)
    steep, flat = directions.beyond_edges(model, values, mask, 2), directions.lines(model)
    assert steep[:, 7].equal(flat[:, 7])  # where nothing is missing
    assert steep[0, :4].unique().numel() == steep[0, 4:7].unique().numel() == 1
    assert -steep[0, 4] > 5 * steep[0, 0] > 0
    assert (-steep[1] / steep[0])[[0, 4]] == pytest.approx([0.9, 0.01], abs=0.03)
    assert torch.allclose(directions.started(model, steep).mechanism.slope, steep[0])


@pytest.mark.parametrize(("against", "given_up"), [(0.9, False), (1.1, True)])
def test_what_images_are_told_is_given_up_for_clear_gains_only(monkeypatch, against, given_up):
    values, mask = grey()
    model = waiting("self-masking-known", values, mask)
    gain = against * directions.DOUBT * (1 - mask).sum(-1)
    monkeypatch.setattr(Trials, "gains", lambda *_: [gain])
    start = directions.start_of_images(model, 2, untrained(values, mask))
    assert start.equal(directions.lines(model)) == given_up


def test_images_of_which_no_direction_is_told_start_as_they_are():
    values, mask = grey()
    model = waiting("self-masking", values, mask)
    assert directions.start_of_images(model, 2, untrained(values, mask)) is None


@pytest.mark.parametrize("end", [-1, 1])
def test_a_column_that_piles_up_at_an_end_starts_on_its_other_side(end):
    pile, rest = torch.zeros(100), torch.linspace(0.1, 2, 60) * -end
    assert directions.open_side(torch.cat([pile, rest])) == -end
    assert directions.open_side(pile) == 0
    few = torch.ones(11) * -end  # whole numbers, of which the next one is not rare
    assert directions.open_side(torch.cat([pile, few, rest])) == 0
    middle = torch.cat([pile, rest, -rest])
    assert directions.open_side(middle) == 0


def test_only_columns_that_pile_up_start_in_a_direction():
    values = torch.randn(200, 3)
    values[:120, 1] = -0.4
    values[120:, 1] = values[120:, 1].abs()
    mask = torch.ones_like(values)
    mask[::7] = 0
    mask[0] = 1
    model = waiting("self-masking", values, mask)
    as_it_was = directions.lines(model)
    started = directions.lines(directions.away_from_piles(model, [1, 2], values, mask))
    assert started[0, 1] == directions.STEEPNESS
    assert started[:, [0, 2]].equal(as_it_was[:, [0, 2]])
    assert directions.away_from_piles(model, [2], values, mask) is model
    for kind in ("self-masking-known", "at-random"):
        model = waiting(kind, values, mask)
        assert directions.away_from_piles(model, [1], values, mask) is model
