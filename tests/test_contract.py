"""The contract on every registered name, and on mistakes that released code has made."""

import dataclasses
import math

import jax.numpy as jnp
import pytest
from representatives import each

import jaxvae as jv
from jaxvae import contract, special

EXPECTED = {
    # The baselines that fail, and how: no log below 0; two raws for one std.
    "direct_std": {
        *("in_range", "monotone", "round_trip", "consistent", "gain", "ratio"),
        *("finite", "sampled_kl", "sampled_entropy"),
    },
    "direct_variance": {
        *("in_range", "monotone", "round_trip", "consistent", "gain", "ratio"),
        *("finite", "sampled_std", "sampled_kl", "sampled_entropy"),
    },
    "square_std": {"monotone"},
    "abs_std": {"monotone"},
}


@pytest.mark.parametrize("name", each(kept=("softplus_std", "direct_std")))
def test_the_registry_keeps_the_contract(name):
    report = jv.check_parameterization(jv.PARAMETERIZATIONS[name])
    assert set(report.failures) == EXPECTED.get(name, set()), str(report)
    assert report.ok == (name not in EXPECTED)


def failures(p):
    return set(jv.check_parameterization(p).failures)


@pytest.mark.slow
def test_a_forgotten_beta_is_found():
    # Efficient-VDVAE's log-std KL leaves β out of the log term.
    @dataclasses.dataclass(frozen=True)
    class Forgetful(jv.Softplus):
        def log_forward(self, raw):
            return special.log_softplus(self.beta * raw)

    assert {"consistent", "sampled_kl"} <= failures(jv.Parameterization("std", Forgetful(beta=2.0)))


def test_a_missing_half_and_a_flipped_sign_are_found(monkeypatch):
    # A diffusers audio VAE.
    right = jv.kl_divergence
    for wrong in (
        lambda q, p=None: 2 * right(q, p),
        lambda q, p=None: (jnp.square(q.mean) + q.variance - 1) / 2 + q.log_std,
    ):
        monkeypatch.setattr(contract, "kl_divergence", wrong)
        assert "sampled_kl" in failures(jv.log_variance)


def test_sampling_by_one_map_and_scoring_by_another_is_found():
    # pythae's hierarchical VAE samples with softplus, scores as log-variance, and evaluates with exp.
    @dataclasses.dataclass(frozen=True)
    class Mixed(jv.Exp):
        def power(self, raw, exponent):
            return jv.Softplus().power(raw, 2 * exponent)

    found = failures(jv.Parameterization("variance", Mixed()))
    assert {"consistent", "round_trip", "sampled_kl"} <= found


def test_a_prior_that_is_not_standard_is_found(monkeypatch):
    # NVAE's "standard" prior has σ = 1.01.
    prior = jv.Gaussian(jnp.asarray(0.0), jnp.log(jnp.asarray(1.01)), jv.log_std)
    right = jv.kl_divergence
    monkeypatch.setattr(contract, "kl_divergence", lambda q, p=None: right(q, prior if p is None else p))
    assert failures(jv.log_std) == {"sampled_kl"}


@pytest.mark.slow
def test_a_map_applied_twice_is_found():
    # distrax's LogStddevNormal applies its soft clip again on indexing; here the second time is in the scores.
    clip = jv.SoftClip(low=-1.0)

    @dataclasses.dataclass(frozen=True)
    class Twice(jv.Exp):
        def power(self, raw, exponent):
            return super().power(clip.forward(clip.forward(raw)), exponent)

        def log_forward(self, raw):
            return clip.forward(raw)

        def log_ratio(self, a, b):
            return self.log_forward(a) - self.log_forward(b)

    assert {"consistent", "sampled_kl"} <= failures(jv.Parameterization("std", Twice()))


def test_a_mean_in_place_of_the_elements_is_found(monkeypatch):
    # Flax's NNX toy averages over latents before it adds the KL.
    right = jv.kl_divergence
    monkeypatch.setattr(contract, "kl_divergence", lambda q, p=None: jnp.full(q.shape, right(q, p).mean()))
    assert "sampled_kl" in failures(jv.log_variance)


def test_a_slope_that_is_cut_off_is_found():
    @dataclasses.dataclass(frozen=True)
    class Flat(jv.Exp):
        def log_gain(self, raw):
            return jnp.where(raw < -3, 0, jnp.ones_like(raw))

    assert failures(jv.Parameterization("std", Flat())) >= {"gain"}


@pytest.mark.slow
def test_a_naive_transform_passes_but_for_its_rounding_and_overflow():
    class Naive(jv.Transform):
        range = jv.Interval(0.0, math.inf)

        def forward(self, raw):
            return jnp.log(1 + jnp.exp(raw))

        def inverse(self, value):
            return jnp.log(jnp.expm1(value))

    report = jv.check_parameterization(jv.Parameterization("std", Naive(), name="mine"))
    assert set(report.failures) >= {"finite"}
    assert set(report.passed) >= {"monotone", "round_trip", "sampled_std", "sampled_kl", "sampled_entropy"}
    assert str(report).startswith("mine: σ = Naive(r)\n")
    assert "FAILED  finite: at raw = " in str(report)


def test_a_transform_that_raises_is_reported():
    @dataclasses.dataclass(frozen=True)
    class Broken(jv.Exp):
        def forward(self, raw):
            raise RuntimeError("boom")

        def power(self, raw, exponent):
            return self.forward(raw)

    report = jv.check_parameterization(jv.Parameterization("std", Broken()))
    assert report.failures["in_range"] == "RuntimeError: boom"
