"""Draws pairs of Gaussians, and counts where KL(q ‖ p) breaks its promise: for each parameterization and dtype.

    python -m benchmarks.pairs [--pairs 1e8] [--names NAME ...] [--dtypes NAME ...]

Of each four pairs one is ordinary (raws within some units of 0), one has raws in [-200, 200] and means over twelve
decades, one is equal but for the last digits, and one is of any bits at all, so of subnormals, infinities and NaN, too.
KL is never below 0, exactly 0 between equals, NaN where an input is, and else only where one is infinite; its
derivatives by finite inputs are no NaN, and in float32 and float64 finite (in 16 bits they may overflow when they are
rounded to the inputs' dtype). In float64 a hundredth of the pairs is drawn. Counts go to
``benchmarks/results/pairs.json``, with what the first failures were of; the command ends with 1 where there are any.
"""

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jaxvae as jv
from benchmarks import harness

DTYPES = ("float32", "bfloat16", "float16", "float64")
CHUNK = 2**19
WITHOUT_NEGATIVE = ("direct_std", "direct_variance", "projected_std")
"""Whose raws are positive numbers: below 0 there is no Gaussian."""
CHECKS = ("negative", "not 0 for equals", "NaN", "number for NaN", "gradient NaN or inf")

Numbers = tuple[Array, Array, Array, Array]


def draw(key: Array, size: int, dtype: str, positive: bool) -> Numbers:
    """Locations and raws of q and p, (size,): a quarter of each kind."""
    keys = jax.random.split(key, 8)
    quarter, wide = size // 4, jnp.promote_types(dtype, jnp.float32)

    def uniform(i: int, low: float, high: float) -> Array:
        return jax.random.uniform(keys[i], (quarter, 4), wide, low, high)

    u = uniform(0, -1.0, 1.0)
    ordinary = jnp.stack([2 * u[:, 0], 4 * u[:, 1], 2 * u[:, 2], 4 * u[:, 3]])
    v, decades = uniform(1, -1.0, 1.0), uniform(2, -6.0, 6.0)
    extreme = jnp.stack([v[:, 0] * 10 ** decades[:, 0], 200 * v[:, 1], v[:, 2] * 10 ** decades[:, 1], 200 * v[:, 3]])
    w, eps = uniform(3, -1.0, 1.0), float(jnp.finfo(dtype).eps)
    near = jnp.stack([w[:, 0], 20 * w[:, 1]])
    near = jnp.concatenate([near, near * (1 + 2 * eps * jnp.round(2 * w[:, 2:].T))])
    rows = jnp.concatenate([ordinary, extreme, near], axis=1).astype(dtype)
    bits = jax.random.bits(keys[4], (4, size - 3 * quarter), f"uint{8 * jnp.dtype(dtype).itemsize}")
    rows = jnp.concatenate([rows, jax.lax.bitcast_convert_type(bits, jnp.dtype(dtype))], axis=1)
    loc, raw, loc_p, raw_p = rows
    return (loc, jnp.abs(raw), loc_p, jnp.abs(raw_p)) if positive else (loc, raw, loc_p, raw_p)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def broken(key: Array, name: str, dtype: str, size: int) -> tuple[Array, Numbers]:
    """Whether each pair breaks each of ``CHECKS``, (5, size), and the pairs."""
    numbers, p = draw(key, size, dtype, name in WITHOUT_NEGATIVE), jv.PARAMETERIZATIONS[name]

    def kl(loc: Array, raw: Array, loc_p: Array, raw_p: Array) -> Array:
        return jv.kl_divergence(jv.Gaussian(loc, raw, p), jv.Gaussian(loc_p, raw_p, p))

    value, back = jax.vjp(kl, *numbers)
    slopes = jnp.stack([*back(jnp.ones_like(value))])
    given = jnp.stack(numbers)
    finite, nan = jnp.isfinite(given).all(0), jnp.isnan(given).any(0)
    equal = kl(*numbers[:2], *numbers[:2])
    checks = (
        value < 0,
        jnp.isfinite(given[:2]).all(0) & (equal != 0),
        finite & jnp.isnan(value),
        nan & ~jnp.isnan(value),
        finite & (jnp.isnan(slopes) if value.dtype != jnp.dtype(dtype) else ~jnp.isfinite(slopes)).any(0),
    )
    return jnp.stack(checks), numbers


def count(name: str, dtype: str, pairs: int) -> dict[str, Any]:
    """How many of so many pairs break each check, and the first that do."""
    began, counts, witnesses = time.process_time(), np.zeros(len(CHECKS), np.int64), []
    chunks = -(-pairs // CHUNK)
    for i in range(chunks):
        found, numbers = broken(jax.random.fold_in(jax.random.key(0, impl="rbg"), i), name, dtype, CHUNK)
        sums = np.asarray(found.sum(axis=1))
        for check in np.flatnonzero((counts == 0) & (sums > 0)):
            first = int(np.argmax(np.asarray(found[check])))
            witnesses.append({"check": CHECKS[check], "pair": [str(x[first]) for x in numbers]})
        counts += sums
    return {
        "parameterization": name,
        "dtype": dtype,
        "pairs": chunks * CHUNK,
        **dict(zip(CHECKS, counts.tolist(), strict=True)),
        "cpu_seconds": round(time.process_time() - began, 1),
        "witnesses": witnesses,
    }


def measure(names: Sequence[str], dtypes: Sequence[str], pairs: int) -> list[dict[str, Any]]:
    """A row for each parameterization and dtype."""
    rows = []
    for name in names:
        for dtype in dtypes:
            jax.clear_caches()
            with jax.enable_x64(dtype == "float64"):
                rows.append(row := count(name, dtype, pairs // 100 if dtype == "float64" else pairs))
            found = ", ".join(f"{row[check]} {check}" for check in CHECKS if row[check]) or "0 broken"
            print(f"{name:24} {dtype:9} {row['pairs']:12,} pairs {row['cpu_seconds']:7.1f} s  {found}", flush=True)
            for witness in row["witnesses"]:
                print("   ", witness, flush=True)
    return rows


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=float, default=1e8)
    parser.add_argument("--names", nargs="+", default=list(jv.PARAMETERIZATIONS), choices=jv.PARAMETERIZATIONS)
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--out", type=Path, default=harness.RESULTS / "pairs.json")
    args = parser.parse_args()
    facts = harness.facts("pairs")
    rows = measure(args.names, args.dtypes, round(args.pairs))
    total = {"pairs": sum(row["pairs"] for row in rows), "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows))}
    failures = sum(row[check] for row in rows for check in CHECKS)
    args.out.write_text(harness.as_json({**facts, **total, "failures": failures, "rows": rows}))
    if failures:
        sys.exit(f"{failures:,} times a pair broke a promise")


if __name__ == "__main__":
    main()
