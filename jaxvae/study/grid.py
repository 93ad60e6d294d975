"""The cells of a study: every combination of its fields' values."""

import dataclasses
import itertools
import shlex
import typing
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from jaxvae.arguments import require
from jaxvae.training import TrainConfig, config_from_mapping
from jaxvae.training.config import UNCONSTRAINED
from jaxvae.training.latents import make_encoder_std

Grid = Mapping[str, tuple[Any, ...]]
"""The values of each field of ``TrainConfig``; fields that aren't named have the default."""

DEFAULT: Grid = MappingProxyType(
    {
        "parameterization": (
            "log_variance",
            "log_std",
            "softplus_std",
            "softplus_variance",
            "squareplus_std",
            "squareplus_variance",
            "sigmoid_std",
            "sigmoid_variance",
            "natural_softplus",
            "direct_std",
        ),
        "constraint": ("none", "projection", "lagrange"),
        "init_std": (0.5,),  # within every parameterization's range
        "latents": (8,),
        "hidden": ((128,),),
        "epochs": (150,),
        "batch_size": (128,),
        "learning_rate": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
        "seed": (0, 1, 2),
    }
)
"""The default study; it leaves out ``log_precision``, which mirrors ``log_variance``."""

QUICK: Grid = MappingProxyType(
    {
        **DEFAULT,
        "parameterization": ("log_variance", "log_std", "softplus_std", "direct_std"),
        "constraint": ("none", "projection"),
        "epochs": (50,),
        "learning_rate": (3e-3, 3e-2),
        "seed": (0, 1),
    }
)
"""A study that takes less than a minute."""


WIDTHS = tuple(name for name, hint in typing.get_type_hints(TrainConfig).items() if typing.get_origin(hint) is tuple)
"""Fields whose value is itself a tuple of numbers; a study has one value of each."""


def extended(grid: Grid, fields: Mapping[str, Any]) -> Grid:
    """Returns the grid with other tuples of values for some fields; for fields in ``WIDTHS`` the tuple is one value.

    If a preconditioner is a value, plain gradients are added as another.
    """
    found = {name: (values,) if name in WIDTHS else tuple(values) for name, values in fields.items()}
    if "precondition" in found:
        found["precondition"] = tuple(dict.fromkeys(("none", *found["precondition"])))
    return {**grid, **found}


def command(grid: Grid, search: bool = False) -> str:
    """Returns the command for a study of this grid, or for a search in it.

    >>> command({**DEFAULT, "seed": (0, 1)})
    'jaxvae compare --seed 0 1'
    """
    words = ["jaxvae", "compare"]
    for name, values in grid.items():
        if values != DEFAULT.get(name):
            words += ["--" + name.replace("_", "-"), *map(str, values[0] if name in WIDTHS else values)]
    return shlex.join([*words, *["--search"] * search])


def configurations(grid: Grid) -> list[TrainConfig]:
    """Returns all cells: every combination of the fields' values, with the last field varying fastest.

    If a parameterization keeps σ positive by itself, ``constraint`` is none.

    Raises:
        ValueError: for an unknown field, a field without values or with the same value twice, a value that isn't
            allowed, an ``init_std`` out of a parameterization's range, or something that a study doesn't support.
    """
    for name, values in grid.items():
        require(len(values) > 0, name, values, "one or more values")
        require(len(set(values)) == len(values), name, list(values), "each value once")
    cells: dict[TrainConfig, None] = {}
    for combination in itertools.product(*grid.values()):
        fields = dict(zip(grid, combination, strict=True))
        if fields.get("parameterization", TrainConfig.parameterization) not in UNCONSTRAINED:
            fields["constraint"] = "none"
        config = config_from_mapping(fields)
        require(config.streaming is not True, "streaming", True, "false: a study's images stay on its devices")
        fitted = config.likelihood == "gaussian_optimal"
        require(not fitted, "likelihood", config.likelihood, "one whose σ isn't fitted after training")
        require(not config.upper_latents, "upper_latents", config.upper_latents, "none: a study measures a single head")
        cells[config] = None
    for config, *_ in groups(cells):
        make_encoder_std(config).parameterization.raw_from_std(config.init_std)  # raises if it is out of range
    return list(cells)


def groups(cells: Iterable[TrainConfig]) -> list[list[TrainConfig]]:
    """Groups the cells that one program trains: those that differ in learning rate and seed only."""
    found: dict[TrainConfig, list[TrainConfig]] = {}
    for config in cells:
        found.setdefault(dataclasses.replace(config, learning_rate=1.0, seed=0), []).append(config)
    return list(found.values())
