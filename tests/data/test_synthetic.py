import numpy as np
import pytest
from scipy import stats

from jaxvae import PARAMETERIZATIONS
from jaxvae.data import describe
from jaxvae.data.synthetic import (
    LinearGaussian,
    heteroscedastic_toy,
    linear_gaussian,
    probabilistic_pca,
    true_linear_gaussian,
)

PIXELS = [-0.4552119970321655, -0.7729576230049133, -0.9879229664802551, 0.09790816903114319]
OUTPUTS = [4.565986633300781, -5.423084259033203]


def rows(split):
    return split.images.reshape(len(split), -1).astype(np.float64)


def model(dimensions=5, latents=2, seed=0):
    """One whose weights aren't orthogonal."""
    rng = np.random.default_rng(seed)
    return LinearGaussian(rng.normal(size=dimensions), rng.normal(size=(dimensions, latents)), 0.7)


def covariance(model):
    return model.weights @ model.weights.T + model.variance * np.eye(len(model.mean))


def within_chi_square(total, degrees):
    """4 standard deviations about the mean, on either side."""
    return abs(total - degrees) < 4 * np.sqrt(2 * degrees)


def test_the_dataset():
    data = linear_gaussian()
    want = "linear-gaussian: 2,000 train, 1,000 test images of 4x4x1, continuous, no labels"
    assert describe(data) == want
    assert data.train.images.min() < 0
    assert data.train.images.max() > 1
    assert describe(linear_gaussian(train=7, test=3)).startswith("linear-gaussian: 7 train, 3 test images of 4x4x1")


@pytest.mark.parametrize("split", ["train", "test"])
def test_draws_have_the_truth_as_mean_and_covariance(split):
    x, truth = rows(linear_gaussian().splits[split]), true_linear_gaussian()
    count, size = x.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance(truth)), (x - truth.mean).T).T
    assert within_chi_square(count * np.sum(white.mean(axis=0) ** 2), size)
    # Each square has variance 2/N about 1, each product of two coordinates 1/N about 0.
    excess = white.T @ white / count - np.eye(size)
    assert within_chi_square(count / 2 * np.sum(excess**2), size * (size + 1) / 2)
    assert stats.kstest(white.ravel(), "norm").pvalue > 1e-3


def test_draws_are_the_same_everywhere_and_others_for_other_seeds_and_splits():
    data = linear_gaussian()
    np.testing.assert_allclose(data.train.images[0, 0, :, 0], PIXELS, rtol=2**-22)
    np.testing.assert_allclose(heteroscedastic_toy(2, 0).y, OUTPUTS, rtol=2**-22)
    np.testing.assert_array_equal(linear_gaussian().test.images, data.test.images)
    for x in (data.test.images, linear_gaussian(seed=1).train.images):
        assert np.isin(x, data.train.images).mean() < 0.01  # some 2^24 numbers are likely
    np.testing.assert_array_equal(rows(linear_gaussian(test=3).test), rows(linear_gaussian(train=5, test=3).test))


def test_the_truth_can_be_expressed_and_learned():
    truth = true_linear_gaussian()
    lengths = np.linalg.norm(truth.weights, axis=0)
    np.testing.assert_allclose(truth.weights.T @ truth.weights, np.diag(lengths**2), atol=1e-15)
    std = np.sqrt(np.diag(truth.posterior(np.zeros((1, 16))).covariance))
    for p in PARAMETERIZATIONS.values():
        assert (p.std_range.low < 0.9 * std).all()
        assert (p.std_range.high > 1.1 * std).all()
    # An eigenvalue's standard error is √(2/N) of it (Anderson 1963).
    values = lengths**2 + truth.variance
    assert (values[:-1] / values[1:] > 1 + 4 * np.sqrt(2) * np.sqrt(2 / 2000)).all()


def test_the_likelihood_is_that_of_a_multivariate_normal():
    for one in (model(), true_linear_gaussian()):
        x = np.random.default_rng(1).normal(size=(20, len(one.mean)))
        want = stats.multivariate_normal(one.mean, covariance(one)).logpdf(x)
        np.testing.assert_allclose(one.log_likelihood(x), want, rtol=1e-12)


def test_the_posterior_is_that_of_the_joint_normal():
    one = model()
    x = np.random.default_rng(1).normal(size=(20, 5))
    gain = one.weights.T @ np.linalg.inv(covariance(one))
    got = one.posterior(x)
    np.testing.assert_allclose(got.mean, (x - one.mean) @ gain.T, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(got.covariance, np.eye(2) - gain @ one.weights, rtol=1e-11, atol=1e-13)


def test_data_of_the_exact_covariance_give_the_model_back():
    one = model()
    x = np.random.default_rng(2).normal(size=(40, 5))
    x -= x.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(x.T @ x / 40), x.T).T
    fit = probabilistic_pca(white @ np.linalg.cholesky(covariance(one)).T + one.mean, 2)
    np.testing.assert_allclose(fit.mean, one.mean, rtol=1e-12)
    assert fit.variance == pytest.approx(one.variance, rel=1e-12)
    np.testing.assert_allclose(fit.weights @ fit.weights.T, one.weights @ one.weights.T, rtol=1e-11, atol=1e-12)


def test_no_model_nearby_is_more_likely():
    x, rng = rows(linear_gaussian().train), np.random.default_rng(3)
    fit = probabilistic_pca(x, 4)
    best = fit.log_likelihood(x).mean()
    assert best > true_linear_gaussian().log_likelihood(x).mean()
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(10):
            d_mean, d_weights, d_log = rng.normal(size=16), rng.normal(size=(16, 4)), rng.normal()
            for h in (-size, size):  # were the slope not 0, one of them would be better
                for parts in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)):
                    m, w, v = (h * on for on in parts)
                    other = LinearGaussian(
                        fit.mean + m * d_mean, fit.weights + w * d_weights, fit.variance * np.exp(v * d_log)
                    )
                    assert other.log_likelihood(x).mean() < best


def test_a_rotation_of_the_latents_is_as_likely():
    x = rows(linear_gaussian().train)
    fit = probabilistic_pca(x, 4)
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(4, 4))).Q
    turned = fit._replace(weights=fit.weights @ rotation)
    np.testing.assert_allclose(turned.log_likelihood(x), fit.log_likelihood(x), rtol=1e-12)


def test_the_best_fit_has_a_diagonal_posterior_and_is_near_the_truth():
    x, truth = rows(linear_gaussian().train), true_linear_gaussian()
    fit = probabilistic_pca(linear_gaussian().train.images.reshape(2000, 16), 4)
    posterior = fit.posterior(x).covariance
    np.testing.assert_allclose(posterior, np.diag(np.diag(posterior)), atol=1e-15)
    # 4 standard errors (Anderson 1963): of an eigenvalue √(2/N) of it, of σ², which 12 of them share, √(2/12N).
    values = np.sum(fit.weights**2, axis=0) + fit.variance
    np.testing.assert_allclose(values, np.sum(truth.weights**2, axis=0) + truth.variance, rtol=4 * np.sqrt(2 / 2000))
    assert fit.variance == pytest.approx(truth.variance, rel=4 * np.sqrt(2 / (12 * 2000)))
    # Wilks: twice what the fit gains over the truth is chi square, of 16 means, 4 x 16 - 6 weights and σ².
    assert within_chi_square(2 * np.sum(fit.log_likelihood(x) - truth.log_likelihood(x)), 16 + 58 + 1)
    rest = rows(linear_gaussian().test)
    assert fit.log_likelihood(rest).mean() < truth.log_likelihood(rest).mean()


@pytest.mark.parametrize("latents", [0, 5])
def test_refused_numbers_of_latents(latents):
    with pytest.raises(ValueError, match=rf"^latents must be 1 to 4 for x of shape \(9, 5\), got {latents}$"):
        probabilistic_pca(np.ones((9, 5)), latents)


def test_refused_data():
    with pytest.raises(ValueError, match=r"latents must be 1 to 2 for x of shape \(4, 5\)"):
        probabilistic_pca(np.ones((4, 5)), 3)
    with pytest.raises(ValueError, match=r"x.shape must be \(N, D\), got \(3, 4, 4, 1\)"):
        probabilistic_pca(np.ones((3, 4, 4, 1)), 2)
    for draw in (lambda seed: linear_gaussian(seed=seed), lambda seed: heteroscedastic_toy(3, seed)):
        with pytest.raises(ValueError, match=r"seed must be at least 0 and below 2\*\*64, got -1"):
            draw(-1)
    with pytest.raises(ValueError, match="not empty"):
        linear_gaussian(test=0)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        heteroscedastic_toy(0, 0)


def test_the_toy_is_what_it_says():
    toy = heteroscedastic_toy(4000, seed=0)
    assert all(column.shape == (4000,) and column.dtype == np.float32 for column in toy)
    x, y, mean, std = map(np.float64, toy)
    assert stats.kstest(x / 10, "uniform").pvalue > 1e-3
    np.testing.assert_allclose(mean, x * np.sin(x), atol=1e-5)
    np.testing.assert_allclose(std, 0.3 * np.hypot(1, x), rtol=1e-6)
    noise = (y - mean) / std
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    parts = noise[np.argsort(x)].reshape(20, 200)  # at every x
    assert within_chi_square(200 * np.sum(parts.mean(axis=1) ** 2), 20)
    assert within_chi_square(np.sum((np.sum(parts**2, axis=1) - 200) ** 2 / 400), 20)
    assert np.isin(heteroscedastic_toy(100, seed=1).x, toy.x).mean() < 0.01
