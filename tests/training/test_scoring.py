import itertools

import jax
import jax.numpy as jnp
import linear
import numpy as np
import pytest
import quick
from representatives import each

import jaxvae as jv
from jaxvae.data import Split
from jaxvae.likelihoods import Bernoulli, Categorical
from jaxvae.models import Condition, make_model
from jaxvae.training import scoring
from jaxvae.training.scoring import LogEvidence, Posterior, gaussians, log_evidence, mean_squared_error, posterior


def test_the_gaussians_of_every_image_of_a_split_count_once():
    split = linear.images(2 * 200 + 19)
    q, kl = gaussians(linear.task(split), quick.key(0))
    mean, variance = linear.posterior_mean(linear.pixels(split)), linear.VARIANCE
    # About ten float32 roundings of numbers that are at most ten times as large as the results' scale.
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(q.mean, mean, **close)
    np.testing.assert_allclose(q.std, np.broadcast_to(np.sqrt(variance), mean.shape), **close)
    np.testing.assert_allclose(kl, (variance - 1 - np.log(variance) + mean**2) / 2, **close)


@pytest.mark.parametrize(("batch_size", "devices"), [(200, 1), (4, 1), (200, 8), (16, 8)])
def test_every_image_of_a_split_counts_once(batch_size, devices):
    split = linear.images(19)
    silent = linear.params(w=0 * linear.W)  # so that log p(x|z) doesn't depend on the draw
    terms = posterior(linear.task(split, silent, devices), quick.key(0), batch_size)
    x = linear.pixels(split)
    mean, variance = linear.posterior_mean(x), linear.VARIANCE
    # About ten float32 roundings of numbers that are at most ten times as large as the results' scale.
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(terms.mean, mean, **close)
    np.testing.assert_allclose(terms.std, np.broadcast_to(np.sqrt(variance), mean.shape), **close)
    np.testing.assert_allclose(terms.kl, (variance - 1 - np.log(variance) + mean**2) / 2, **close)
    residual = (x - linear.BIAS) / linear.STD
    want = -np.sum(residual**2 / 2 + np.log(linear.STD) + np.log(2 * np.pi) / 2, axis=1)
    np.testing.assert_allclose(terms.log_likelihood, want, **close)


@pytest.mark.slow
def test_labels_stay_with_their_images():
    images = linear.images(11).images
    labels = np.arange(11, dtype=np.int32) % 3
    model = make_model(linear.SHAPE, Bernoulli(), 2, hidden=(3,), conditions=(Condition(3),))
    params = jax.jit(model.init)(quick.key(0), jnp.zeros((1, *linear.SHAPE)), quick.key(0), jnp.zeros((1, 1)))
    task = linear.task(Split(images, labels))._replace(model=model, params=params)
    terms = posterior(task, quick.key(0), batch_size=4)
    q = model.apply(params, images / np.float32(255), labels[:, None], method="encode")
    np.testing.assert_allclose(terms.mean, q.mean, rtol=1e-5, atol=1e-6)
    assert log_evidence(task, quick.key(0), 2, batch_size=4).value.shape == (11,)


def test_active_units_and_the_summary():
    rng = np.random.default_rng(0)
    mean = np.float32(rng.normal(size=(50, 3)) * [1.0, 0.2, 0.05])
    assert (np.var(mean, axis=0) > 0.01).tolist() == [True, True, False]
    kl = np.float32(rng.random((50, 3)) * [1.0, 5.0, 0.1])
    log_likelihood = np.float32(-100 * rng.random(50))
    terms = Posterior(log_likelihood, kl, mean, np.ones_like(mean))
    assert terms.active.tolist() == [True, True, False]
    assert terms.order.tolist() == [1, 0, 2]
    assert terms.summary() == pytest.approx(
        {
            "elbo": (log_likelihood - kl.sum(axis=1)).mean(dtype=np.float64),
            "log_likelihood": log_likelihood.mean(dtype=np.float64),
            "kl": kl.sum(axis=1).mean(dtype=np.float64),
            "active_units": 2,
        },
        rel=1e-6,
    )


def test_means_of_large_splits_do_not_lose_digits():
    log_likelihood = np.full(10**6, -100.1, np.float32)
    log_likelihood[0] = 0
    summary = LogEvidence(log_likelihood, np.zeros_like(log_likelihood)).summary()
    assert summary["nll"] == pytest.approx(float(np.float32(100.1)) * (1 - 1e-6), rel=1e-9)


@pytest.mark.parametrize("samples", each((1, 7, 1000), kept=(7,)))
def test_with_the_exact_posterior_every_weight_is_the_evidence(samples, monkeypatch):
    monkeypatch.setattr(scoring, "_CHUNK", 300 * 8 * 4)  # 1,000 samples in four chunks, the last a part of one
    split = linear.images(11)
    estimate = log_evidence(linear.task(split), quick.key(1), samples, batch_size=8)
    # log w is a sum of about 20 terms of at most some tens of nats, each rounded to 6e-8 of itself.
    np.testing.assert_allclose(estimate.value, linear.log_evidence(linear.pixels(split)), rtol=0, atol=1e-4)
    assert np.isnan(estimate.error).all() if samples == 1 else (estimate.error <= np.sqrt(2e-4 / (samples - 1))).all()


@pytest.mark.slow
def test_more_samples_give_a_higher_bound_that_stays_below_the_evidence():
    split = linear.images(200)
    task = linear.task(split, linear.params(widen=2, shift=0.3))
    values = [log_evidence(task, quick.key(k), k).value.astype(np.float64) for k in (1, 5, 50)]
    values.append(linear.log_evidence(linear.pixels(split)))
    for fewer, more in itertools.pairwise(values[:-1]):
        gain = more - fewer
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))
    rest = values[-1] - values[-2]
    assert -3 * rest.std() / np.sqrt(len(rest)) < rest.mean() < 0.2


def by_hand(task, key, shapes):
    """log p(x|z) p(z) / q(z|x) of samples drawn as the chunks draw them, in float64, (K, N)."""
    x = linear.pixels(task.split)
    q = task.model.apply(task.params, np.float32(x).reshape(-1, *linear.SHAPE), method="encode")
    key, logs = jax.random.fold_in(key, 0), []
    for drawn, used, chunk in shapes:
        z = np.asarray(jv.sample(jax.random.fold_in(key, drawn), q, (chunk,)), np.float64)[:used]
        mean, std = np.asarray(q.mean, np.float64), np.asarray(q.std, np.float64)
        residual = (x - linear.BIAS - z @ linear.W.T) / linear.STD
        log_p = -np.sum(residual**2 + np.log(2 * np.pi * linear.STD**2), axis=-1) / 2 - np.sum(z**2, axis=-1) / 2
        logs.append(log_p + np.sum(((z - mean) / std) ** 2 / 2 + np.log(std), axis=-1))
    return np.concatenate(logs)


@pytest.mark.slow
def test_no_more_and_no_fewer_than_the_samples_asked_for_are_used(monkeypatch):
    monkeypatch.setattr(scoring, "_CHUNK", 7 * 5 * 4)  # seven samples of five images of four pixels
    task = linear.task(linear.images(5), linear.params(widen=1.5, shift=0.2))
    estimate = log_evidence(task, quick.key(3), 10, batch_size=5)
    log_w = by_hand(task, quick.key(3), [(0, 7, 7), (7, 3, 7)])
    w = np.exp(log_w - log_w.max(axis=0))
    np.testing.assert_allclose(estimate.value, np.log(w.mean(axis=0)) + log_w.max(axis=0), rtol=0, atol=1e-4)
    want = w.std(axis=0, ddof=1) / np.sqrt(10) / w.mean(axis=0)
    np.testing.assert_allclose(estimate.error, want, rtol=1e-3)


@pytest.mark.slow
def test_the_size_of_the_chunks_does_not_matter(monkeypatch):
    task = linear.task(linear.images(100), linear.params(widen=1.5, shift=0.2))
    whole = log_evidence(task, quick.key(4), 40, batch_size=100)
    monkeypatch.setattr(scoring, "_CHUNK", 7 * 100 * 4)
    parts = log_evidence(task, quick.key(4), 40, batch_size=100)
    assert (whole.value != parts.value).any()
    differences = (whole.value - parts.value) / np.hypot(whole.error, parts.error)
    assert abs(differences.mean()) < 4 / np.sqrt(100)
    assert 0.6 < differences.std() < 1.4


def test_the_stated_error_is_the_spread_over_keys():
    task = linear.task(linear.images(100), linear.params(widen=1.5, shift=0.2))
    runs = [log_evidence(task, quick.key(k), 100, batch_size=100) for k in range(20)]
    spread = np.var([run.value for run in runs], axis=0, ddof=1, dtype=np.float64).mean()
    stated = np.mean([np.square(run.error, dtype=np.float64) for run in runs])
    # 19 degrees of freedom for each of 100 images: a standard error of sqrt(2 / 1900) = 3 %, and heavier tails.
    assert stated == pytest.approx(spread, rel=0.15)
    total = np.var([run.summary()["nll"] for run in runs], ddof=1)
    assert runs[0].summary()["nll_monte_carlo_error"] ** 2 == pytest.approx(total, rel=4 * np.sqrt(2 / 19))


def test_the_summary_of_the_evidence():
    value, error = np.float32([-10, -12, -17]), np.float32([0.3, 0.4, 1.2])
    assert LogEvidence(value, error).summary() == pytest.approx(
        {"nll": 13.0, "nll_standard_error": np.sqrt(13 / 3), "nll_monte_carlo_error": 1.3 / 3}, rel=1e-6
    )
    assert np.isnan(LogEvidence(value[:1], error[:1]).summary()["nll_standard_error"])


def test_a_hundred_thousand_samples():
    split = linear.images(5)
    estimate = log_evidence(linear.task(split), quick.key(5), 100_000, batch_size=5)
    np.testing.assert_allclose(estimate.value, linear.log_evidence(linear.pixels(split)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(256)])
@pytest.mark.parametrize("samples", [1, 2000])
def test_the_decoder_outputs_in_flight_are_bounded(likelihood, samples, monkeypatch):
    seen = []

    def weigh(model, levels, chunk, params, batch, key, raw, samples, drawn, logs):
        seen.append((drawn, chunk * len(batch.images) * model.likelihood.output_channels(3) * 64))
        return np.zeros(10, np.float32), np.zeros(10, np.float32)

    monkeypatch.setattr(scoring, "batch_weights", weigh)
    monkeypatch.setattr(scoring, "temporaries", lambda *args: 0)
    task = linear.task(Split(np.zeros((10, 8, 8, 3), np.uint8), None))
    task = task._replace(model=task.model.clone(likelihood=likelihood))
    log_evidence(task, quick.key(0), samples, batch_size=10)
    assert all(outputs <= scoring._CHUNK for _, outputs in seen)
    if samples > 1:
        assert all(outputs > scoring._CHUNK / 2 for _, outputs in seen)


def test_mean_squared_error():
    split = linear.images(300)
    x, mean = linear.pixels(split), linear.posterior_mean(linear.pixels(split))
    silent = linear.task(split, linear.params(w=0 * linear.W), devices=8)
    assert mean_squared_error(silent, quick.key(0)) == pytest.approx(np.mean((x - linear.BIAS) ** 2), rel=1e-5)
    # Over the draws of z, the bias squared and the variance.
    noise = np.sum(linear.W**2 * linear.VARIANCE)
    want = np.sum((x - linear.BIAS - mean @ linear.W.T) ** 2, axis=1) + noise
    got = mean_squared_error(linear.task(split), quick.key(0))
    error = want.std() / np.sqrt(len(x)) / 4  # of the images' draws, which is no more than that of the images
    assert abs(got - want.mean() / 4) < 4 * error


@pytest.mark.slow
def test_what_goes_at_a_time_fits_in_memory(monkeypatch):
    asked = []

    def needed(size):
        asked.append(size)
        return 1000 * size + 500

    monkeypatch.setattr(scoring, "_TEMPORARIES", 20_000)
    assert scoring.most_that_fit(200, needed) == 19
    assert asked == [200, 19]
    assert scoring.most_that_fit(1, needed) == 1
    assert scoring.most_that_fit(5, lambda size: 10**9) == 1
    task = linear.task(linear.images(40))
    key = jax.random.key(0)  # the quick ones' draws depend on one another
    whole = posterior(task, key)
    monkeypatch.setattr(scoring, "_TEMPORARIES", 300)
    sizes = []
    run = scoring.batch_posterior
    spy = lambda *args: sizes.append(len(args[3].images)) or run(*args)  # noqa: E731
    spy.lower = run.lower
    monkeypatch.setattr(scoring, "batch_posterior", spy)
    again = posterior(task, key)
    assert max(sizes) < 40
    for a, b in zip(whole, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
