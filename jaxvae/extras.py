"""The extras: what the library needs, in parts, beyond the core's JAX and NumPy."""

import importlib
import importlib.util
import warnings
from types import ModuleType


def require_train_extra(user: str, *modules: str) -> None:
    """Raises ImportError, with the command that installs the extra, where one of these modules is missing.

    Args:
        user: what needs them, as the message names it.
        modules: the names of top-level modules; none of them is imported.

    >>> require_train_extra("jaxvae.plots", "no_such_module")
    Traceback (most recent call last):
    ImportError: jaxvae.plots needs no_such_module, which comes with: pip install "jaxvae[train]"
    """
    for module in modules:
        _require(user, module, "train")


def load_extra(user: str, module: str, extra: str) -> ModuleType:
    """A module that an extra brings, without the warnings of what packages do to each other as they load.

    Args:
        user: what needs it, as the message names it.
        module: its name, which may have dots.
        extra: the name of the extra.

    Raises:
        ImportError: where it is missing, with the command that installs the extra.

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
