import pytest

from jaxvae.data.catalog import SOURCES


@pytest.mark.parametrize("name", SOURCES)
def test_files_are_the_ones_that_tensorflow_datasets_has_registered(name):
    import tensorflow_datasets as tfds

    builder = tfds.builder_cls(name)
    assert {info.filename for info in builder.url_infos.values()} == set(SOURCES[name].files)
    configs = [config.name for config in builder.BUILDER_CONFIGS]
    assert SOURCES[name].config == (configs[0] if configs else "")
