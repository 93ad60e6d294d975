"""The report of a study: its records in words, figures and a table, as HTML and as Markdown."""

import datetime
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxvae import plots
from jaxvae._version import __version__
from jaxvae.files import write_atomically
from jaxvae.plots.style import NARROW_DPI
from jaxvae.study.intervals import LEVEL
from jaxvae.study.report.answers import RESOLVE, Answer, verdict
from jaxvae.study.report.figures import DRAWN, drawings
from jaxvae.study.report.pages import Page, Picture, Section, as_html, as_markdown
from jaxvae.study.results import Record, plain
from jaxvae.study.statistics import BASELINE, NEAR, Outcome, analyze
from jaxvae.study.table import BEHIND, make_table, target_elbo
from jaxvae.texts import assignments, counted, minus, percentage
from jaxvae.training import TrainConfig

_SECTIONS = {
    "transforms": (
        "Quantity and transform",
        "What the network models, by how a raw number becomes it. Each variant at its best learning rate.",
    ),
    "learning_rates": (
        "NLL over the learning rate",
        "Lower is better. Means over seeds, with bands of one standard error; the baseline in grey in every panel.",
    ),
    "skipped": (
        "Steps skipped",
        "The share of training steps, in percent, whose update wasn't finite and so was not made; the letter says "
        "where the first number that wasn't finite arose.",
    ),
    "gradients": (
        "Gradient norms",
        "Over the steps at each variant's best learning rate: median (dot), 99 % (bar), maximum (line). The dashed "
        "line is the baseline's median.",
    ),
    "std": (
        "Standard deviations",
        "Histograms of the posterior's σ over test images and latents at each variant's best learning rate, all seeds "
        "together; heights by their square root. The baseline's outline in black; dashed, the prior's σ = 1.",
    ),
    "curves": (
        "Learning curves",
        "Test ELBO while training at each variant's best learning rate, averaged over seeds. Higher is better.",
    ),
}


class Written(NamedTuple):
    """The answers on top of the report, and its files, the HTML first."""

    answers: Sequence[Answer]
    paths: Sequence[Path]


def write_report(
    records: Sequence[Record], out: Path, command: str, *, baseline: str = BASELINE, resolve: float = RESOLVE
) -> Written:
    """Writes ``report.html``, ``report.md`` and the figures into a directory, each file atomically.

    Args:
        records: a study's table, complete or not.
        out: the directory, which is made if it doesn't exist.
        command: the command that repeats the study, for the reader.
        baseline: the variant that the others are compared with.
        resolve: the difference, in nats, for which the report says how many seeds would resolve it.
    """
    outcomes = analyze(records, baseline)
    page = make_page(records, outcomes, command, resolve)
    out.mkdir(parents=True, exist_ok=True)
    pictures = [picture for section in page.sections for picture in section.pictures]
    files = {picture.file: picture.png for picture in pictures}
    files |= {"report.md": as_markdown(page).encode(), "report.html": as_html(page).encode()}
    for name, content in files.items():
        write_atomically(out / name, content)
    return Written(page.answers, [out / name for name in reversed(files)])


def make_page(records: Sequence[Record], outcomes: Sequence[Outcome], command: str, resolve: float = RESOLVE) -> Page:
    """Makes the content of the report."""
    pictures = _pictures(outcomes)
    several = len(outcomes) > DRAWN
    sections = [Section(*_SECTIONS[kind], found) for kind, found in pictures.items()]
    if several and sections:
        note = f" Drawn are the first {DRAWN} of {len(outcomes)} settings; the table has all."
        sections[0] = sections[0]._replace(text=sections[0].text + note)
    variants = {comparison.variant for outcome in outcomes for comparison in outcome.comparisons}
    datasets = _joined(record["config"]["dataset"] for record in records)
    return Page(
        f"How to model σ: {counted(len(variants), 'variant')} on {datasets or 'no data'}",
        f"{datetime.date.today().isoformat()}, jaxvae {__version__}, {counted(len(records), 'run')}",
        verdict(outcomes, resolve),
        sections,
        Section("All numbers", _table_text(outcomes)),
        make_table(outcomes),
        _facts(records),
        command,
        _notes(outcomes),
    )


def _pictures(outcomes: Sequence[Outcome]) -> dict[str, list[Picture]]:
    """Draws the figures, by kind, with those of the first setting first."""
    found: dict[str, list[Picture]] = {}
    for kind, setting, figure in drawings(outcomes):
        some = found.setdefault(kind, [])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=NARROW_DPI)
        text = f"{_SECTIONS[kind][0]}{f': {setting}' if setting else ''}"
        name = f"{kind}{f'_{len(some) + 1}' * bool(some)}"
        some.append(Picture(f"{name}.png", text, setting, buffer.getvalue(), plots.svg(figure, name, text)))
    return found


def _table_text(outcomes: Sequence[Outcome]) -> str:
    targets = [(assignments(outcome.setting), target_elbo(outcome)) for outcome in outcomes]
    told = "; ".join(f"{minus(f'{x:.2f}')}{f' for {name}' if name else ''}" for name, x in targets if x == x)
    return (
        "Each variant at its best learning rate; skipped steps, their first cause and seconds are of all learning "
        f"rates. Nats per test image. The target is the best variant's final test ELBO minus {BEHIND:g} nats"
        f"{f': {told}' if told else ''}."
    )


def _facts(records: Sequence[Record]) -> dict[str, str]:
    """Says which fields were varied, which shared fields aren't defaults, and how much is done."""
    configs = [record["config"] for record in records]
    defaults = plain(TrainConfig())
    varied = {
        name: _joined(c[name] for c in configs) for name in ("parameterization", "constraint", "learning_rate", "seed")
    }
    fields = [name for name in (configs[0] if configs else {}) if name not in varied]
    varied |= {
        name: _joined(c[name] for c in configs) for name in fields if any(c[name] != configs[0][name] for c in configs)
    }
    shared = [
        f"{name} = {_plain(configs[0][name])}"
        for name in fields
        if name not in varied and configs[0][name] != defaults.get(name)
    ]
    failed = sum(record["nll"] is None for record in records)
    return {
        "Varied": "; ".join(f"{name}: {values}" for name, values in varied.items()),
        "The same in all runs, other than by default": ", ".join(shared) or "nothing",
        "Runs": f"{len(records)}, of which {failed} failed",
        "Steps in a run": _joined(record["steps"] for record in records),
        "Importance samples per test image": _joined(c["samples"] for c in configs),
        "Time": f"{sum(record['seconds'] for record in records):.0f} seconds, without compilation",
        "Trained with": "; ".join(dict.fromkeys(_versions(record) for record in records)),
    }


def _versions(record: Record) -> str:
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    baselines = _joined(outcome.baseline for outcome in outcomes) or "none"
    return [
        "NLL is the negative log-likelihood of the test images by importance sampling, in nats per image: low is good.",
        "± is the standard error of the mean over seeds: how much the mean would differ with other seeds.",
        f"Differences are a variant's NLL minus the baseline's ({baselines}), taken seed by seed: runs of one seed "
        "share initial weights, order of images and noise. The brackets hold their mean's interval at "
        f"{percentage(LEVEL)}, of this one comparison; the answer on top allows for the number of comparisons. It is "
        "Student's, with a standard error from a bootstrap in which each resample of the seeds chooses the learning "
        "rates anew (Efron 2014).",
        "A variant is usable if it works at some learning rate and isn't advised against, as are those whose σ can "
        "reach 0 but for a constraint. The baseline is noted before anything is trained.",
        "A run failed where its NLL isn't finite; a learning rate at which any seed failed is never the best. The "
        "first number that wasn't finite arose in the network (loc or raw), in the gaussian (σ, sample or KL), in the "
        "likelihood, or only in the gradient.",
        f"Decades: how wide a range of learning rates stays within {NEAR:g} nat of the setting's best NLL; > "
        "where the range goes on beyond the learning rates tried.",
        "Gradient SNR is |mean| / standard deviation, over the last steps of training, of the raw bias's gradient, "
        "the median over latents. σ at floor or ceiling is at the end of its range; σ dead has no gradient at all.",
    ]


def _joined(values: Iterable[Any]) -> str:
    """Joins the values, each once, in order."""
    return ", ".join(dict.fromkeys(map(_plain, values)))


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + " ".join(map(_plain, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)
