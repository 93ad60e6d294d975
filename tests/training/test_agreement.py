"""Several processes, of which this one is the first; what the others say is made up."""

import json

import numpy as np
import pytest

from jaxvae.training import agreement


@pytest.fixture
def others(monkeypatch):
    """Has these texts be the other processes'."""

    def say(*texts: str) -> None:
        def gather(x):
            rows = [np.frombuffer(text.encode(), np.uint8) for text in texts]
            if np.ndim(x) == 0:
                return np.array([x, *map(len, rows)])
            size = max(len(x), *map(len, rows))
            return np.stack([np.pad(row, (0, size - len(row))) for row in (x, *rows)])

        monkeypatch.setattr(agreement.jax, "process_count", lambda: 1 + len(texts))
        monkeypatch.setattr(agreement.multihost_utils, "process_allgather", gather)

    return say


def test_texts_come_back_whole(others):
    assert agreement.gathered("σ") == ["σ"]
    others("", "a longer one")
    assert agreement.gathered("a text of as many bytes as any") == [
        "a text of as many bytes as any",
        "",
        "a longer one",
    ]


def test_where_one_fails_all_do(others):
    with agreement.failing_together():
        pass
    others("", "no space left")
    with pytest.raises(ValueError, match="process 2: no space left"), agreement.failing_together():
        pass
    with pytest.raises(KeyError, match="mine"), agreement.failing_together():
        raise KeyError("mine")


def test_what_differs_is_named(others):
    mine = {"seed": "0", "learning_rate": "0.003"}
    agreement.require_agreement(mine)
    others(json.dumps(mine))
    agreement.require_agreement(mine)
    others(json.dumps(mine | {"learning_rate": "0.03"}))
    with pytest.raises(
        ValueError, match=r"learning_rate must be the same in all processes, 0.003, got '0.03 in process 1"
    ):
        agreement.require_agreement(mine)
    others(json.dumps(mine), json.dumps(mine | {"jax": "1.0"}))
    with pytest.raises(ValueError, match=r"jax must be the same in all processes, None, got '1.0 in process 2"):
        agreement.require_agreement(mine)
