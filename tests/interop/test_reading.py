from types import SimpleNamespace

import numpy as np
from scores import gaussian, same

import jaxvae as jv
from jaxvae.interop.reading import expressed, gaussian_of, refusal


def test_anothers_normal_is_read_as_it_is():
    q = gaussian_of(SimpleNamespace(loc=0, scale=np.float32([0.1, 2])))
    same((q.loc, q.raw, q.dtype), (np.float32(0), np.float32([0.1, 2]), np.float32))
    assert q.parameterization == jv.direct_std


def test_a_bare_std_goes_to_raw_without_its_log():
    # Logs of these are off by up to 4e-6, which a raw that is σ itself would show.
    std = np.float32([7e33, 3e-20])
    raw = expressed(SimpleNamespace(loc=0.0, scale=std), jv.abs_std).raw  # not under jit, where exp(log(x)) is x
    same(raw, std)


def test_ones_own_comes_back_itself():
    q = gaussian()
    assert gaussian_of(SimpleNamespace(gaussian=q)) is expressed(SimpleNamespace(gaussian=q), None) is q


def test_refusal():
    assert str(refusal("from_x", "a Normal", 3)) == "from_x takes a Normal, got a int"
