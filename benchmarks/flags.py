"""Writes jaxvae/flags.json: what the command line's parser takes from the rest of the package without loading it.

python -m benchmarks.flags
"""

import argparse
import dataclasses
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

import jaxvae
from jaxvae.data.catalog import SOURCES
from jaxvae.data.loading import BUNDLED
from jaxvae.parameterizations import PARAMETERIZATIONS
from jaxvae.study import DEFAULT
from jaxvae.study.presets import PRESETS, STAGES
from jaxvae.training import TrainConfig

KNOWN = {
    "dataset": (*BUNDLED, *SOURCES),
    **dict.fromkeys(("parameterization", "likelihood_parameterization"), (*PARAMETERIZATIONS,)),
}
"""By field, some of the names that it may take, of any number."""

PROBES = {
    "int": (-1, 0, 1, 2**40),
    "float": (-1.0, 0.0, 2.0),
    "tuple of int": ((-1,), (0,), (2**40,)),
    "tuple of float": ((1.0, 0.0),),
}
"""By type, values beyond the ends of ranges."""

PATH = Path(jaxvae.__file__).with_name("flags.json")


def shown(value: Any) -> str:
    """A default as the help has it; "" for none."""
    if isinstance(value, tuple):
        return " ".join(map(shown, value))
    return "" if value is None else str(value)


def kind(hint: Any) -> str:
    """A field's type, of an optional one what else it may be."""
    hint = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    return f"tuple of {typing.get_args(hint)[0].__name__}" if typing.get_origin(hint) is tuple else hint.__name__


def limits(name: str, kind: str) -> str:
    """What a field may be, in the words with which the configuration refuses other values; "" where it refuses none."""
    found = []
    for value in PROBES.get(kind, ()):
        try:
            TrainConfig(**{name: value})
        except ValueError as error:
            found += re.findall(rf"^{name} must be (.*), got ", str(error))
    return ", ".join(dict.fromkeys(found))


def flags() -> str:
    """The whole file."""
    hints, fields = typing.get_type_hints(TrainConfig), {}
    for field in dataclasses.fields(TrainConfig):
        choices = field.metadata["choices"]
        text = field.metadata["help"] + (f": {', '.join(choices)}" if choices else "")
        known = choices or KNOWN.get(field.name, ())
        fields[field.name] = {"type": kind(hints[field.name]), "default": shown(field.default), "help": text}
        fields[field.name]["range"] = ", ".join(choices) or limits(field.name, fields[field.name]["type"])
        fields[field.name] |= {"choices": [*known]} if known else {}
    study = {name: shown(values) for name, values in DEFAULT.items()}
    found = {"fields": fields, "study": study, "tables": [*PRESETS], "stages": STAGES}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the file."""
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    PATH.write_text(flags(), encoding="utf-8")
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
