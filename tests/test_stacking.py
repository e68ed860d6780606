import copy
import itertools

import numpy as np
import pytest
import torch

from notmiwae import training
from notmiwae.bounds import importance_weighted
from notmiwae.encoders import ENCODERS
from notmiwae.mechanisms import MECHANISMS, FactorisedMechanism
from notmiwae.model import LatentVariableModel
from notmiwae.networks import DECODERS
from notmiwae.observations import OBSERVATIONS
from notmiwae.stacking import Stack
from notmiwae.training import fit, fit_together, mean_bound, seeded

SEEDS = [3, 4, 5]


def a_model(
    seed=0,
    mechanism="self-masking",
    observation="gaussian",
    encoder="product-of-experts",
    integrate="auto",
):
    options = {"low": -3.0, "high": 3.0} if observation == "truncated-normal" else {}
    with seeded(seed):
        return LatentVariableModel(
            ENCODERS[encoder](3, 2, (6,)),
            OBSERVATIONS[observation](3, lambda n: DECODERS["linear+mlp"](2, n, (6,)), **options),
            MECHANISMS[mechanism](3),
            integrate,
        )


def some_models(**parts):
    return [a_model(seed, **parts) for seed in SEEDS]


def table(n_rows=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, 3, generator=generator)
    x = x + x[:, :1]
    mask = (x < 0.8).float()
    return x * mask, mask


def train(models, **settings):
    defaults = {"n_samples": 3, "max_steps": 24, "batch_size": 16, "evaluate_every": 4}
    return fit_together(models, *table(), **defaults | {"seeds": SEEDS} | settings)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def no_noise(model, x, mask):
    """A loss that is the same at every call."""
    return -model.encoder(x, mask).log_prob(torch.zeros(len(x), 2)).mean()


def log_likelihood(model, x, mask):
    return importance_weighted(model(x, mask, 3).log_weights).mean()


def test_losses_and_gradients_are_those_of_each_model_on_its_own_batch():
    models = some_models()
    stack = Stack(models)
    x, mask = torch.randn(3, 8, 3), (torch.rand(3, 8, 3) < 0.6).float()
    losses = stack.losses(no_noise, x, mask)
    losses.sum().backward()
    for index, model in enumerate(models):
        alone = no_noise(model, x[index], mask[index])
        torch.testing.assert_close(losses[index], alone)
        alone.backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(stack.parameters[name].grad[index], parameter.grad)


def test_noise_differs_between_models_with_the_same_weights_and_rows():
    stack = Stack([a_model(), a_model()])
    x, mask = (part[:8].expand(2, 8, 3) for part in table())
    first, second = stack.losses(log_likelihood, x, mask)
    assert first != second


def can_be_drawn(mechanism, observation, integrate):
    summed = integrate == "auto" and issubclass(MECHANISMS[mechanism], FactorisedMechanism)
    return summed or OBSERVATIONS[observation].continuous


PAIRS = [
    pair
    for pair in itertools.product(MECHANISMS, OBSERVATIONS, ["auto", "sample"])
    if can_be_drawn(*pair)
]


@pytest.mark.parametrize(("mechanism", "observation", "integrate"), PAIRS)
def test_every_pair_can_be_stacked(mechanism, observation, integrate):
    parts = {"mechanism": mechanism, "observation": observation, "integrate": integrate}
    histories = train(some_models(**parts), max_steps=2)
    assert all(np.isfinite(history.bound).all() for history in histories)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_can_be_stacked(encoder):
    assert len(train(some_models(encoder=encoder), max_steps=2)) == 3


def test_each_gradient_is_clipped_by_its_own_norm():
    stack = Stack(some_models())
    for parameter in stack.parameters.values():
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[1] *= 1e-3
    stack.clip(1.0)
    gradients = torch.cat([p.grad.flatten(1) for p in stack.parameters.values()], dim=1)
    size = gradients.shape[1] ** 0.5
    torch.testing.assert_close(gradients.norm(dim=1), torch.tensor([1.0, 1e-3 * size, 1.0]))


def test_training_reaches_what_models_reach_alone():
    """With enough steps for noise to matter little."""
    settings = {"max_steps": 100, "batch_size": 50}
    validation = table(400, seed=1)
    side_by_side, alone = some_models(), some_models()
    train(side_by_side, **settings)
    for model, seed in zip(alone, SEEDS, strict=True):
        fit(model, *table(), seed=seed, n_samples=3, **settings)
    start = mean_bound(a_model(), *validation, 50, 0)
    bounds = [
        [mean_bound(model, *validation, 50, 0) for model in models]
        for models in (side_by_side, alone)
    ]
    assert min(bounds[0]) > start + 0.5
    np.testing.assert_allclose(np.mean(bounds[0]), np.mean(bounds[1]), atol=0.15)


def test_models_differ_and_the_same_seeds_give_the_same():
    first, again = some_models(), some_models()
    assert train(first) == train(again)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(weights(one), weights(other))
    assert len({weights(model).sum().item() for model in first}) == 3


def test_equal_starts_part_by_their_own_rows_and_noise():
    models = [a_model(), a_model()]
    train(models, seeds=[1, 2], max_steps=1)
    assert not torch.equal(weights(models[0]), weights(models[1]))


def test_a_single_one_is_trained_as_by_fit():
    first, second = a_model(), a_model()
    assert train([first], seeds=[7]) == [
        fit(second, *table(), seed=7, n_samples=3, max_steps=24, batch_size=16, evaluate_every=4)
    ]
    assert torch.equal(weights(first), weights(second))


def test_each_keeps_its_own_best_held_out_weights(monkeypatch):
    bounds = iter([1.0, 5.0, 1.0, 2.0, 4.0, 2.0, 3.0, 3.0, 0.0])
    seen = []

    def mean_bound(model, *_):
        seen.append(weights(model))
        return next(bounds)

    monkeypatch.setattr(training, "mean_bound", mean_bound)
    models = some_models()
    histories = train(models, max_steps=12, validation=table(seed=1))
    assert [history.best_step for history in histories] == [12, 4, 8]
    for model, best in zip(models, (seen[6], seen[1], seen[5]), strict=True):
        assert torch.equal(weights(model), best)


def test_patience_ends_each_model_and_then_the_training(monkeypatch):
    bounds = iter([1.0, 5.0, 2.0, 4.0, 3.0, 9.0, 2.0, 9.0])
    monkeypatch.setattr(training, "mean_bound", lambda *_: next(bounds))
    models = [a_model(0), a_model(1)]
    histories = train(models, seeds=[0, 1], validation=table(seed=1), patience=1)
    assert [history.step for history in histories] == [[4, 8, 12, 16], [4, 8]]
    assert [history.best_step for history in histories] == [12, 4]


def test_an_interrupted_training_goes_on_to_the_same_result(monkeypatch, tmp_path):
    whole = some_models()
    settings = {"validation": table(seed=1), "rows": torch.randint(50, (3, 40))}
    expected = train(whole, **settings)
    settings["checkpoint"] = tmp_path / "run"
    descend, taken = training._Run.descend, []

    def interrupted(self, *args):
        taken.append(1)
        if len(taken) > 10:
            raise KeyboardInterrupt
        descend(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "descend", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(some_models(), **settings)
    resumed = [a_model(9) for _ in SEEDS]
    assert train(resumed, **settings) == expected
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("n_models", [1, 2])
def test_each_model_sees_its_own_rows_only(n_models):
    """The others may hold anything."""
    x, mask = table()
    rows = torch.randint(20, (n_models, 30)) + torch.arange(n_models).unsqueeze(1) * 20
    spoiled = x.clone()
    spoiled[40:] = torch.nan
    results = []
    for values in (x, spoiled):
        models = [a_model(seed) for seed in range(n_models)]
        fit_together(models, values, mask, seeds=range(n_models), rows=rows, max_steps=5)
        results.append([weights(model) for model in models])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()


def test_rows_that_repeat_count_as_often():
    """A bootstrap sample of one row is a table of copies of it."""
    x, mask = table()
    sampled, copied = a_model(), a_model()
    settings = {"seed": 0, "max_steps": 5}
    fit(sampled, x, mask, rows=torch.full((1, 12), 7), **settings)
    fit(copied, x[7:8].repeat(12, 1), mask[7:8].repeat(12, 1), **settings)
    torch.testing.assert_close(weights(sampled), weights(copied))


def test_a_mechanism_that_waits_is_left_alone():
    models = some_models(mechanism="self-masking-spline")
    before = copy.deepcopy([model.mechanism.state_dict() for model in models])
    for model in models:
        model.mechanism.requires_grad_(False)
    train(models)
    for model, start in zip(models, before, strict=True):
        for name, value in model.mechanism.state_dict().items():
            assert torch.equal(value, start[name])


def test_columns_that_never_miss_a_value_are_told_apart_in_a_stack():
    models = some_models(mechanism="self-masking-quadratic")
    for model in models:
        model.mechanism.start(torch.tensor([0.5, 0.0, 0.3]))
    train(models)
    for model in models:
        assert (model.mechanism.bends.weight != 0).tolist() == [True, False, True]


def test_other_architectures_are_refused():
    with pytest.raises(ValueError, match="same architecture"):
        train([a_model(), a_model(mechanism="linear")], seeds=[0, 1])


def test_a_bound_of_one_model_that_is_not_finite_raises():
    models = some_models()
    with torch.no_grad():
        models[1].mechanism.intercept.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        train(models)


def test_each_may_be_watched_on_rows_of_its_own():
    models = some_models()
    pairs = [table(20, seed=seed) for seed in SEEDS]
    histories = train(models, validation=pairs, max_steps=1)
    for model, pair, seed, history in zip(models, pairs, SEEDS, histories, strict=True):
        assert history.validation_bound == [mean_bound(model, *pair, 15, seed)]
