"""Checkpoints: what is saved comes back bit for bit; the last two and the best are kept."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvae.training.checkpoint import Checkpoints
from jaxvae.training.config import TrainConfig
from jaxvae.training.step import init_state


def state(value: float):
    params = {"w": jnp.full((3,), value), "b": jnp.asarray(value, jnp.bfloat16)}
    return init_state(params, optax.adam(1e-3), jax.random.key(7), ema=True)


class Older(NamedTuple):
    step: object
    params: object
    opt_state: object
    ema: object
    key: object
    skipped: object
    skipped_in_row: object


def like():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(lambda: state(0.0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def leaves(tree):
    raw = [jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(tree)]
    return [np.asarray(x) for x in raw]


def test_a_state_comes_back_bit_for_bit(tmp_path):
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(5, state(0.3))
    with Checkpoints(tmp_path / "c", {}, scored=False, writable=False) as checkpoints:
        assert checkpoints.last == checkpoints.best == 5
        found = checkpoints.restore(5, like())
    assert jax.tree.structure(found) == jax.tree.structure(state(0.3))
    for a, b in zip(leaves(found), leaves(state(0.3)), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def test_a_state_from_before_there_was_a_model_state_is_read(tmp_path):
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(5, {"state": Older(*state(0.3)[:7])})
    with Checkpoints(tmp_path / "c", {}, scored=False, writable=False) as checkpoints:
        found = checkpoints.restore(5, {"state": like()})["state"]
    assert jax.tree.structure(found) == jax.tree.structure(state(0.3))
    assert [x.tobytes() for x in leaves(found)] == [x.tobytes() for x in leaves(state(0.3))]


def test_the_last_two_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path / "c", {}, scored=True) as checkpoints:
        for step, score in ((1, -3.0), (2, -1.0), (3, -2.0), (4, float("nan")), (5, None)):
            checkpoints.save(step, state(float(step)), score)
    with Checkpoints(tmp_path / "c", {}, scored=True, writable=False) as checkpoints:
        assert checkpoints.last == 5
        assert checkpoints.best == 2
        assert float(checkpoints.restore(2, like()).params["w"][0]) == 2.0
    assert sorted(int(p.name) for p in (tmp_path / "c").iterdir() if p.name.isdigit()) == [2, 4, 5]


def test_saving_a_step_twice_changes_nothing(tmp_path):
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(1, state(1.0))
        checkpoints.save(1, state(9.0))
    with Checkpoints(tmp_path / "c", {}, scored=False, writable=False) as checkpoints:
        assert float(checkpoints.restore(1, like()).params["w"][0]) == 1.0


def test_the_state_may_be_donated_at_once(tmp_path):
    @jax.jit
    def touch(x):
        return jax.tree.map(lambda a: a * 0 - 1, x)

    overwrite = jax.jit(touch, donate_argnums=0)
    big = {"w": jnp.full((1_000_000,), 3.0)}
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(1, big)
        for _ in range(5):
            big = overwrite(big)
        jax.block_until_ready(big)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shape = {"w": jax.ShapeDtypeStruct((1_000_000,), jnp.float32, sharding=sharding)}
    with Checkpoints(tmp_path / "c", {}, scored=False, writable=False) as checkpoints:
        assert np.all(np.asarray(checkpoints.restore(1, shape)["w"]) == 3.0)


@pytest.mark.parametrize(("content", "found"), [({"format": 1}, 1), ({"format": 99, "config": {}}, 99)])
def test_another_format_is_refused_by_name(tmp_path, content, found):
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(1, state(1.0))
    (tmp_path / "c" / "1" / "format" / "metadata").write_text(json.dumps(content))
    (tmp_path / "c" / "1" / "digests.json").unlink()  # which the first format had not
    for writable in (False, True):
        with pytest.raises(ValueError, match=rf"checkpoint format must be 2 .*got {found}"):
            Checkpoints(tmp_path / "c", {}, scored=False, writable=writable)


def test_another_configuration_is_refused_by_name(tmp_path):
    with Checkpoints(tmp_path / "c", {"latents": 2}, scored=False) as checkpoints:
        checkpoints.save(1, state(1.0))
    with (
        Checkpoints(tmp_path / "c", {"latents": 3, "newer": 1}, scored=False, writable=False) as checkpoints,
        pytest.raises(ValueError, match=r"latents must be 2, as in .*1, got 3"),
    ):
        checkpoints.restore(1, like())


def test_every_damaged_file_is_found_out(tmp_path):
    with Checkpoints(tmp_path / "c", {}, scored=True) as checkpoints:
        checkpoints.save(1, state(1.0), -1.0)
    folder = tmp_path / "c" / "1"
    files = [path for path in folder.glob("*/**/*") if path.is_file()] + [folder / "digests.json"]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        for damaged in (content[:-2], bytes([content[0] ^ 1]) + content[1:], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"checkpoint must be as it was written, got '.*/c/1': .* is damaged"):
                Checkpoints(tmp_path / "c", {}, scored=True, writable=False)
            path.write_bytes(content)
    with Checkpoints(tmp_path / "c", {}, scored=True, writable=False) as checkpoints:
        assert checkpoints.last == 1


def test_what_is_put_beside_a_checkpoints_files_is_no_damage(tmp_path):
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(1, state(1.0))
    (tmp_path / "c" / "1" / "state" / ".DS_Store").touch()
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        assert checkpoints.last == 1


def test_a_checkpoint_that_does_not_say_what_it_is_of_is_refused(tmp_path):
    config = json.loads(TrainConfig(latents=3).to_json())
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(1, state(1.0))
    with (
        Checkpoints(tmp_path / "c", config, scored=False, writable=False) as checkpoints,
        pytest.raises(ValueError, match=r"latents must be 16, as in .*1, got 3"),
    ):
        checkpoints.restore(1, like())


def test_a_damaged_checkpoint_is_put_aside(tmp_path, caplog):
    for attempt in ("2", "2-2"):
        with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
            assert checkpoints.last == (None if attempt == "2" else 1)
            checkpoints.save(1, state(1.0))
            checkpoints.save(2, state(2.0))
        (tmp_path / "c" / "2" / "state" / "manifest.ocdbt").write_bytes(b"")
        with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
            assert checkpoints.last == 1
            assert float(checkpoints.restore(1, like()).params["w"][0]) == 1.0
        assert "c/2': state/manifest.ocdbt is damaged; moved to damaged/" in caplog.text
        assert (tmp_path / "damaged" / attempt / "state").is_dir()


def test_what_a_killed_save_leaves_is_not_read(tmp_path):
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(1, state(1.0))
    half = tmp_path / "c" / "2.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "state").mkdir()
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        assert checkpoints.last == 1
        checkpoints.save(2, state(2.0))
    with Checkpoints(tmp_path / "c", {}, scored=False, writable=False) as checkpoints:
        assert checkpoints.last == 2
