"""Certifies ``jaxvae.special`` and ``jaxvae.gammas`` over every finite float32, bfloat16 and float16.

    python -m benchmarks.certify [--functions NAME ...] [--stride N] [--out FILE.json]

For each unary function and its derivative, and for functions of θ and k at some k, every input inside the domain that
is not subnormal is evaluated in the dtype, by a program of its own (in one with the comparison, XLA may leave the
rounding to 16 bits out), and compared with the function in float64, which the tests hold against mpmath to 8 ulp of
float64. The worst error is given in ulp of the true result, where that is a normal number; near a root that is not at
0 the absolute error is given instead. A NaN, or a limit missed where the true result over- or underflows, counts as an
infinite error. One float32 function and its derivative take a few minutes on two cores, and less than ten seconds on
an H100.
"""

import argparse
import functools
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks import harness
from jaxvae import gammas, special

PAIRS = ("log_gamma_ratio", "log_gamma_ratio_by_log_theta")
COUNTS = (0.5, 2.0, 30.0, 1e9)
SECTIONS = {f"{name}, k = {k:g}": (name, k) for name in PAIRS for k in COUNTS}
"""Functions of θ and k, each at some k: of one variable, by their names."""

DOMAIN_START = {
    "log1p": -1.0,
    "log1pmx": -1.0,
    "log1mexp": 0.0,
    "softplus_inverse": 0.0,
    "log_mills": 0.0,
    "stirling_error": float(np.nextafter(1, 0)),
    **dict.fromkeys(SECTIONS, 1e-8),
}
DOMAIN_END = dict.fromkeys(SECTIONS, 1e12)
ROOTS = ("log_softplus", "softplus_inverse", "log_mills")
"""Functions with a root away from 0: there the values below 1/2 are held to an absolute bound."""

FUNCTIONS = (
    "exp", "expm1", "expm1mx", "log1p", "log1pmx", "sigmoid", "tanh", "log_sech2", "softplus", "log_sigmoid",
    "log_softplus", "log1mexp", "softplus_inverse", "squareplus", "log_squareplus", "ndtr", "log_ndtr", "log_mills",
    "inverse_mills", "stirling_error", *SECTIONS,
)  # fmt: skip
ELSEWHERE = ("stirling_error",)
"""Those of ``jaxvae.gammas``."""
ORDERS = ("value", "derivative")
BAR = 4.0
"""ulp, in float32; the 16-bit types are rounded once, to half an ulp and a little."""
SECTION_BAR = 8.0
"""The same of two numbers, of which an ulp of each changes the result by up to three."""
SIXTEEN_BIT_BAR = 0.51
ABSOLUTE_BAR = 2.0
"""in units of the dtype's eps, near a root."""


def slope(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The elementwise derivative, by forward mode."""

    def derivative(x: Array) -> Array:
        return jax.jvp(f, (x,), (jnp.ones_like(x),))[1]

    return derivative


def function(name: str, order: str) -> Callable[[Array], Array]:
    """What is certified."""
    f = at_count(*SECTIONS[name]) if name in SECTIONS else getattr(gammas if name in ELSEWHERE else special, name)
    return f if order == "value" else slope(f)


def at_count(name: str, k: float) -> Callable[[Array], Array]:
    """One of ``PAIRS`` as a function of θ."""
    return lambda theta: getattr(gammas, name)(theta, k)


def errors(name: str, order: str, x: Array, got: Array) -> tuple[Array, Array | None]:
    """The error of each element in ulp, and its absolute error in eps where that is what counts."""
    info = jnp.finfo(x.dtype)
    got, want = got.astype(float), function(name, order)(x.astype(float))
    tiny, largest, eps = float(info.smallest_normal), float(info.max), float(info.eps)
    _, exponent = jnp.frexp(jnp.maximum(jnp.abs(want), tiny))
    absolute = jnp.abs(got - want)
    ulps = absolute / jnp.ldexp(jnp.ones_like(want), exponent - 1 - info.nmant)
    ulps = jnp.where(jnp.isnan(got), jnp.inf, ulps)
    # Past the ends of the range the limit is right, and so is the last number before it.
    flushed = (jnp.abs(want) < tiny) & (jnp.abs(got) <= tiny)
    edge = largest * (1 - 8 * eps)
    overflown = (jnp.abs(want) > edge) & (jnp.abs(got) >= edge) & (jnp.sign(got) == jnp.sign(want))
    ulps = jnp.where(flushed | overflown | (got == want), 0, ulps)
    x64 = x.astype(float)
    counted = jnp.isfinite(x64) & ((jnp.abs(x64) >= tiny) | (x64 == 0)) & (x64 > DOMAIN_START.get(name, -jnp.inf))
    counted &= x64 < DOMAIN_END.get(name, jnp.inf)
    if name not in ROOTS or order != "value":
        return jnp.where(counted, ulps, 0), None
    near_root = jnp.abs(want) < 0.5
    return jnp.where(counted & ~near_root, ulps, 0), jnp.where(counted & near_root, absolute / eps, 0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 4, 5))
def evaluated(name: str, order: str, dtype: str, start: Array, size: int, stride: int) -> tuple[Array, Array, Array]:
    """``size`` bit patterns, the numbers that they stand for, and what is made of these."""
    width = jnp.uint32 if dtype == "float32" else jnp.uint16
    bits = (start + stride * jnp.arange(size, dtype=jnp.uint32)).astype(width)
    x = jax.lax.bitcast_convert_type(bits, jnp.dtype(dtype))
    return bits, x, function(name, order)(x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def worst(name: str, order: str, bits: Array, x: Array, got: Array) -> tuple[Array, ...]:
    """The worst errors, and the bits where they are."""
    ulps, absolute = errors(name, order, x, got)
    at = jnp.argmax(ulps)
    if absolute is None:
        return ulps[at], bits[at], jnp.zeros(()), bits[0]
    root_at = jnp.argmax(absolute)
    return ulps[at], bits[at], absolute[root_at], bits[root_at]


def bar(name: str) -> float:
    """In ulp of float32."""
    return SECTION_BAR if name in SECTIONS else BAR


def certify(name: str, order: str, dtype: str, stride: int = 1) -> dict:
    """The worst error of one function over every ``stride``-th input."""
    count = 2 ** (32 if dtype == "float32" else 16) // stride
    size = min(count, 2**22)
    started = time.perf_counter()
    with jax.enable_x64(True):
        found = [
            [x.item() for x in worst(name, order, *evaluated(name, order, dtype, jnp.uint32(i * stride), size, stride))]
            for i in range(0, count - size + 1, size)
        ]
    ulps, at, *_ = max(found, key=lambda row: row[0])
    *_, absolute, root_at = max(found, key=lambda row: row[2])
    value = functools.partial(_value_of, dtype)
    return {
        "function": name,
        "order": order,
        "dtype": dtype,
        "inputs": len(found) * size,
        "worst_ulp": ulps,
        "at": value(at),
        "worst_eps_near_root": absolute if name in ROOTS and order == "value" else None,
        "root_at": value(root_at) if name in ROOTS and order == "value" else None,
        "passed": ulps <= (bar(name) if dtype == "float32" else SIXTEEN_BIT_BAR) and absolute <= ABSOLUTE_BAR,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _value_of(dtype: str, bits: int) -> float:
    width = np.uint32 if dtype == "float32" else np.uint16
    return float(np.array(bits, width).view(jnp.dtype(dtype)))


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table, one line per function and order."""
    lines = [
        "| function | | float32: worst ulp | at | near its root: worst eps | bfloat16 ulp | float16 ulp |",
        "|---|---|---|---|---|---|---|",
    ]
    by = {(r["function"], r["order"], r["dtype"]): r for r in rows}
    for name in FUNCTIONS:
        for order in ORDERS:
            found = [by.get((name, order, dtype)) for dtype in ("float32", "bfloat16", "float16")]
            if found[0] is None:
                continue
            root = found[0]["worst_eps_near_root"]
            lines.append(
                f"| {name} | {order} | {found[0]['worst_ulp']:.2f} | {found[0]['at']:.7g} | "
                + (f"{root:.2f}" if root is not None else "")
                + "".join(f" | {r['worst_ulp']:.3f}" if r else " | " for r in found[1:])
                + " |"
            )
    return "\n".join(lines)


def main() -> None:
    """Certifies, prints the table, and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--functions", nargs="*", default=FUNCTIONS, choices=FUNCTIONS, metavar="NAME")
    parser.add_argument("--stride", type=int, default=1, help="take every N-th float32 (1: all of them)")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/certify-DEVICE.json")
    options = parser.parse_args()
    rows = []
    for name in options.functions:
        for order in ORDERS:
            for dtype in ("bfloat16", "float16", "float32"):
                rows.append(certify(name, order, dtype, options.stride if dtype == "float32" else 1))
                print({key: x for key, x in rows[-1].items() if x is not None}, flush=True)
    where = {"jax": jax.__version__, "device": jax.devices()[0].device_kind, "machine": platform.machine()}
    out = options.out or harness.RESULTS / f"certify-{harness.slug(where['device'])}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**where, "rows": rows}, indent=1) + "\n")
    print(table(rows))
    if not all(row["passed"] for row in rows):
        raise SystemExit("a bar was missed")


if __name__ == "__main__":
    main()
