"""The public face: what ``jaxvae`` gives, and when it is loaded."""

import json
import subprocess
import sys

import pytest

import jaxvae as jv
from jaxvae import core


def run(code: str) -> dict:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_every_public_name_is_the_package_s():
    names = [name for name in vars(core) if not name.startswith("_")]
    assert "Gaussian" in names
    assert all(getattr(jv, name) is getattr(core, name) for name in names)
    assert {*names, "training", "__version__"} <= {*dir(jv)}
    assert {*jv.__all__} >= {*names, "training"}


@pytest.mark.parametrize("name", ["gausian", "_gaussian", "__path_"])
def test_other_names_are_refused_as_python_does(name):
    with pytest.raises(AttributeError, match=f"module 'jaxvae' has no attribute '{name}'"):
        getattr(jv, name)


def test_the_core_comes_with_the_first_name():
    found = run(
        "import json, sys, jaxvae as jv\n"
        "before = 'jax' in sys.modules or 'numpy' in sys.modules\n"
        "missing = hasattr(jv, '_nothing'), 'jax' in sys.modules\n"
        "module = jv.texts.number(1.0), 'jax' in sys.modules\n"
        "jv.Gaussian\n"
        "after = 'jaxvae.gaussian' in sys.modules, 'Gaussian' in vars(jv), 'sample' in vars(jv)\n"
        "print(json.dumps([before, missing, module, after]))"
    )
    assert found == [False, [False, False], ["1", False], [True, True, True]]


def test_where_jax_is_loaded_the_core_is_so_at_once():
    """As ``jax.export`` reads programs of distributions by what has been defined."""
    found = run("import json, sys, jax, jaxvae; print(json.dumps(['jaxvae.gaussian' in sys.modules]))")
    assert found == [True]
