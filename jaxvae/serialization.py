"""Serialization of distributions in exported programs of JAX and in state dicts of Flax.

A parameterization is written as its structure in JSON: its quantity, its transform, and their numbers. One with a
transform of your own could not be read without its code, so it is refused by an error that names it.
"""

import dataclasses
import json
import sys
from typing import Any, TypeVar

import jax
import jax.export

from jaxvae import chains, transforms
from jaxvae.parameterizations import NaturalParameterization, Parameterization, find

T = TypeVar("T")

_PARTS = {
    kind.__name__: kind
    for module in (transforms, chains)
    for kind in vars(module).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
}
"""The library's transforms and the parts of chains, by name."""


def serializable(kind: type[T]) -> type[T]:
    """Makes a class of distributions known to ``jax.export``, which can then serialize programs that use it."""
    jax.export.register_pytree_node_serialization(
        kind,
        serialized_name=f"jaxvae.{kind.__name__}",
        serialize_auxdata=_written,
        deserialize_auxdata=_read,
    )
    return kind


def make_known_to_flax(kind: type) -> None:
    """Makes a class of distributions known to ``flax.serialization``, if Flax has been imported."""
    flax = sys.modules.get("flax.serialization")
    if flax is None or kind in _known_to_flax:
        return
    _known_to_flax.add(kind)

    def state(q: Any) -> dict[str, Any]:
        return {name: flax.to_state_dict(x) for name, x in q._leaves().items()}

    def restored(q: Any, saved: dict[str, Any]) -> Any:
        if set(saved) != set(q._leaves()):
            raise ValueError(f"a {kind.__name__} needs {', '.join(q._leaves())}, got {', '.join(saved) or 'nothing'}")
        leaves = [flax.from_state_dict(x, saved[name], name=name) for name, x in q._leaves().items()]
        return kind.tree(*leaves, parameterization=q.parameterization)  # type: ignore[attr-defined]

    flax.register_serialization_state(kind, state, restored)


_known_to_flax: set[type] = set()


def _written(p: Parameterization) -> bytes:
    """Returns a parameterization as JSON; raises ValueError if it isn't made of the library's own parts."""
    if type(p) not in (Parameterization, NaturalParameterization):
        raise ValueError(f"a parameterization must be jaxvae's own to be serialized, got {type(p).__name__}")
    natural = isinstance(p, NaturalParameterization)
    fields = {"quantity": p.quantity, "natural": natural, "name": p.name, "source": p.source}
    return json.dumps({**fields, "transform": _structure(p.transform, p)}).encode()


def _structure(part: Any, p: Parameterization) -> Any:
    if _PARTS.get(type(part).__name__) is type(part):
        values = {field.name: _structure(getattr(part, field.name), p) for field in dataclasses.fields(part)}
        return {"kind": type(part).__name__, **values}
    if isinstance(part, tuple):
        return [_structure(x, p) for x in part]
    if isinstance(part, float | int | None):
        return part
    of = p.name or type(part).__name__
    raise ValueError(f"a parameterization must be of jaxvae's transforms to be serialized, got {of!r} of {part!r}")


def _read(written: bytes | bytearray) -> Parameterization:
    fields = json.loads(bytes(written))
    kind = NaturalParameterization if fields["natural"] else Parameterization
    p = kind(fields["quantity"], _part(fields["transform"]), fields["name"], fields["source"])
    registered = find(p.name)
    return p if registered != p or registered is None else registered


def _part(structure: Any) -> Any:
    if isinstance(structure, dict):
        values = {name: _part(x) for name, x in structure.items() if name != "kind"}
        kind = _PARTS[structure["kind"]]
        return kind(*values["parts"]) if kind is chains.Chain else kind(**values)
    return [_part(x) for x in structure] if isinstance(structure, list) else structure
