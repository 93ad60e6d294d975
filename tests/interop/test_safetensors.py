import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file
from scores import same

import jaxvae as jv
from jaxvae.interop import safetensors as adapter

PARAMS = {
    "params": {
        "encoder": {
            "Dense_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.float32([1, -0.0, 3])}
        },
        "decoder": {"scale": jnp.asarray(2.5, jnp.bfloat16), "empty": np.zeros((0, 3), np.float16)},
    },
    "step": np.array(7, np.int64),
    "mask": np.array([True, False]),
}


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "model.safetensors"
    jv.save_safetensors(PARAMS, path)
    back = jv.load_safetensors(str(path))
    assert jax.tree.structure(back) == jax.tree.structure(PARAMS)
    same(back, PARAMS)
    assert jax.tree.map(lambda x: (x.dtype, x.shape), back) == jax.tree.map(lambda x: (x.dtype, x.shape), PARAMS)


def test_names_and_metadata_for_others(tmp_path):
    path = tmp_path / "model.safetensors"
    jv.save_safetensors(PARAMS, path, metadata={"parameterization": "log_std"})
    with safetensors.safe_open(path, framework="np") as file:
        assert "params/encoder/Dense_0/kernel" in file.keys()  # noqa: SIM118
        assert file.metadata() == {"format": "flax", "jaxvae": jv.__version__, "parameterization": "log_std"}


@pytest.mark.parametrize("dtype", sorted(adapter._DTYPES))
def test_dtypes(dtype, tmp_path):
    x = np.ones(3).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    jv.save_safetensors({"x": x}, tmp_path / "x")
    back = jv.load_safetensors(tmp_path / "x")["x"]
    assert back.dtype == x.dtype
    same(back, x)


def test_arrays_in_any_order_of_memory(tmp_path):
    x = np.arange(24.0).reshape(2, 3, 4)
    views = {
        "transposed": x.T,
        "sliced": x[:, ::2],
        "reversed": x[::-1],
        "fortran": np.asfortranarray(x),
        "big": x.astype(">f8"),
    }
    jv.save_safetensors(views, tmp_path / "x")
    same(jv.load_safetensors(tmp_path / "x"), views)


def test_haikus_names(tmp_path):
    params = {"mlp/~/linear_0": {"w": np.ones(2)}, "~1": np.zeros(1), "a~0b/": np.ones(1)}
    jv.save_safetensors(params, tmp_path / "x")
    same(jv.load_safetensors(tmp_path / "x"), params)


def test_the_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "x"
    jv.save_safetensors({"x": np.zeros(2)}, path)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        jv.save_safetensors({"x": np.ones(2)}, path)
    same(jv.load_safetensors(path), {"x": np.zeros(2)})
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({}, ValueError, "params must have no empty dict, got one at ''"),
        ({"a": {"b": {}}}, ValueError, "got one at 'a/b/'"),
        ({"a": {0: np.ones(1)}}, TypeError, "params must have strings for keys, got 0 at 'a/'"),
        ({"a": 1.5}, TypeError, "params must be arrays of .*, got float at 'a'"),
        ({"a": [np.ones(1)]}, TypeError, "got list at 'a'"),
        ({"a": np.array(["x"])}, TypeError, "got str32 at 'a'"),
        ({"a": np.ones(1, ml_dtypes.float8_e4m3fn)}, TypeError, "got float8_e4m3fn at 'a'"),
    ],
)
def test_what_is_not_saved(params, error, message, tmp_path):
    with pytest.raises(error, match=message):
        jv.save_safetensors(params, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_keys_of_a_generator_are_not_saved(tmp_path):
    with pytest.raises(TypeError, match="got key<fry> at 'a'"):
        jv.save_safetensors({"a": jax.random.key(0)}, tmp_path / "x")


def test_what_is_not_read(tmp_path):
    (tmp_path / "x").write_bytes(b"no such format")
    with pytest.raises(ValueError, match="x must be a safetensors file, got: "):
        jv.load_safetensors(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        jv.load_safetensors(tmp_path / "missing")
    save_file({"a": np.ones(1), "a/b": np.ones(1)}, tmp_path / "y")
    with pytest.raises(ValueError, match="names must not be paths to one another, got one that leads to 'a/b'"):
        jv.load_safetensors(tmp_path / "y")


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: jv.save_safetensors(PARAMS, tmp_path / "x"), lambda: jv.load_safetensors(tmp_path / "x")):
        with pytest.raises(ImportError, match="this needs safetensors"):
            call()


def test_what_numpy_cannot_hold_and_folders_are_refused(tmp_path):
    header = b'{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"0")
    with pytest.raises(ValueError, match=r"x.safetensors must be a safetensors file, got"):
        adapter.load_safetensors(tmp_path / "x.safetensors")
    for read in (adapter.load_safetensors, adapter.safetensors_metadata):
        with pytest.raises(ValueError, match=r"must be a safetensors file, got a folder"):
            read(tmp_path)
