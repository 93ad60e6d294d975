"""Pure functions under bad input: what they promise, or a ValueError or TypeError that names an argument."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from strategies import (
    BEYOND,
    HUGE,
    JUNK,
    NUMBERS,
    REAL,
    SIZES,
    SPECIAL,
    abstract,
    assigned,
    fuzz,
    names,
    refusal,
    vectors,
)

import jaxvae as jv
from jaxvae import likelihoods, objectives

PARAMETERIZATIONS = st.sampled_from(tuple(jv.PARAMETERIZATIONS.values()))

KERNEL = objectives.gaussian_kernel(2.0)
OBJECTIVES: dict[str, tuple[Callable[..., Any], str, tuple[str, ...], str]] = {
    "elbo": (objectives.elbo, "(*B), (*B, *L), ()", ("log_likelihood", "kl", "beta"), "(*B)"),
    "free_bits": (lambda kl, floor: objectives.free_bits(kl, floor, ()), "(*B), ()", ("kl", "floor"), "(*B)"),
    "balance": (objectives.balance, "(*B, G), (G)", ("kl", "sizes"), "(*B, G)"),
    "capacity": (
        objectives.capacity,
        "(*B), (*B, *L), (), ()",
        ("log_likelihood", "kl", "target", "gamma"),
        "(*B)",
    ),
    "beta_tc": (
        lambda x, i, c, kl, beta: objectives.beta_tc(x, objectives.Decomposition(i, c, kl), beta),
        "(*B), (*B), (*B), (*B, *L), ()",
        ("log_likelihood", "mutual_information", "total_correlation", "dimensionwise_kl", "beta"),
        "(*B)",
    ),
    "info_vae": (
        objectives.info_vae,
        "(*B), (*B, *L), (), (), ()",
        ("log_likelihood", "kl", "divergence", "alpha", "weight"),
        "(*B)",
    ),
    "mmd": (lambda x, y: objectives.mmd(x, y, KERNEL), "(B > 1, L, *M), (P > 1, L, *M)", ("x", "y", "mmd"), "()"),
    "sampled_elbo": (objectives.sampled_elbo, "(K > 0, *B)", ("log_weights",), "(*B)"),
    "iwae": (objectives.iwae, "(K > 0, *B)", ("log_weights",), "(*B)"),
    "miwae": (objectives.miwae, "(M > 0, K > 0, *B)", ("log_weights",), "(*B)"),
    "piwae": (objectives.piwae, "(M > 0, K > 0, *B)", ("log_weights",), "(*B)"),
    "ciwae": (objectives.ciwae, "(K > 0, *B), ()", ("log_weights", "beta"), "(*B)"),
    "renyi": (objectives.renyi, "(K > 0, *B), ()", ("log_weights", "alpha"), "(*B)"),
    "dreg": (objectives.dreg, "(K > 0, *B), (K, *B)", ("log_weights", "tap"), "(*B)"),
    "lagrangian": (objectives.lagrangian, "(), (*M), (*M)", ("loss", "constraints", "multipliers"), "()"),
    "lower_bound_violation": (objectives.lower_bound_violation, "(*B > 0, L), ()", ("x", "bound", "event_axes"), "(L)"),
    "reconstruction_constraint": (
        lambda distortion, tolerance: objectives.reconstruction_constraint(distortion, tolerance, ()),
        "(*B > 0), ()",
        ("distortion", "tolerance"),
        "()",
    ),
    "stl": (
        lambda joint, loc, raw, z: objectives.stl(joint, jv.Gaussian(loc, raw), z),
        "(K > 0, *B), (*B, *L), (*B, *L), (K, *B, *L)",
        ("log_joint", "loc", "raw", "z", "q"),
        "(*B)",
    ),
    "decompose": (
        lambda loc, raw, z, size: objectives.decompose(jv.Gaussian(loc, raw), z, size).total_correlation,
        "(B, L, *M), (B, L, *M), (B, L, *M), ()",
        ("loc", "raw", "z", "size", "q"),
        "(B)",
    ),
}


@fuzz(
    st.sampled_from(tuple(OBJECTIVES)).flatmap(lambda name: st.tuples(st.just(name), abstract(OBJECTIVES[name][1]))),
    share=3,
)
def test_objectives_have_the_shape_they_promise(drawn: Any) -> None:
    keeps_its_shape(*drawn)


def keeps_its_shape(name: str, arrays: list[jax.ShapeDtypeStruct]) -> None:
    function, axes, arguments, promised = OBJECTIVES[name]
    sizes = assigned(axes, [x.shape for x in arrays])
    right = sizes is not None and not any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in arrays)
    broadcast = name in ("stl", "decompose")  # their Gaussians may, too
    found: list[Any] = []
    error = refusal(lambda: found.append(jax.eval_shape(function, *arrays)), *arguments)
    if right:
        assert error is None, error
    elif not broadcast:
        assert error is not None, found
    if error is None and sizes is not None:
        floats = all(jnp.issubdtype(x.dtype, jnp.floating) for x in arrays)
        for leaf in jax.tree.leaves(found):
            assert leaf.shape == tuple(n for letter in names(promised)[0] for n in sizes[letter])
            assert jnp.issubdtype(leaf.dtype, jnp.floating) or not floats


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_objective_once(name: str) -> None:
    wanted = names(OBJECTIVES[name][1])
    letters = sorted({letter for part in wanted for letter in part})
    for rank in (0, 1, 2):
        for least in (2, 0):
            sizes = {x: (least and least + i, 7)[: rank if "*" in x else 1] for i, x in enumerate(letters)}
            shapes = [tuple(n for letter in part for n in sizes[letter]) for part in wanted]
            keeps_its_shape(name, [_batch(shape) for shape in shapes])
            for i, shape in enumerate(shapes):
                for wrong in ((*shape, 1), (9, *shape[1:]), shape[1:]):
                    keeps_its_shape(name, [_batch(wrong if i == k else x) for k, x in enumerate(shapes)])


SHAPES = st.sampled_from(((), (1,), (3,), (4,), (2, 3), (0, 3), (2, 1), (5, 2, 3), (2**31 - 1, 3), (0,)))
ARRAYS = st.builds(
    lambda shape, dtype: jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(jnp.dtype(dtype))),
    SHAPES,
    st.sampled_from((*REAL, "complex64")),
)

ALONE: dict[str, Callable[..., Any]] = {
    "entropy": jv.entropy,
    "kl_divergence": jv.kl_divergence,
    "fisher": jv.fisher,
    "natural_parameters": jv.natural_parameters,
    "expectation_parameters": jv.expectation_parameters,
    "precondition": lambda q: (jv.precondition(q).loc, jv.precondition(q).raw),
    "convert": lambda q: jv.convert(q, jv.log_variance).raw,
    "properties": lambda q: (q.mean, q.std, q.log_std, q.variance, q.precision),
}
PAIRS: dict[str, Callable[..., Any]] = {
    "kl_divergence": jv.kl_divergence,
    "cross_entropy": jv.cross_entropy,
    "jeffreys": jv.jeffreys,
    "wasserstein2": jv.wasserstein2,
    "product": lambda q, p: (jv.product(q, p).loc, jv.product(q, p).raw),
}
POINTS: dict[str, tuple[Callable[..., Any], str]] = {
    "log_prob": (jv.log_prob, "x"),
    "reparameterize": (jv.reparameterize, "noise"),
    "sampled_kl": (objectives.sampled_kl, "x"),
    "beta_nll": (lambda q, y: objectives.beta_nll(q, y, 0.5), "x"),
    "faithful": (objectives.faithful, "y"),
}
GIVEN = ("loc", "raw", "q", "p")


def broadcasts(*arrays: jax.ShapeDtypeStruct) -> tuple[int, ...] | None:
    """Their common shape, where all are real and have one."""
    if any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in arrays):
        return None
    try:
        return np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        return None


def promised(call: Callable[..., Any], arrays: tuple[jax.ShapeDtypeStruct, ...], *arguments: str) -> None:
    """Of the broadcast shape and a floating dtype; or refused, where there is none."""
    found: list[Any] = []
    error = refusal(lambda: found.append(jax.eval_shape(call, *arrays)), *arguments)
    wanted = broadcasts(*arrays)
    assert (error is None) == (wanted is not None), error or found
    for leaf in jax.tree.leaves(found):
        assert leaf.shape == wanted
        assert jnp.issubdtype(leaf.dtype, jnp.floating)


@fuzz(st.sampled_from(tuple(ALONE)), ARRAYS, ARRAYS, PARAMETERIZATIONS, examples=8, share=1)
def test_functions_of_a_gaussian(name: str, loc: Any, raw: Any, p: Any) -> None:
    promised(lambda loc, raw: ALONE[name](jv.Gaussian(loc, raw, p)), (loc, raw), *GIVEN)


@fuzz(st.sampled_from(tuple(PAIRS)), ARRAYS, ARRAYS, ARRAYS, PARAMETERIZATIONS, PARAMETERIZATIONS, examples=8, share=1)
def test_functions_of_two(name: str, loc: Any, raw: Any, other: Any, p: Any, second: Any) -> None:
    def call(loc: Any, raw: Any, other: Any) -> Any:
        return PAIRS[name](jv.Gaussian(loc, raw, p), jv.Gaussian(other, 0.0, second))

    promised(call, (loc, raw, other), *GIVEN, "factors")


@fuzz(st.sampled_from(tuple(POINTS)), ARRAYS, ARRAYS, ARRAYS, PARAMETERIZATIONS, examples=8, share=1)
def test_functions_of_points(name: str, loc: Any, raw: Any, x: Any, p: Any) -> None:
    function, argument = POINTS[name]
    promised(lambda loc, raw, x: function(jv.Gaussian(loc, raw, p), x), (loc, raw, x), *GIVEN, argument)


@fuzz(st.lists(HUGE, max_size=3).map(tuple) | JUNK | NUMBERS | st.just((-1,)) | st.just((2.0,)), PARAMETERIZATIONS)
def test_samples(shape: Any, p: Any) -> None:
    q = jax.eval_shape(lambda: jv.Gaussian(jnp.zeros((2, 3), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16), p))
    found: list[Any] = []
    error = refusal(lambda: found.append(jax.eval_shape(lambda q: jv.sample(jax.random.key(0), q, shape), q)), "shape")
    if error is None:
        assert found[0].shape == (*shape, 2, 3)
        assert found[0].dtype == jnp.bfloat16


KINDS = {"cholesky": jv.CholeskyGaussian, "low_rank": jv.LowRankGaussian}


@fuzz(
    st.sampled_from(tuple(KINDS)),
    SIZES,
    SIZES,
    st.lists(SIZES, max_size=2),
    st.integers(-1, 1),
    SHAPES,
    st.sampled_from((jv.log_std, jv.natural_exp)),
    examples=8,
    share=1,
)
def test_correlated_gaussians(kind: str, size: int, rank: int, batch: list[int], off: int, x: Any, p: Any) -> None:
    third = (max(size + off, 0), rank) if kind == "low_rank" else (max(size * (size - 1) // 2 + off, 0),)

    def everything(loc: Any, raw: Any, third: Any, x: Any) -> Any:
        q = KINDS[kind](loc, raw, third, p)
        z = jv.sample(jax.random.key(0), q, (4,))
        return q.mean, z, q.covariance, jv.entropy(q), jv.kl_divergence(q), jv.log_prob(q, x)

    shapes = ((size,), (*batch, size), third, x)
    found: list[Any] = []
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    arguments = ("x", "lower", "factor", "parameterization", "batch")
    error = refusal(lambda: found.append(jax.eval_shape(everything, *arrays)), *arguments)
    if error is None:
        shape = (*batch, size)
        mean, sample, covariance, entropy, kl, log_prob = found[0]
        assert mean.shape == shape
        assert sample.shape == (4, *shape)
        assert covariance.shape == (*shape, size)
        assert entropy.shape == kl.shape == shape[:-1]
        assert log_prob.shape == np.broadcast_shapes(shape, x)[:-1]
    else:
        fits = off == 0 or (third == (0,) and size < 2)
        natural = isinstance(p, jv.NaturalParameterization)
        wide = broadcasts(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((*batch, size), x)))
        assert not fits or natural or wide is None or wide[-1] != size or (kind == "low_rank" and rank == 0), error


Q, X = jv.Gaussian(np.zeros(2), np.zeros(2)), np.zeros(2)
EAGER: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "Gaussian": (lambda loc, raw, p: jv.Gaussian(loc, raw, p).mean, (X, X, jv.log_std)),
    **{name: (function, (Q,)) for name, function in ALONE.items() if name != "properties"},
    **{f"{name} of two": (function, (Q, Q)) for name, function in PAIRS.items()},
    **{name: (function, (Q, X)) for name, (function, _) in POINTS.items()},
    "sample": (lambda q: jv.sample(jax.random.key(0), q), (Q,)),
    "convert": (jv.convert, (Q, jv.log_std)),
    "from_natural_parameters": (jv.from_natural_parameters, (X, X - 1, jv.log_std)),
    "natural_gradient": (jv.natural_gradient, (Q, Q)),
    "parameterization": (jv.parameterization, ("log_std",)),
    "Parameterization": (jv.Parameterization, ("std", jv.Exp())),
    **{name: (getattr(jv.log_std, name), (X,)) for name in ("std", "log_std", "variance", "precision", "log_std_gain")},
    "raw_from_std": (jv.softplus_std.raw_from_std, (X + 1,)),
    "raw_from_log_std": (jv.softplus_std.raw_from_log_std, (X,)),
    "log_std_ratio": (jv.softplus_std.log_std_ratio, (X, X)),
    "half_square": (jv.softplus_std.half_square, (X, X, X)),
    "CholeskyGaussian": (jv.CholeskyGaussian, (X, X, X[:1], jv.log_std)),
    "LowRankGaussian": (jv.LowRankGaussian, (X, X, X[:, None], jv.log_std)),
    "correlated": (lambda p: jv.kl_divergence(jv.CholeskyGaussian(X, X, X[:1]), p), (Q,)),
    "likelihood": (likelihoods.likelihood, ("categorical", 4, jv.log_std, 0.1)),
    "Bernoulli": (likelihoods.Bernoulli().log_prob, (X, X)),
    "LearnedGaussian": (likelihoods.LearnedGaussian().log_prob, (X, X, 0.0)),
    "Categorical": (likelihoods.Categorical(2).mean, (X,)),
    "OptimalGaussian": (likelihoods.OptimalGaussian().fit, (0.1,)),
    "outputs_at": (likelihoods.Bernoulli().outputs_at, (X,)),
    "neutral outputs": (likelihoods.Bernoulli().output_channels, (3,)),
    "beta_schedule": (objectives.beta_schedule, ("linear", 1.0, 10, 2, 0.5)),
    "dual_ascent": (objectives.dual_ascent, (0.1,)),
    "geco": (objectives.geco, (0.1, 0.9, 0.1, 1.0)),
    "gaussian_kernel": (objectives.gaussian_kernel, (1.0,)),
    "inverse_multiquadratic": (objectives.inverse_multiquadratic, (1.0,)),
    "tapped": (objectives.tapped, (X[:, None],)),
    "jackknife": (objectives.jackknife, (X[:, None], 1)),
    **{
        name: (function, tuple(np.zeros([2] * len(part), np.float32) for part in names(axes)))
        for name, (function, axes, _, _) in OBJECTIVES.items()
    },
}
PLACES = tuple((name, i) for name, (_, arguments) in EAGER.items() for i in range(len(arguments)))
WORDS = (
    *GIVEN,
    *itertools.chain(*(arguments for _, _, arguments, _ in OBJECTIVES.values())),
    *("parameterization", "factors", "gradient", "eta", "std", "quantity", "transform", "lower", "factor", "x", "y"),
    *("likelihood", "levels", "outputs", "mean", "channels", "steps", "beta", "rate", "decay", "low", "high", "scale"),
    *("order", "noise", "log_weights"),
)
LET_THROUGH = {
    ("likelihood", 1): (None,),  # data without levels
    ("correlated", 0): (None,),  # the standard normal
    ("LearnedGaussian", 2): (),
    ("kl_divergence of two", 1): (None,),
    ("sampled_kl", 1): (),
}


@fuzz(st.sampled_from(PLACES), JUNK)
def test_what_is_no_argument_at_all_is_refused(place: tuple[str, int], junk: Any) -> None:
    is_refused(place, junk)


def is_refused(place: tuple[str, int], junk: Any) -> None:
    name, i = place
    function, arguments = EAGER[name]
    error = refusal(lambda: function(*arguments[:i], junk, *arguments[i + 1 :]), *WORDS)
    assert error is not None or any(junk is x for x in LET_THROUGH.get(place, ())), function


@pytest.mark.parametrize("junk", ["abc", np.ones(2, complex), 10**400], ids=["text", "complex", "huge"])
def test_no_argument_takes_it(junk: Any) -> None:
    for place in PLACES:
        is_refused(place, junk)


TRANSFORMS = {
    kind: len(fields)
    for kind, fields in (
        (jv.Softplus, "b"),
        (jv.Sigmoid, "lh"),
        (jv.HalfBounded, "h"),
        (jv.Affine, "ss"),
        (jv.HardClip, "lh"),
        (jv.TanhClip, "b"),
        (jv.SoftClip, "lh"),
        (jv.Floor, "l"),
    )
}


@fuzz(st.sampled_from(tuple(TRANSFORMS)), st.lists(NUMBERS | JUNK, min_size=2, max_size=2), share=3)
def test_transforms_are_whole_or_refused(kind: Any, values: list[Any]) -> None:
    values = values[: TRANSFORMS[kind]]
    made: list[Any] = []
    if refusal(lambda: made.append(kind(*values)), kind.__name__) is None:
        (part,) = made
        hash(part)
        if not isinstance(part, jv.Transform):
            part = jv.Chain(jv.Exp(), part) if isinstance(part, jv.Floor) else jv.Chain(part, jv.Exp())
        p = jv.Parameterization("variance", part)
        assert p.formula
        assert p.std_range.low <= p.std_range.high
        assert jax.eval_shape(p.log_std, jnp.zeros(3)).shape == (3,)


@jax.jit
def everything(loc: Any, raw: Any, x: Any, other: Any, second: Any) -> Any:
    """Elementwise: of log-variance and softplus."""
    q, p = jv.Gaussian(loc, raw), jv.Gaussian(other, second, jv.softplus_std)
    return {
        **{name: ALONE[name](q) for name in ("entropy", "kl_divergence", "fisher", "properties")},
        **{name: PAIRS[name](q, p) for name in ("kl_divergence", "wasserstein2")},
        **{name: POINTS[name][0](p, x) for name in ("log_prob",)},
    }


@fuzz(st.tuples(*(vectors(3, (*SPECIAL, *BEYOND)) for _ in range(5))))
def test_nan_comes_from_what_is_not_finite(inputs: tuple[np.ndarray, ...]) -> None:
    finite = np.all([np.isfinite(x) for x in inputs], axis=0)
    for leaf in jax.tree.leaves(everything(*inputs)):
        assert not np.isnan(leaf[finite]).any()


@jax.jit
def bounds(log_weights: Any, parameter: Any) -> Any:
    return {
        "sampled_elbo": objectives.sampled_elbo(log_weights),
        "iwae": objectives.iwae(log_weights),
        "ciwae": objectives.ciwae(log_weights, parameter),
        "renyi": objectives.renyi(log_weights, 2 * parameter),
        "piwae": objectives.piwae(log_weights[None]),
    }


WEIGHTS = (0.0, 1.0, -1e-30, -80.0, 90.0, -3e4, 1e10, float("-inf"), float("nan"))


@fuzz(vectors(6, WEIGHTS), st.sampled_from((0.0, 0.25, 0.5, 1.0)))
def test_weights_of_0_are_allowed(log_weights: np.ndarray, parameter: float) -> None:
    log_weights = log_weights.reshape(3, 2)
    known = ~np.isnan(log_weights).any(axis=0)
    for name, leaf in bounds(log_weights, np.float32(parameter)).items():
        for bound in jax.tree.leaves(leaf):
            assert not np.isnan(bound[known]).any(), name


@pytest.mark.parametrize("parameter", [0.0, 0.5, 1.0])
def test_nothing_but_weights_of_0(parameter: float) -> None:
    for leaf in jax.tree.leaves(bounds(np.full((3, 2), -np.inf, np.float32), np.float32(parameter))):
        np.testing.assert_array_equal(leaf, -np.inf)


def test_no_latents_at_all() -> None:
    q = jax.eval_shape(lambda: jv.kl_divergence(jv.LowRankGaussian(jnp.zeros(0), jnp.zeros(0), jnp.zeros((0, 2)))))
    assert q.shape == ()


@fuzz(HUGE, st.integers(-2, 5) | NUMBERS | JUNK)
def test_jackknife_of_many_samples_ends(samples: int, order: Any) -> None:
    weights = jax.ShapeDtypeStruct((min(samples, 3000), 2), jnp.float32)
    refusal(lambda: jax.eval_shape(lambda x: objectives.jackknife(x, order), weights), "order", "log_weights")


PIXELS = {name: likelihoods.likelihood(name, 4) for name in likelihoods.LIKELIHOODS}
LAYOUTS = {
    "as it is": lambda x: x,
    "float64": lambda x: x.astype(np.float64),
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "fortran": np.asfortranarray,
    "16 bits": lambda x: x.astype(np.float16),
}


@fuzz(st.sampled_from(tuple(PIXELS)), st.sampled_from((2, 3)), SHAPES, st.sampled_from((0, 1)))
def test_likelihoods_have_the_shape_they_promise(name: str, channels: int, x: tuple[int, ...], more: int) -> None:
    likelihood = PIXELS[name]
    outputs = jax.ShapeDtypeStruct((2, likelihood.output_channels(channels) + more), jnp.float32)
    raw = None if likelihood.raw_init is None else 0.0
    found: list[Any] = []

    def call(outputs: Any, x: Any) -> Any:
        return likelihood.log_prob(outputs, x, raw)

    error = refusal(
        lambda: found.append(jax.eval_shape(call, outputs, jax.ShapeDtypeStruct(x, jnp.float32))), "outputs", "x"
    )
    if error is None:
        (leaf,) = found
        assert leaf.shape == np.broadcast_shapes((*outputs.shape[:-1], x[-1]), x)
        assert leaf.dtype == jnp.float32
    else:
        assert more or x[-1:] != (channels,) or broadcasts(*map(_batch, ((2,), x[:-1]))) is None, error


def _batch(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@fuzz(st.sampled_from(tuple(LAYOUTS)), vectors(6), vectors(6))
def test_layouts_make_no_difference(layout: str, loc: np.ndarray, raw: np.ndarray) -> None:
    loc, raw = (np.clip(x, -60000, 60000).reshape(2, 3) for x in (loc, raw))
    change = LAYOUTS[layout]
    plain = (x.astype(np.float16).astype(np.float32) if layout == "16 bits" else x for x in (loc, raw))
    # 16 bits and 32 are two programs, in each of which multiplications and additions may be fused
    rtol = 4 * np.finfo(np.float32).eps if layout == "16 bits" else 0
    np.testing.assert_allclose(_kl(change(loc), change(raw)), _kl(*plain), rtol=rtol)


_kl = jax.jit(lambda loc, raw: jv.kl_divergence(jv.Gaussian(loc, raw)))


def test_categorical_gives_nan_for_what_is_no_level() -> None:
    x = np.array([[0.0], [1.0], [-0.5], [1.5], [np.nan], [np.inf]], np.float32)
    found = jax.jit(likelihoods.Categorical(4).log_prob)(np.zeros((6, 4), np.float32), x)[:, 0]
    np.testing.assert_array_equal(np.isnan(found), [False, False, True, True, True, True])


def test_renyi_takes_integers() -> None:
    weights = np.array([[0], [2]], np.int32)
    renyi = jax.jit(objectives.renyi)
    np.testing.assert_allclose(renyi(weights, 0.5), renyi(weights.astype(np.float32), 0.5))
