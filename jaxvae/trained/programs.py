"""Programs of StableHLO that run a trained model with JAX alone: encode, decode and score."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, export

from jaxvae.data.dataset import dtype_of
from jaxvae.files import UNFINISHED, require_unwritten, write_atomically, written_together
from jaxvae.interop.optional import load_optional
from jaxvae.trained.model import TrainedModel
from jaxvae.training.directory import CONTRACT

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
SUFFIX = ".stablehlo"

_FILES, _CARD = tuple(f"{name}{SUFFIX}" for name in ("encode", "decode", "score")), "README.md"


def exported_programs(model: TrainedModel) -> dict[str, export.Exported]:
    """The model's functions of any number N of images or latents, with its parameters in them.

    ``encode`` is of images (N, H, W, C), of ``dtype_of`` their levels, and gives mean, log σ and latents
    (N, L); ``decode`` is of latents, and gives E[x|z] (N, H, W, C); ``score`` is of images, and gives ELBO,
    log-likelihood and KL (N,). Those of a conditional model take labels (N,) int32, too.
    """
    (batch,) = export.symbolic_shape("N")
    dtype = dtype_of(model.contract.levels)
    images = jax.ShapeDtypeStruct((batch, *model.contract.image_shape), dtype)
    latents = jax.ShapeDtypeStruct((batch, model.module.latents), jnp.float32)
    labels = [jax.ShapeDtypeStruct((batch,), jnp.int32)] if model.contract.conditional else []

    def encode(images: Array, *labels: Array) -> tuple[Array, ...]:
        q, z = model.infer(images, *labels)
        return q.mean, q.log_std, z

    def decode(latents: Array, *labels: Array) -> Array:
        return model.decode(latents, *labels).mean

    def score(images: Array, *labels: Array) -> tuple[Array, ...]:
        return model.terms(images, *labels)

    def exported(function: Callable[..., Any], first: Any) -> export.Exported:
        return export.export(jax.jit(function), platforms=PLATFORMS)(first, *labels)

    return {"encode": exported(encode, images), "decode": exported(decode, latents), "score": exported(score, images)}


def export_programs(model: TrainedModel, out: Path) -> None:
    """Writes ``exported_programs`` into a new folder, with the contract and a README that says how they are run.

    One that was killed while it did so may be repeated.

    Raises:
        ValueError: for a folder in use.
        ImportError: without flatbuffers.
    """
    load_optional("flatbuffers", "flatbuffers")
    require_unwritten(out, (*_FILES, CONTRACT, _CARD), "a new or empty directory")
    made = dict(zip(_FILES, exported_programs(model).values(), strict=True))
    with written_together(out / UNFINISHED):
        for name, program in made.items():
            write_atomically(out / name, bytes(program.serialize()))
        write_atomically(out / CONTRACT, model.contract.to_json())
        write_atomically(out / _CARD, _readme(model))


def _readme(model: TrainedModel) -> str:
    labels = ", labels" if model.contract.conditional else ""
    dtype = dtype_of(model.contract.levels)
    return f"""# {type(model.module).__name__} of {model.module.latents} latents, as StableHLO

Data: {model.contract.description}. Programs take images (N, H, W, C) of {dtype}; JAX and flatbuffers are all it takes:

```python
from pathlib import Path
import jax

read = lambda name: jax.export.deserialize(bytearray(Path(f"{{name}}{SUFFIX}").read_bytes()))
mean, log_std, latents = read("encode").call(images{labels})
images = read("decode").call(latents{labels})
elbo, log_likelihood, kl = read("score").call(images{labels})
```
"""
