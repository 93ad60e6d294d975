import pytest

from jaxvae.data.catalog import SOURCES, survey


@pytest.mark.parametrize("name", SOURCES)
def test_files_are_the_ones_that_tensorflow_datasets_has_registered(name):
    import tensorflow_datasets as tfds

    assert {info.filename for info in tfds.builder_cls(name).url_infos.values()} == set(SOURCES[name].files)


def test_a_known_dataset_is_read_here_or_says_what_it_needs():
    found = survey()
    assert found["svhn_cropped"].obstacle == found["celeb_a"].obstacle == ""
    assert found["celeb_a"].shape == "218x178x3"
    assert found["dmlab"].obstacle == "its builder needs TensorFlow"
    assert found["bigearthnet"].obstacle == "its builder needs Apache Beam"
    assert found["imdb_reviews"].obstacle == "its builder tells of no single image to an example"
    assert found["celeb_a_hq"].by_hand
    assert found["emnist"].config == "byclass"


def test_what_pip_can_install_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "h5py" else object())
    assert survey()["dsprites"].obstacle == "its builder needs h5py, which pip installs"
    assert survey()["kitti"].obstacle == ""
