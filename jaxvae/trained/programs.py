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
    """Returns the model's functions of any number N of images or latents, which include its parameters.

    ``encode`` maps images (N, H, W, C), with ``dtype_of`` their levels, to mean, log σ and latents (N, L). ``decode``
    maps latents to E[x|z] (N, H, W, C). ``score`` maps images to ELBO, log-likelihood and KL (N,). The functions of a
    conditional model also take labels (N,) int32. Those of a model with covariates also take these, (N, M) float32,
    with codes for levels.
    """
    (batch,) = export.symbolic_shape("N")
    dtype = dtype_of(model.contract.levels)
    images = jax.ShapeDtypeStruct((batch, *model.contract.image_shape), dtype)
    latents = jax.ShapeDtypeStruct((batch, model.module.latents), jnp.float32)
    count = len(model.contract.covariates)
    shapes = {"labels": jax.ShapeDtypeStruct((batch,), jnp.int32)} if model.contract.conditional else {}
    shapes |= {"covariates": jax.ShapeDtypeStruct((batch, count), jnp.float32)} if count else {}

    def encode(images: Array, **beside: Any) -> tuple[Array, ...]:
        q, z = model.infer(images, **beside)
        return q.mean, q.log_std, z

    def decode(latents: Array, **beside: Array) -> Array:
        return model.decode(latents, **beside).mean

    def score(images: Array, **beside: Array) -> tuple[Array, ...]:
        return model.terms(images, **beside)

    def exported(function: Callable[..., Any], first: Any) -> export.Exported:
        def by_place(first: Array, *beside: Array) -> Any:
            return function(first, **dict(zip(shapes, beside, strict=True)))

        return export.export(jax.jit(by_place), platforms=PLATFORMS)(first, *shapes.values())

    return {"encode": exported(encode, images), "decode": exported(decode, latents), "score": exported(score, images)}


def export_programs(model: TrainedModel, out: Path) -> None:
    """Writes ``exported_programs`` into a new folder, with the contract and a README on how to run them.

    If it is killed, it can be called again for the same folder.

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
    covariates = model.contract.covariates
    beside = ", labels" * model.contract.conditional + ", covariates" * bool(covariates)
    told = f"\nCovariates are (N, {len(covariates)}) of float32, levels by their codes from 0." if covariates else ""
    dtype = dtype_of(model.contract.levels)
    return f"""# {type(model.module).__name__} of {model.module.latents} latents, as StableHLO

Data: {model.contract.description}.
Programs take images (N, H, W, C) of {dtype}; JAX and flatbuffers are all it takes.{told}

```python
from pathlib import Path
import jax

read = lambda name: jax.export.deserialize(bytearray(Path(f"{{name}}{SUFFIX}").read_bytes()))
mean, log_std, latents = read("encode").call(images{beside})
images = read("decode").call(latents{beside})
elbo, log_likelihood, kl = read("score").call(images{beside})
```
"""
