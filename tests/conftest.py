"""Strictness for every test: silent broadcasting raises here, and setup.cfg turns warnings into errors."""

import gc
import os
import time
from pathlib import Path

import jax
import one_device
import pytest

from jaxvae.process import compiled_programs

TESTS = Path(__file__).parent
CACHE = TESTS.parent / ".cache"
"""What tests compile is kept in the checkout: the second run of the suite compiles next to nothing."""

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight simulated devices, for the tests that shard; set before JAX starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + f" {one_device.EIGHT}"
# On few cores their collectives wait for one another for ever, unless each has a thread.
os.environ.setdefault("NPROC", "64")
os.environ.setdefault("XDG_CACHE_HOME", str(CACHE))
PROGRAMS = compiled_programs()
os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(PROGRAMS), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

# The environment is for the processes that tests start; this one has imported JAX. A process that reads a program
# while another writes it compiles its own, and says so; setup.cfg lets that pass.
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_compilation_cache_dir", str(PROGRAMS))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_numpy_rank_promotion", "raise")

QUICKLY_COMPILED = (
    "data",
    "diagnosis",
    "faults",
    "fuzz",
    "interop",
    "likelihoods/test_family.py",
    "models",
    "objectives",
    "plots",
    "study",
    "commands",
    "test_distribution.py",
    "test_docs.py",
    "test_transformations.py",
    "trained",
    "training",
)
"""Where tests need a program's meaning, not its speed: LLVM's optimizations are a third of its compilation."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item) -> None:
    """Before the item's fixtures, which may compile, too."""
    quickly = item.path.is_relative_to(TESTS) and str(item.path.relative_to(TESTS)).startswith(QUICKLY_COMPILED)
    jax.config.update("jax_disable_most_optimizations", quickly)
    jax.config.update("jax_xla_profile_version", int(quickly))  # means nothing here, but keeps their programs apart


def pytest_collection_finish(session) -> None:
    """Modules live as long as the run: to look for cycles among them, and often, takes a tenth of its time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def pytest_sessionstart(session) -> None:
    """Programs that no run has used for a month are dropped."""
    if not hasattr(session.config, "workerinput"):
        month_ago = time.time() - 30 * 24 * 3600
        for program in PROGRAMS.glob("*"):
            if program.stat().st_atime < month_ago:
                program.unlink(missing_ok=True)
