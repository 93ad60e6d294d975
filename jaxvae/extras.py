"""The training extra: what the workshop needs beyond the core's JAX and NumPy."""

import importlib.util


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
        if importlib.util.find_spec(module) is None:
            raise ImportError(f'{user} needs {module}, which comes with: pip install "jaxvae[train]"')
