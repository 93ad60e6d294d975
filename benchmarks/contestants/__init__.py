"""What ``benchmarks.train_step`` lets train side by side.

A contestant is a function of the images (N, 28, 28) in uint8, a model and a batch size. It gives back the device's name
and ``advance(steps)``, which trains so many steps from where it stands, waits, and says what there is to say.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Advance = Callable[[int], dict[str, Any]]


class Model(NamedTuple):
    """A VAE of 28 × 28 grey pixels under a Bernoulli, trained by Adam with 1e-3.

    ``hidden`` are the widths of the encoder's dense layers, the decoder's being their mirror image, or the channels of
    residual stages as in ``jaxvae.models.networks``.
    """

    hidden: tuple[int, ...]
    latents: int
    activation: str
    batch_size: int
    architecture: str = "mlp"


MODELS: Mapping[str, Model] = {
    "flax-example": Model((500,), 20, "relu", 128),
    "iwae-1l": Model((200, 200), 50, "tanh", 20),
    "conv": Model((32, 64), 32, "silu", 100, "conv"),
}
"""That of Flax's VAE example; the one-layer model and the small batches of Burda et al. 2015; residual convolutions."""

CONTESTANTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "jaxvae, fused": ("ours", "by_feed", {"fused": True}),
    "jaxvae, one by one": ("ours", "by_feed", {"fused": False}),
    "jaxvae, step by hand": ("ours", "by_hand", {}),
    "jaxvae, fused, bfloat16": ("ours", "by_feed", {"fused": True, "dtype": "bfloat16"}),
    "JAX by hand": ("plain", "by_hand", {}),
    "JAX by hand, our Gaussian": ("plain", "by_hand", {"exact": True}),
    "PyTorch": ("pytorch", "train", {"how": "eager"}),
    "PyTorch, compiled": ("pytorch", "train", {"how": "compiled"}),
    "PyTorch, CUDA graphs": ("pytorch", "train", {"how": "graphs"}),
    "matmul in XLA": ("matmul", "xla", {}),
    "matmul in PyTorch": ("matmul", "pytorch", {}),
}
"""By name: module, function and what more it takes; so that none is imported but the one that runs."""
MATMULS = ("matmul in XLA", "matmul in PyTorch")


def contestant(name: str) -> Callable[..., tuple[str, Advance]]:
    """The function of a contestant."""
    module, function, more = CONTESTANTS[name]
    return functools.partial(getattr(importlib.import_module(f"benchmarks.contestants.{module}"), function), **more)
