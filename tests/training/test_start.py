"""What a model takes over of another's parameters, and what stays as it is."""

import jax
import numpy as np
import pytest
import trained_models

from jaxvae.training.start import frozen, transferred


def shapes(model):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), model.params)


def test_of_the_same_architecture_all_is_taken():
    model = trained_models.model("top_down")
    found = transferred(shapes(model), model.params)
    assert len(found.start) == len(jax.tree.leaves(model.params))
    assert {text for _, _, text in found.table} == {"taken"}
    kernel = found.start["params/heads_0/loc/kernel"]
    np.testing.assert_array_equal(kernel, model.params["params"]["heads_0"]["loc"]["kernel"])


@pytest.mark.slow
def test_of_another_what_fits_by_name_and_shape_is_taken():
    wanted, given = trained_models.make(latents=4), trained_models.model("flow")
    found = transferred(shapes(wanted), given.params)
    table = {name: text for name, _, text in found.table}
    assert table["params/encoder/MLP_0/Dense_0/kernel"] == "taken"
    assert table["params/head/loc/kernel"] == "not taken: (8, 3)"
    assert table["params/flow/couplings_0/loc/kernel"] == "not wanted"
    assert "params/head/loc/kernel" not in found.start
    below = transferred(shapes(given), trained_models.model("flat").params)
    assert {name: text for name, _, text in below.table}["params/flow/couplings_0/loc/kernel"] == "not there"


def test_nothing_that_fits_is_refused():
    with pytest.raises(ValueError, match="init-from must be a model with parameters of the same name and shape"):
        transferred({"params": {"w": jax.ShapeDtypeStruct((3,), np.float32)}}, {"params": {"w": np.zeros(2)}})


@pytest.mark.parametrize(
    ("kind", "decoder"),
    [
        ("learned", {"decoder", "likelihood_raw"}),
        ("top_down", {"decoder", "down_0", "priors_0"}),
        ("flow", {"decoder"}),
    ],
)
def test_a_half_is_frozen_with_what_is_beside_it(kind, decoder):
    params = {**trained_models.model(kind).params, "multipliers": {"raw": np.zeros(3)}}
    halves = {half: frozen(half, params) for half in ("encoder", "decoder")}
    for name in params["params"]:
        for half in halves:
            (found,) = set(jax.tree.leaves(halves[half]["params"][name]))
            assert found == ((name in decoder) == (half == "decoder"))
    assert not halves["encoder"]["multipliers"]["raw"]
    assert not halves["decoder"]["multipliers"]["raw"]
