"""What a pod would make of data-parallel training: a projection on paper, from public figures, not a measurement.

Computing takes FLOPs / (peak x share). Exchanging the gradients by a ring takes 2 (n - 1) / n x bytes / bandwidth
(Patarasuk & Yuan 2009, J. Parallel Distrib. Comput. 69). A step takes their sum or, if one hides the other entirely,
the larger of the two. The share of peak that a step reaches is a parameter.

Left out: the latency of each collective, tens of microseconds, and that fewer examples per chip reach less of the
peak, so that small steps scale worse than shown; the time of memory (the optimizer's) and host, the same on any number
of chips, so that weak scaling is better, strong worse; and slices of a torus that don't close to rings over all links.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import harness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHIPS = tuple(2**n for n in range(9))
WEAK, STRONG = 128, 1024
"""Examples per chip for weak scaling, and of all chips for strong scaling."""

Row = dict[str, Any]


class Machine(NamedTuple):
    """Public figures of a chip among others like it.

    Attributes:
        flops: peak FLOP/s of a float32 matmul at JAX's default precision, dense.
        node: chips in a node.
        inside: bytes/s that a chip sends, to chips of its node.
        across: bytes/s of a ring over nodes, in each of which all chips' adapters carry it on.
        source: of the figures.
    """

    flops: float
    node: int
    inside: float
    across: float
    source: str


MACHINES = {
    "H200": Machine(
        494.5e12, 8, 450e9, 400e9,
        "NVIDIA H200 datasheet: TF32 989 TFLOP/s with sparsity, twice the dense; NVLink 900 GB/s, both directions. "
        "DGX BasePOD reference architecture: 8 GPUs and 8 adapters of 400 Gb/s in a node",
    ),
    "TPU v5e": Machine(
        197e12, 256, 200e9, 200e9,
        "cloud.google.com/tpu/docs/v5e: bfloat16 197 TFLOP/s; ICI 1600 Gb/s; pod of 256 with all-reduce at 51.2 TB/s",
    ),
    "TPU v5p": Machine(
        459e12, 8960, 600e9, 600e9,
        "cloud.google.com/tpu/docs/v5p: bfloat16 459 TFLOP/s; ICI 1200 GB/s, both directions; pod of 8960",
    ),
}  # fmt: skip


class Cost(NamedTuple):
    """What a device does in a step.

    Attributes:
        once: FLOPs, whatever its share of the batch.
        per_example: FLOPs for each example of its share.
        bytes: of what it exchanges.
    """

    once: float
    per_example: float
    bytes: float

    def flops(self, examples: float) -> float:
        """For a share of so many examples."""
        return self.once + self.per_example * examples


def ring_seconds(size: float, chips: int, machine: Machine) -> float:
    """Of a ring all-reduce: in 2 (n - 1) rounds each chip sends an n-th of the bytes."""
    bandwidth = machine.inside if chips <= machine.node else machine.across
    return 2 * (chips - 1) / chips * size / bandwidth


def project(found: Cost, machine: Machine, share: float) -> list[Row]:
    """Efficiencies of weak and strong scaling for each of ``CHIPS``; and from how many on, exchange takes longer."""

    def compute(examples: float) -> float:
        return found.flops(examples) / (machine.flops * share)

    exchange = [ring_seconds(found.bytes, n, machine) for n in CHIPS]
    rows = []
    for scaling, batches, ideal in (
        ("weak", [WEAK for _ in CHIPS], [compute(WEAK) for _ in CHIPS]),
        ("strong", [STRONG / n for n in CHIPS], [compute(STRONG) / n for n in CHIPS]),
    ):
        parts = [(best, compute(batch), e) for best, batch, e in zip(ideal, batches, exchange, strict=True)]
        rows.append(
            {
                "scaling": scaling,
                "share": share,
                "chips": list(CHIPS),
                "efficiency": [best / (c + e) for best, c, e in parts],
                "overlapped": [best / max(c, e) for best, c, e in parts],
                "exchange_longer_from": next((n for n, (_, c, e) in zip(CHIPS, parts, strict=True) if e > c), None),
            }
        )
    # The batch per chip with which computing takes as long as the exchange among the most chips.
    enough = (exchange[-1] * machine.flops * share - found.once) / found.per_example
    return [{**row, "enough": max(0.0, enough)} for row in rows]


def rows(found: Cost, shares: Sequence[float]) -> list[Row]:
    """Those of all machines, at each share of their peak."""
    return [
        {"machine": name, "share": share, **row}
        for share in shares
        for name, machine in MACHINES.items()
        for row in project(found, machine, share)
    ]


def tables(projected: Sequence[Row]) -> list[harness.Table]:
    """Efficiencies, and the figures that they come from."""
    title = (
        "A projection from public figures, not a measurement: efficiency on so many chips in percent, if gradients are "
        f"exchanged after computing / if one hides the other entirely; weak with {WEAK} examples per chip, strong with "
        f"{STRONG} in all. Then: from how many chips on the exchange takes longer than computing, and the examples per "
        f"chip with which it doesn't on {CHIPS[-1]}. Left out: the latency of collectives, no less here than the time "
        "that their bytes take; that fewer examples reach less of the peak; memory and host."
    )
    heads = ("", "of peak", *(str(n) for n in CHIPS[1:]), "longer from", "examples")
    lines = []
    for row in projected:
        pairs = zip(row["efficiency"][1:], row["overlapped"][1:], strict=True)
        efficiencies = (f"{100 * a:.0f} / {100 * b:.0f}" for a, b in pairs)
        ends = (str(row["exchange_longer_from"] or "never"), f"{row['enough']:,.0f}")
        lines.append((f"{row['machine']}, {row['scaling']}", f"{row['share']:.0%}", *efficiencies, *ends))
    figures = [
        (name, f"{m.flops / 1e12:g}", f"{m.inside / 1e9:.0f}", f"{m.across / 1e9:.0f}", m.source)
        for name, m in MACHINES.items()
    ]
    heads_of_figures = ("", "TFLOP/s", "GB/s in a node", "GB/s across", "source")
    return [
        harness.Table(title, heads, lines),
        harness.Table(
            "The figures: per chip, float32 at JAX's default precision, one direction.", heads_of_figures, figures
        ),
    ]


def draw(projected: Sequence[Row]) -> "Figure":
    """Efficiency against chips: weak and strong side by side, a row for each share of peak."""
    from matplotlib.figure import Figure

    from jaxvae.plots.style import COLOURS, GREY, quiet, roomy

    shares = list(dict.fromkeys(row["share"] for row in projected))
    colours = dict(zip(MACHINES, COLOURS, strict=False))
    with quiet(11):
        figure = Figure(figsize=(10, 1.5 + 3.2 * len(shares)), dpi=100, layout="constrained")
        roomy(figure)
        panels = figure.subplots(len(shares), 2, sharex=True, sharey=True, squeeze=False)
        for row in projected:
            column = ("weak", "strong").index(row["scaling"])
            axes, colour = panels[shares.index(row["share"]), column], colours[row["machine"]]
            label = row["machine"] if axes is panels[0, 0] else None
            axes.plot(row["chips"], row["efficiency"], color=colour, marker="o", markersize=4, label=label)
            axes.plot(row["chips"], row["overlapped"], color=colour, linestyle="--", linewidth=1.2)
            batch = (f"weak: {WEAK} examples per chip", f"strong: {STRONG} examples in all")[column]
            axes.set_title(f"{batch}, {row['share']:.0%} of peak", loc="left", fontsize=11)
        first = panels[0, 0]
        first.set_xscale("log", base=2)
        first.set_xticks(CHIPS, [str(n) for n in CHIPS])
        first.set_ylim(0, 1.05)
        first.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
        for axes in panels[-1]:
            axes.set_xlabel("chips")
        for axes in panels[:, 0]:
            axes.set_ylabel("efficiency")
        first.plot([], [], color=GREY, label="exchange after computing")
        first.plot([], [], color=GREY, linestyle="--", label="one hides the other")
        figure.suptitle("Data parallelism for the 784-500-20 VAE: a projection, not a measurement", x=0.02, ha="left")
        figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure
