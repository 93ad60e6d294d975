import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.likelihoods import (
    Bernoulli,
    Categorical,
    Columns,
    Group,
    LearnedGaussian,
    NegativeBinomial,
    Ordinal,
    PixelGaussian,
)

TABLE = Columns(
    (
        Group(NegativeBinomial(), (3, 0)),
        Group(Bernoulli(), (1,), weight=2.5),
        Group(PixelGaussian(), (2,)),
        Group(Categorical(3), (4,)),
    )
)
X = jnp.float32([[2, 1, -0.3, 7, 0.5], [0, 0, 1.4, 1, 1]])
RAW = ({"dispersion": jnp.float32([0.3, -1])}, None, None, None)


def outputs():
    noise = np.random.default_rng(0).normal(size=(2, TABLE.output_channels(5)))
    return jnp.float32(TABLE.output_bias(5) + 0.5 * noise)


@pytest.mark.slow
def test_each_column_is_scored_by_its_own():
    o, size = outputs(), jnp.float32([[0.5], [1]])
    got = jax.jit(TABLE.log_prob)(o, X, RAW, size)
    counts = NegativeBinomial().log_prob(o[:, :2], X[:, [3, 0]], RAW[0], size)
    wanted = {
        (3, 0): counts,
        (1,): 2.5 * Bernoulli().log_prob(o[:, 2:3], X[:, 1:2]),
        (2,): PixelGaussian().log_prob(o[:, 3:5], X[:, 2:3]),
        (4,): Categorical(3).log_prob(o[:, 5:], X[:, 4:]),
    }
    for columns, want in wanted.items():
        np.testing.assert_allclose(got[:, list(columns)], want, rtol=1e-6)
    mean, draw = TABLE.mean(o, RAW, size), TABLE.sample(jax.random.key(0), o, RAW, size)
    assert mean.shape == draw.shape == X.shape
    np.testing.assert_allclose(mean[:, [3, 0]], NegativeBinomial().mean(o[:, :2], RAW[0], size), rtol=1e-6)
    assert np.isin(draw[:, 1], [0, 1]).all()


def test_what_the_groups_learn_starts_and_flows():
    start = TABLE.raw_start(5)
    assert start[1:] == (None, None, None)
    assert start[0]["dispersion"].shape == (2,)
    slopes = jax.jit(jax.grad(lambda r: TABLE.log_prob(outputs(), X, r).sum()))(RAW)
    assert np.all(np.isfinite(slopes[0]["dispersion"]))
    assert Columns((Group(Bernoulli(), (0,)),)).raw_start(1) is None
    assert Columns((Group(LearnedGaussian(), (0,)),)).raw_start(1) == (LearnedGaussian().raw_init,)


@pytest.mark.slow
def test_samples_of_outputs_broadcast_against_the_data():
    many = jnp.broadcast_to(outputs(), (3, *outputs().shape))
    np.testing.assert_allclose(TABLE.log_prob(many, X, RAW)[1], TABLE.log_prob(outputs(), X, RAW), rtol=1e-6)


def test_outputs_at_a_mean():
    mean = np.float32([[4, 0.2, 0, 9, 0]])
    found = TABLE.mean(TABLE.outputs_at(mean), RAW)
    np.testing.assert_allclose(found[0, [0, 1, 3]], mean[0, [0, 1, 3]], rtol=1e-5)


@pytest.mark.slow
def test_codes_are_levels_themselves():
    """As under the likelihoods of levels in [0, 1]; and an encoder sees those without order one-hot."""
    coded = Columns((Group(Ordinal(5), (0,), coded=True), Group(Categorical(3), (2, 1), coded=True)))
    plain = Columns((Group(Ordinal(5), (0,)), Group(Categorical(3), (2, 1))))
    x = jnp.float32([[4, 0, 2], [1, 1, 0]])
    o = jnp.float32(np.random.default_rng(0).normal(size=(2, coded.output_channels(3))))
    raw, scale = coded.raw_start(3), jnp.float32([[4, 2, 2]])
    np.testing.assert_allclose(coded.log_prob(o, x, raw), plain.log_prob(o, x / scale, raw), rtol=1e-6)
    seen = [[1, 0, 0, 1, 1, 0, 0], [0.25, 1, 0, 0, 0, 1, 0]]
    np.testing.assert_array_equal(coded.encoder_input(x), seen)
    logits = np.asarray(o)[:, 1:].reshape(2, 2, 3)
    mean = coded.mean(o, raw)
    np.testing.assert_array_equal(mean[:, [2, 1]], logits.argmax(axis=-1))
    np.testing.assert_allclose(mean[:, 0], 4 * plain.mean(o, raw)[:, 0], rtol=1e-6)
    drawn = coded.sample(jax.random.key(0), jnp.broadcast_to(o, (200, *o.shape)), raw)
    assert [sorted(set(np.ravel(drawn[..., i]).tolist())) for i in range(3)] == [[*range(5)], [0, 1, 2], [0, 1, 2]]


def test_a_missing_category_is_none_of_them_to_the_encoder():
    kind = Columns((Group(Categorical(3), (0,), coded=True), Group(NegativeBinomial(), (1,))))
    seen = kind.encoder_input(jnp.asarray([[2.0, jnp.nan], [jnp.nan, 0.0]]))
    np.testing.assert_array_equal(seen, [[0, 0, 1, np.nan], [np.nan, np.nan, np.nan, 0]])


def test_a_product_is_static_and_knows_its_kind():
    assert hash(TABLE) == hash(Columns(TABLE.groups))
    assert not TABLE.discrete
    assert TABLE.sized
    assert Columns((Group(Bernoulli(), [0]),)).discrete


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Group(Bernoulli(), (0,), coded=True), "Group.coded must be False for a likelihood without levels"),
        (lambda: Group("bernoulli", (0,)), "Group.likelihood must be a Likelihood, got 'bernoulli'"),
        (lambda: Group(Bernoulli(), ()), r"Group.columns must be different numbers, got \(\)"),
        (lambda: Group(Bernoulli(), (0,), -1), "Group.weight must be finite and at least 0, got -1"),
        (lambda: Columns((Group(Bernoulli(), (0, 2)),)), r"Columns.groups must be each column from 0 to C - 1 once"),
        (lambda: TABLE.output_channels(4), "channels must be 5, the columns of the groups, got 4"),
        (lambda: TABLE.log_prob(outputs(), X[:, :4], RAW), "channels must be 5, the columns of the groups, got 4"),
        (lambda: TABLE.mean(outputs()[:, :3], RAW), r"outputs.shape must be \(..., 8\), got \(2, 3\)"),
        (lambda: TABLE.mean(outputs(), 3.0), "raw must be a tuple of 4, one for each group, got 3.0"),
        (lambda: Columns((Group(Bernoulli(), (0,)),)).mean(jnp.zeros((1, 1)), None, 1.0), "log_size must be None"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
