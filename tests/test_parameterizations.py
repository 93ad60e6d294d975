import math
import re

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from representatives import each

import jaxvae as jv
from jaxvae.parameterizations import ALIASES, with_gain

NAMES = sorted(jv.PARAMETERIZATIONS)
PROMISED = re.split(
    r"\s+",
    """log_variance log_std log_precision softplus_std softplus_variance softplus_precision squareplus_std
    squareplus_variance exp_linear_std sigmoid_std sigmoid_variance direct_std direct_variance projected_std square_std
    abs_std natural_exp natural_softplus diffusers_log_variance nvae_log_std efficient_vdvae_std efficient_vdvae_log_std
    scvi_variance dreamer_std dreamer_v2_std sac_log_std pets_log_variance dehaene_up_bounded sigma_vae_log_std""",
)
UNCONSTRAINED = ("direct_std", "direct_variance")
TWO_TO_ONE = ("square_std", "abs_std")
RAW = (np.linspace(-20, 20, 81) + 0.017).astype(np.float32)


def raws(name):
    return RAW[RAW > 0] if name in (*UNCONSTRAINED, *TWO_TO_ONE) else RAW


def test_the_registry_holds_what_is_promised():
    assert set(PROMISED) <= set(NAMES)
    for name, p in jv.PARAMETERIZATIONS.items():
        assert p.name == name
        assert p.source
        assert p is getattr(jv, name) is jv.parameterization(name)
    assert set(oracles.QUANTITY) == set(NAMES), "every name has an oracle of its own"
    assert len(set(jv.PARAMETERIZATIONS.values())) == len(NAMES), "each is there once"


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_same_object_by_another_name(alias, name):
    assert alias not in jv.PARAMETERIZATIONS
    assert jv.parameterization(alias) is getattr(jv, alias) is jv.PARAMETERIZATIONS[name]
    assert alias in jv.PARAMETERIZATIONS[name].source


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_the_published_formula(name):
    p, raw = jv.PARAMETERIZATIONS[name], raws(name)
    log_std = np.array([float(oracles.log_std(name, float(r))) for r in raw])
    gain = np.array([float(oracles.gain(name, float(r))) for r in raw])
    assert p.quantity == oracles.QUANTITY[name][0]
    # σ to 1e-6, or what 4 ulp of the raw change in it.
    relative = np.maximum(1e-6, 4 * np.abs(gain) * np.spacing(np.abs(raw)))
    for function, exponent in ((p.std, 1), (p.variance, 2), (p.precision, -2)):
        error = np.abs(np.asarray(function(raw), np.float64) / np.exp(exponent * log_std) - 1)
        assert np.all(error <= 2 * relative)
    assert np.all(np.abs(np.asarray(p.log_std(raw)) - log_std) <= relative * np.maximum(1, np.abs(log_std)))
    np.testing.assert_allclose(p.log_std_gain(raw), gain, rtol=2e-5, atol=1e-30)


@pytest.mark.parametrize("name", each(n for n in NAMES if n not in UNCONSTRAINED))
def test_the_stated_range_is_what_raws_reach(name):
    p = jv.PARAMETERIZATIONS[name]
    with jax.enable_x64(True):
        log_std = np.asarray(p.log_std(jnp.asarray([*np.linspace(-300, 300, 6001), -1e15, 1e15, 0.0])))
    low, high = (math.log(x) if x > 0 else -math.inf for x in p.std_range[:2])
    low, high = (-15 if low == -math.inf else low), (15 if high == math.inf else high)
    assert log_std.min() <= low + 1e-6
    assert log_std.max() >= high - 1e-6
    if p.std_range.low > 0:
        assert log_std.min() >= low - 1e-12
    if p.std_range.high < math.inf:
        assert log_std.max() <= high + 1e-12


@pytest.mark.parametrize("name", each(NAMES, kept=("log_variance", "softplus_std", "sigmoid_std", "natural_softplus")))
def test_raw_from_std_round_trips(name):
    p, raw = jv.PARAMETERIZATIONS[name], raws(name)
    log_std = np.array([float(oracles.log_std(name, float(r))) for r in raw])
    gain = np.abs([float(oracles.gain(name, float(r))) for r in raw])
    # σ is rounded once; where its gain is below 1/4 that alone moves the raw, and where it is 0 nothing can be told.
    kept = gain > 0.25
    std = np.exp(log_std).astype(np.float32)
    back = np.asarray(p.raw_from_std(std[kept]), np.float64)
    allowed = 4 * np.maximum(np.spacing(np.abs(raw[kept])), np.float32(2**-24) / gain[kept])
    assert np.all(np.abs(back - raw[kept]) <= allowed)
    back = np.asarray(p.raw_from_log_std(log_std[kept].astype(np.float32)), np.float64)
    allowed = np.maximum(allowed, 4 * np.spacing(np.abs(log_std[kept]).astype(np.float32)) / gain[kept])
    assert np.all(np.abs(back - raw[kept]) <= allowed)


@pytest.mark.parametrize("name", each(NAMES))
def test_a_std_out_of_range_is_refused(name):
    p = jv.PARAMETERIZATIONS[name]
    low, high, _ = p.std_range
    outside = (
        [-1.0]
        + ([low * 0.99] if low > 0 else [0.0] * (name not in TWO_TO_ONE))
        + ([high * 1.01] if high < 1e30 else [])
    )
    for std in outside:
        with pytest.raises(ValueError, match=rf"std must be in [\[\(].* for {name}, got"):
            p.raw_from_std(jnp.asarray([1.0 if low < 1 < high else (low + high) / 2, std]))
        assert jnp.isnan(jax.jit(p.raw_from_std)(std))
    with pytest.raises(ValueError, match="log_std must be in"):
        p.raw_from_log_std(jnp.nan)


@pytest.mark.parametrize("name", NAMES)
def test_equal_raws_have_a_ratio_of_exactly_one(name):
    raw = jnp.asarray([-200.0, -88.0, -1.0, 0.0, 1e-30, 1.0, 88.0, 200.0])
    if name in UNCONSTRAINED:
        raw = raw[4:]
    assert jnp.all(jv.PARAMETERIZATIONS[name].log_std_ratio(raw, raw) == 0)


def test_the_ratio_of_log_quantities_is_the_difference_of_raws():
    a, b = jnp.float32(100.00001), jnp.float32(100.0)
    assert jv.log_variance.log_std_ratio(a, b) == 0.5 * (a - b)
    assert jv.log_std.log_std_ratio(a, b) == a - b
    assert jv.log_precision.log_std_ratio(a, b) == -0.5 * (a - b)
    assert jv.log_variance.log_std_ratio(-100.0, 100.0) == -100


@pytest.mark.parametrize(
    "name", each(n for n in NAMES if n not in ("sac_log_std", "diffusers_log_variance", "projected_std"))
)
def test_the_ratio_of_near_raws_keeps_its_digits(name):
    p, a = jv.PARAMETERIZATIONS[name], raws(name)
    for step in (1e-5, 1e-2):
        b = (a * np.float32(1 + step)).astype(np.float32)
        want = np.array(
            [
                float(oracles.log_std(name, float(x)) - oracles.log_std(name, float(y)))
                for x, y in zip(a, b, strict=True)
            ]
        )
        got = np.asarray(p.log_std_ratio(a, b), np.float64)
        assert np.all(np.abs(got - want) <= (2e-6 + np.spacing(np.abs(a))) * np.abs(want))


@pytest.mark.parametrize("name", each(NAMES))
def test_slopes_of_the_ratio_are_the_gains(name):
    p = jv.PARAMETERIZATIONS[name]
    for a, b in ((1.0, 1.0), (1.0, 1.5), (0.5, 60.0)):
        by_a, by_b = jax.grad(p.log_std_ratio, (0, 1))(a, b)
        assert (by_a, by_b) == (p.log_std_gain(a), -p.log_std_gain(b))


def test_equality_is_of_quantity_and_transform():
    mine = jv.Parameterization("std", jv.Softplus(beta=1.0))
    assert mine == jv.softplus_std
    assert hash(mine) == hash(jv.softplus_std)
    assert mine != jv.softplus_variance
    assert jv.natural_exp != jv.log_precision


def test_formulas():
    assert jv.log_variance.formula == "σ² = exp(r)"
    assert jv.nvae_log_std.formula == "σ = exp(5·tanh(r/5)) + 0.01"
    assert jv.natural_exp.formula == "1/σ² = exp(r), mean = loc·σ²"
    assert str(jv.softplus_precision.std_range) == "(0, ∞)"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: jv.Parameterization("sigma", jv.Exp()),
            "quantity must be 'std' or 'variance' or 'precision', got 'sigma'",
        ),
        (
            lambda: jv.Parameterization("std", jnp.exp),
            "must be an instance of a subclass of jv.Transform, got",
        ),
        (lambda: jv.Parameterization("std", jv.Exp), r"transform must be an instance of .* got <class"),
        (lambda: jv.parameterization("logvar"), r"got 'logvar'"),
        (lambda: jv.parameterization("log_varience"), r"nearest: log_variance.*got 'log_varience'"),
        (lambda: jv.parameterization("zzzzqqqq"), r"one of log_variance, log_std"),
    ],
)
def test_bad_construction(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_transform_has_to_give_three_things():
    class Half(jv.Transform):
        range = jv.Interval(0, 1)

        def forward(self, raw):
            return raw / 2

    with pytest.raises(TypeError, match=r"abstract.*inverse"):
        Half()


def test_softplus_stays_finite_where_its_value_underflows():
    # tensorflow/probability#751: softplus(-40) -> NaN.
    for raw in (-40.0, -110.0, -1e4):
        assert jv.softplus_std.log_std(raw) == raw
        assert jv.softplus_std.log_std_gain(raw) == 1


def test_a_bounded_form_keeps_a_slope_just_outside_its_bounds():
    # synthcity#331 and pytorch_geometric#500 ask for clamps; a hard one has no gradient there.
    for name in ("nvae_log_std", "pets_log_variance", "sigma_vae_log_std", "dreamer_v2_std", "sigmoid_std"):
        gain = jv.PARAMETERIZATIONS[name].log_std_gain(jnp.asarray([-12.0, 7.0]))
        assert jnp.all(gain > 1e-6), name
    assert jnp.all(jv.diffusers_log_variance.log_std_gain(jnp.asarray([-31.0, 21.0])) == 0)
    # d log σ / d raw = sech²(r/5) e / (e + 0.01) with e = exp(5 tanh(r/5)), at raw = -30.
    e = mpmath.exp(5 * mpmath.tanh(-6))
    want = float(mpmath.sech(6) ** 2 * e / (e + mpmath.mpf("0.01")))
    np.testing.assert_allclose(jv.nvae_log_std.log_std_gain(-30.0), want, rtol=1e-5)


@pytest.mark.parametrize(
    "name", each(name for name, p in jv.PARAMETERIZATIONS.items() if p.std_range.low < 1 < p.std_range.high)
)
def test_the_raw_of_unit_std_costs_nothing(name):
    # NVlabs/NVAE#27. To an ulp of the stored raw, whose square is far below float32's resolution of a KL.
    p = jv.PARAMETERIZATIONS[name]
    kl = jv.kl_divergence(jv.Gaussian(0.0, p.raw_from_std(1.0), p))
    assert 0 <= kl <= 1e-14


def test_the_raw_of_unit_std_costs_exactly_nothing_where_it_is_a_float32():
    for p in (jv.log_variance, jv.log_std, jv.log_precision, jv.squareplus_std, jv.exp_linear_std):
        assert jv.kl_divergence(jv.Gaussian(0.0, p.raw_from_std(1.0), p)) == 0


def test_sixteen_bit_raws_are_computed_in_float32():
    for dtype in (jnp.bfloat16, jnp.float16):
        raw = jnp.asarray([-3.0, 0.25, 2.0], dtype)
        for p in (jv.log_variance, jv.softplus_std, jv.nvae_log_std):
            assert p.std(raw).dtype == jnp.float32
            np.testing.assert_array_equal(p.std(raw), p.std(raw.astype(jnp.float32)))
            assert jax.grad(lambda r, p=p: p.log_std(r).sum())(raw).dtype == dtype


@pytest.mark.parametrize("name", each(n for n in NAMES if n not in UNCONSTRAINED + TWO_TO_ONE))
def test_with_gain_rescales_raw_and_nothing_else(name):
    p = jv.parameterization(name)
    scaled = with_gain(p, 0.6, 0.125)
    assert scaled.name == name
    assert type(scaled) is type(p)
    raw = scaled.raw_from_std(0.6)
    # Two roundings of raw, and the transform's own few ulp.
    np.testing.assert_allclose(abs(scaled.log_std_gain(raw)), 0.125, rtol=3e-6)
    factor = float(scaled.log_std_gain(raw) / p.log_std_gain(p.raw_from_std(0.6)))
    some = np.float32([-1.5, 0.0, 0.3, 2.0])
    np.testing.assert_allclose(scaled.log_std(some), p.log_std(some * np.float32(factor)), rtol=1e-5, atol=1e-6)


def test_with_gain_makes_all_exponentials_one():
    matched = with_gain(jv.log_std, 1.0, 0.5)
    assert (matched.std(RAW) == jv.log_variance.std(RAW)).all()
    assert with_gain(jv.log_variance, 3.0, 0.5) is jv.log_variance
    assert with_gain(jv.nvae_log_std, 1.0, 0.5).transform.floor == jv.nvae_log_std.transform.floor


def test_with_gain_refuses_a_std_without_one():
    with pytest.raises(ValueError, match="std must be one at which the gain of projected_std is above 0"):
        with_gain(jv.projected_std, 1e-4 * (1 - 1e-16), 0.5)
    with pytest.raises(ValueError, match="std must be in"):
        with_gain(jv.sigmoid_std, 2.0, 0.5)
