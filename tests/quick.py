"""PRNG keys for tests that compile many programs."""

import jax


def key(seed: int) -> jax.Array:
    """A key whose draws compile several times faster than threefry's; under ``vmap`` they are others."""
    return jax.random.key(seed, impl="unsafe_rbg")
