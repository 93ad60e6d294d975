"""What is broken on purpose is found and named; what isn't, isn't."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae as jv
from jaxvae.diagnosis import STATES, posterior
from jaxvae.diagnosis.criteria import DIGITS, IDLE, PRESENT

N = 40
EPS = float(np.finfo(np.float32).eps)
LOC = np.random.default_rng(0).normal(size=N).astype(np.float32)


class Rooted(jv.Transform):
    """1 + |r|, by a root that has no slope at 0: seen in user code."""

    range = jv.Interval(1, math.inf, closed=True)

    def forward(self, raw):
        return 1 + jnp.sqrt(jnp.square(raw))

    def inverse(self, value):
        return value - 1


ROOTED = jv.Parameterization("std", Rooted())

# A raw at which each is healthy.
HEALTHY = {
    jv.log_variance: -3.8,
    jv.log_std: -1.9,
    jv.softplus_std: -1.8,
    jv.direct_std: 0.15,
    jv.square_std: 0.4,
    jv.diffusers_log_variance: -3.8,
    jv.nvae_log_std: -2.0,
    jv.scvi_variance: -3.8,
    jv.sigmoid_std: -1.7,
    jv.dreamer_v2_std: -5.0,
    ROOTED: 2.0,
}

# What breaks: parameterization, raw, dtype, and all states that this is in.
FAILURES = {
    "the network's output is NaN": (jv.log_variance, math.nan, "float32", ["not finite"]),
    "log-variance of 90": (jv.log_variance, 90, "float32", ["infinite KL", "steep", "overflow", "constant"]),
    "log-variance of -90": (jv.log_variance, -90, "float32", ["underflow", "noise lost"]),
    "log-variance of -180": (jv.log_variance, -180, "float32", ["underflow", "noise lost"]),
    "log-variance of -3000": (jv.log_variance, -3000, "float32", ["underflow", "noise lost"]),
    "exp-std of -90": (jv.log_std, -90, "float32", ["underflow", "noise lost"]),
    "exp-std of 89": (jv.log_std, 89, "float32", ["infinite KL", "steep", "overflow", "constant"]),
    "softplus of -104": (jv.softplus_std, -104, "float32", ["underflow", "noise lost"]),
    "softplus through exp(95)": (jv.softplus_std, 95, "float32", ["exp overflow", "constant"]),
    "softplus of 150": (jv.softplus_std, 150, "float32", ["saturated", "steep", "exp overflow", "constant"]),
    "softplus in float16": (jv.softplus_std, 12, "float16", ["exp overflow", "constant"]),
    "σ of negative sign": (jv.direct_std, -1, "float32", ["σ not positive"]),
    "σ of 0": (jv.square_std, 0, "float32", ["σ not positive"]),
    "σ near 0 without a transform": (jv.direct_std, 1e-3, "float32", ["steep"]),
    "below a hard clip": (jv.diffusers_log_variance, -31, "float32", ["zero gradient", "at the floor"]),
    "above a hard clip": (
        jv.diffusers_log_variance, 21, "float32", ["zero gradient", "at the ceiling", "constant"],
    ),
    "a KL of inf in float16": (jv.diffusers_log_variance, 12, "float16", ["steep", "overflow", "constant"]),
    "σ² in float16": (jv.log_variance, -11, "float16", ["underflow"]),
    "noise in bfloat16": (jv.log_variance, -12, "bfloat16", ["noise lost"]),
    "a tanh's plateau": (jv.nvae_log_std, -30, "float32", ["saturated", "at the floor"]),
    "a tanh's steep end": (jv.nvae_log_std, 10, "float32", ["steep", "constant"]),
    "a floor": (jv.scvi_variance, -30, "float32", ["saturated", "at the floor"]),
    "a sigmoid's end": (jv.sigmoid_std, 12, "float32", ["saturated", "at the ceiling"]),
    "a sigmoid's far end": (jv.dreamer_v2_std, -160, "float32", ["saturated", "at the floor"]),
    "a sigmoid through exp(100)": (
        jv.dreamer_v2_std, -200, "float32", ["zero gradient", "at the floor", "exp overflow"],
    ),
    "a root at 0": (ROOTED, 0, "float32", ["gradient not finite", "at the floor"]),
}  # fmt: skip


def names(found, level: str | None = None) -> list[str]:
    return [f.name for f in found.findings if level in (None, f.level)]


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_is_named(failure):
    p, raw, dtype, expected = FAILURES[failure]
    raws = np.float32([[HEALTHY[p], raw]] * N)
    found = jv.diagnose(jv.Gaussian(np.stack([LOC, LOC], axis=1), raws, p), dtype=dtype)
    assert found.states == ((), tuple(expected))
    assert not found.healthy
    assert all(f.latents == (1,) and 0.3 < f.share <= 0.5 for f in found.findings)
    assert not [f for f in found.findings if "{" in f.explanation]


def gaussian(loc, raw, p=jv.log_variance) -> jv.Gaussian:
    return jv.Gaussian(np.asarray(loc, np.float32), np.asarray(raw, np.float32), p)


def test_every_state_of_a_posterior_can_be_found():
    of_runs = {
        "vanishing KL", "no finite update", "skipped updates", "divergence", "exploding gradient", "overfitting",
        "unfinished",
    }  # fmt: skip
    here = {"negative KL", "posterior collapse", "collapsed", "lost digits"}
    assert set(STATES) == of_runs | here | {name for *_, expected in FAILURES.values() for name in expected}


def test_collapse_is_an_error_only_of_all():
    raw = np.zeros((N, 2))
    found = jv.diagnose(gaussian(0.01 * np.stack([LOC, LOC], axis=1), raw))
    assert names(found, "error") == ["posterior collapse"]
    assert "collapsed" not in names(found)
    used = jv.diagnose(gaussian(np.stack([LOC, 0.01 * LOC], axis=1), raw))
    assert used.healthy
    assert ("collapsed", (1,)) in [(f.name, f.latents) for f in used.findings]


def test_idle_means_kl_and_variance_below_a_hundredth():
    """KL(N(0, e^t) ‖ N(0, 1)) = (e^t - 1 - t)/2 is 0.0096 at t = 0.19 and 0.0107 at 0.2."""
    swing = 0.11 * np.sign(np.arange(N) - N / 2 + 0.5)  # a variance of 0.0121, and a KL of 0.006
    found = jv.diagnose(gaussian(np.stack([0 * LOC, 0 * LOC, swing], axis=1), np.tile([0.19, 0.2, 0.0], (N, 1))))
    assert found.kl[0] < IDLE < found.kl[1]
    assert found.kl[2] < IDLE < found.mean_variance[2]
    assert found.states == (("collapsed",), (), ())


def test_one_example_tells_nothing_of_collapse():
    assert jv.diagnose(gaussian([0.0, 1.0], [0.0, 0.0])).findings == ()
    assert jv.diagnose(gaussian(0.0, -1.0)).kl == pytest.approx(math.exp(-1) / 2)


def test_what_a_latent_tells_is_that_of_a_gaussian_of_the_same_moments():
    loc = np.tile([[-1.0, 3.0], [1.0, 3.0]], (N // 2, 1))
    found = jv.diagnose(gaussian(loc, np.full((N, 2), -2.0)))
    np.testing.assert_allclose(found.information, [math.log1p(math.exp(2)) / 2, 0], atol=1e-7)
    assert (found.information <= found.kl).all()
    assert found.states == ((), ("constant",))


def test_all_axes_but_the_last_are_examples():
    rng = np.random.default_rng(1)
    loc, raw = rng.normal(size=(4, 10, 2)), rng.normal(size=(10, 1))
    found = jv.diagnose(gaussian(loc, raw))
    flat = jv.diagnose(gaussian(loc.reshape(N, 2), np.broadcast_to(raw, loc.shape).reshape(N, 2)))
    assert found.examples == flat.examples == N
    np.testing.assert_allclose(found.kl, flat.kl, rtol=4 * EPS)  # of two programs
    np.testing.assert_allclose(found.log_std, flat.log_std, rtol=4 * EPS)


def test_errors_count_from_the_first_example_on_others_from_a_hundredth():
    count = int(2 / PRESENT)
    raw = np.full((count, 2), -3.8)
    raw[0], raw[1, 1] = (math.nan, -40), -40
    found = jv.diagnose(gaussian(np.random.default_rng(2).normal(size=(count, 2)), raw, jv.diffusers_log_variance))
    assert found.states == (("not finite",), ("zero gradient", "at the floor"))
    assert found.shares["not finite"][0] == 1 / count
    assert found.log_std[2] == pytest.approx([-1.9, -1.9])  # those that are numbers
    raw[1, 1] = -3.8
    found = jv.diagnose(gaussian(np.zeros((count, 2)), raw, jv.diffusers_log_variance))
    assert found.shares["zero gradient"][1] == 1 / count
    assert "zero gradient" not in names(found)


def usual_kl(mean: np.ndarray, log_std: np.ndarray, dtype: str) -> np.ndarray:
    """-½ (1 + log σ² - mean² - σ²) as it is written by hand, each number rounded to the dtype."""
    kind = jnp.dtype(dtype)
    mean, log_variance = mean.astype(kind), (2 * log_std).astype(kind)
    one, half = kind.type(1), kind.type(-0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        return (half * (one + log_variance - mean * mean - np.exp(log_variance))).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_usual_kl_is_lost_where_it_is_said_to_be(dtype):
    limits = jnp.finfo(dtype)
    edge = math.log(float(limits.max)) / 2
    log_std = edge + np.float32([-0.1, -0.05, 0.05, 0.1])  # the log is stored to ±0.03 in bfloat16
    found = jv.diagnose(gaussian(np.zeros((1, 4)), 2 * log_std[None]), dtype=dtype)
    overflows = ["overflow" in states for states in found.states]
    assert overflows == [False, False, True, True]
    if dtype != "bfloat16":
        assert (~np.isfinite(usual_kl(np.zeros(4), log_std, dtype))).tolist() == overflows

    rng, size = np.random.default_rng(3), math.sqrt(DIGITS * float(limits.eps))
    mean, log_variance = (rng.uniform(0, 2 * size, 4000).astype(jnp.dtype(dtype)).astype(np.float64) for _ in range(2))
    true = (np.expm1(log_variance) - log_variance + mean**2) / 2
    error = np.abs(usual_kl(mean, log_variance / 2, dtype) / true - 1)
    lost = true < DIGITS * float(limits.eps)
    assert error[~lost].max() < 0.01 + float(limits.eps)  # and its last rounding
    assert error[lost].max() > 0.01


def test_samples_are_the_mean_where_noise_is_lost():
    loc, raw = jnp.bfloat16([3, 3, 0.1]), jnp.bfloat16([-12, -2, -12])
    found = jv.diagnose(jv.Gaussian(loc, raw))
    assert found.states == (("noise lost",), (), ())
    z = jv.reparameterize(jv.Gaussian(loc, raw), np.float32([1, 1, 1]))
    assert (z == loc).tolist() == [True, False, False]


def test_the_dtype_is_that_of_raw():
    assert jv.diagnose(jv.Gaussian(jnp.float32(0), jnp.bfloat16(-1))).dtype == "bfloat16"


def test_means_overflow_too():
    """300² is beyond float16, 200² isn't."""
    found = jv.diagnose(gaussian([[300.0, 200.0, 50.0, 2.0]], np.zeros((1, 4))), dtype="float16")
    assert found.states == (("steep", "overflow"), ("steep",), (), ())


def test_a_kl_that_is_given_may_be_negative():
    loc, raw = np.stack([LOC, LOC], axis=1), np.full((N, 2), -3.8)
    kl = np.stack([np.full(N, -6e-8), np.full(N, 1.0)], axis=1)
    found = jv.diagnose(gaussian(loc, raw), kl=kl)
    assert found.states[0] == ("negative KL",)
    np.testing.assert_allclose(found.kl, [-6e-8, 1])
    noise = (LOC - LOC.mean()) / LOC.std() * math.sqrt(N)  # whose standard error is 1
    found = jv.diagnose(gaussian(loc, raw), kl=np.stack([noise - 3.5, noise - 4.5], axis=1))
    assert ["negative KL" in states for states in found.states] == [False, True]


def test_near_the_prior_digits_are_lost():
    """Below 100 ε = 1.19e-5, as L²/4 is at 0.0068 and not at 0.007; exactly at the prior, there are none to lose."""
    found = jv.diagnose(gaussian(np.zeros((1, 4)), [[1e-4, 0.0, 0.0068, 0.007]]))
    assert found.states == (("lost digits",), (), ("lost digits",), ())
    assert found.kl[0] == pytest.approx(2.49996e-9)


def test_natural_parameters_are_judged_by_their_mean():
    found = jv.diagnose(gaussian(np.float32([[0.0, 30.0]]), [[0.0, -3.0]], jv.natural_exp))
    assert found.states == ((), ("steep",))  # a mean of 30 e³


def test_text_and_json_are_whole():
    raw = np.tile([-2.0, -90.0, math.nan], (N, 1))
    found = jv.diagnose(gaussian(np.tile(LOC[:, None], 3), raw))
    text = str(found)
    assert text.splitlines()[0] == "log_variance in float32, 3 latents, 40 examples: KL nan nats"
    assert "error    not finite: z2, 33.3 %" in text
    assert "warning  underflow: z1, 33.3 %" in text
    assert max(map(len, text.splitlines())) <= 100
    assert not text.endswith("healthy")
    rows = found.table().splitlines()[1:]
    assert sorted(row.split()[0] for row in rows) == ["z0", "z1", "z2"]
    assert rows[0].split()[0] == "z1"
    assert rows[0].endswith("underflow, noise lost")
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert stored["kl"][2] is None
    assert stored["kl"][0] == pytest.approx(float(found.kl[0]))
    assert [f["name"] for f in stored["findings"]] == names(found)
    assert stored["shares"]["underflow"] == [0, 1, 0]
    assert str(jv.diagnose(gaussian([[0.0]], [[-1.0]]))).endswith("\nhealthy")
    unused = str(jv.diagnose(gaussian(np.tile(LOC[:, None], 2) * [1, 0], np.tile([-2.0, 0.0], (N, 1)))))
    assert "note     collapsed: z1" in unused
    assert unused.endswith("\nno errors, no warnings")
    assert posterior._named((0, 3, 4, 5), 9) == "z0, z3-z5"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: jv.diagnose(3), TypeError, "q must be a Gaussian, got a int"),
        (lambda: jv.diagnose(gaussian(np.zeros((0, 2)), 0.0)), ValueError, r"q.shape must be .* got \(0, 2\)"),
        (lambda: jv.diagnose(gaussian([0.0], 0.0), dtype="int8"), ValueError, "dtype must be one of .* got 'int8'"),
        (lambda: jv.diagnose(gaussian([0.0], 0.0), dtype="flot"), ValueError, "dtype must be one of float16, bfloat16"),
        (lambda: jv.diagnose(gaussian([0.0], 0.0), kl=1.0), ValueError, r"kl.shape must be \(1,\), as of q, got \(\)"),
    ],
)
def test_bad_arguments_are_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
