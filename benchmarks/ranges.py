"""Writes docs/ranges.md: for every parameterization, the raws whose KL and gradient are exact, and what lies outside.

python -m benchmarks.ranges [--out docs/ranges.md]
"""

import argparse
from pathlib import Path

import numpy as np

import jaxvae as jv
from jaxvae.ranges import NORMAL, TOLERANCE, exactness, runs, shape
from jaxvae.texts import number

HEADER = f"""# Where each parameterization is exact

Written by `python -m benchmarks.ranges`; a test checks that it is up to date.

- **σ** is the range of standard deviations that the parameterization can express.
- **gain** is the range of d log σ / d raw: by how much a step of the raw moves log σ. It bounds the gradient, since
  dKL/d raw = gain · dKL/d log σ. A gain of 0 means that σ ignores the raw there.
- **exact** is the raw interval around σ = 1 in which KL(q ‖ N(0, 1)) and its derivative by the raw are right to a
  relative {TOLERANCE:g} in float32, with the mean at 0. It holds for bfloat16 and float16 raws too, as far as they
  reach (65,504 for float16): both are computed in float32.
- **below**, **above** say what becomes of value and derivative outside: *overflow* (the true value is beyond float32,
  and ours is inf), *flat* (the true derivative is below 1e-37, where factors of it underflow), *NaN*.
- **float32**, **bfloat16**, **float16** are the raw intervals in which σ itself is a normal number of that dtype, so
  that samples in it have the right spread. Closed forms (KL, log-density, entropy) don't need that: they use log σ.

Interval ends are the outermost raws of a fine grid up to ±1e38, to three digits; ±∞ stands for the end of the grid.

| name | σ | gain | exact | below | above | float32 | bfloat16 | float16 |
|---|---|---|---|---|---|---|---|---|
"""


def grid() -> np.ndarray:
    """Raws: 20 a decade from 1e-5, tenths from 0.05 to 400, then 100 a decade up to 1e38, on both sides."""
    small = np.logspace(-5, np.log10(0.05), 75)[:-1]
    positive = np.concatenate([small, np.arange(0.05, 400, 0.1), np.logspace(np.log10(400), 38, 3600)])
    return np.concatenate([-positive[::-1], positive]).astype(np.float32)


def interval(raw: np.ndarray, mask: np.ndarray, around: float) -> tuple[float, float] | None:
    """The stretch of the mask that holds ``around``, or the longest."""
    found = list(runs(raw, mask))
    holding = [run for run in found if run[0] <= around <= run[1]]
    return (holding or sorted(found, key=lambda run: run[1] - run[0], reverse=True) or [None])[0]


def text(ends: tuple[float, float] | None, raw: np.ndarray) -> str:
    """An interval of raws, in three digits."""
    if ends is None:
        return "none"
    low = "-∞" if ends[0] == raw[0] else f"{ends[0]:.3g}"
    high = "∞" if ends[1] == raw[-1] else f"{ends[1]:.3g}"
    return f"{low} … {high}"


def outside(p: jv.Parameterization, raw: np.ndarray, step: int, at: float) -> str:
    """What the first raws past an end of the exact interval show."""
    i = int(np.searchsorted(raw, np.float32(at))) + step
    if not 0 <= i < raw.size:
        return "–"
    beyond = raw[i : i + 20] if step > 0 else raw[max(i - 19, 0) : i + 1]
    *_, value, slope = shape(p, beyond)
    if np.any(np.isnan(value)) or np.any(np.isnan(slope)):
        return "NaN"
    if np.any(np.isinf(value)) or np.any(np.isinf(slope)):
        return "overflow"
    return "flat" if np.all(np.abs(slope) < 1e-30) else "inexact"


def row(name: str, p: jv.Parameterization, raw: np.ndarray) -> str:
    """One line of the table."""
    exact, _, std = exactness(p, raw)
    distance = np.abs(np.log(np.where(std > 0, std, np.nan)))
    near_one = raw.size - 1 - np.nanargmin(distance[::-1])  # the positive one of two
    ends = interval(raw, exact, float(raw[near_one]))
    gain = np.asarray(p.log_std_gain(raw))
    gains = f"{number(float(np.nanmin(gain)))} … {number(float(np.nanmax(gain)))}"
    if np.nanmin(gain) == np.nanmax(gain):
        gains = number(float(gain[0]))
    if abs(p.log_std_gain(np.float32(0))) > 1e37:  # an infinite slope, kept finite
        gains = "unbounded at 0"
    normal = [interval(raw, (std >= low) & (std <= high), float(raw[near_one])) for low, high in NORMAL.values()]
    cells = [f"`{name}`", str(p.std_range), gains, text(ends, raw)]
    cells += [outside(p, raw, -1, ends[0]), outside(p, raw, 1, ends[1])] if ends else ["–", "–"]
    return "| " + " | ".join(cells + [text(x, raw) for x in normal]) + " |"


def page() -> str:
    """The whole page."""
    raw = grid()
    return HEADER + "\n".join(row(name, p, raw) for name, p in jv.PARAMETERIZATIONS.items()) + "\n"


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/ranges.md"))
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page())
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
