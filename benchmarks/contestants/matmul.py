"""How fast matmuls alone are, in either framework: a machine's peak, of which training has its share."""

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contestants import Advance, Model

SHAPES = {  # m, k, n; which operand is stored transposed
    "x w": (128, 784, 500, ""),
    "xᵀ δ": (784, 128, 500, "left"),
    "h w": (128, 500, 784, ""),
    "hᵀ δ": (500, 128, 784, "left"),
    "δ wᵀ": (128, 784, 500, "right"),
}
"""The large matmuls in a step of ``flax-example``."""


def xla(images: np.ndarray, model: Model, batch_size: int) -> tuple:
    """GFLOP/s of the matmuls alone."""
    import jax

    axes = {"": (1, 0), "left": (0, 0), "right": (1, 1)}

    def operation(transposed: str) -> Callable[[Any, Any], Any]:
        left, right = axes[transposed]
        return jax.jit(lambda a, b: jax.lax.dot_general(a, b, (((left,), (right,)), ((), ()))))

    operations = {transposed: operation(transposed) for transposed in axes}
    on_cpu = jax.default_backend() == "cpu"
    return jax.devices()[0].device_kind, rates(jax.device_put, operations, jax.block_until_ready, on_cpu)


def pytorch(images: np.ndarray, model: Model, batch_size: int) -> tuple:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    operations = {"": torch.mm, "left": lambda a, b: a.T @ b, "right": lambda a, b: a @ b.T}
    # Copying a number to the host waits for the device.
    put, wait = (lambda x: torch.from_numpy(x).to(device)), (lambda x: float(x[0, 0]))
    return torch.cuda.get_device_name() if device == "cuda" else "cpu", rates(put, operations, wait, device == "cpu")


def rates(put: Callable, operations: dict[str, Callable], wait: Callable, on_cpu: bool) -> Advance:
    """``SHAPES`` and a square, each often enough for its time to be measurable."""
    random = np.random.default_rng(0)
    size, work = (2048, 5e8) if on_cpu else (8192, 5e11)
    cases = {}
    for name, (m, k, n, transposed) in {**SHAPES, "square": (size, size, size, "")}.items():
        a = put(random.normal(size=(k, m) if transposed == "left" else (m, k)).astype(np.float32))
        b = put(random.normal(size=(n, k) if transposed == "right" else (k, n)).astype(np.float32))
        cases[name] = functools.partial(operations[transposed], a, b), 2 * m * k * n

    def advance(steps: int) -> dict[str, Any]:
        gflops = {}
        for name, (run, flops) in cases.items():
            best = float("inf")
            calls = max(1, round(work / flops))
            for _ in range(min(steps, 20)):
                started = time.perf_counter()
                for _ in range(calls):
                    out = run()
                wait(out)
                best = min(best, (time.perf_counter() - started) / calls)
            gflops[name] = flops / best / 1e9
        return {"gflops": gflops}

    return advance
