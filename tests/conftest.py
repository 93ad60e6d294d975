"""Strictness for every test: silent broadcasting raises here, and setup.cfg turns warnings into errors."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight simulated devices, for the tests that shard; set before JAX starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
# On few cores their collectives wait for one another for ever, unless each has a thread.
os.environ.setdefault("NPROC", "64")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
