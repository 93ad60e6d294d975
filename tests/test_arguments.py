import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.arguments import (
    make_floats,
    require_broadcast,
    require_numbers,
    require_real,
    require_shapes,
    require_sizes,
    symbolic,
)


class Wrapped:
    """As NNX has its parameters."""

    def __jax_array__(self):
        return jnp.ones(3)


@pytest.mark.parametrize("x", [1, 2.5, True, np.float32(1), np.ones(3, np.int8), 2**70, Wrapped()])
def test_real_numbers_are_let_through(x):
    require_real(x=x)


def test_arrays_and_tracers_are_let_through():
    require_real(x=jnp.ones(3, jnp.bfloat16))
    jax.eval_shape(lambda x: require_real(x=x), jnp.ones(3, jnp.float8_e4m3fn))


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (1j, "a complex"),
        (np.ones(3, complex), "dtype complex128"),
        (np.array([None]), "dtype object"),
        (np.array(["1"]), "dtype <U1"),
        (np.ones(3, ">f4"), "dtype >f4"),
        (np.ones(3, np.longdouble), "dtype float128"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), "dtype float64"),
        ("float32", "a str"),
        (np.float32, "a type"),
        ([1.0], "a list"),
        (None, "a NoneType"),
    ],
)
def test_all_else_is_not_real(x, got):
    with pytest.raises(TypeError, match=f"^raw must be an array of real numbers, got {got}$"):
        require_real(raw=x)


def test_keys_are_not_real():
    with pytest.raises(TypeError, match=r"^x must be an array of real numbers, got dtype key<fry>$"):
        require_real(x=jax.random.key(0))


def test_integers_that_no_float_holds():
    with pytest.raises(ValueError, match=r"^x must be within the range of floats, got an integer of 1329 bits$"):
        require_real(x=10**400)


def test_shapes_share_their_letters():
    kl = np.ones((3, 2))
    require_shapes("(B), (B, L), ()", log_likelihood=np.ones(3), kl=kl, beta=1)
    require_shapes("(B), (B, L)", log_likelihood=np.ones(0), kl=kl[:0])
    for shape in ((4, 2), (3,), (3, 2, 1), ()):
        with pytest.raises(ValueError, match=r"^kl must be of shape \(B, L\)( with B = 3)?, got \("):
            require_shapes("(B), (B, L)", log_likelihood=np.ones(3), kl=np.ones(shape))
    with pytest.raises(TypeError, match=r"^kl must"):
        require_shapes("(B), (B, L)", log_likelihood=np.ones(3), kl=1j * kl)


def test_a_star_is_any_number_of_axes():
    axes = "(*B), (K, *B, *L), (*B, G)"
    require_shapes(axes, a=np.ones(()), b=np.ones((7, 2, 3)), c=np.ones(5))
    require_shapes(axes, a=np.ones((4, 2)), b=np.ones((7, 4, 2, 3, 3)), c=np.ones((4, 2, 5)))
    require_shapes(axes, a=np.ones((4, 2)), b=np.ones((7, 4, 2)), c=np.ones((4, 2, 0)))
    for shape in ((4, 2), (7, 4), (7, 2, 4), (), (7, 4, 3, 2)):
        message = r"^b must be of shape \(K, \*B, \*L\) with \*B = \(4, 2\), got "
        with pytest.raises(ValueError, match=message + re.escape(str(shape))):
            require_shapes(axes, a=np.ones((4, 2)), b=np.ones(shape), c=np.ones(()))
    with pytest.raises(ValueError, match=r"^x must be of shape \(\*B > 0\), got \(2, 0\)$"):
        require_shapes("(*B > 0)", x=np.ones((2, 0)))


def test_symbolic_sizes():
    b, c = jax.export.symbolic_shape("b, c")
    x, y = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((b, 3), (b, c)))

    def check(x, y):
        require_shapes("(B > 0, *L), (B, L > 0)", x=x, y=y)
        require_sizes(shape=(x.shape[0], y.shape[1] - 1, 3))
        assert symbolic(x.shape[0])
        assert not symbolic(x.shape[1])
        with pytest.raises(ValueError, match=r"^y must be of shape \(B, C\) with B = b, got \(c, b\)$"):
            require_shapes("(B), (B, C)", x=x[:, 0], y=y.T)
        with pytest.raises(ValueError, match="at least 0"):
            require_sizes(shape=(x.shape[0], -1))
        return x

    jax.export.export(jax.jit(check))(x, y)


def test_what_may_not_be_empty():
    require_shapes("(K > 0, B)", x=np.ones((1, 0)))
    with pytest.raises(ValueError, match=r"^x must be of shape \(K > 0, B\), got \(0, 3\)$"):
        require_shapes("(K > 0, B)", x=np.ones((0, 3)))


def test_broadcasting():
    require_broadcast(q=(2, 3), x=(5, 1, 3), y=())
    with pytest.raises(ValueError, match=r"^shapes must broadcast, got q \(2, 3\), x \(2,\)$"):
        require_broadcast(q=(2, 3), x=(2,))


def test_numbers_and_sizes():
    require_numbers(a=1, b=np.float32(2), c=True)
    for x in ("1", None, 1j, jnp.ones(())):
        with pytest.raises(TypeError, match=r"^a must be a number, got"):
            require_numbers(a=x)
    require_sizes(shape=(), other=[np.int64(3), 0])
    for bad in (5, "ab", (1.0,), None):
        with pytest.raises(TypeError, match=r"^shape must be a tuple of sizes, got"):
            require_sizes(shape=bad)
    with pytest.raises(ValueError, match=r"^shape must be a tuple of sizes of at least 0"):
        require_sizes(shape=(-1,))


@dataclasses.dataclass(frozen=True)
class Kind:
    by: float

    def __post_init__(self):
        make_floats(self)


def test_fields_become_floats():
    for x in (2**31, np.float32(2), True, float("inf")):
        kind = Kind(x)
        assert type(kind.by) is float
        assert kind.by == x
    with pytest.raises(TypeError, match=r"^Kind\.by must be a number, got 'a'$"):
        Kind("a")
    with pytest.raises(ValueError, match=r"^Kind\.by must be within the range of float32, got 1e\+39$"):
        Kind(1e39)
