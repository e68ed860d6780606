import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from notmiwae import training
from notmiwae.bounds import evidence_lower_bound
from notmiwae.encoders import ENCODERS
from notmiwae.mechanisms import Hinges, SelfMasking, SelfMaskingSpline
from notmiwae.model import LatentVariableModel
from notmiwae.networks import DECODERS, Penalised
from notmiwae.observations import Gaussian
from notmiwae.persistence import ModelFileError
from notmiwae.training import Batches, History, fit, mean_bound, one_cycle, parameter_groups, seeded

REPORT = partial(one_cycle, pct_start=0.2, final_div_factor=1e4)


def small_model(seed=0):
    with seeded(seed):
        return LatentVariableModel(
            ENCODERS["mask-concatenating"](3, 2, (6,)),
            Gaussian(3, lambda n: DECODERS["linear+mlp"](2, n, (6,))),
            SelfMasking(3),
        )


def table(n_rows=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, 3, generator=generator)
    x = x + x[:, :1]
    mask = (x < 0.8).float()
    return x * mask, mask


def train(model, **settings):
    defaults = {"n_samples": 3, "max_steps": 24, "batch_size": 16, "evaluate_every": 4, "seed": 5}
    return fit(model, *table(), **defaults | settings)


def stop_after(monkeypatch, n_steps):
    """Interrupt training in the middle of a step."""
    descend, taken = training._Run.descend, []

    def interrupted(self, *args):
        taken.append(1)
        if len(taken) > n_steps:
            raise KeyboardInterrupt
        descend(self, *args)

    monkeypatch.setattr(training._Run, "descend", interrupted)


def train_and_interrupt(monkeypatch, n_steps, **settings):
    with monkeypatch.context() as patch:
        stop_after(patch, n_steps)
        with pytest.raises(KeyboardInterrupt):
            train(small_model(), **settings)


def assert_same_weights(first, second):
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_training_raises_the_bound():
    model = small_model()
    before = mean_bound(model, *table(), 50, 0)
    history = train(model, max_steps=150)
    assert mean_bound(model, *table(), 50, 0) > before + 0.5
    assert history.bound[-1] > history.bound[0]


def test_the_history_has_one_entry_per_evaluation():
    history = train(small_model(), max_steps=22, evaluate_every=5, validation=table(seed=1))
    assert history.step == [5, 10, 15, 20, 22]
    assert len(history.bound) == len(history.validation_bound) == 5
    assert history.held_out_bound == max(history.validation_bound)


def test_the_training_bound_is_the_mean_since_the_evaluation_before():
    """With one step per evaluation there is nothing to average over."""
    each = train(small_model(), max_steps=6, evaluate_every=1, schedule="constant").bound
    both = train(small_model(), max_steps=6, evaluate_every=4, schedule="constant").bound
    assert both == pytest.approx([np.mean(each[:4]), np.mean(each[4:])], rel=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    models = [small_model() for _ in range(3)]
    histories = [train(model, seed=seed) for model, seed in zip(models, (1, 1, 2), strict=True)]
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]
    assert_same_weights(models[0], models[1])


def test_the_global_generators_are_left_as_they_were():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(small_model(), validation=table(seed=1))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002


def test_an_exception_leaves_the_global_generators_as_they_were(monkeypatch):
    state = torch.get_rng_state()
    stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train(small_model())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("schedule", ["one-cycle", "constant", REPORT])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("interruption", [4, 10, 23])
def test_an_interrupted_run_goes_on_to_the_same_result(
    monkeypatch, tmp_path, schedule, optimizer, interruption
):
    settings = {"schedule": schedule, "optimizer": optimizer, "validation": table(seed=1)}
    whole = small_model()
    expected = train(whole, **settings)
    train_and_interrupt(monkeypatch, interruption, checkpoint=tmp_path / "run", **settings)
    resumed = small_model(seed=9)
    torch.manual_seed(1234)
    assert train(resumed, checkpoint=tmp_path / "run", **settings) == expected
    assert_same_weights(whole, resumed)


def test_a_schedule_with_a_state_of_its_own_goes_on_too(monkeypatch, tmp_path):
    def stepwise(optimizer, n_steps):
        parts = [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=6),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps - 6),
        ]
        return torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[6])

    whole = small_model()
    expected = train(whole, schedule=stepwise)
    train_and_interrupt(monkeypatch, 10, checkpoint=tmp_path / "run", schedule=stepwise)
    resumed = small_model()
    assert train(resumed, checkpoint=tmp_path / "run", schedule=stepwise) == expected
    assert_same_weights(whole, resumed)


def test_more_steps_at_a_constant_rate_go_on_where_fewer_ended(tmp_path):
    whole, parts = small_model(), small_model()
    expected = train(whole, max_steps=24, schedule="constant")
    for max_steps in (12, 24):
        history = train(
            parts, max_steps=max_steps, schedule="constant", checkpoint=tmp_path / "run"
        )
    assert history == expected
    assert_same_weights(whole, parts)


def test_a_finished_run_is_not_repeated(monkeypatch, tmp_path):
    first, second = small_model(), small_model(seed=9)
    expected = train(first, checkpoint=tmp_path / "run", validation=table(seed=1))
    stop_after(monkeypatch, 0)
    assert train(second, checkpoint=tmp_path / "run", validation=table(seed=1)) == expected
    assert_same_weights(first, second)


def test_a_checkpoint_of_other_rows_is_refused(tmp_path):
    """Else fitting on a second table silently returns the model of the first."""
    train(small_model(), checkpoint=tmp_path / "run")
    x, mask = table(seed=7)
    with pytest.raises(ModelFileError, match="run"):
        fit(small_model(), x, mask, max_steps=24, checkpoint=tmp_path / "run")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(small_model(), checkpoint=tmp_path / "run")
    with seeded(0):
        other = LatentVariableModel(
            ENCODERS["zero-fill"](3, 1, (6,)),
            Gaussian(3, lambda n: DECODERS["linear"](1, n)),
            SelfMasking(3),
        )
    with pytest.raises(ModelFileError, match="run"):
        train(other, checkpoint=tmp_path / "run")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint at all", None])
def test_a_damaged_checkpoint_says_what_to_do(tmp_path, damage):
    train(small_model(), checkpoint=tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    (tmp_path / "run").write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(ModelFileError, match="remove it to start afresh"):
        train(small_model(), checkpoint=tmp_path / "run")


def scripted(monkeypatch, bounds):
    """Let the held-out bounds be these, and note the weights at each evaluation."""
    left, seen = iter(bounds), []

    def mean_bound(model, *_):
        seen.append([parameter.detach().clone() for parameter in model.parameters()])
        return next(left)

    monkeypatch.setattr(training, "mean_bound", mean_bound)
    return seen


def test_the_best_held_out_weights_are_restored(monkeypatch):
    seen = scripted(monkeypatch, [1.0, 5.0, 2.0, 5.0, 3.0, 4.0])
    model = small_model()
    history = train(model, validation=table(seed=1))
    assert history.best_step == 8
    assert not history.stopped_early
    for kept, best in zip(model.parameters(), seen[1], strict=True):
        assert torch.equal(kept, best)


@pytest.mark.parametrize(("patience", "last"), [(1, 12), (2, 24), (3, 24)])
def test_patience_counts_evaluations_without_a_better_bound(monkeypatch, patience, last):
    scripted(monkeypatch, [1.0, 5.0, 2.0, 6.0, 5.0, 5.5])
    history = train(small_model(), validation=table(seed=1), patience=patience)
    assert history.step[-1] == last
    assert history.stopped_early == (patience < 3)
    assert history.best_step == (8 if patience == 1 else 16)


def test_without_held_out_rows_the_last_weights_are_kept():
    history = train(small_model())
    assert history.validation_bound == []
    assert history.best_step == 24
    assert math.isnan(history.held_out_bound)


def test_the_held_out_bound_has_the_same_noise_at_every_call():
    model = small_model()
    assert mean_bound(model, *table(), 5, 3) == mean_bound(model, *table(), 5, 3)
    assert mean_bound(model, *table(), 5, 3) != mean_bound(model, *table(), 5, 4)


def test_held_out_rows_are_not_trained_on():
    models = [small_model(), small_model()]
    validation = table(seed=1)
    train(models[0], schedule="constant", validation=validation, patience=None, max_steps=4)
    train(models[1], schedule="constant", max_steps=4)
    assert_same_weights(*models)


@pytest.mark.parametrize(("n_rows", "size"), [(10, 3), (10, 10), (10, 99), (1, 1), (9, 3)])
def test_batches_cover_every_row_once_an_epoch(n_rows, size):
    batches = Batches(n_rows, size, 0, torch.device("cpu"))
    orders = []
    for epoch in range(3):
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        parts = [batches[step] for step in steps]
        assert all(0 < len(part) <= size for part in parts)
        orders.append(torch.cat(parts))
        assert sorted(orders[-1].tolist()) == list(range(n_rows))
    assert n_rows == 1 or not torch.equal(orders[0], orders[1])


def test_batches_do_not_depend_on_what_was_asked_before():
    forth = [Batches(10, 3, 0, torch.device("cpu"))[step] for step in range(9)]
    batches = Batches(10, 3, 0, torch.device("cpu"))
    for step in reversed(range(9)):
        assert torch.equal(batches[step], forth[step])


def test_every_parameter_is_in_one_group_with_its_rate_and_decay():
    model = small_model()
    groups = parameter_groups(model, 0.01, 7.0, 0.3)
    decayed = {p for m in model.modules() if isinstance(m, Penalised) for p in m.parameters()}
    mechanism = set(model.mechanism.parameters())
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for group in groups:
        for parameter in group["params"]:
            expected = 0.07 if parameter in mechanism else 0.01
            assert group["lr"] == pytest.approx(expected)
            assert group["weight_decay"] == (0.3 if parameter in decayed else 0.0)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_weight_decay_shrinks_penalised_layers_only(optimizer):
    free, shrunk = small_model(), small_model()
    for model, weight_decay in ((free, 0.0), (shrunk, 30.0)):
        train(
            model, optimizer=optimizer, weight_decay=weight_decay, max_steps=1, schedule="constant"
        )
    changed = {
        name
        for (name, one), other in zip(free.named_parameters(), shrunk.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    # The last layer starts at zero, where there is nothing to shrink.
    assert changed == {f"observation.decoder.terms.1.0.{kind}" for kind in ("weight", "bias")}


def test_weight_decay_is_decoupled_from_the_gradient():
    """A first step of AdamW shrinks by lr * decay, whatever the gradient is."""
    start, model = small_model(), small_model()
    train(model, weight_decay=2.0, learning_rate=0.01, max_steps=1, schedule="constant")
    before = start.observation.decoder.terms[1][0].weight
    after = model.observation.decoder.terms[1][0].weight
    torch.testing.assert_close(after, 0.98 * before, atol=1e-6, rtol=0)


def test_the_mechanism_learns_at_its_own_rate():
    start, slow, fast = small_model(), small_model(), small_model()
    for model, rate in ((slow, 1.0), (fast, 10.0)):
        train(model, mechanism_rate=rate, learning_rate=0.001, max_steps=1, schedule="constant")
    first = slow.mechanism.weight - start.mechanism.weight
    torch.testing.assert_close(fast.mechanism.weight - start.mechanism.weight, 10 * first)
    assert torch.equal(slow.observation.spread, fast.observation.spread)


def test_the_reports_schedule_can_be_expressed():
    rates = []

    def watched(optimizer, n_steps):
        schedule = REPORT(optimizer, n_steps)
        step = schedule.step

        def noted(*args):
            rates.append(optimizer.param_groups[0]["lr"])
            step(*args)

        schedule.step = noted
        return schedule

    train(small_model(), max_steps=100, learning_rate=1e-3, schedule=watched)
    assert len(rates) == 100
    assert np.argmax(rates) == pytest.approx(19, abs=1)
    assert max(rates) == pytest.approx(1e-3, rel=1e-3)
    assert rates[0] == pytest.approx(1e-3 / 25)
    assert rates[-1] == pytest.approx(1e-3 / 25 / 1e4, rel=1e-3)


@pytest.mark.parametrize("max_steps", range(1, 13))
def test_any_number_of_steps_fits_the_one_cycle(max_steps):
    assert train(small_model(), max_steps=max_steps).step[-1] == max_steps


@pytest.mark.parametrize("max_steps", [1, 2, 10, 11])
def test_a_short_run_fits_the_reports_cycle(max_steps):
    assert train(small_model(), max_steps=max_steps, schedule=REPORT).step[-1] == max_steps


def test_gradients_are_clipped(monkeypatch):
    norms = []
    clip = nn.utils.clip_grad_norm_

    def watched(parameters, limit, **options):
        parameters = list(parameters)
        clip(parameters, limit, **options)
        norms.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).norm())

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", watched)
    train(small_model(), clip_norm=0.01)
    assert len(norms) == 24
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_another_bound_can_be_trained():
    first, second = small_model(), small_model()
    assert train(first) != train(second, bound=evidence_lower_bound)


@pytest.mark.parametrize("wrong", [math.nan, -math.inf])
def test_a_bound_that_is_not_finite_raises(wrong):
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        train(small_model(), bound=lambda log_weights: log_weights.sum(0) * 0 + wrong)


@pytest.mark.parametrize("wrong", [math.nan, -math.inf])
def test_a_held_out_bound_that_is_not_finite_raises(monkeypatch, wrong):
    scripted(monkeypatch, [wrong])
    with pytest.raises(FloatingPointError, match="bound"):
        train(small_model(), validation=table(seed=1))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of 'adam', 'adamw'; got 'sgd'"),
        ({"schedule": "cosine"}, "schedule must be one of 'one-cycle', 'constant', or a callable"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(setting, message):
    with pytest.raises(ValueError, match=message):
        train(small_model(), **setting)


def test_a_history_can_be_plotted():
    plt = pytest.importorskip("matplotlib.pyplot")
    history = History([1, 2], [-3.0, -2.0], [-4.0, -3.5], best_step=2)
    figure, ax = plt.subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert history.plot(ax) is ax
    assert ax.lines[0].get_ydata().tolist() == [-3.0, -2.0]
    assert ax.lines[1].get_ydata().tolist() == [-4.0, -3.5]
    plt.close(figure)


def test_a_progress_bar_goes_to_stderr_only_when_asked(capsys):
    train(small_model())
    assert capsys.readouterr() == ("", "")
    train(small_model(), progress="self-masking 1/2")
    out, err = capsys.readouterr()
    assert out == ""
    assert "24/24" in err
    assert "self-masking 1/2" in err


def test_bends_are_shrunk_less_than_a_decoder(observe):
    model = LatentVariableModel(
        ENCODERS["zero-fill"](3, 2), observe("gaussian", 3), SelfMaskingSpline(3)
    )
    groups = parameter_groups(model, 1e-2, 10.0, 0.5)
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decays[id(model.mechanism.bends.weight)] == 0.5 * Hinges.strength
    assert decays[id(model.mechanism.weight)] == 0
