"""A distribution goes out and comes back as it was, with its parameterization."""

import dataclasses

import equinox as eqx
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax import export

import jaxvae as jv
from jaxvae.serialization import _read, _written

KINDS = {
    "independent": jv.Gaussian(jnp.arange(6.0).reshape(3, 2), jnp.array([0.0, 1.0]), jv.softplus_std),
    "cholesky": jv.CholeskyGaussian(jnp.arange(6.0).reshape(3, 2), 0.0, jnp.ones(1), jv.nvae_log_std),
    "low rank": jv.LowRankGaussian(jnp.arange(6.0).reshape(3, 2), 0.0, jnp.ones((2, 1))),
}


def same(q, p):
    assert jax.tree.structure(q) == jax.tree.structure(p)
    assert q.parameterization.name == p.parameterization.name
    for one, other in zip(jax.tree.leaves(q), jax.tree.leaves(p), strict=True):
        np.testing.assert_array_equal(one, other)


@dataclasses.dataclass(frozen=True)
class Own(jv.Softplus):
    """One that only this file knows."""


def test_every_parameterization_is_read_as_it_was_written():
    for p in jv.PARAMETERIZATIONS.values():
        assert _read(_written(p)) is p
    chain = jv.Chain(jv.Affine(2.0, -1.0), jv.SoftClip(low=-3.0), jv.Softplus(beta=0.5), jv.Floor(0.25))
    for p in (jv.Parameterization("variance", chain), jv.NaturalParameterization("precision", jv.Sigmoid(0.5, 2.0))):
        assert _read(_written(p)) == p
    renamed = dataclasses.replace(jv.Parameterization("std", jv.Softplus(beta=2.0)), name="softplus_std")
    assert _read(_written(renamed)) == renamed != jv.softplus_std


def test_one_s_own_is_refused_by_name():
    own = jv.Parameterization("std", Own(), name="mine")
    exported = export.export(jax.jit(lambda q: q.std))(jv.Gaussian(jnp.zeros(2), jnp.zeros(2), own))
    with pytest.raises(ValueError, match=r"of jaxvae's transforms to be serialized, got 'mine' of Own\(beta=1.0\)"):
        exported.serialize()
    chained = jv.Parameterization("std", jv.Chain(Own(), jv.Floor(0.1)))
    with pytest.raises(ValueError, match="got 'Own' of Own"):
        _written(chained)


def test_exported_programs_take_and_give_distributions():
    def double(tree):
        return jax.tree.map(lambda x: 2 * x, tree), jv.fisher(tree["independent"])

    exported = export.export(jax.jit(double))(KINDS)
    again = export.deserialize(exported.serialize())
    found, metric = again.call(KINDS)
    for name, q in KINDS.items():
        same(found[name], jax.tree.map(lambda x: 2 * x, q))
    assert isinstance(metric, jv.Fisher)


def test_state_dicts_of_flax():
    data = flax.serialization.to_bytes(KINDS)
    blank = jax.tree.map(jnp.zeros_like, KINDS)
    for name, q in flax.serialization.from_bytes(blank, data).items():
        same(q, KINDS[name])
    state = flax.serialization.to_state_dict(KINDS["independent"])
    assert set(state) == {"loc", "raw"}
    with pytest.raises(ValueError, match="a Gaussian needs loc, raw, got loc"):
        flax.serialization.from_state_dict(KINDS["independent"], {"loc": state["loc"]})


def test_checkpoints_of_orbax(tmp_path):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "q", KINDS)
        checkpointer.wait_until_finished()
        found = checkpointer.restore(tmp_path / "q", jax.tree.map(jnp.zeros_like, KINDS))
    for name, q in found.items():
        same(q, KINDS[name])


def test_files_of_equinox(tmp_path):
    eqx.tree_serialise_leaves(tmp_path / "q.eqx", KINDS)
    for name, q in eqx.tree_deserialise_leaves(tmp_path / "q.eqx", jax.tree.map(jnp.zeros_like, KINDS)).items():
        same(q, KINDS[name])
