"""Packages that the library can do without."""

import importlib
import warnings
from types import ModuleType


def load_optional(module: str, package: str) -> ModuleType:
    """A module of a package that may be missing, without the warnings of what packages do to each other as they load.

    Raises:
        ImportError: where it is; says how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as missing:
        raise ImportError(f"this needs {package}, which can't be imported: pip install {package}") from missing
