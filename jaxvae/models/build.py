"""Builds the model that a configuration names."""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxvae.arguments import require
from jaxvae.likelihoods import Likelihood
from jaxvae.models.conditions import Condition
from jaxvae.models.flows import CouplingFlow
from jaxvae.models.heads import GaussianHead
from jaxvae.models.hierarchical import BottomUpVAE, TopDownVAE
from jaxvae.models.latent import LatentModel
from jaxvae.models.networks import ACTIVATIONS, MLP, ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from jaxvae.models.recurrent import RecurrentDecoder, RecurrentEncoder
from jaxvae.models.vae import VAE
from jaxvae.parameterizations import Parameterization, as_parameterization, log_variance

ARCHITECTURES = ("mlp", "conv", "recurrent")
"""The pairs of encoder and decoder that a configuration may name."""

_SEPARABLE = "one whose terms depend on one entry each, because entries may be missing"

INFERENCES = ("bottom_up", "top_down")
"""The ways in which the layers of a hierarchy may be inferred."""


def make_model(
    image_shape: tuple[int, int, int],
    likelihood: Likelihood,
    latents: int,
    parameterization: Parameterization | str = log_variance,
    *,
    architecture: str = "mlp",
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    blocks: int = 1,
    upper_latents: tuple[int, ...] = (),
    upper_hidden: tuple[int, ...] = (100, 100),
    inference: str = "top_down",
    flow_steps: int = 0,
    init_std: float = 1.0,
    raw_min: float | None = None,
    preconditioned: bool = False,
    conditions: tuple[Condition, ...] = (),
    dtype: DTypeLike = jnp.float32,
    mean: np.ndarray | None = None,
    offset: bool = False,
    missing: bool = False,
) -> LatentModel:
    """Returns a model with an encoder, and a decoder that is its mirror image.

    Args:
        image_shape: (H, W, C).
        likelihood: p(x|z).
        latents: L, the number of latents of the only layer, or of the lowest one.
        parameterization: how σ arises in the encoder, and in the priors of a hierarchy; or its name.
        architecture: ``mlp``, ``conv``, or ``recurrent`` for sequences, whose first axis is time.
        hidden: the widths of the dense layers (mlp) or of the states (recurrent), or the channels of the stages (conv),
            from the image inwards. If it is empty, encoder and decoder are linear (mlp only).
        activation: a name in ``ACTIVATIONS``; recurrent units have their own activations.
        blocks: the number of residual blocks in a stage; conv only.
        upper_latents: the numbers of latents of the upper layers, the lowest first; empty for a ``VAE``.
        upper_hidden: the widths of the dense layers between two layers of latents, or in the couplings of a flow.
        inference: a name in ``INFERENCES``.
        flow_steps: the number of couplings of a ``CouplingFlow`` after the head; 0 in a hierarchy.
        init_std: σ of q(z|x) at the start.
        raw_min: as in ``GaussianHead``.
        preconditioned: as in ``GaussianHead``.
        conditions: what encoder and decoder are given with each image.
        dtype: the dtype of encoder and decoder; the head, the KL and densities are float32.
        mean: the data's mean (H, W, C), at which the decoder starts if the likelihood allows it (Burda et al. 2016,
            code; on MNIST, it is worth 2 nats after 10 epochs). Unless it is an mlp, the decoder starts at the mean
            over height and width.
        offset: whether the mean of counts is proportional to their total, which is known.
        missing: whether entries of images may be missing, as in ``LatentModel``.

    Raises:
        ValueError: for an unknown name, for sizes below 1, for an ``init_std`` out of the parameterization's range, or
            for arguments that don't go together.
    """
    require(architecture in ARCHITECTURES, "architecture", architecture, "one of " + ", ".join(ARCHITECTURES))
    require(inference in INFERENCES, "inference", inference, " or ".join(INFERENCES))
    require(activation in ACTIVATIONS, "activation", activation, "one of " + ", ".join(ACTIVATIONS))
    require(
        all(width >= 1 for width in hidden) and (len(hidden) > 0 or architecture == "mlp"),
        "hidden",
        hidden,
        "widths, each at least 1; one or more for conv and recurrent",
    )
    require(latents >= 1, "latents", latents, "at least 1")
    require(all(count >= 1 for count in upper_latents), "upper_latents", upper_latents, "counts, each at least 1")
    require(all(width >= 1 for width in upper_hidden), "upper_hidden", upper_hidden, "widths, each at least 1")
    require(blocks >= 0, "blocks", blocks, "at least 0")
    require(flow_steps >= 0, "flow_steps", flow_steps, "at least 0")
    require(flow_steps == 0 or not upper_latents, "flow_steps", flow_steps, "0 with upper_latents")
    require(flow_steps == 0 or latents >= 2, "flow_steps", flow_steps, "0 for a single latent")
    require(
        flow_steps == 0 or len(upper_hidden) > 0, "upper_hidden", upper_hidden, "one or more widths, with flow_steps"
    )
    parameterization = as_parameterization(parameterization)
    parameterization.raw_from_std(init_std)  # raises ValueError if it is out of range
    require(likelihood.sized or not offset, "offset", offset, "False for a likelihood without a size")
    require(not missing or likelihood.separable, "likelihood", type(likelihood).__name__, _SEPARABLE)
    require(not missing or not offset, "offset", offset, "False where entries are missing: their total isn't known")
    total = 1.0 if mean is None or not offset else max(float(np.sum(mean)), 1.0)
    shape = (*image_shape[:2], likelihood.output_channels(image_shape[2]))
    if mean is None:
        start = likelihood.output_bias(image_shape[2])
    else:
        start = likelihood.outputs_at((mean if architecture == "mlp" else np.mean(mean, axis=(0, 1))) / total)
    bias = tuple(np.ravel(start).tolist())
    if architecture == "mlp":
        encoder: nn.Module = MLPEncoder(hidden, activation, dtype=dtype)
        decoder: nn.Module = MLPDecoder(shape, bias, hidden[::-1], activation, dtype=dtype)
    elif architecture == "conv":
        encoder = ConvEncoder(hidden, activation, blocks, dtype=dtype)
        decoder = ConvDecoder(shape, bias, hidden, activation, blocks, dtype=dtype)
    else:
        encoder, decoder = RecurrentEncoder(hidden, dtype=dtype), RecurrentDecoder(shape, bias, hidden, dtype=dtype)
    ends = {"likelihood": likelihood, "conditions": conditions, "encoder": encoder, "decoder": decoder}
    ends |= {"channels": image_shape[2], "log_size": math.log(total) if offset else None, "missing": missing}

    def head(count: int, std: float) -> GaussianHead:
        return GaussianHead(count, parameterization, std, raw_min, preconditioned)

    if not upper_latents:
        flow = CouplingFlow(flow_steps, upper_hidden, activation) if flow_steps else None
        return VAE(**ends, head=head(latents, init_std), flow=flow)
    counts = (latents, *upper_latents)
    kind = {"bottom_up": BottomUpVAE, "top_down": TopDownVAE}[inference]

    def between() -> tuple[nn.Module, ...]:
        return tuple(MLP(upper_hidden, activation, dtype) for _ in upper_latents)

    return kind(
        **ends,
        heads=tuple(head(count, init_std) for count in counts),
        up=between(),
        down=between(),
        priors=tuple(GaussianHead(count, parameterization) for count in counts[:-1]),
    )
