import pytest

from jaxvae.interop.optional import load_optional


def test_what_is_there_is_loaded():
    assert load_optional("math", "python").pi > 3


def test_a_missing_package_is_named_with_its_cure():
    with pytest.raises(ImportError, match="this needs some-package, which can't be imported: pip install some-package"):
        load_optional("no_such_module", "some-package")
