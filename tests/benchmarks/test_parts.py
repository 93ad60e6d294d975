import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import parts


def test_milliseconds_leave_the_first_round_out():
    calls = {"a": 0, "b": 0}

    def side(name):
        calls[name] += 1
        return jnp.zeros(())

    found = parts.milliseconds({name: lambda name=name: side(name) for name in calls}, rounds=3, calls=2)
    assert calls == {"a": 8, "b": 8}
    assert min(found.values()) >= 0


@pytest.mark.slow
@pytest.mark.parametrize("form", [f for f in parts.FORMS if f != "XLA"])
def test_every_form_is_the_same_convolution(form):
    rng = np.random.default_rng(0)
    x, kernel, g = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((25, 4, 3, 2), (3, 3, 2, 5), (25, 4, 3, 5)))
    wanted = parts.both(parts.by_xla, x, kernel, g)
    for found, want in zip(parts.both(parts.FORMS[form], x, kernel, g), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
