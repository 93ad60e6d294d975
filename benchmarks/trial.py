"""A tiny VAE of the bundled digits, trained many times at once; and whose fault it is where a number isn't finite.

64-16-2 and back, tanh, Bernoulli pixels, batches of 32, Adam. Parameters and Adam are float32, as is usual; the network
runs in a dtype of its own, (loc, raw) included. The pixels' log-probabilities and all sums and means are float32, so
that forms differ in (z, kl) alone. Nothing is clipped, scaled or skipped: what breaks stays broken.

A number that isn't finite and arose in the Gaussian part is *avoidable* if the true value, from the same (loc, raw),
noise and incoming cotangent in float64, is within range of the dtype in which it has to be returned: samples and the
cotangents of (loc, raw) in the network's dtype, KL in ours in float32. (σ = 1e5 has no samples in float16; and where
the derivative of KL by raw is 1e6, no float16 can hold it.) What is out of range has to come back as inf. Derivatives
have two summands, through z and through KL: it suffices that one is out of range, and NaN is right where both are.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxvae as jv
from benchmarks.peers import Form
from jaxvae.data.digits import load_digits
from jaxvae.likelihoods import Bernoulli

TRAIN, PIXELS, HIDDEN, LATENTS, BATCH = 1297, 64, 16, 2, 32
LEVELS = 17

CAUSES = ("network", "gaussian", "likelihood", "gradient")
"""Where the first number that isn't finite can arise: in (loc, raw); in z or KL, or the cotangents that leave the
Gaussian part, those that enter it being finite; in log p(x|z); or elsewhere on the way back."""
GAUSSIAN = CAUSES.index("gaussian")
STAGES = (0, GAUSSIAN, 2, 3, GAUSSIAN, 3)
"""The cause for each stage of a step: (loc, raw); (z, kl); log p(x|z); dz; (dloc, draw); the parameters' gradient."""
RETURNED_AT = {"z": 1, "kl": 1, "dloc": 4, "draw": 4}
"""The stage of what the Gaussian part returns."""

Params = Mapping[str, tuple[Array, Array]]


class Head(NamedTuple):
    """The numbers about the Gaussian part in a step, each (B, L)."""

    loc: Array
    raw: Array
    noise: Array
    dz: Array
    z: Array
    kl: Array
    dloc: Array
    draw: Array


class Outcome(NamedTuple):
    """Of a run: whether it ended badly, its first bad step (-1: none), the stage, and the numbers then."""

    failed: Array
    step: Array
    stage: Array
    head: Head


def images() -> Array:
    """The training images, (N, pixels) in [0, 1]."""
    return jnp.asarray(load_digits().train.images.reshape(TRAIN, PIXELS) / np.float32(LEVELS - 1))


@functools.partial(jax.jit, static_argnames="steps")
def draws(seeds: Array, steps: int) -> tuple[Params, Array, Array]:
    """Of each seed: LeCun's weights for all layers, the images of each batch, and the keys of the noise."""

    def layer(key: Array, inputs: int, outputs: int) -> tuple[Array, Array]:
        return jax.random.normal(key, (inputs, outputs)) / inputs**0.5, jnp.zeros(outputs)

    def draw(seed: Array) -> tuple[Params, Array, Array]:
        keys = jax.random.split(jax.random.key(seed), 6)
        sizes = {"enter": (PIXELS, HIDDEN), "loc": (HIDDEN, LATENTS), "leave": (LATENTS, HIDDEN)}
        sizes |= {"logits": (HIDDEN, PIXELS)}
        params = {name: layer(key, *size) for (name, size), key in zip(sizes.items(), keys[:4], strict=True)}
        return params, jax.random.randint(keys[4], (steps, BATCH), 0, TRAIN), jax.random.split(keys[5], steps)

    return jax.vmap(draw)(seeds)


def initial(p: jv.Parameterization, raw: Array, params: Params) -> Params:
    """Drawn parameters, so that means and σ start the same in every parameterization."""
    weight, bias = params["loc"]
    loc = p.loc_from_mean(weight, raw), bias
    return {**params, "loc": loc, "raw": (jnp.zeros((HIDDEN, LATENTS)), jnp.full(LATENTS, raw, jnp.float32))}


def dense(layer: tuple[Array, Array], x: Array, dtype: str) -> Array:
    """A layer in a dtype."""
    weight, bias = (w.astype(dtype) for w in layer)
    return x.astype(dtype) @ weight + bias[None]


def finite(tree: Any) -> Array:
    """Whether all of it is."""
    return jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]).all()


def forwards_and_back(
    form: Form, dtype: str, params: Params, x: Array, key: Array
) -> tuple[Params, Array, Head, Array]:
    """One step's gradient, loss, numbers about the Gaussian part, and the first bad stage (past the last: none)."""

    def encode(params: Params) -> tuple[Array, Array]:
        h = jnp.tanh(dense(params["enter"], x, dtype))
        return dense(params["loc"], h, dtype), dense(params["raw"], h, dtype)

    def decode(params: Params, z: Array) -> Array:
        logits = dense(params["logits"], jnp.tanh(dense(params["leave"], z, dtype)), dtype)
        return Bernoulli().log_prob(logits, x)

    (loc, raw), to_encoder = jax.vjp(encode, params)
    noise = jax.random.normal(key, loc.shape)
    (z, kl), to_head = jax.vjp(lambda loc, raw: form.apply(loc, raw, noise), loc, raw)
    log_probs, to_decoder = jax.vjp(decode, params, z)
    decoders, dz = to_decoder(jnp.full_like(log_probs, -1 / BATCH))
    dloc, draw = to_head((dz, jnp.full_like(kl, 1 / BATCH)))
    grads = jax.tree.map(jnp.add, decoders, *to_encoder((dloc, draw)))
    good = [finite(stage) for stage in ((loc, raw), (z, kl), log_probs, dz, (dloc, draw), grads)]
    head = Head(loc, raw, noise, dz, z, kl, dloc, draw)
    loss = (jnp.sum(kl, dtype=jnp.float32) - jnp.sum(log_probs)) / BATCH
    return grads, loss, head, jnp.argmin(jnp.stack([*good, jnp.array(False)]))


@functools.partial(jax.jit, static_argnames=("form", "dtype"))
def train(form: Form, dtype: str, images: Array, rate: Array, raw: Array, drawn: tuple) -> Outcome:
    """Many runs, one for each element of the last three."""

    def run(rate: Array, raw: Array, drawn: tuple[Params, Array, Array]) -> Outcome:
        adam, (params, rows, keys) = optax.adam(rate), drawn
        params = initial(form.parameterization, raw, params)

        def step(carry: tuple, now: tuple[Array, Array, Array]) -> tuple:
            params, state, found = carry
            i, rows, key = now
            grads, loss, head, stage = forwards_and_back(form, dtype, params, images[rows], key)
            here = found._replace(step=i, stage=stage, head=jax.tree.map(lambda a: a.astype(jnp.float32), head))
            first = (found.step < 0) & (stage < len(STAGES))
            found = jax.tree.map(lambda new, old: jnp.where(first, new, old), here, found)
            updates, state = adam.update(grads, state)
            params = optax.apply_updates(params, updates)
            return (params, state, found._replace(failed=~finite((loss, params)))), None

        zeros = jnp.zeros((BATCH, LATENTS))
        nothing = Head._make(zeros for _ in Head._fields)
        none = Outcome(jnp.array(False), jnp.int32(-1), jnp.int32(len(STAGES)), nothing)
        steps = jnp.arange(len(keys)), rows, keys
        return jax.lax.scan(step, (params, adam.init(params), none), steps)[0][2]

    return jax.vmap(run)(rate, raw, drawn)


@functools.partial(jax.jit, static_argnums=0)
def truth(p: jv.Parameterization, head: Head) -> dict[str, tuple[Array, ...]]:
    """The summands of what the head should have returned, from log σ: for use in float64."""
    loc, raw, noise, dz = head[:4]
    log_std, gain = p.log_std(raw), p.log_std_gain(raw)
    std, variance = jnp.exp(log_std), jnp.exp(2 * log_std)
    mean = p.mean(loc, raw)
    by_loc, by_raw = jax.vjp(p.mean, loc, raw)[1](jnp.ones_like(mean))
    return {
        "z": (mean + std * noise,),
        "kl": ((variance - 1 + mean * mean) / 2 - log_std,),
        "dloc": (dz * by_loc, mean * by_loc / BATCH),
        "draw": (dz * (by_raw + std * gain * noise), ((variance - 1) * gain + mean * by_raw) / BATCH),
    }


def avoidable(form: Form, dtype: str, outcome: Outcome) -> np.ndarray:
    """Of each run, whether its first bad number arose in the Gaussian part though its true value is within range."""
    arose = np.append(STAGES, -1)[outcome.stage] == GAUSSIAN
    if not arose.any():
        return arose
    some = jax.ShapeDtypeStruct((BATCH, LATENTS), dtype)
    z, kl = jax.eval_shape(form.apply, some, some, jax.ShapeDtypeStruct((BATCH, LATENTS), np.float32))
    returned: dict[str, Any] = {"z": z.dtype, "kl": kl.dtype, "dloc": some.dtype, "draw": some.dtype}
    with jax.enable_x64(True):
        head = jax.tree.map(lambda x: np.asarray(x, np.float64), outcome.head)
        wanted = jax.device_get(truth(form.parameterization, head))
    found = np.zeros_like(arose)
    for name, dtype in returned.items():
        # A little less than the largest number, for the rounding of log σ.
        largest, got = float(jnp.finfo(dtype).max) * (1 - 1e-4), getattr(head, name)
        beyond = np.sum([np.abs(summand) > largest for summand in wanted[name]], axis=0)
        bad = np.where(np.isnan(got), beyond < 2, np.isinf(got) & (beyond < 1))
        found |= (outcome.stage == RETURNED_AT[name]) & bad.any((1, 2))
    return found
