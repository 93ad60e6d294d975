"""jaxvae: the Gaussian latent variable done right in JAX.

>>> import jax, jax.numpy as jnp
>>> import jaxvae as jv
>>> q = jv.Gaussian(loc=jnp.zeros((128, 20)), raw=jnp.zeros((128, 20)), parameterization=jv.softplus_std)
>>> z = jv.sample(jax.random.key(0), q)
>>> kl = jv.kl_divergence(q).sum(axis=-1)
>>> z.shape, kl.shape
((128, 20), (128,))

Axes have the same order everywhere: K samples, the batch B, and event axes last. Functions are elementwise and do not
reduce; the caller sums over event axes and averages over the batch. The last axis of a Gaussian with correlated
elements is one event, and results have one number per event. Information is in nats.

The workshop needs the training extra (``pip install "jaxvae[train]"``), and is imported when it is first used. It
consists of ``jv.training``, ``jv.models``, ``jv.data``, ``jv.likelihoods``, ``jv.objectives``, ``jv.trained``,
``jv.study`` and ``jv.plots``, and of ``jv.load``, which reads a trained model.

``import jaxvae`` does not load JAX: the core is loaded when one of its names is first used, or at once if JAX is
already loaded.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from jaxvae._version import __version__ as __version__

_WORKSHOP = ("data", "likelihoods", "models", "objectives", "plots", "study", "trained", "training")

if TYPE_CHECKING:
    from jaxvae import data as data
    from jaxvae import likelihoods as likelihoods
    from jaxvae import models as models
    from jaxvae import objectives as objectives
    from jaxvae import plots as plots
    from jaxvae import study as study
    from jaxvae import trained as trained
    from jaxvae import training as training
    from jaxvae.core import *  # noqa: F403

    load = trained.load_model
else:

    def __getattr__(name: str) -> object:
        if name == "__all__":
            return [*_load_core(), *_WORKSHOP, "load", "__version__"]
        if name == "load":
            return importlib.import_module(f"{__name__}.trained").load_model
        if not name.startswith("_"):
            if importlib.util.find_spec(f"{__name__}.{name}") is not None:
                return importlib.import_module(f"{__name__}.{name}")
            if name in _load_core():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _load_core() -> list[str]:
    """Adds the core's public names to this module, and returns a list of them."""
    core = importlib.import_module(f"{__name__}.core")
    public = {name: value for name, value in vars(core).items() if not name.startswith("_")}
    globals().update(public)
    return [*public]


def __dir__() -> list[str]:
    return sorted({*_load_core(), *globals(), *_WORKSHOP, "load"})


if "jax" in sys.modules:  # jax.export can read a program only if its distributions are defined
    _load_core()
