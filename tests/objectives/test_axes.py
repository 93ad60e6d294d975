import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.objectives.axes import split_axes, sum_events, whole


def test_the_axes_behind_the_batch_are_summed():
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    for rank in range(4):
        np.testing.assert_array_equal(sum_events(x, rank), x.sum(axis=tuple(range(rank, 3))))


def test_the_other_axes_are_the_batch():
    assert split_axes((4, 5, 3), (-1, 0)) == ((1,), (0, 2))
    assert split_axes((4, 5), ()) == ((0, 1), ())
    assert split_axes((3,), [-1]) == ((), (0,))
    for wrong in (2, -3, (0, -2), "0", None, (0.0,)):
        with pytest.raises(ValueError, match=r"^event_axes must be different axes of an array of shape \(4, 5\), got"):
            split_axes((4, 5), wrong)


def test_only_an_explicit_sharding_of_the_first_axis_is_changed():
    x = jnp.zeros((4, 2))
    assert whole(x) is x
    mesh = jax.make_mesh((2, 2), ("batch", "model"))
    sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch", "model")))
    for function in (whole, jax.jit(whole)):
        assert jax.typeof(function(sharded)).sharding.spec == jax.P(None, "model")
    inside = jax.shard_map(lambda x: whole(x) + 1, in_specs=jax.P("batch", "model"), out_specs=jax.P("batch", "model"))
    with jax.set_mesh(mesh):
        chex.assert_trees_all_equal(jax.device_get(jax.jit(inside)(sharded)), np.ones((4, 2), np.float32))
