"""The same models in PyTorch, with its fused Adam; a thread for each core of a CPU, or all data on the GPU."""

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.contestants import Model
from benchmarks.contestants.plain import host_batches

ACTIVATIONS = {"relu": functional.relu, "tanh": torch.tanh, "silu": functional.silu}


class Dense(nn.Module):
    """Dense layers, each with the activation behind it."""

    def __init__(self, sizes: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*size) for size in itertools.pairwise(sizes))
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class Residual(nn.Module):
    """x + conv(act(conv(act(x)))), the identity at the start."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.second.weight)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.activation(self.first(self.activation(x))))


class ConvEncoder(nn.Module):
    """Residual stages at half and a quarter of the resolution, and a dense layer."""

    def __init__(self, channels: tuple[int, int], activation: str) -> None:
        super().__init__()
        a, b = channels
        self.stages = nn.ModuleList(nn.Conv2d(4 * i, o, 3, padding=1) for i, o in ((1, a), (a, b)))
        self.blocks = nn.ModuleList(Residual(width, activation) for width in channels)
        self.features = nn.Linear(49 * b, 256)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage, block in zip(self.stages, self.blocks, strict=True):
            x = block(stage(functional.pixel_unshuffle(x, 2)))
        return self.activation(self.features(self.activation(x).flatten(1)))


class ConvDecoder(nn.Module):
    """The mirror image."""

    def __init__(self, latents: int, channels: tuple[int, int], activation: str) -> None:
        super().__init__()
        a, b = channels
        self.features, self.grid = nn.Linear(latents, 256), nn.Linear(256, 49 * b)
        self.blocks = nn.ModuleList(Residual(width, activation) for width in (b, a))
        self.stages = nn.ModuleList(nn.Conv2d(i, 4 * o, 3, padding=1) for i, o in ((b, a), (a, 1)))
        self.activation = ACTIVATIONS[activation]

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = self.grid(self.activation(self.features(z))).reshape(len(z), -1, 7, 7)
        for block, stage in zip(self.blocks, self.stages, strict=True):
            x = functional.pixel_shuffle(stage(self.activation(block(x))), 2)
        return x


class VAE(nn.Module):
    """Images (B, 1, 28, 28) to the mean of cross-entropy and KL."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.conv = model.architecture == "conv"
        if self.conv:
            self.encoder: nn.Module = ConvEncoder(model.hidden, model.activation)
            self.decoder: nn.Module = ConvDecoder(model.latents, model.hidden, model.activation)
            width = 256
        else:
            width = model.hidden[-1]
            self.encoder = Dense((784, *model.hidden), model.activation)
            back = Dense((model.latents, *model.hidden[::-1]), model.activation)
            self.decoder = nn.Sequential(back, nn.Linear(model.hidden[0], 784))
        self.mean, self.logvar = (nn.Linear(width, model.latents) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.encoder(x if self.conv else x.flatten(1))
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        logits = self.decoder(z).reshape(x.shape)
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mean.square() - logvar.exp())
        return (cross_entropy + kl) / len(x)


def train(images: np.ndarray, model: Model, batch_size: int, *, how: str = "eager") -> tuple:
    """Eager; ``compiled``, the loss by ``torch.compile``; ``graphs``, all of a step as one CUDA graph."""
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if how == "graphs" and device == "cpu":
        raise SystemExit("for GPUs")
    net = VAE(model).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True, capturable=how == "graphs")
    loss = torch.compile(net) if how != "eager" else net
    data = (torch.from_numpy(images[:, None]).float() / 255).to(device)
    batches = host_batches(images, batch_size)

    def step(rows: torch.Tensor) -> torch.Tensor:
        value = loss(data[rows])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        return value.detach()

    if how == "graphs":
        step = captured(step, torch.from_numpy(next(batches)).to(device))

    def advance(steps: int) -> dict[str, Any]:
        for _ in range(steps):
            value = step(torch.from_numpy(next(batches)).to(device, non_blocking=True))
        return {"loss": float(value)}

    return torch.cuda.get_device_name() if device == "cuda" else "cpu", advance


def captured(step: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    """The step as one CUDA graph, which reads the rows from where they stood when it was recorded."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # a capture wants all memory and kernels to be there
        for _ in range(3):
            step(rows)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = step(rows)

    def replay(new: torch.Tensor) -> torch.Tensor:
        rows.copy_(new)
        graph.replay()
        return value

    return replay
