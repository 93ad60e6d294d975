"""One contestant's process, which trains on when told how many steps.

python -m benchmarks.contestants NAME MODEL BATCH_SIZE IMAGES.npy
"""

import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np

from benchmarks.contestants import MODELS, contestant


def peak_mib() -> float:
    """The most memory so far: of the accelerator, where there is one, else of the process."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        return sys.modules["torch"].cuda.max_memory_allocated() / 2**20
    statistics = sys.modules["jax"].devices()[0].memory_stats() if "jax" in sys.modules else None
    if statistics:
        return statistics["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Makes the first step, then as many as each line of the standard input says, and reports each time."""
    name, model, batch_size, images = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a framework prints

    def say(**answer: Any) -> None:
        print(json.dumps({**answer, "peak_mib": peak_mib()}), file=channel, flush=True)

    device, advance = contestant(name)(np.load(images), MODELS[model], int(batch_size))
    say(device=device, **advance(1))
    for line in sys.stdin:
        started = time.perf_counter()
        answer = advance(int(line)) if int(line) else {}
        say(seconds=time.perf_counter() - started, **answer)


if __name__ == "__main__":
    main()
