"""Writes jaxvae/data/survey.json: what the builders of tensorflow-datasets are of, and what they need.

Nothing is downloaded: features come from the builders, and what they import or ask of TensorFlow from their sources.
Builders that need a package even for their features are known by asking, so TensorFlow must not be installed. Pandas
and h5py, which the extras ``tables`` and ``anndata`` install, are hidden from them. With h5py,
tensorflow-datasets knows 200 more builders; two of these have images, which one must download oneself.

python -m benchmarks.survey
"""

import argparse
import ast
import dataclasses
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxvae
from jaxvae.data.builders import STAND_IN
from jaxvae.data.catalog import Surveyed
from jaxvae.data.records import image_of

PATH = Path(jaxvae.__file__).parent / "data" / "survey.json"
_PACKAGE = "tensorflow_datasets."
_SHARED = (f"{_PACKAGE}core", f"{_PACKAGE}public_api", f"{_PACKAGE}testing")
_NOWHERE = "/nonexistent"
HIDDEN = ("pandas", "h5py")
"""Packages of our extras, with which the survey would be another."""


def survey_text() -> str:
    """The whole file, a line for each dataset."""
    import tensorflow_datasets as tfds

    names = sorted({*tfds.list_builders(with_community_datasets=False)})  # those imported are there twice
    lines = [f"{json.dumps(name)}: {json.dumps(dataclasses.asdict(surveyed(name)))}" for name in names]
    version = json.dumps(importlib.metadata.version("tensorflow-datasets"))
    return f'{{"version": {version}, "datasets": {{\n' + ",\n".join(lines) + "\n}}\n"


def surveyed(name: str) -> Surveyed:
    """One dataset."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_cls(name)
        configs = builder.builder_configs and builder.default_builder_config
        config = configs.name if configs else ""
        shape = shape_of(builder(data_dir=_NOWHERE, config=config or None).info.features)
    except Exception as error:  # what a builder raises where a module isn't installed, or a file isn't there
        print(f"{name}: {type(error).__name__}: {error}".partition("\n")[0], file=sys.stderr)
        missing = getattr(error, "name", None) or ""
        return Surveyed("", "", (missing,) if missing else (), False)
    needs = tuple(sorted(needs_of(builder))) if shape else ()
    return Surveyed(shape, config, needs, bool(builder.MANUAL_DOWNLOAD_INSTRUCTIONS))


def shape_of(features: Any) -> str:
    """As ``Surveyed.shape``."""
    try:
        found, _ = image_of(features, "features")
    except ValueError:
        return ""
    return "x".join("?" if size is None else str(size) for size in found.feature.shape)


def needs_of(builder: Any) -> set[str]:
    """As ``Surveyed.needs``."""
    found = set()
    for module in modules_of(builder):
        tree = ast.parse(inspect.getsource(module))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "_info":
                node.body = []  # which has run
        for path in filter(None, map(dotted, ast.walk(tree))):
            first, *rest = path.split(".")
            if first == "tf" and not there(rest):
                found.add("tensorflow")
            if "lazy_imports" in rest[:-1]:
                found.add(rest[rest.index("lazy_imports") + 1])
    return {"PIL" if name == "PIL_Image" else name for name in found} - {"PIL", "os"}


def modules_of(builder: Any) -> list[ModuleType]:
    """Those that a builder is written in: its bases', and what these import of tensorflow-datasets' builders."""
    todo = [sys.modules[base.__module__] for base in builder.__mro__]
    found: dict[str, ModuleType] = {}
    while todo:
        module = todo.pop()
        name = module.__name__
        if name.startswith(_PACKAGE) and not name.startswith(_SHARED) and name not in found:
            found[name] = module
            todo += imported(module)
    return list(found.values())


def imported(module: ModuleType) -> Iterator[ModuleType]:
    """The modules that a module names in its imports, of those that are loaded."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                if name in sys.modules:
                    yield sys.modules[name]


def dotted(node: ast.AST) -> str:
    """The text of a name with its attributes; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner else ""


def there(path: list[str]) -> bool:
    """Whether ``STAND_IN`` has this attribute."""
    found: Any = STAND_IN
    for name in path:
        if name not in vars(found):
            return False
        found = vars(found)[name]
        if not isinstance(found, type(STAND_IN)):
            break
    return True


def main() -> None:
    """Writes the file."""
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    sys.modules.update(dict.fromkeys(HIDDEN))  # type: ignore[arg-type]
    PATH.write_text(survey_text(), encoding="utf-8")
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
