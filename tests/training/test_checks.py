"""What isn't trained is refused by its path, with what to do."""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick
from flax import nnx

from jaxvae.training.checks import require_alike, require_trainable
from jaxvae.training.step import init_state

begin = functools.partial(init_state, tx=optax.sgd(0.1), key=quick.key(0))


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        (np.int32(3), "dtype int32"),
        (3, "a int"),
        (True, "a bool"),
        (jnp.zeros(2, bool), "dtype bool"),
        (jnp.zeros(2, complex), "dtype complex64"),
        (quick.key(0), r"dtype key<rbg>|dtype key<unsafe_rbg>|dtype key<.*>"),
        (np.tanh, "a ufunc"),
        ("relu", "a str"),
    ],
)
def test_a_parameter_without_a_gradient_is_refused_by_its_path(leaf, kind):
    with pytest.raises(
        TypeError, match=rf"^params\['layers'\]\[1\] must be an array of floats, got ({kind}); pass what"
    ):
        begin({"layers": [jnp.ones(2), leaf]})


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float8_e4m3fn])
def test_floats_are_parameters(dtype):
    require_trainable({"a": jnp.ones(2, dtype), "b": np.ones(2, dtype), "c": 1.0, "none": None})


def test_activations_of_equinox_are_refused_by_their_path():
    model = eqx.nn.MLP(2, 1, 3, 1, key=quick.key(0))
    with pytest.raises(TypeError, match=r"^params.activation.* must be an array of floats, .*eqx.partition"):
        begin(model)
    begin(eqx.filter(model, eqx.is_inexact_array))


def test_batch_statistics_are_not_parameters():
    variables = jax.eval_shape(lambda: nn.BatchNorm(use_running_average=False).init(quick.key(0), jnp.ones((2, 3))))
    _, everything = nnx.split(nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    _, trained, _ = nnx.split(nnx.BatchNorm(3, rngs=nnx.Rngs(0)), nnx.Param, ...)
    for params in (jax.tree.map(lambda x: jnp.zeros(x.shape), variables), everything):
        with pytest.raises(
            ValueError, match=r"^params must be trained parameters only, got batch statistics .*model_state"
        ):
            begin(params)
    begin(trained)


def test_a_model_state_is_of_arrays():
    begin(jnp.ones(2), model_state={"count": 0, "key": quick.key(1), "mean": np.zeros(2)})
    with pytest.raises(TypeError, match=r"^model_state\['f'\] must be an array, got a ufunc"):
        begin(jnp.ones(2), model_state={"f": np.tanh})


def test_trees_that_differ_only_in_their_nodes_are_not_alike():
    require_alike("x", [1.0, None], [2.0, None])
    with pytest.raises(ValueError, match=r"^x must be like the one it replaces, .*\[.*, got .*\("):
        require_alike("x", (1.0,), [1.0])
