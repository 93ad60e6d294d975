"""Weights in the safetensors format, which other programs can read.

Names are paths like ``params/encoder/Dense_0/kernel``. A "~" or "/" in a key is written "~0" or "~1", as in a JSON
pointer (RFC 6901), because Haiku's module names have both.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae._version import __version__
from jaxvae.files import require_file, write_atomically
from jaxvae.interop.optional import load_optional

_DTYPES = {"bool", "bfloat16", "float16", "float32", "float64", "complex64"} | {
    f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
"""The dtypes that are the same after writing and reading."""


def save_safetensors(
    params: Mapping[str, Any], path: str | os.PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes nested dicts of arrays to a file; if writing is interrupted, the file is as it was before.

    Args:
        params: dicts of dicts of arrays, keyed by strings.
        path: the file.
        metadata: texts to write with the arrays, such as the name of the parameterization, besides ``format``
            (``flax``, for arrays of JAX) and ``jaxvae`` (the version).

    Raises:
        ImportError: if safetensors is missing.
        TypeError: if a key isn't a string, or a leaf isn't an array of a dtype that the format has.
        ValueError: if a dict is empty, as the format can't store it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors({"raw": {"bias": np.zeros(2)}}, f"{folder}/head.safetensors")
    ...     load_safetensors(f"{folder}/head.safetensors")["raw"]["bias"].tolist()
    [0.0, 0.0]
    """
    library = load_optional("safetensors.numpy", "safetensors")
    header = {"format": "flax", "jaxvae": __version__, **(metadata or {})}
    write_atomically(Path(path), library.save(dict(_flat(params)), header))


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if not params:
        raise ValueError(f"params must have no empty dict, got one at {prefix!r}")
    for key, value in params.items():
        if not isinstance(key, str):
            raise TypeError(f"params must have strings for keys, got {key!r} at {prefix!r}")
        name = prefix + key.replace("~", "~0").replace("/", "~1")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}/")
            continue
        array = isinstance(value, jax.Array | np.ndarray)
        dtype = value.dtype.name if array else type(value).__name__
        if not array or dtype not in _DTYPES:
            raise TypeError(f"params must be arrays of {', '.join(sorted(_DTYPES))}, got {dtype} at {name!r}")
        yield name, np.asarray(value, order="C")  # the library would write any other order as if it were C


def load_safetensors(path: str | os.PathLike) -> dict[str, Any]:
    """Reads nested dicts of arrays from a file, which ``save_safetensors`` or another program wrote.

    They are NumPy's arrays, so that float64 stays float64; ``jax.device_put`` puts them all on a device.

    Raises:
        ImportError: if safetensors is missing.
        FileNotFoundError: if there is no such file.
        ValueError: if it isn't a safetensors file, or one name is a path to another.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors({"raw": {"bias": np.ones(2)}}, f"{folder}/head.safetensors")
    ...     load_safetensors(f"{folder}/head.safetensors")
    {'raw': {'bias': array([1., 1.])}}
    """
    with _opened(path) as file:
        flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return _nested(flat)


def safetensors_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Returns the texts that were written with the arrays of a file; raises like ``load_safetensors``."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Any]:
    """Opens a file for reading; raises ValueError if its content turns out not to be valid."""
    library = load_optional("safetensors", "safetensors")
    require_file(Path(path))
    if Path(path).is_dir():
        raise ValueError(f"{path} must be a safetensors file, got a folder")
    try:
        with library.safe_open(path, framework="np") as file:
            yield file
    except (library.SafetensorError, AttributeError, TypeError) as broken:  # NumPy may lack a dtype
        raise ValueError(f"{path} must be a safetensors file, got: {broken}") from None


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in sorted(flat.items()):  # a path comes before what it leads to
        *parents, last = (key.replace("~1", "/").replace("~0", "~") for key in name.split("/"))
        branch = tree
        for key in parents:
            branch = branch.setdefault(key, {})
            if not isinstance(branch, dict):
                raise ValueError(f"names must not be paths to one another, got one that leads to {name!r}")
        branch[last] = value
    return tree
