"""The peers that are packages, each as elementwise functions of (loc, raw): what accuracy and speed are compared with.

Packages are imported when asked for; one that is absent, or doesn't load, is left out with the reason. A package that
takes a σ gets it as its users write it: softplus(raw), exp(raw) or exp(raw / 2). The standard normal is a Normal of the
inputs' dtype. Nothing is validated, which is the default but for PyTorch's: that raises where σ underflows.
"""

import importlib
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxvae as jv

Function = Callable[..., Any]


def jax_outputs(function: Function, inputs: Sequence[np.ndarray], by: int) -> list[np.ndarray]:
    """The values of an elementwise function, and its derivatives by the first ``by`` inputs; under jit."""

    @jax.jit
    def outputs(*inputs: jax.Array) -> tuple:
        value, back = jax.vjp(lambda *first: function(*first, *inputs[by:]), *inputs[:by])
        return value, *back(jnp.ones_like(value))

    return [np.asarray(x) for x in outputs(*inputs)]


class Library(NamedTuple):
    """What a peer offers, None for what it doesn't; arrays of one shape and dtype in, of that shape out, in nats."""

    name: str
    parameterization: jv.Parameterization
    kl: Function | None = None  # (loc, raw): to the standard normal
    kl_between: Function | None = None  # (loc_q, raw_q, loc_p, raw_p)
    log_prob: Function | None = None  # (loc, raw, x)
    entropy: Function | None = None  # (loc, raw)
    cdf: Function | None = None  # (loc, raw, x)
    log_cdf: Function | None = None  # (loc, raw, x)
    sample: Function | None = None  # (key, loc, raw), reparameterized
    outputs: Callable[[Function, Sequence[np.ndarray], int], list[np.ndarray]] = jax_outputs


def _library(
    name: str,
    parameterization: jv.Parameterization,
    normal: Function,
    scale: Function,
    divergence: Function,
    draw: Function,
    full_like: Function = jnp.full_like,
    unit: float = 1.0,
    outputs: Function = jax_outputs,
    log_cdf: Function | None = lambda q, x: q.log_cdf(x),
) -> Library:
    """Of a class ``normal(loc, scale(raw))``, whose standard normal is ``normal(0, unit)``."""

    def q(loc: Any, raw: Any) -> Any:
        return normal(loc, scale(raw))

    return Library(
        name,
        parameterization,
        lambda loc, raw: divergence(q(loc, raw), normal(full_like(loc, 0), full_like(raw, unit))),
        lambda loc_q, raw_q, loc_p, raw_p: divergence(q(loc_q, raw_q), q(loc_p, raw_p)),
        lambda loc, raw, x: q(loc, raw).log_prob(x),
        lambda loc, raw: q(loc, raw).entropy(),
        lambda loc, raw, x: q(loc, raw).cdf(x),
        None if log_cdf is None else lambda loc, raw, x: log_cdf(q(loc, raw), x),
        lambda key, loc, raw: draw(q(loc, raw), key),
        outputs,
    )


def _scales(softplus: Function, exp: Function) -> list[tuple[jv.Parameterization, Function]]:
    """What users write for σ, and what it means."""
    return [(jv.softplus_std, softplus), (jv.log_std, exp), (jv.log_variance, lambda raw: exp(raw / 2))]


def _load(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what packages do to each other as they load
        return importlib.import_module(name)


def _distrax() -> list[Library]:
    distrax = _load("distrax")
    how: dict[str, Function] = {
        "divergence": lambda q, p: q.kl_divergence(p),
        "draw": lambda q, key: q.sample(seed=key),
    }
    maps = _scales(jax.nn.softplus, jnp.exp)
    normals = [_library("distrax Normal", p, distrax.Normal, scale, **how) for p, scale in maps]
    name = "distrax LogStddevNormal"
    return [*normals, _library(name, jv.log_std, distrax.LogStddevNormal, lambda raw: raw, **how, unit=0.0)]


def _tfp() -> list[Library]:
    tfd = _load("tensorflow_probability.substrates.jax").distributions
    how: dict[str, Function] = {"divergence": tfd.kl_divergence, "draw": lambda q, key: q.sample(seed=key)}
    maps = _scales(jax.nn.softplus, jnp.exp)
    return [_library("TFP Normal", p, tfd.Normal, scale, **how) for p, scale in maps]


def _numpyro() -> list[Library]:
    dist = _load("numpyro.distributions")
    how: dict[str, Function] = {"divergence": dist.kl_divergence, "draw": lambda q, key: q.sample(key)}
    maps = _scales(jax.nn.softplus, jnp.exp)
    return [_library("numpyro Normal", p, dist.Normal, scale, **how) for p, scale in maps]


def _torch() -> list[Library]:
    torch = _load("torch")

    def outputs(function: Function, inputs: Sequence[np.ndarray], by: int) -> list[np.ndarray]:
        dtype = inputs[0].dtype
        wide = (np.asarray(x, np.promote_types(dtype, np.float32)) for x in inputs)
        tensors = [torch.tensor(x).to(getattr(torch, dtype.name)).requires_grad_() for x in wide]
        value = function(*tensors)
        slopes = torch.autograd.grad(value.sum(), tensors[:by], allow_unused=True, materialize_grads=True)
        found = (value.detach(), *slopes)
        return [x.to(torch.float64).numpy().astype(jnp.dtype(str(x.dtype).removeprefix("torch."))) for x in found]

    def normal(loc: Any, scale: Any) -> Any:
        return torch.distributions.Normal(loc, scale, validate_args=False)

    maps = _scales(torch.nn.functional.softplus, torch.exp)
    how: dict[str, Function | None] = {
        "divergence": torch.distributions.kl_divergence,
        "draw": lambda q, key: q.rsample(),  # of PyTorch's own generator
        "full_like": torch.full_like,
        "outputs": outputs,
        "log_cdf": None,
    }
    return [_library("PyTorch Normal", p, normal, scale, **how) for p, scale in maps]


def _all(makers: dict[str, Callable[[], list[Library]]]) -> tuple[dict[str, Library], dict[str, str]]:
    found, missing = {}, {}
    for package, make in makers.items():
        try:
            libraries = make()
        except Exception as error:  # whatever a package throws as it loads
            missing[package] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            found |= {f"{library.name}, {library.parameterization.name}": library for library in libraries}
    return found, missing


def jax_libraries() -> tuple[dict[str, Library], dict[str, str]]:
    """The JAX packages by name and parameterization, and why others are missing."""
    return _all({"distrax": _distrax, "tfp-nightly": _tfp, "numpyro": _numpyro})


def torch_libraries() -> tuple[dict[str, Library], dict[str, str]]:
    """PyTorch, whose functions take tensors; ``outputs`` takes and gives arrays."""
    return _all({"torch": _torch})
