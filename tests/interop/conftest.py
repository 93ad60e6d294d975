"""Loads the peers before the tests import them, without the warnings of what packages do to each other."""

import jaxvae.interop.distrax
import jaxvae.interop.numpyro
import jaxvae.interop.tfp  # noqa: F401
