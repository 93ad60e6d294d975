"""What may be loaded, and what is said where there is nothing."""

import pytest

import jaxvae as jv


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"run must be a directory with a config.json, got '.*nowhere'"):
        jv.load(tmp_path / "nowhere")
