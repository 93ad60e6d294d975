"""Negative binomial masses: log P(k) and its derivatives against 60-digit truth, for the library and its peers.

    python -m benchmarks.negative_binomial [--quick] [--out FILE.json]

Each library is given log μ, log θ and k, and is called as its users call it: NumPyro's ``NegativeBinomial2(μ, θ)``,
TFP's ``NegativeBinomial.experimental_from_mean_dispersion(μ, 1/θ)``, and scvi-tools' ``log_nb_positive(k, μ, θ)``. Its
formula is written here in JAX, since the package computes in PyTorch. All run under jit. The truth is mpmath's for the
inputs as stored. An error is that beyond what 4 ulp of log μ and log θ change, relative to the truth. The bar is 1e-5;
the tables have the share of points beyond it, too. Exits with 1 where the library misses it.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from jax.scipy.special import gammaln
from mpmath import mp, mpf

from benchmarks import harness, libraries
from benchmarks.accuracy import digits, error_text
from benchmarks.harness import Report, Table
from jaxvae.likelihoods.masses import log_negative_binomial

mp.dps = 60

OUTPUTS = ("log P(k)", "∂ log μ", "∂ log θ")
REGIONS = {"θ ≤ 0.01": (-8, -5, -2), "θ 0.1 to 1,000": (-1, 0, 1, 2, 3), "θ ≥ 1e4": (4, 6, 7, 8, 10, 12)}
"""Powers of ten of θ."""
MEANS = (-10, -5, -2, 0, 1, 3, 5, 8)
"""Powers of ten of μ."""
COUNTS = (0, 1, 3, 10, 1000, 10**6, 10**9)
"""Beside those near μ."""
BAR = 1e-5
FEW = {"θ ≥ 1e4": (6, 7)}

Inputs = tuple[float, float, float]


def numpyro(log_mean: jax.Array, log_theta: jax.Array, k: jax.Array) -> jax.Array:
    """NumPyro's."""
    from numpyro.distributions import NegativeBinomial2

    return NegativeBinomial2(jnp.exp(log_mean), jnp.exp(log_theta)).log_prob(k)


def tfp(log_mean: jax.Array, log_theta: jax.Array, k: jax.Array) -> jax.Array:
    """TensorFlow Probability's."""
    from tensorflow_probability.substrates.jax.distributions import NegativeBinomial

    made = NegativeBinomial.experimental_from_mean_dispersion(jnp.exp(log_mean), jnp.exp(-log_theta))
    return made.log_prob(k)


def scvi(log_mean: jax.Array, log_theta: jax.Array, k: jax.Array) -> jax.Array:
    """The formula of scvi-tools, with its ε of 1e-8."""
    mean, theta, small = jnp.exp(log_mean), jnp.exp(log_theta), 1e-8
    both = jnp.log(theta + mean + small)
    powers = theta * (jnp.log(theta + small) - both) + k * (jnp.log(mean + small) - both)
    return powers + gammaln(k + theta) - gammaln(theta) - gammaln(k + 1)


OURS = "jaxvae"
SIDES = {"NumPyro": numpyro, "TFP": tfp, "form of scvi-tools": scvi, OURS: log_negative_binomial}


def truth(log_mean: mpf, log_theta: mpf, k: mpf) -> list[mpf]:
    """log P(k), and its derivatives by log μ and by log θ."""
    theta, ratio = mpmath.exp(log_theta), mpmath.exp(log_mean - log_theta)
    gammas = mpmath.loggamma(theta + k) - mpmath.loggamma(theta) - mpmath.loggamma(k + 1)
    spread = (theta + k) * mpmath.log1p(ratio)
    by_mean = (k - mpmath.exp(log_mean)) / (1 + ratio)
    slope = mpmath.digamma(theta + k) - mpmath.digamma(theta) - mpmath.log1p(ratio)
    return [gammas + k * (log_mean - log_theta) - spread, by_mean, theta * slope - by_mean]


def changes(inputs: Inputs, steps: Sequence[float]) -> list[mpf]:
    """What each output is changed by, to first order, by these steps of log μ and log θ, added up."""
    x, small = [mpf(i) for i in inputs], mpf(10) ** -25
    moved = [truth(*x[:i], x[i] + small * step, *x[i + 1 :]) for i, step in enumerate(steps)]
    return [sum(abs(m[j] - at) for m in moved) / small for j, at in enumerate(truth(*x))]


def grid(regions: dict[str, tuple[int, ...]], dtype: str) -> Iterator[tuple[str, Inputs]]:
    """Regions and inputs, as stored."""
    stored = functools.partial(np.asarray, dtype=dtype)
    for region, powers in regions.items():
        for theta in powers:
            for mean in MEANS:
                near = (round(share * 10.0**mean) for share in (0.9, 1.0, 1.1))
                for k in sorted({float(stored(k)) for k in (*COUNTS, *near)}):
                    yield region, (float(stored(np.log(10.0) * mean)), float(stored(np.log(10.0) * theta)), k)


def measure(sides: dict[str, Callable], dtype: str, regions: dict[str, tuple[int, ...]] = REGIONS) -> list[Report]:
    """A row for each side: of each output in each region the worst error, and the share of points beyond the bar."""
    where, inputs = zip(*grid(regions, dtype), strict=True)
    columns = [np.array(x, dtype) for x in zip(*inputs, strict=True)]
    true = [truth(*map(mpf, x)) for x in inputs]
    free = [changes(x, [4 * float(np.spacing(np.asarray(abs(i), dtype))) for i in x[:2]]) for x in inputs]
    rows = []
    for name, side in sides.items():
        with jax.enable_x64(dtype == "float64"):
            got = libraries.jax_outputs(side, columns, by=2)
        row: Report = {"side": name, "dtype": dtype, "points": len(inputs), "worst": {}, "beyond": {}}
        for j, output in enumerate(OUTPUTS):
            errors = np.array([_error(float(x), t[j], f[j]) for x, t, f in zip(got[j], true, free, strict=True)])
            of = {region: errors[np.array(where) == region] for region in regions}
            row["worst"][output] = {region: digits(float(x.max())) for region, x in of.items()}
            row["beyond"][output] = {region: round(float(np.mean(x > BAR)), 4) for region, x in of.items()}
        rows.append(row)
    return rows


def _error(got: float, true: mpf, free: mpf) -> float:
    """What is left of the distance, relative to the truth, at most 1; below the smallest normal float32 it is 0."""
    if not np.isfinite(got):
        return np.inf
    left = max(abs(mpf(got) - true) - free - mpf(2) ** -126, mpf(0))
    return min(float(left / abs(true)), 1.0) if true else float(left > 0)


def tables(report: Report) -> list[Table]:
    """One: a row for each side and dtype."""
    regions = list(report["rows"][0]["worst"][OUTPUTS[0]])
    heads = ["", *(f"{output}, {region}" for output in OUTPUTS for region in regions)]
    rows = []
    for row in report["rows"]:
        pairs = [
            (row["worst"][output][region], row["beyond"][output][region]) for output in OUTPUTS for region in regions
        ]
        rows.append(
            [f"{row['side']}, {row['dtype']}", *(f"{error_text(worst)} ({share:.0%})" for worst, share in pairs)]
        )
    title = "Negative binomial: worst relative error, beyond that of 4 ulp of the inputs (share of points beyond 1e-5)"
    return [Table(title, heads, rows)]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the report."""
    args = harness.parser("negative_binomial", __doc__, "two θ in float32").parse_args(argv)
    few = {"regions": FEW} if args.quick else {}
    dtypes = ("float32",) if args.quick else ("float32", "float64")
    rows = [row for dtype in dtypes for row in measure(SIDES, dtype, **few)]
    report = {**harness.facts("negative_binomial"), "rows": rows}
    out = args.out or harness.RESULTS / "negative_binomial.json"
    out.write_text(harness.as_json(report))
    harness.show(tables(report))
    print(out)
    if any(any(shares.values()) for row in rows if row["side"] == OURS for shares in row["beyond"].values()):
        raise SystemExit(f"the bar of {BAR:g} was missed")


if __name__ == "__main__":
    main()
