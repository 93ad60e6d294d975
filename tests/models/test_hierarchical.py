import jax
import jax.numpy as jnp
import kinds
import numpy as np
import pytest

import jaxvae as jv


def near_the_prior(made, params, delta):
    """Parameters of q that differ from the prior by log σ = delta, in every layer, wherever that is."""
    found = jax.tree.map(np.array, params)
    for name in [name for name in found["params"] if name.startswith("heads")]:
        head = found["params"][name]
        for part in ("loc", "raw"):
            head[part]["kernel"] *= 0
            head[part]["bias"] *= 0
        head["raw"]["bias"] += np.float32(2 * delta)  # of log_variance
    for name in [name for name in found["params"] if name.startswith("priors")]:
        found["params"][name]["raw"]["bias"] += np.float32(50)  # a prior of σ = e^25
    return found


def test_a_residual_posterior_near_its_prior_keeps_the_digits_of_its_kl():
    made = kinds.model("top_down of three", parameterization=jv.log_variance)
    for delta in (1e-4, 1e-2):
        params = near_the_prior(made, kinds.params(made), delta)
        kl = kinds.applied(made, "at_means")(params, kinds.images()).kl
        # 2 delta is rounded once to float32, and the KL is of second order in it.
        wanted = (np.expm1(2 * delta) - 2 * delta) / 2
        np.testing.assert_allclose(kl, np.full(kl.shape, wanted), rtol=3e-7 if delta > 1e-3 else 1e-4)
        exact = np.float64(np.float32(2 * delta))
        series = exact**2 / 4 + exact**3 / 12 + exact**4 / 48
        np.testing.assert_allclose(kl, np.full(kl.shape, series), rtol=1e-6)


def test_a_posterior_that_is_the_prior_has_none():
    made = kinds.model("top_down of three", parameterization=jv.log_variance)
    params = near_the_prior(made, kinds.params(made), 0.0)
    np.testing.assert_array_equal(kinds.applied(made, "at_means")(params, kinds.images()).kl, 0)


def test_the_chain_down_is_that_of_its_conditionals():
    """Two layers of one latent each: log p(z_1, z_2) = log N(z_2; 0, 1) + log N(z_1; m(z_2), s(z_2))."""
    made = kinds.model("bottom_up", parameterization=jv.softplus_std, upper_latents=(1,), upper_hidden=())
    params = kinds.params(made)
    prior = params["params"]["priors_0"]
    z = np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32)  # z_1 of two, z_2 of one
    loc, raw = (z[:, 2:] @ prior[part]["kernel"] + prior[part]["bias"] for part in ("loc", "raw"))
    std = np.log1p(np.exp(np.float64(raw)))
    below = -0.5 * ((z[:, :2] - loc) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    above = -0.5 * z[:, 2:] ** 2 - 0.5 * np.log(2 * np.pi)
    found = kinds.applied(made, "log_prior")(params, z)
    np.testing.assert_allclose(found, np.concatenate([below, above], axis=-1), rtol=1e-5, atol=1e-5)
    noise = np.random.default_rng(4).normal(size=(6, 3)).astype(np.float32)
    loc, raw = (noise[:, 2:] @ prior[part]["kernel"] + prior[part]["bias"] for part in ("loc", "raw"))
    wanted = np.concatenate([loc + np.log1p(np.exp(raw)) * noise[:, :2], noise[:, 2:]], axis=-1)
    np.testing.assert_allclose(kinds.applied(made, "generate")(params, noise), wanted, rtol=1e-5, atol=1e-6)


def test_layers_above_see_the_image_by_way_of_those_below_only():
    """In a chain up, q(z_2|z_1) doesn't change with the image where z_1 doesn't."""
    made = kinds.model("bottom_up")
    params, latents = kinds.params(made), jnp.ones((1, 3, 4))
    x = kinds.images()
    first, second = (kinds.applied(made, "log_posterior")(params, image, latents) for image in (x, 1 - x))
    np.testing.assert_array_equal(first[..., 2:], second[..., 2:])
    assert (first[..., :2] != second[..., :2]).any()


def test_on_the_way_down_every_layer_sees_the_image():
    made = kinds.model("top_down of three")
    params, latents = kinds.params(made), jnp.ones((1, 3, 5))
    x = kinds.images()
    first, second = (kinds.applied(made, "log_posterior")(params, image, latents) for image in (x, 1 - x))
    assert (first != second).all()


def test_latents_are_placed_by_their_prior():
    """decode(u) where p(z_1) = N(b, 2²) is decode(b + 2 u) where it is N(0, 1)."""
    made = kinds.model("top_down of three", parameterization=jv.log_variance)
    params = jax.tree.map(np.array, kinds.params(made))
    assert {name for name in params["params"] if name.startswith("priors")} == {"priors_0", "priors_1"}
    prior = params["params"]["priors_0"]
    for part in ("loc", "raw"):
        prior[part]["kernel"] *= 0
        prior[part]["bias"] *= 0
    u = np.random.default_rng(5).normal(size=(4, 5)).astype(np.float32)
    moved = np.concatenate([0.5 + 2 * u[:, :2], u[:, 2:]], axis=-1)
    standard = kinds.applied(made, "decode")(params, moved)
    prior["loc"]["bias"] += np.float32(0.5)
    prior["raw"]["bias"] += np.float32(np.log(4))
    np.testing.assert_allclose(kinds.applied(made, "decode")(params, u), standard, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_elbo_takes_one_walk_down():
    made = kinds.model("top_down of three")
    params, x, noise = kinds.params(made), kinds.images(), jnp.zeros((1, 3, made.latents))

    def matmuls(method, *inputs):
        return str(jax.make_jaxpr(lambda *inputs: made.apply(*inputs, method=method))(params, *inputs)).count("dot_gen")

    draws = made.apply(params, x, noise, method="draw")
    decoder = matmuls(lambda module, h: module.decoder(h), draws.decoder_input)
    assert matmuls(None, x, jax.random.key(0)) == matmuls("draw", x, noise) + decoder
    known = made.apply(params, draws.latents, method="decoder_input")
    np.testing.assert_allclose(draws.decoder_input, known, rtol=1e-6)
