"""The extras: packages that parts of the library need besides JAX and NumPy, which the core needs."""

import importlib
import importlib.util
import warnings
from types import ModuleType


def require_train_extra(user: str, *modules: str) -> None:
    """Raises ImportError, with the command that installs the extra, if one of these modules is missing.

    Args:
        user: the name, in the message, of what needs them.
        modules: the names of top-level modules; none of them is imported.

    >>> require_train_extra("jaxvae.plots", "no_such_module")
    Traceback (most recent call last):
    ImportError: jaxvae.plots needs no_such_module, which comes with: pip install "jaxvae[train]"
    """
    for module in modules:
        _require(user, module, "train")


def load_extra(user: str, module: str, extra: str) -> ModuleType:
    """Imports a module that an extra installs; warnings that are raised meanwhile are ignored.

    Args:
        user: the name, in the message, of what needs it.
        module: the module's name, which may have dots.
        extra: the name of the extra.

    Raises:
        ImportError: if it is missing; the message has the command that installs the extra.

    >>> load_extra("x.h5", "no_such_module", "anndata")
    Traceback (most recent call last):
    ImportError: x.h5 needs no_such_module, which comes with: pip install "jaxvae[anndata]"
    """
    _require(user, module.partition(".")[0], extra)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


def _require(user: str, module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ImportError(f'{user} needs {module}, which comes with: pip install "jaxvae[{extra}]"')
