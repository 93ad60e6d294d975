"""A small table with columns of every kind, all of which tell of one latent."""

import numpy as np

from jaxvae.data import Dataset, Reading, from_table
from jaxvae.data.tables import TableReading, as_table

ROWS = 120


def columns(rows: int = ROWS, metre: float = 1.0) -> dict[str, np.ndarray]:
    """By name, with lengths in metres, or in other units of so many to the metre."""
    rng = np.random.default_rng(0)
    z, noise = rng.normal(size=rows), rng.normal(size=(4, rows))
    return {
        "depth": ((0.5 * z + 0.2 * noise[0]) * metre).round(3),
        "height": ((1.7 + 0.08 * z + 0.03 * noise[1]) * metre).round(5),
        "visits": rng.poisson(np.exp(0.5 + 0.5 * z)),
        "sex": np.where(z + noise[2] > 0, "m", "f"),
        "ward": np.array(["icu", "er", "gp"])[np.digitize(z + 0.3 * noise[3], [-0.5, 0.5])],
        "stage": np.digitize(z, [-1, -0.3, 0.4]) + 1,
        "group": np.where(z > 0, "high", "low"),
    }


def table(metre: float = 1.0, **reading) -> Dataset:
    """The table, of which ``group`` has the classes."""
    return from_table(as_table(columns(metre=metre), TableReading(label="group", **reading)), "people", Reading())


def as_csv(columns: dict[str, np.ndarray]) -> str:
    """The content of a file."""
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    return "\n".join([",".join(columns), *rows]) + "\n"
