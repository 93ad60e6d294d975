"""Conversion of a trained head's last layer to another parameterization with the same distribution.

The map from raw to raw is affine if both parameterizations are the same function of a line in raw. Two exponentials
always are, whatever their quantities: quantity = e^u with u = a raw + b is log σ = k u, which is a line again (k = 1
for the std, 1/2 for the variance, -1/2 for the precision). The parts of the transforms tell whether this is so.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.chains import Affine, Chain
from jaxvae.parameterizations import QUANTITIES, Parameterization, as_parameterization
from jaxvae.transforms import Exp


class _Line(NamedTuple):
    """A parameterization as a function of scale raw + shift."""

    scale: float
    shift: float
    function: tuple


def _line(p: Parameterization) -> _Line:
    parts = p.transform.parts if isinstance(p.transform, Chain) else (p.transform,)
    scale, shift, quantity = 1.0, 0.0, p.quantity
    while isinstance(parts[0], Affine):
        scale, shift, parts = parts[0].scale * scale, parts[0].scale * shift + parts[0].shift, parts[1:]
    if parts == (Exp(),):
        exponent, _ = QUANTITIES[quantity]
        scale, shift, quantity = exponent * scale, exponent * shift, "std"
    return _Line(scale, shift, (type(p), quantity, parts))


def convert_head(
    kernel: Any, bias: Any, source: Parameterization | str, target: Parameterization | str
) -> tuple[Any, Any]:
    """Returns the kernel and bias that under ``target`` give the σ of the old ones under ``source``, for every input.

    This works only if the map from raw to raw is affine: between ``log_variance``, ``log_std``, ``log_precision`` and
    other exponentials of a line in raw, and between any function of a line in raw and the same function of another
    line. The layer that computes loc stays as it is.

    Args:
        kernel: the kernel of the layer that computes raw, in any layout and of any array type.
        bias: the bias of this layer, or None if it has none.
        source: the parameterization with which the layer was trained, or its name.
        target: the new parameterization, or its name.

    Raises:
        ValueError: if the map isn't affine, or if it has a shift and there is no bias to take it.

    >>> import jax.numpy as jnp
    >>> from jaxvae.parameterizations import log_std, log_variance
    >>> [x.tolist() for x in convert_head(jnp.ones((1, 2)), jnp.asarray([0.0, 3.0]), log_variance, log_std)]
    [[[0.5, 0.5]], [0.0, 1.5]]
    """
    source, target = as_parameterization(source), as_parameterization(target)
    if source == target:
        return kernel, bias
    old, new = _line(source), _line(target)
    if old.function != new.function:
        names = " to ".join(repr(p.name or p.formula) for p in (source, target))
        raise ValueError(f"a layer can't be converted from {names}: raw to raw isn't affine; use convert(q, target)")
    scale, shift = old.scale / new.scale, (old.shift - new.shift) / new.scale
    if bias is None and shift:
        raise ValueError(f"bias must be given, to take the shift of {shift:g} from source to target, got None")
    return scale * kernel, None if bias is None else scale * bias + shift


def convert_head_params(
    params: Mapping[str, Mapping[str, Array]], source: Parameterization | str, target: Parameterization | str
) -> dict[str, dict[str, Array]]:
    """Converts the parameters of a ``GaussianHead`` as ``convert_head`` does.

    The parameters are ``{"loc": …, "raw": {"kernel": …, "bias": …}}``. Don't use it for a head with ``raw_min``, whose
    projection isn't affine.

    Raises:
        ValueError: like ``convert_head``, or if the parameters aren't those of such a head.

    >>> import jax.numpy as jnp
    >>> head = {"loc": {}, "raw": {"kernel": jnp.ones((1, 2)), "bias": jnp.zeros(2)}}
    >>> convert_head_params(head, "log_variance", "log_std")["raw"]["kernel"].tolist()
    [[0.5, 0.5]]
    """
    if set(params) != {"loc", "raw"} or not set(params["raw"]) <= {"kernel", "bias"} or "kernel" not in params["raw"]:
        found = jax.tree.map(jnp.shape, params)
        raise ValueError(f"params must be a head's, with loc and raw and their kernels, got shapes {found}")
    kernel, bias = convert_head(params["raw"]["kernel"], params["raw"].get("bias"), source, target)
    raw = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    return {"loc": dict(params["loc"]), "raw": raw}
