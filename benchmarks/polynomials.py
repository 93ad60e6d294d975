"""Derives the polynomials of ``jaxvae.polynomials``: intervals, degrees, errors and coefficients.

    python -m benchmarks.polynomials [--write]

Each function is analytic on its interval. Its polynomial is the interpolant at the Chebyshev points, found with 60
digits by mpmath and written in powers of the variable; its error is within a small factor of the least that any
polynomial of that degree has (Trefethen 2013, "Approximation Theory and Approximation Practice", chapters 4 and 8).
The degree is the lowest at which the error, as a share of the result that the polynomial goes into, is below an eighth
of an ulp: once for float32, once for float64. ``--write`` prints the Python text of the table, to be put in the module.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
from mpmath import mp, mpf

from jaxvae.polynomials import POLYNOMIALS

mp.dps = 60
GOALS = {"float32": mpf(2) ** -27, "float64": mpf(2) ** -56}


class Problem(NamedTuple):
    """A function on [low, high], and what an error of 1 in it changes in the result, relative to that."""

    text: str
    function: Callable[[mpf], mpf]
    high: mpf
    weight: Callable[[mpf], mpf]
    low: mpf = mpf(0)


def rest_of_odd(f: Callable[[mpf], mpf]) -> Callable[[mpf], mpf]:
    """Of an odd f(x) = x + x³ R(x²), the function R of q = x²."""

    def rest(q: mpf) -> mpf:
        x = mpmath.sqrt(q)
        return (f(x) / x - 1) / q

    return rest


def log1p_rest(e: mpf) -> mpf:
    """R(e) in log(1 + e) = e - e² R(e)."""
    return (1 - mpmath.log1p(e) / e) / e


def softplus_even(q: mpf) -> mpf:
    """The even part of softplus but its value at 0, by q = x²: softplus(x) = log 2 + x/2 + q E(q)."""
    return mpmath.log(mpmath.cosh(mpmath.sqrt(q) / 2)) / q


def stirling_error(x: mpf) -> mpf:
    """log Γ(x) - (x - ½) log x + x - ½ log 2π."""
    return mpmath.loggamma(x) - ((x - mpf(1) / 2) * mpmath.log(x) - x + mpmath.log(2 * mpmath.pi) / 2)


def stirling_slope(x: mpf) -> mpf:
    """The derivative of ``stirling_error``."""
    return mpmath.digamma(x) - mpmath.log(x) + 1 / (2 * x)


def stirling_curvature(x: mpf) -> mpf:
    """The second derivative of ``stirling_error``."""
    return mpmath.polygamma(1, x) - 1 / x - 1 / (2 * x * x)


def share(f: Callable[[mpf], mpf], first: Callable[[mpf], mpf]) -> Callable[[mpf], mpf]:
    """f over the first term of its asymptotic series, at the x >= 1 with t = (x - 3) / (x + 1)."""

    def of(t: mpf) -> mpf:
        x = (3 + t) / (1 - t)
        return f(x) / first(x)

    return of


def itself(f: Callable[[mpf], mpf], first: Callable[[mpf], mpf]) -> dict[str, Any]:
    """What the three of Stirling's error have in common: the share is about 1, so an error in it is relative."""
    return {"function": share(f, first), "low": mpf(-1), "high": mpf(1), "weight": lambda t: mpf(1)}


PROBLEMS = {
    "LOG1P": Problem("log(1 + e) = e - e² P(e)", log1p_rest, mpf(1), lambda e: e * e / mpmath.log1p(e)),
    "SOFTPLUS": Problem("softplus(x) = log 2 + x/2 + x² P(x²)", softplus_even, mpf("2.25"), lambda q: q / mpf("0.3")),
    "ATANH": Problem("atanh(x) = x + x³ P(x²)", rest_of_odd(mpmath.atanh), mpf("0.2137"), lambda q: q),
    "ASINH": Problem("asinh(x) = x + x³ P(x²)", rest_of_odd(mpmath.asinh), mpf(1), lambda q: q / mpf("0.88")),
    "TANH": Problem("tanh(x) = x + x³ P(x²)", rest_of_odd(mpmath.tanh), mpf("0.36"), lambda q: q / mpf("0.89")),
    "STIRLING": Problem("S(x) = P(t) / 12x", **itself(stirling_error, lambda x: 1 / (12 * x))),
    "STIRLING_SLOPE": Problem("S'(x) = -P(t) / 12x²", **itself(stirling_slope, lambda x: -1 / (12 * x * x))),
    "STIRLING_CURVATURE": Problem("S''(x) = P(t) / 6x³", **itself(stirling_curvature, lambda x: 1 / (6 * x**3))),
}


def interpolant(problem: Problem, degree: int) -> list[mpf]:
    """The coefficients, lowest first, of the polynomial through the function at the Chebyshev points (Newton)."""
    half = (problem.high - problem.low) / 2
    angles = [mpmath.pi * (2 * k + 1) / (2 * degree + 2) for k in range(degree + 1)]
    points = [problem.low + half * (1 + mpmath.cos(angle)) for angle in angles]
    quotients = [problem.function(x) for x in points]
    for j in range(1, degree + 1):
        for i in range(degree, j - 1, -1):
            quotients[i] = (quotients[i] - quotients[i - 1]) / (points[i] - points[i - j])
    found = [mpf(0)]
    for x, quotient in zip(reversed(points), reversed(quotients), strict=True):
        shifted = [mpf(0), *found]  # times the variable, minus x times
        found = [a - x * b for a, b in zip(shifted, [*found, mpf(0)], strict=True)]
        found[0] += quotient
    return found[: degree + 1]


def value(coefficients: list[mpf], x: mpf) -> mpf:
    """Of a polynomial, by Horner's rule."""
    return functools.reduce(lambda total, c: total * x + c, reversed(coefficients), mpf(0))


def error(problem: Problem, coefficients: list[mpf], count: int = 300) -> mpf:
    """The largest on a grid, as a share of the result."""
    grid = [problem.low + (problem.high - problem.low) * (k + mpf(1) / 2) / count for k in range(count)]
    return max(abs(value(coefficients, x) - problem.function(x)) * problem.weight(x) for x in grid)


def derive(problem: Problem, goal: mpf) -> tuple[list[mpf], mpf]:
    """Of the lowest degree that reaches the goal, the coefficients and the error."""
    degree = 2
    while True:
        coefficients = interpolant(problem, degree)
        if (found := error(problem, coefficients)) < goal:
            return coefficients, found
        degree += 1


def main() -> None:
    """Prints a line for each polynomial, and whether the module holds it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="print the table's Python text")
    options = parser.parse_args()
    differs = []
    for name, problem in PROBLEMS.items():
        for dtype, goal in GOALS.items():
            coefficients, found = derive(problem, goal)
            rounded = tuple(float(c) for c in coefficients)
            print(
                f"{name:10} {dtype}: {problem.text} on [{float(problem.low):.4g}, {float(problem.high):.4g}], "
                f"degree {len(rounded) - 1}, relative error {float(found):.1e}"
            )
            if options.write:
                print(f"    {rounded!r},")
            if rounded != POLYNOMIALS.get(name, {}).get(dtype):
                differs.append(f"{name}, {dtype}")
    if differs:
        raise SystemExit(f"jaxvae/polynomials.py holds others: {'; '.join(differs)}")


if __name__ == "__main__":
    main()
