"""The contestants of ``benchmarks.train_step``: one process each, that trains on when told how many steps.

    python -m benchmarks.contestants NAME MODEL BATCH_SIZE IMAGES.npy

A contestant is a function of the images, the model's name and the batch size. It gives back the device's name and
``advance(steps)``, which trains so many steps from where it stands, waits, and says what there is to say.
"""

import functools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Advance = Callable[[int], dict[str, Any]]
SHAPES = {  # m, k, n; which operand is stored transposed
    "x w": (128, 784, 500, ""),
    "xᵀ δ": (784, 128, 500, "left"),
    "h w": (128, 500, 784, ""),
    "hᵀ δ": (500, 128, 784, "left"),
    "δ wᵀ": (128, 784, 500, "right"),
}
"""The large matmuls of a step."""


def jaxvae(images: np.ndarray, model: str, batch_size: int, *, loop: str, dtype: str = "float32") -> tuple:
    """Ours, with all data on the device as uint8: a loop of the library's, or a step in a loop of the user's."""
    import jax

    from jaxvae.data import Dataset, Split
    from jaxvae.likelihoods import likelihood
    from jaxvae.models import make_vae
    from jaxvae.objectives import beta_schedule
    from jaxvae.training import TrainConfig, init_state, learning_rate_schedule, make_optimizer, make_train_step
    from jaxvae.training import train_step as pure_step
    from jaxvae.training.devices import data_mesh, replicated
    from jaxvae.training.experiment import Experiment
    from jaxvae.training.feeds import ResidentFeed
    from jaxvae.training.step import zero_sums

    if dtype == "bfloat16" and jax.default_backend() == "cpu":
        raise SystemExit("for GPUs")
    config = TrainConfig(batch_size=batch_size, binarization="none", dtype=dtype)
    split = Split(images[..., None], None)
    kind = {
        "mlp": {"latents": 20, "hidden": (500,), "activation": "relu"},
        "conv": {"latents": 32, "hidden": (32, 64), "activation": "silu", "architecture": "conv"},
    }[model]
    experiment = Experiment(
        config,
        data_mesh(batch_size),
        Dataset("images", split, None, split, levels=256, classes=0),
        {},
        256,
        make_vae((28, 28, 1), likelihood("bernoulli", 256), dtype=dtype, **kind),
        make_optimizer(1e-3),
        learning_rate_schedule(1e-3, 1, decay="constant"),
        beta_schedule("constant", 1.0, 1),
    )
    key = jax.random.key(0)
    state = init_state(jax.jit(experiment.init)(key), experiment.tx, key)
    epoch = experiment.steps_per_epoch

    if loop == "by hand":
        step = make_train_step(experiment.loss, experiment.tx)
        data = jax.device_put(images[..., None])
        shuffle = jax.jit(lambda i: jax.random.permutation(jax.random.fold_in(key, i), len(images)))

        order = shuffle(0)

        @jax.jit
        def gather(order: jax.Array, i: int) -> dict[str, jax.Array]:
            return {
                "image": data[jax.lax.dynamic_slice(order, (i * batch_size,), (batch_size,))],
                "beta": jax.numpy.float32(1),
            }

        def advance(steps: int) -> dict[str, Any]:
            nonlocal state, order
            here = int(state.step)
            for i in range(here, here + steps):
                if i % epoch == 0:
                    order = shuffle(i // epoch)
                state, metrics = step(state, gather(order, i % epoch))
            return {"loss": float(jax.block_until_ready((state, metrics))[1]["loss"])}

        return jax.devices()[0].device_kind, advance

    step = pure_step(experiment.loss, experiment.tx)
    feed = ResidentFeed(experiment, step, fused=loop == "fused")
    state = jax.device_put(state, replicated(experiment.mesh))

    def advance_by_feed(steps: int) -> dict[str, Any]:
        nonlocal state
        here = int(state.step)
        end = here + steps
        while here < end:
            here = min(end, (here // epoch + 1) * epoch)
            state, sums = feed.advance(state, zeros(), here)
        return {"loss": float(jax.block_until_ready((state, sums))[1].metrics["loss"] / sums.updates)}

    batch = feed.batch(0)
    zeros = jax.jit(lambda: zero_sums(step, state, batch), out_shardings=replicated(experiment.mesh))
    return jax.devices()[0].device_kind, advance_by_feed


def _host_batches(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Rows of each batch, epoch after epoch."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def jax_by_hand(images: np.ndarray, model: str, batch_size: int) -> tuple:
    """A Flax model and a jitted step, as one would write them down, fed from the host in float32."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            h = nn.relu(nn.Dense(500)(x))
            mean, logvar = nn.Dense(20)(h), nn.Dense(20)(h)
            z = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
            return nn.Dense(784)(nn.relu(nn.Dense(500)(z))), mean, logvar

    net, optimizer = Net(), optax.adam(1e-3)

    def loss(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        logits, mean, logvar = net.apply(params, x, key)
        cross_entropy = -jnp.sum(x * nn.log_sigmoid(logits) + (1 - x) * nn.log_sigmoid(-logits), axis=-1)
        kl = -0.5 * jnp.sum(1 + logvar - jnp.square(mean) - jnp.exp(logvar), axis=-1)
        return jnp.mean(cross_entropy + kl)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, x: np.ndarray, key: jax.Array, i: int) -> tuple:
        value, grads = jax.value_and_grad(loss)(params, x, jax.random.fold_in(key, i))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    key = jax.random.key(0)
    data = images.reshape(len(images), -1).astype(np.float32) / 255
    batches = enumerate(_host_batches(images, batch_size))
    params = jax.jit(net.init)(key, data[:1], key)
    opt_state = optimizer.init(params)

    def advance(steps: int) -> dict[str, Any]:
        nonlocal params, opt_state
        for _ in range(steps):
            i, rows = next(batches)
            params, opt_state, value = step(params, opt_state, data[rows], key, i)
        return {"loss": float(jax.block_until_ready((params, value))[1])}

    return jax.devices()[0].device_kind, advance


def pytorch(images: np.ndarray, model: str, batch_size: int, *, compiled: bool = False) -> tuple:
    """The same in PyTorch, with its fused Adam and a thread for each core."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = ((784, 500), (500, 20), (500, 20), (20, 500), (500, 784))
            self.enter, self.mean, self.logvar, self.leave, self.logits = (nn.Linear(*size) for size in sizes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = functional.relu(self.enter(x))
            mean, logvar = self.mean(h), self.logvar(h)
            z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
            logits = self.logits(functional.relu(self.leave(z)))
            cross_entropy = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            kl = -0.5 * torch.sum(1 + logvar - mean.square() - logvar.exp())
            return (cross_entropy + kl) / len(x)

    net = Net().to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    loss = torch.compile(net) if compiled else net
    data = torch.from_numpy(images.reshape(len(images), -1)).float() / 255
    batches = _host_batches(images, batch_size)

    def advance(steps: int) -> dict[str, Any]:
        for _ in range(steps):
            value = loss(data[torch.from_numpy(next(batches))].to(device))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
        return {"loss": float(value.detach())}

    return device, advance


def matmul_in_xla(images: np.ndarray, model: str, batch_size: int) -> tuple:
    """GFLOP/s of the matmuls alone."""
    import jax

    axes = {"": (1, 0), "left": (0, 0), "right": (1, 1)}

    def operation(transposed: str) -> Callable[[Any, Any], Any]:
        left, right = axes[transposed]
        return jax.jit(lambda a, b: jax.lax.dot_general(a, b, (((left,), (right,)), ((), ()))))

    operations = {transposed: operation(transposed) for transposed in axes}
    on_cpu = jax.default_backend() == "cpu"
    return jax.devices()[0].device_kind, _rates(jax.device_put, operations, jax.block_until_ready, on_cpu)


def matmul_in_pytorch(images: np.ndarray, model: str, batch_size: int) -> tuple:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    operations = {"": torch.mm, "left": lambda a, b: a.T @ b, "right": lambda a, b: a @ b.T}
    # Copying a number to the host waits for the device.
    return device, _rates(
        lambda x: torch.from_numpy(x).to(device), operations, lambda x: float(x[0, 0]), device == "cpu"
    )


def _rates(put: Callable, operations: dict[str, Callable], wait: Callable, on_cpu: bool) -> Advance:
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


CONTESTANTS: dict[str, dict[str, Callable[..., tuple]]] = {
    "mlp": {
        "jaxvae, fused": functools.partial(jaxvae, loop="fused"),
        "jaxvae, one by one": functools.partial(jaxvae, loop="one by one"),
        "jaxvae, step by hand": functools.partial(jaxvae, loop="by hand"),
        "jaxvae, fused, bfloat16": functools.partial(jaxvae, loop="fused", dtype="bfloat16"),
        "JAX by hand": jax_by_hand,
        "PyTorch": pytorch,
        "PyTorch, compiled": functools.partial(pytorch, compiled=True),
        "matmul in XLA": matmul_in_xla,
        "matmul in PyTorch": matmul_in_pytorch,
    },
    "conv": {
        "jaxvae, one by one": functools.partial(jaxvae, loop="one by one"),
        "jaxvae, step by hand": functools.partial(jaxvae, loop="by hand"),
        "jaxvae, fused": functools.partial(jaxvae, loop="fused"),
    },
}


def main() -> None:
    """Makes the first step, then as many as each line of the standard input says, and reports each time."""
    name, model, batch_size, images = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a framework prints

    def say(**answer: Any) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**answer, "peak_mib": peak}), file=channel, flush=True)

    device, advance = CONTESTANTS[model][name](np.load(images), model, int(batch_size))
    say(device=device, **advance(1))
    for line in sys.stdin:
        started = time.perf_counter()
        answer = advance(int(line)) if int(line) else {}
        say(seconds=time.perf_counter() - started, **answer)


if __name__ == "__main__":
    main()
