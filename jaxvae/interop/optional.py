"""Imports of packages that are optional."""

import importlib
import warnings
from types import ModuleType


def load_optional(module: str, package: str) -> ModuleType:
    """Imports a module of a package that may be missing; warnings that are raised meanwhile are ignored.

    Raises:
        ImportError: if it can't be imported; the message says how to install the package.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as missing:
        raise ImportError(f"this needs {package}, which can't be imported: pip install {package}") from missing
