"""The survey is what the installed builders say."""

import importlib.metadata
import json
import subprocess
import sys

import pytest

from benchmarks import survey
from jaxvae.data.catalog import SOURCES
from jaxvae.data.catalog import survey as surveyed

same = pytest.mark.skipif(
    json.loads(survey.PATH.read_text(encoding="utf-8"))["version"] != importlib.metadata.version("tensorflow-datasets"),
    reason="another release of tensorflow-datasets was surveyed",
)


@same
def test_every_name_exists():
    # In a process of its own, as tensorflow-datasets may be imported here with what the survey hides.
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({survey.HIDDEN!r})); import tensorflow_datasets as tfds; "
        "print(*tfds.list_builders(with_community_datasets=False))"
    )
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(surveyed()) == set(listed.splitlines()[-1].split())
    assert surveyed().keys() >= SOURCES.keys()


@same
@pytest.mark.slow
def test_it_is_as_generated(tmp_path):
    # In a process of its own, as builders import what they like.
    written = tmp_path / "survey.json"
    code = f"from benchmarks import survey; survey.PATH = survey.Path({str(written)!r}); survey.main()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    text = written.read_text(encoding="utf-8")
    assert text == survey.PATH.read_text(encoding="utf-8"), "to be written anew: python -m benchmarks.survey"


@same
@pytest.mark.parametrize("name", ["svhn_cropped", "dmlab", "celeb_a_hq", "emnist", "imdb_reviews", "dsprites"])
def test_one_dataset_is_as_generated(name):
    assert survey.surveyed(name) == surveyed()[name]
