"""Without the training extra, the workshop says what installs it; the core doesn't ask."""

import importlib
import sys

import pytest

from jaxvae.extras import require_train_extra

WORKSHOP = ("data", "models", "objectives", "plots", "study", "trained", "training")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nothing but jaxvae's own modules is found."""
    for name in [name for name in sys.modules if name.split(".")[:2] in [["jaxvae", room] for room in WORKSHOP]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_what_is_installed_is_not_asked_for():
    require_train_extra("jaxvae", "jax", "numpy")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("room", WORKSHOP)
def test_a_room_of_the_workshop_names_itself_and_the_extra(room):
    with pytest.raises(
        ImportError, match=rf'^jaxvae\.{room} needs \w+, which comes with: pip install "jaxvae\[train\]"$'
    ):
        importlib.import_module(f"jaxvae.{room}")


@pytest.mark.usefixtures("bare")
def test_load_names_the_extra():
    import jaxvae

    with pytest.raises(ImportError, match=r'^jaxvae\.\w+ needs \w+, which comes with: pip install "jaxvae\[train\]"$'):
        jaxvae.load("runs/x")
