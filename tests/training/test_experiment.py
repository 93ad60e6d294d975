import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick

import jaxvae as jv
from jaxvae.data import Reading, binarize, from_arrays, load, observe
from jaxvae.models import Condition, GaussianHead
from jaxvae.training import TrainConfig, init_state, make_experiment, train_step

TINY = {"hidden": (4,), "latents": 2, "batch_size": 64}


def tiny(**changes):
    return make_experiment(TrainConfig(**{**TINY, **changes}))


def batch_of(experiment, beta=1.0):
    train = experiment.dataset.train.head(8)
    batch = {"image": train.images, "beta": np.float32(beta)}
    given = train.given(len(experiment.model.conditions))
    return batch if given is None else {**batch, "given": given}


def init(experiment):
    return jax.jit(experiment.init)(quick.key(0))


@pytest.mark.parametrize(("floor", "beta", "binarization"), [(0.0, 0.7, "dynamic"), (0.11, 2.0, "none")])
def test_the_loss_and_its_metrics(floor, beta, binarization):
    experiment = tiny(free_bits=floor, binarization=binarization, init_std=0.8)
    params, batch, key = init(experiment), batch_of(experiment, beta), quick.key(1)
    loss, metrics = jax.jit(experiment.loss)(params, batch, key)

    pixels, noise = jax.random.split(key)
    x = observe(pixels, batch["image"], 17, binarization == "dynamic")
    assert set(np.unique(x)) == ({0.0, 1.0} if binarization == "dynamic" else set(np.float32(np.arange(17) / 16)))
    terms = jax.jit(experiment.model.apply)(params, x, noise)
    log_likelihood, kl = np.mean(np.asarray(terms.log_likelihood)), np.mean(np.asarray(terms.kl), axis=0)
    if floor:
        assert (kl < floor).tolist() == [False, True]
    want = {"elbo": log_likelihood - kl.sum(), "log_likelihood": log_likelihood, "kl": kl.sum(), "beta": beta}
    assert {name: float(x) for name, x in metrics.items()} == pytest.approx(want, rel=1e-5)
    assert float(loss) == pytest.approx(beta * np.maximum(kl, floor).sum() - log_likelihood, rel=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"objective": "dreg", "train_samples": 2, "conditional": True, "ema_decay": 0.9},
        {"parameterization": "direct_std", "constraint": "lagrange", "dtype": "bfloat16"},
    ],
)
def test_the_metrics_are_those_of_a_step(fields):
    experiment = tiny(**fields)
    step = train_step(experiment.loss, experiment.tx, ema_decay=experiment.config.ema_decay)
    measured = jax.eval_shape(step, jax.eval_shape(lambda: experiment.begin(0)), batch_of(experiment))[1]
    assert {name: (x.shape, x.dtype) for name, x in measured.items()} == {
        name: (x.shape, x.dtype) for name, x in experiment.metrics.items()
    }


def test_dynamic_pixels_are_drawn_anew_in_training():
    experiment = tiny()
    assert experiment.dataset.levels == 17
    assert experiment.levels == 2
    assert experiment.dynamic
    assert experiment.dataset.train.images.max() == 16


def test_dynamic_pixels_are_scored_on_draws_that_no_run_changes():
    first, second = tiny(), tiny(seed=1, parameterization="log_std")
    fixed = binarize(load("digits"), "fixed", seed=0)
    assert set(first.scored) == {"validation", "test"}
    for name, split in fixed.splits.items():
        if name != "train":
            for experiment in (first, second):
                assert (experiment.scored[name].images == split.images).all()
                assert (experiment.scored[name].labels == split.labels).all()
            assert set(np.unique(split.images)) == {0, 1}


@pytest.mark.parametrize(("binarization", "levels"), [("none", 17), ("threshold", 2), ("fixed", 2)])
def test_other_pixels_are_scored_as_they_are_trained_on(binarization, levels):
    experiment = tiny(binarization=binarization)
    want = binarize(load("digits"), binarization, seed=0)
    assert experiment.levels == experiment.dataset.levels == levels
    assert not experiment.dynamic
    assert (experiment.dataset.train.images == want.train.images).all()
    assert (experiment.scored["test"].images == want.test.images).all()
    assert experiment.scored["validation"] is experiment.dataset.validation


def test_steps():
    experiment = tiny(epochs=3, warmup_steps=10, beta_schedule="linear", beta=2.0, learning_rate=0.1)
    assert experiment.steps_per_epoch == 1297 // 64 == 20
    assert experiment.steps == 60
    assert float(experiment.learning_rate(10)) == pytest.approx(0.1)
    assert float(experiment.learning_rate(60)) == pytest.approx(0, abs=1e-8)
    assert float(experiment.beta(15)) == pytest.approx(1.0)


def test_what_the_configuration_names():
    experiment = tiny(
        parameterization="softplus_std", likelihood="gaussian_learned", likelihood_std=0.2, conditional=True
    )
    model = experiment.model
    assert model.head == GaussianHead(2, jv.softplus_std, 1.0)
    assert model.conditions == (Condition(10),)
    assert model.likelihood.std == 0.2
    params = init(experiment)["params"]
    assert params["encoder"]["MLP_0"]["Dense_0"]["kernel"].shape == (64 + 10, 4)
    assert params["decoder"]["MLP_0"]["Dense_0"]["kernel"].shape == (2 + 10, 4)
    loss, _ = jax.jit(experiment.loss)({"params": params}, batch_of(experiment), quick.key(1))
    assert np.isfinite(loss)


def test_the_decoder_starts_at_the_mean_image():
    bias = np.asarray(tiny().model.decoder.output_bias).reshape(8, 8)
    mean = load("digits").train.images[..., 0].mean(axis=0) / 16
    sometimes = (mean > 0.05) & (mean < 0.95)
    np.testing.assert_allclose(1 / (1 + np.exp(-bias[sometimes])), mean[sometimes], rtol=0.01)


def test_the_mean_image_is_of_what_was_observed():
    x = np.random.default_rng(0).random((200, 4)).astype(np.float32)
    holes = np.where(x < 0.3, np.nan, x)
    data = from_arrays({"train": holes, "test": x}, reading=Reading(value_range=(0.0, 2.0)))
    experiment = make_experiment(TrainConfig(hidden=(3,), latents=2), dataset=data)
    wanted = np.nanmean(holes, axis=0) / 2
    np.testing.assert_allclose(experiment.kept.mean.ravel(), wanted, rtol=1e-6)
    assert experiment.contract.missing
    assert "scaled from [0, 2] to [0, 1], 0 where they are missing, and which these are, in" in experiment.report[3]
    assert experiment.report[4].startswith("p(x|z): gaussian_learned; σ of q(z|x)")


def test_what_does_not_fit_the_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be at most the 1,297 training images, got 1304"):
        tiny(batch_size=1304)
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 8 devices, got 100"):
        tiny(batch_size=100)
    with pytest.raises(ValueError, match=r"std must be in .* for sigmoid_std, got 1\.0"):
        tiny(parameterization="sigmoid_std")
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.random.default_rng(0).random((100, 4, 4), np.float32))
    assert tiny(dataset=str(path)).model.conditions == ()
    with pytest.raises(ValueError, match="conditional must be False for data without labels, got True"):
        tiny(dataset=str(path), conditional=True)
    with pytest.raises(ValueError, match="levels must be the data's number of grey levels"):
        tiny(dataset=str(path), likelihood="discretized_logistic", binarization="none")


def test_a_best_sigma_is_fitted_to_the_training_images_as_they_are_scored():
    experiment = tiny(likelihood="gaussian_optimal")
    assert experiment.config.binarization == "none"
    params = init(experiment)
    outputs = params["params"]["decoder"]["outputs"]
    outputs["kernel"] = jnp.zeros_like(outputs["kernel"])
    outputs["bias"] = jnp.full_like(outputs["bias"], 0.5)
    task = experiment.task(params, experiment.scored["test"], experiment.fitted(params))
    assert task.split is experiment.scored["test"]
    assert task.levels == experiment.levels
    train = experiment.dataset.train.images / 16
    np.testing.assert_allclose(np.exp(task.raw), np.mean((train - 0.5) ** 2), rtol=1e-4)


def test_other_likelihoods_have_nothing_fitted():
    assert tiny().fitted({}) is None


def start(name, experiment, params):
    """Metrics and gradient of the first step under this parameterization."""
    head = GaussianHead(2, jv.parameterization(name), 0.3)
    experiment = experiment._replace(model=experiment.model.clone(head=head))
    params = {"params": {**params["params"], "head": head.init(quick.key(0), jnp.zeros((1, 4)))["params"]}}
    (_, metrics), grads = jax.value_and_grad(experiment.loss, has_aux=True)(params, batch_of(experiment), quick.key(1))
    return metrics, grads


@pytest.fixture(scope="module")
def prepared():
    experiment = tiny(batch_size=8)
    params = init(experiment)
    return experiment, params, start("log_variance", experiment, params)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", jv.PARAMETERIZATIONS)
def test_every_parameterization_starts_alike_with_a_finite_gradient(name, prepared):
    experiment, params, reference = prepared
    metrics, grads = start(name, experiment, params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert (grads["params"]["head"]["raw"]["bias"] != 0).all()
    for term in ("kl", "log_likelihood"):
        assert float(metrics[term]) == pytest.approx(float(reference[term]), rel=1e-5)


@pytest.mark.slow
def test_multipliers_push_what_is_below_the_bound_back():
    experiment = tiny(parameterization="direct_std", constraint="lagrange", multiplier_rate=0.5, init_std=0.3)
    params, batch, key = init(experiment), batch_of(experiment), quick.key(1)
    assert params["multipliers"]["raw"].tolist() == [0.0, 0.0]
    params["params"]["head"]["raw"]["bias"] = jnp.array([-0.4, 0.3])
    state = init_state(params, experiment.tx, key)
    step = jax.jit(train_step(experiment.loss, experiment.tx))
    state, metrics = step(state, batch)
    assert metrics["skipped"] == 0  # the loss sees σ clipped
    violation = 0.4 + experiment.bound
    np.testing.assert_allclose(state.params["multipliers"]["raw"], [0.5 * violation, 0.0], rtol=1e-6)
    grads = jax.jit(jax.grad(lambda p: experiment.loss(p, batch, key)[0]))(state.params)
    bias = grads["params"]["head"]["raw"]["bias"]
    np.testing.assert_allclose(bias[0], -state.params["multipliers"]["raw"][0], rtol=1e-5)
    for _ in range(400):
        state, metrics = step(state, batch)
    x = observe(key, batch["image"], 17, dynamic=True)
    raw = experiment.model.apply(state.params, x, method="encode").raw
    assert (raw > experiment.bound - 0.01).all()


@pytest.mark.slow
def test_another_learning_rate_is_another_configuration():
    experiment, other = tiny(warmup_steps=3), tiny(warmup_steps=3, learning_rate=0.2)
    grads = jax.jit(experiment.begin)(0).params
    state = other.tx.init(grads)
    for rate in (0.2, jnp.float32(0.2)):
        changed = experiment.with_learning_rate(rate)
        new = state
        for _ in range(5):
            got, _ = changed.tx.update(grads, new)
            want, new = other.tx.update(grads, new)
            for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-6)


def test_a_preconditioner_and_a_match_reach_the_head():
    head = tiny(precondition="fisher", match="gain", parameterization="log_std").model.head
    assert head.preconditioned
    assert head.parameterization.std(1.0) == jv.log_variance.std(1.0)
    assert tiny(parameterization="direct_std", constraint="projection").model.head.raw_min == np.float32(1e-4)
