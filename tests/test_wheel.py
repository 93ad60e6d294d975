"""The wheel, installed with what the core requires and nothing else, in an environment of its own."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

import jaxvae as jv

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CORE = """
import doctest, importlib, pkgutil, sys
import jax, jaxvae as jv

workshop = {"data", "likelihoods", "models", "objectives", "plots", "study", "trained", "training"}
workshop |= {"cli", "commands", "process", "progress", "__main__"}
names = [m.name for m in pkgutil.walk_packages(jv.__path__, "jaxvae.", onerror=lambda name: None)]
core = ["jaxvae", *(name for name in names if name.split(".")[1] not in workshop)]
peers = {f"jaxvae.interop.{name}" for name in ("distrax", "numpyro", "peers", "safetensors", "tfp")}
tried = 0
for name in core:
    if name not in peers:
        failed, seen = doctest.testmod(importlib.import_module(name))
        assert not failed, name
        tried += seen
q = jv.Gaussian(jax.numpy.zeros(3), jax.numpy.ones(3), jv.softplus_std)
gradient = jax.jit(jax.grad(lambda q: jv.kl_divergence(q).sum()))(q)
assert gradient.raw.shape == (3,) and bool(jax.numpy.isfinite(gradient.raw).all())
print(tried)
"""


def run(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT.anchor)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    python = str(folder / "env" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", str(wheel))
    return python


def test_the_core_runs_on_jax_and_numpy_alone(python):
    listed = run(python, "-m", "pip", "list", "--format=freeze").stdout
    installed = {line.partition("==")[0] for line in listed.splitlines()} - {"pip", "setuptools"}
    # JAX itself brings jaxlib, ml_dtypes, opt_einsum and scipy.
    assert installed == {"jaxvae", "jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy"}
    assert int(run(python, "-c", CORE).stdout) >= 30


def test_the_command_line_says_what_to_install(python):
    assert run(python, "-m", "jaxvae", "--version").stdout == f"jaxvae {jv.__version__}\n"
    assert "compare" in run(python, "-m", "jaxvae", "--help").stdout
    assert run(python, "-m", "jaxvae", "list", "--names").stdout.split() == list(jv.PARAMETERIZATIONS)
    for words in (["train"], ["compare"], ["explain"], ["data", "list"]):
        done = run(python, "-m", "jaxvae", *words, ok=False)
        assert done.stdout == ""
        assert done.stderr.startswith("jaxvae: error: jaxvae")
        assert done.stderr.endswith('which comes with: pip install "jaxvae[train]"\n')
        assert done.stderr.count("\n") == 1
