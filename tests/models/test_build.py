import jax
import kinds
import numpy as np
import pytest
import quick
from representatives import each

import jaxvae as jv
from jaxvae.likelihoods import Bernoulli, DirichletMultinomial, Multinomial, OptimalGaussian, Poisson
from jaxvae.models import VAE, BottomUpVAE, TopDownVAE, make_model


def test_each_kind_is_its_own():
    wanted = {"gaussian": VAE, "flow": VAE, "bottom": BottomUpVAE, "top": TopDownVAE}
    for kind in kinds.OPTIONS:
        made = kinds.model(kind)
        assert type(made) is wanted[kind.split("_")[0]]
        assert made.latents == 2 + sum(kinds.OPTIONS[kind].get("upper_latents", ()))
    assert kinds.model("gaussian").flow is None
    assert kinds.model("flow").flow.steps == 2


@pytest.mark.parametrize("kind", each(("flow", "top_down of three"), kept=("top_down of three",)))
def test_every_layer_starts_at_the_same_std(kind):
    made = kinds.model(kind, parameterization=jv.natural_softplus, init_std=0.3)

    def start():
        params = made.init(quick.key(0), kinds.images(), quick.key(1))
        return made.apply(params, kinds.images(), method="at_means").posterior.std

    np.testing.assert_allclose(jax.jit(start)(), 0.3, rtol=1e-5)


def test_without_hidden_layers_both_are_linear():
    made = kinds.model("gaussian", hidden=())
    assert set(kinds.params(made)["params"]) == {"decoder", "head"}
    assert set(kinds.params(made)["params"]["decoder"]) == {"outputs"}


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("architecture", "transformer", "one of mlp, conv, recurrent"),
        ("activation", "swish", "one of elu, gelu, relu, silu, tanh"),
        ("hidden", (8, 0), "widths, each at least 1; one or more for conv and recurrent"),
        ("latents", 0, "at least 1"),
        ("blocks", -1, "at least 0"),
        ("inference", "sideways", "bottom_up or top_down"),
        ("upper_latents", (2, 0), "counts, each at least 1"),
        ("upper_hidden", (0,), "widths, each at least 1"),
        ("flow_steps", -1, "at least 0"),
    ],
)
def test_a_bad_choice_is_refused(field, value, allowed):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        make_model(kinds.SHAPE, Bernoulli(), **{"latents": 2, field: value})
    assert str(refusal.value) == f"{field} must be {allowed}, got {value!r}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"flow_steps": 2, "upper_latents": (2,)}, "flow_steps must be 0 with upper_latents, got 2"),
        ({"flow_steps": 2, "latents": 1}, "flow_steps must be 0 for a single latent, got 2"),
        ({"flow_steps": 2, "upper_hidden": ()}, r"upper_hidden must be one or more widths, with flow_steps, got \(\)"),
        ({"architecture": "conv", "hidden": ()}, "hidden must be widths, .*; one or more for conv and recurrent"),
        ({"parameterization": jv.sigmoid_std, "init_std": 2.0}, "std must be"),
        *(
            (
                {"missing": True, "likelihood": kind},
                f"likelihood must be one whose terms depend on one entry each, .*, got '{type(kind).__name__}'",
            )
            for kind in (OptimalGaussian(), Multinomial(), DirichletMultinomial())
        ),
        ({"missing": True, "likelihood": Poisson(), "offset": True}, "offset must be False where entries are missing"),
    ],
)
def test_what_does_not_go_together_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        make_model(kinds.SHAPE, **{"likelihood": Bernoulli(), "latents": 2, **options})
