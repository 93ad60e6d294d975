import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest

import jaxvae as jv

RAW = jnp.asarray(np.concatenate([np.linspace(-40, 40, 81), [1e-3, -1e-3, 0.33]]), jnp.float32)
CLIPS = {
    jv.Affine(2.0, -1.0): lambda r: 2 * r - 1,
    jv.HardClip(-5.0, 3.0): lambda r: oracles.clip(r, -5, 3),
    jv.TanhClip(5.0): lambda r: 5 * mpmath.tanh(r / 5),
    jv.SoftClip(low=-6.0): lambda r: -6 + oracles.softplus(r + 6),
    jv.SoftClip(high=100.0): lambda r: 100 - oracles.softplus(100 - r),
    jv.SoftClip(-10.0, 0.5): oracles.pets,
}


@pytest.mark.parametrize("clip", CLIPS, ids=repr)
def test_clips_match_their_formulas(clip):
    got = np.asarray(jax.jit(clip.forward)(RAW), np.float64)
    want = np.array([float(CLIPS[clip](mpmath.mpf(float(r)))) for r in RAW])
    slope = np.asarray(jax.vmap(jax.grad(clip.forward))(RAW), np.float64)
    tolerance = 4 * np.maximum(np.spacing(np.abs(want.astype(np.float32))), slope * np.spacing(np.abs(np.asarray(RAW))))
    np.testing.assert_array_less(np.abs(got - want), tolerance + 1e-38 + 1e-7 * (want == 0))


@pytest.mark.parametrize("clip", [c for c in CLIPS if not isinstance(c, jv.HardClip)], ids=repr)
def test_slopes_of_smooth_clips_never_vanish(clip):
    slope = jax.vmap(jax.grad(clip.forward))(jnp.asarray([-30.0, -10.0, 0.0, 10.0, 30.0]))
    want = [float(mpmath.diff(CLIPS[clip], r, h=mpmath.mpf(10) ** -20)) for r in (-30, -10, 0, 10, 30)]
    np.testing.assert_allclose(slope, want, rtol=1e-5)
    assert jnp.all(slope > 0)


def test_the_slope_of_a_tanh_clip_far_outside():
    slope = jax.grad(jv.TanhClip(5.0).forward)(-30.0)
    np.testing.assert_allclose(slope, 4 * math.exp(-12), rtol=1e-4)


@pytest.mark.parametrize("clip", CLIPS, ids=repr)
def test_inverses(clip):
    with jax.enable_x64(True):
        raw = jnp.linspace(-4.9, 2.9, 41)
        np.testing.assert_allclose(clip.inverse(clip.forward(raw)), raw, rtol=1e-9, atol=1e-9)


def test_a_soft_clip_keeps_what_is_far_inside():
    assert jv.SoftClip(high=100.0).forward(jnp.float32(1e-3)) == jnp.float32(1e-3)


def test_ranges():
    assert jv.Chain(jv.HardClip(-30, 20), jv.Exp()).range == jv.Interval(math.exp(-30), math.exp(20), closed=True)
    low, high, closed = jv.Chain(jv.TanhClip(5), jv.Exp(), jv.Floor(1e-2)).range
    assert (low, high, closed) == (pytest.approx(math.exp(-5) + 1e-2), pytest.approx(math.exp(5) + 1e-2), False)
    assert jv.Chain(jv.Affine(0.5), jv.Sigmoid(0, 2), jv.Floor(0.1)).range[:2] == (0.1, 2.1)


def test_a_range_first_asked_for_inside_a_trace():
    for bound in (4.9, 4.8):  # chains that no other test has asked
        fresh = jv.Parameterization("std", jv.Chain(jv.TanhClip(bound), jv.Exp()))
        batched = jax.vmap(fresh.raw_from_log_std)
        raw = (batched if bound == 4.9 else jax.jit(batched))(jnp.asarray([0.0, 1.0]))
        np.testing.assert_allclose(raw, bound * np.arctanh(np.asarray([0.0, 1.0]) / bound), rtol=1e-5)


def test_a_std_rounded_to_a_closed_end_is_accepted():
    for i in range(1, 40):
        p = jv.Parameterization("std", jv.Chain(jv.HardClip(-0.37 * i, 0.21 * i), jv.Exp()))
        raw = p.raw_from_std(p.std(jnp.asarray([-100.0, 100.0])))
        np.testing.assert_allclose(raw, [-0.37 * i, 0.21 * i], rtol=1e-6, atol=1e-6)


def test_the_range_of_a_wide_soft_clip():
    assert jv.SoftClip(-1000.0, 0.0).range == jv.Interval(-1000, 0)


@pytest.mark.parametrize(
    "chain", [jv.Chain(jv.Exp(), jv.Floor(1e-4)), jv.Chain(jv.Softplus(), jv.Floor(0.1))], ids=repr
)
def test_a_floor_keeps_the_digits_about_one(chain):
    low = chain.floor.low
    outer = mpmath.exp if isinstance(chain.transform, jv.Exp) else oracles.softplus
    root = float(chain.inverse(jnp.float32(1.0)))
    raw = np.float32(root) + np.float32([-1e-2, -1e-4, 1e-4, 1e-2])
    want = np.array([float(mpmath.log(outer(mpmath.mpf(float(r))) + mpmath.mpf(low))) for r in raw])
    moved = np.spacing(np.abs(raw)) * np.asarray(chain.log_gain(jnp.asarray(raw)))
    got = np.asarray(chain.log_forward(jnp.asarray(raw)), np.float64)
    assert np.all(np.abs(got - want) <= np.maximum(4 * moved, 1e-6 * np.abs(want)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: jv.HardClip(1.0, 1.0), r"HardClip\.low must be below high = 1\.0, got 1\.0"),
        (lambda: jv.SoftClip(2.0, 1.0), r"SoftClip\.low must be below high"),
        (lambda: jv.TanhClip(-1.0), r"TanhClip\.bound must be positive and finite, got -1\.0"),
        (lambda: jv.Affine(scale=0.0), r"Affine\.scale must be positive and finite, got 0\.0"),
        (lambda: jv.Affine(shift=math.inf), r"Affine\.shift must be finite"),
        (lambda: jv.Floor(0.0), r"Floor\.low must be positive and finite, got 0\.0"),
        (lambda: jv.Chain(), r"Chain\.parts must be clips, then one transform"),
        (lambda: jv.Chain(jv.Exp(), jv.HardClip(0, 1)), r"Chain\.parts"),
        (lambda: jv.Chain(jv.Floor(1.0), jv.Exp()), r"Chain\.parts"),
        (lambda: jv.Chain(jv.TanhClip(5.0)), r"Chain\.parts"),
        (
            lambda: jv.Chain(jv.HardClip(-2, 1), jv.Square()),
            r"Chain\.parts must be clips before an increasing transform",
        ),
    ],
)
def test_bad_construction(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_chains_are_hashable_and_equal_by_value():
    chain = jv.Chain(jv.TanhClip(5), jv.Exp(), jv.Floor(1e-2))
    assert chain == jv.Chain(jv.TanhClip(5), jv.Exp(), jv.Floor(1e-2))
    assert len({chain, jv.nvae_log_std.transform, jv.Chain(jv.Exp())}) == 2
