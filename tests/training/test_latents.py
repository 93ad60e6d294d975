import numpy as np
import pytest

import jaxvae as jv
from jaxvae.training import TrainConfig
from jaxvae.training.latents import STD_MIN, make_encoder_std


def test_plainly_it_is_the_named_one():
    assert make_encoder_std(TrainConfig(parameterization="softplus_std")) == (jv.softplus_std, None, None)


@pytest.mark.parametrize("name", ["log_std", "softplus_variance", "natural_softplus", "nvae_log_std", "log_precision"])
def test_matched_gains_are_those_of_log_variance(name):
    p = make_encoder_std(TrainConfig(parameterization=name, match="gain", init_std=0.7)).parameterization
    assert p.name == name
    raw = p.raw_from_std(0.7)
    np.testing.assert_allclose(abs(p.log_std_gain(raw)), 0.5, rtol=3e-6)


@pytest.mark.parametrize(
    ("name", "match"), [("direct_std", "init"), ("direct_std", "gain"), ("direct_variance", "init")]
)
def test_constraints_keep_the_same_bound(name, match):
    projection = make_encoder_std(TrainConfig(parameterization=name, constraint="projection", match=match))
    np.testing.assert_allclose(projection.parameterization.std(projection.raw_min), STD_MIN, rtol=1e-6)
    assert projection.multiplied is None
    lagrange = make_encoder_std(TrainConfig(parameterization=name, constraint="lagrange", match=match))
    assert (lagrange.raw_min, lagrange.multiplied) == (None, projection.raw_min)
    inside, outside = lagrange.multiplied * 3, -5.0
    np.testing.assert_allclose(
        lagrange.parameterization.std(inside), projection.parameterization.std(inside), rtol=1e-6
    )
    np.testing.assert_allclose(lagrange.parameterization.std(outside), STD_MIN, rtol=1e-6)
    assert lagrange.parameterization.log_std_gain(outside) == 0


def test_a_constraint_is_refused_where_none_is_needed():
    message = "constraint must be none for log_std, or with direct_std or direct_variance, got 'lagrange'"
    with pytest.raises(ValueError, match=message):
        TrainConfig(parameterization="log_std", constraint="lagrange")
