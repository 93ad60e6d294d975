"""Strictness for every test: silent broadcasting raises here, and setup.cfg turns warnings into errors."""

import atexit
import os
import shutil
import tempfile

import one_device

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight simulated devices, for the tests that shard; set before JAX starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + f" {one_device.EIGHT}"
# On few cores their collectives wait for one another for ever, unless each has a thread.
os.environ.setdefault("NPROC", "64")
# What many tests compile is compiled once, for all of pytest-xdist's processes. One that reads a program while another
# writes it compiles its own, and says so; setup.cfg lets that pass.
if "JAXVAE_TESTS_CACHE" not in os.environ:
    os.environ["JAXVAE_TESTS_CACHE"] = tempfile.mkdtemp(prefix="jaxvae-tests-")
    atexit.register(shutil.rmtree, os.environ["JAXVAE_TESTS_CACHE"], ignore_errors=True)
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": os.environ["JAXVAE_TESTS_CACHE"],
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "XDG_CACHE_HOME": os.environ["JAXVAE_TESTS_CACHE"],
}

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
