"""The cause of non-finite updates: it finds the first non-finite number of a step and reports it."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import ranges
from jaxvae.data import observe
from jaxvae.gaussian import Gaussian
from jaxvae.models import Terms
from jaxvae.training.experiment import Experiment

CAUSES = ("network", "gaussian", "likelihood", "gradient")
"""The places where the first non-finite number can arise, in the order of computation.

They are (loc, raw), q's σ or KL, log p(x|z), and the backward pass.
"""


def cause(terms: Terms) -> Array:
    """Returns the index in ``CAUSES`` of the place where a step's first non-finite number arose, if there is one."""
    q = terms.posterior
    stages = ((q.loc, q.raw), (q.mean, q.std, terms.kl), (terms.log_likelihood,))
    finite = [jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in stage])) for stage in stages]
    return jnp.argmin(jnp.stack([*finite, jnp.array(False)])).astype(jnp.int32)


def postmortem(experiment: Experiment, params: chex.ArrayTree, batch: Any, key: Array) -> str:
    """Reports the first non-finite number of a step, and the range of the latents' σ.

    Args:
        experiment: what is trained.
        params: the parameters before that step.
        batch: its batch.
        key: its key.

    Returns:
        One line.
    """
    (loss, metrics), grads = jax.jit(jax.value_and_grad(experiment.loss, has_aux=True))(params, batch, key)
    # In the order in which they come about.
    numbers = {
        "parameters": params,
        "kl": metrics["kl"],
        "log_likelihood": metrics["log_likelihood"],
        "loss": loss,
        **{f"gradient of {jax.tree_util.keystr(path)}": g for path, g in jax.tree_util.tree_leaves_with_path(grads)},
    }
    first = next((name for name, x in numbers.items() if not _finite(x)), "none when computed again")
    q = jax.jit(functools.partial(_posterior, experiment))(params, batch, key)
    shares = [f"{float(jnp.mean(mask)):.0%}" for mask in ranges.saturation(q)]
    return (
        f"the first number that is not finite is the {first}; of the latents' σ, {shares[0]} are at their floor, "
        f"{shares[1]} at their ceiling, and {shares[2]} have gradient 0 (parameterization "
        f"{experiment.config.parameterization})"
    )


def _posterior(experiment: Experiment, params: chex.ArrayTree, batch: Any, key: Array) -> Gaussian:
    x = observe(jax.random.split(key)[0], batch["image"], experiment.dataset.levels, experiment.dynamic)
    return experiment.model.apply(params, x, batch.get("given"), method="at_means").posterior


def _finite(tree: Any) -> bool:
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))
