"""Conversion of a trained head's last layer to another parameterization with the same distribution.

The map from raw to raw is affine where both parameterizations are one and the same function of a line in raw. Two
exponentials are, whatever their quantities: quantity = e^u with u = a raw + b is log σ = k u, a line again (k = 1 for
the std, 1/2 for the variance, -1/2 for the precision). It is read from what the transforms are made of.
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
    """The kernel and bias that give ``target`` the σ that the old ones give ``source``, for every input.

    Affine maps from raw to raw only: between ``log_variance``, ``log_std``, ``log_precision`` and others that are
    exponentials of a line in raw, and between any function of a line in raw and the same of another line. The layer
    that gives loc stays as it is.

    Args:
        kernel: of the layer that gives raw, of any layout; of any array type.
        bias: its bias; None if it has none.
        source: the parameterization that the layer was trained under, or its name.
        target: the new parameterization, or its name.

    Raises:
        ValueError: where the map isn't affine; or where it has a shift, and there is no bias to take it.

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
    """``convert_head`` of the parameters of a ``GaussianHead``: ``{"loc": …, "raw": {"kernel": …, "bias": …}}``.

    Not of one with ``raw_min``: what is projected isn't affine.

    Raises:
        ValueError: as ``convert_head``; or where the parameters aren't such a head's.

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
