"""The numbers that README and docs tell are those that were measured, or those that the code has.

A claim is a pattern, found once on its page; its groups are the numbers as they are written.
"""

import itertools
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae as jv
from benchmarks import price
from jaxvae.study import read_results
from jaxvae.texts import counted
from jaxvae.training.config import TrainConfig

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
FIVE = ("log_variance", "log_std", "softplus_std", "softplus_variance", "squareplus_std")


def stated(page: str, pattern: str) -> tuple[str, ...]:
    """The groups of what a page says; blanks stand for line breaks, too."""
    found = re.findall(pattern.replace(" ", r"\s+"), (ROOT / page).read_text())
    assert len(found) == 1, f"{page}: {pattern!r} is there {counted(len(found), 'time')}"
    return found[0] if isinstance(found[0], tuple) else (found[0],)


def measured(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_a_claim_that_is_not_there_is_missed() -> None:
    with pytest.raises(AssertionError, match="is there 0 times"):
        stated("README.md", r"(\d+) flying pigs")


def test_the_registry_has_as_many_names_as_are_told() -> None:
    assert stated("README.md", r"`jaxvae list` shows (\d+) by name") == (str(len(jv.PARAMETERIZATIONS)),)


def test_the_first_example_says_what_is_true() -> None:
    sure, collapsed = stated("README.md", r"The true values are ([\d.]+) and ([\d.e-]+)\.")
    log_std = [np.log(np.log1p(np.exp(np.float64(np.float32(raw))))) for raw in (-100.0, 0.5415)]
    truth = [(np.expm1(2 * s) - 2 * s) / 2 for s in log_std]
    assert (sure, collapsed) == (f"{truth[0]:.1f}", f"{truth[1]:.4e}")


@pytest.mark.parametrize(
    ("page", "pattern", "program", "dtype"),
    [
        ("README.md", r"with gradients take \[([\d.]+) to ([\d.]+) times\]", price.SAMPLE, "float32"),
        ("benchmarks/RESULTS.md", r"a sample and KL take ([\d.]+) to ([\d.]+) times", price.SAMPLE, "float32"),
        ("benchmarks/RESULTS.md", r"KL\(q ‖ p\) ([\d.]+) to ([\d.]+) times", price.BETWEEN, "float32"),
        ("benchmarks/RESULTS.md", r"they take ([\d.]+) to ([\d.]+) and", price.SAMPLE, "bfloat16"),
        (
            "benchmarks/RESULTS.md",
            r"they take [\d.]+ to [\d.]+ and ([\d.]+) to ([\d.]+) times",
            price.BETWEEN,
            "bfloat16",
        ),
    ],
)
def test_the_price_is_the_measured_one(page: str, pattern: str, program: str, dtype: str) -> None:
    rows = [row for row in measured("price-cpu")["rows"] if (row["program"], row["dtype"]) == (program, dtype)]
    ratios = [row["jaxvae"]["ms"][0] / row["by hand"]["ms"][0] for row in rows]
    assert stated(page, pattern) == (f"{min(ratios):.1f}", f"{max(ratios):.1f}")


def nll_on_mnist() -> dict[str, dict[float, float]]:
    """By parameterization and learning rate, the mean over seeds."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in read_results(RESULTS / "compare-mnist/results.jsonl"):
        config = record["config"]
        found[config["parameterization"]][config["learning_rate"]].append(record["nll"])
    return {name: {rate: statistics.mean(x) for rate, x in rates.items()} for name, rates in found.items()}


@pytest.mark.parametrize(
    ("page", "pattern"),
    [
        ("README.md", r"learning rate that is off by a factor of three costs (\d) to (\d) nats"),
        ("docs/howto/choose.md", r"learning rate off by a factor of three costs (\d) to (\d) nats"),
        ("docs/paper.md", r"a learning rate off by a factor of three costs (\d) to (\d) nats"),
    ],
)
def test_a_wrong_learning_rate_costs_what_is_told(page: str, pattern: str) -> None:
    costs = [x - min(rates.values()) for rates in nll_on_mnist().values() for x in rates.values()]
    wrong = [cost for cost in costs if cost > 0]
    assert stated(page, pattern) == (f"{min(wrong):.0f}", f"{max(wrong):.0f}")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/howto/choose.md", "docs/paper.md"])
def test_the_usual_parameterizations_end_as_near_as_is_told(page: str) -> None:
    best = [min(nll_on_mnist()[name].values()) for name in FIVE[:4]]
    assert stated(page, r"within ([\d.]+) nats of one another on MNIST") == (f"{max(best) - min(best):.1f}",)


def test_five_coincide_as_is_told_by_gradient_descent() -> None:
    nll: dict[tuple[str, float, int], dict[str, float]] = defaultdict(dict)
    for record in read_results(RESULTS / "compare-fisher/results.jsonl"):
        config = record["config"]
        nll[config["precondition"], config["learning_rate"], config["seed"]][config["parameterization"]] = record["nll"]
    spread = {cell: max(x[name] for name in FIVE) - min(x[name] for name in FIVE) for cell, x in nll.items()}
    means = [
        statistics.mean(spread[kind, rate, seed] for seed in range(3))
        for kind, rate in itertools.product(("none", "fisher"), (1e-3, 3e-3, 1e-2))
    ]
    assert stated("docs/explanation/geometry.md", r"within ([\d.]+) nats of one another") == (f"{max(means):.3f}",)
    rows = " ".join(stated("benchmarks/RESULTS.md", r"itself, plain \|(.*)\|\n\| preconditioned \|(.*)\|\n\| with"))
    assert re.findall(r"[\d.]+", rows) == [f"{x:.3f}" for x in means]


def test_kills_and_damage_are_those_that_were_counted() -> None:
    kills = measured("kills")
    total = [sum(row[name] for row in kills) for name in ("kills", "kills", "runs", "equal")]
    told = stated("benchmarks/RESULTS.md", r"## Killed and resumed(?s:.*?)\| together \|" + 4 * r" (\d+) \|")
    assert told == tuple(map(str, total))
    assert stated("docs/paper.md", r"after (\d+) kills by SIGKILL, all of the (\d+) runs") == (
        str(total[0]),
        str(total[2]),
    )
    assert total[2] == total[3]
    ends = measured("corruptions")["ends"]
    for command in ("evaluate", "train --resume"):
        row = rf"## Damaged(?s:.*?)\| `jaxvae {command}` \| (\d+) \| (\d+) \| 0 \|"
        same, refused = stated("benchmarks/RESULTS.md", row)
        assert (int(same), int(refused)) == (
            ends[f"{command}: as undamaged"],
            ends[f"{command}: refused in one line"],
        )
    assert measured("corruptions")["failures"] == []


def test_kills_at_every_write_are_those_that_were_counted() -> None:
    rows = measured("kill_points")
    names, last = ("calls", "states", "terminated"), []
    for row in rows:
        assert row["failures"] == []
        counts = [row[name] for name in names]
        last.append([*counts, sum(counts[1:])])
        assert stated("benchmarks/RESULTS.md", rf"\| `jaxvae {row['of']}` \|" + 4 * r" (\d+) \|") == tuple(
            map(str, last[-1])
        )
    total = [str(sum(column)) for column in zip(*last, strict=True)]
    told = stated("benchmarks/RESULTS.md", r"## Killed at every write(?s:.*?)\| together \|" + 4 * r" (\d+) \|")
    assert told == tuple(total)
    told = stated("SECURITY.md", r"\| (\d+) calls of (\d+) commands, (\d+) runs after a kill or SIGTERM \|")
    assert told == (total[0], str(len(rows)), total[3])


def test_failing_disks_are_those_that_were_counted() -> None:
    ways: dict[str, dict[str, dict]] = {}
    for row in measured("failing_disks"):
        assert row["failures"] == []
        ways.setdefault(row["of"], {})[row["way"]] = row
    for command, rows in ways.items():
        told = stated("benchmarks/RESULTS.md", rf"\| `jaxvae {command}` \| (\d+) " + 3 * r"\| (\d+) one line ")
        runs = [rows[way]["ends"] for way in ("full", "quota", "broken")]
        assert [{"one line": int(n)} for n in told[1:]] == runs
        assert int(told[0]) == rows["full"]["calls"]
    total = sum(row["runs"] for rows in ways.values() for row in rows.values())
    told = stated("SECURITY.md", r"a disk that fails at any call \| (\d+) runs of (\d+) commands \|")
    assert told == (str(total), str(len(ways)))


def test_damaged_files_are_those_that_were_drawn() -> None:
    files = measured("fuzz_files")
    assert files["failures"] == 0
    inputs, kinds = f"{files['inputs']:,}", str(len(files["rows"]))
    told = r"(\d+) s of CPU time for files\n\n([\d,]+) inputs of (\d+) kinds of files"
    assert stated("benchmarks/RESULTS.md", told) == (f"{files['cpu_seconds']:.0f}", inputs, kinds)
    told = r"\| ([\d,]+) files of (\d+) kinds, and ([\d,]+) other inputs \|"
    assert stated("SECURITY.md", told) == (inputs, kinds, f"{measured('fuzz')['inputs']:,}")
    assert stated("SECURITY.md", r"at random moments \| (\d+) kills") == (
        str(sum(x["kills"] for x in measured("kills"))),
    )
    assert stated("SECURITY.md", r"\| (\d+) damaged files \|") == (str(measured("corruptions")["damaged"]),)


def test_endurance_and_fuzz_are_those_that_were_measured() -> None:
    found = measured("endurance")
    assert stated("benchmarks/RESULTS.md", r"\| memory \| (\S+) % \|") == (f"+{100 * found['growth']:.1f}",)
    assert stated("benchmarks/RESULTS.md", r"the last tenth beside the second \| (.*?) % \|") == (
        f"+{100 * found['slower']:.1f}",
    )
    fuzz = measured("fuzz")
    told = r"(\d+) s of CPU time\n\n([\d,]+) inputs drawn by hypothesis in (\d+) properties"
    seconds, inputs, properties = stated("benchmarks/RESULTS.md", told)
    assert (seconds, inputs) == (f"{fuzz['cpu_seconds']:.0f}", f"{fuzz['inputs']:,}")
    assert properties == str(len(fuzz["rows"]))
    assert stated("benchmarks/RESULTS.md", r"(\d+) properties broken") == (str(fuzz["failures"]),)


def test_the_closed_form_is_reached_as_is_told() -> None:
    gaps = sorted(row["gap"] for row in measured("linear_gaussian")["rows"])
    count, of, low, high = stated("benchmarks/RESULTS.md", r"(\d+) of (\d+) names come within (\S+) to (\S+) nats")
    near = gaps[: int(count)]
    assert (of, low, high) == (str(len(gaps)), *(f"{x:.1e}".replace("e-0", "e-") for x in (near[0], near[-1])))
    assert gaps[int(count)] > 1


def test_the_paper_tells_what_results_tell() -> None:
    shares = measured("coverage")["coverage"].values()
    assert stated("docs/paper.md", r"held the truth in (\S+), (\S+) and (\S+) %") == tuple(
        f"{100 * x:.1f}" for x in shares
    )
    stress = stated("benchmarks/RESULTS.md", r"form of flax NNX \| `log_std` \| ([\d.]+) \([\d.]+\) → ([\d.]+)")
    assert stated("docs/paper.md", r"at the start, ([\d.]+) % of the float32 runs [^;]*; ([\d.]+) % did") == stress
    best = {name: min(rates.values()) for name, rates in nll_on_mnist().items()}
    behind = tuple(f"{best[name] - best['log_variance']:.2f}" for name in ("sigmoid_std", "natural_softplus"))
    assert stated("docs/paper.md", r"natural parameterizations end (\S+) and (\S+) nats worse") == behind
    assert stated("docs/paper.md", r"It names (\d+) parameterizations") == (str(len(jv.PARAMETERIZATIONS)),)
    (spread,) = stated("docs/explanation/geometry.md", r"within ([\d.]+) nats of one another")
    assert stated("docs/paper.md", r"share a mean end within ([\d.]+) nats") == (spread,)


def test_the_tutorial_shows_the_scores_that_were_stored() -> None:
    score = measured("digits")["evaluation"]
    elbo, likelihood, kl, active = stated(
        "docs/tutorial.md", r"test ELBO (\S+) nats per image \(log p\(x\|z\) (\S+), KL (\S+)\), (\d+) of 16"
    )
    terms = [f"{score[name]:.3f}" for name in ("elbo", "log_likelihood", "kl")]
    assert (elbo, likelihood, kl, active) == (*terms, str(score["active_units"]))
    nll, error, noise, bits = stated(
        "docs/tutorial.md",
        r"test NLL (\S+) ± (\S+) nats per image \(100 importance samples, their error (\S+), (\S+) bits",
    )
    names = ("nll", "nll_standard_error", "nll_monte_carlo_error")
    assert (nll, error, noise) == tuple(f"{score[name]:.3f}" for name in names)
    assert bits == f"{score['bits_per_dimension']:.4f}"
    for page, pattern in (
        ("benchmarks/RESULTS.md", r"Test ELBO (\S+), NLL (\S+) ± (\S+) nats \(100 importance samples\), (\d+) of 16"),
    ):
        assert stated(page, pattern) == (
            f"{score['elbo']:.2f}",
            f"{score['nll']:.2f}",
            f"{score['nll_standard_error']:.2f}",
            str(score["active_units"]),
        )


def test_the_tutorial_shows_the_answer_that_was_stored() -> None:
    (answer,) = measured("quick")["answers"]
    text = (ROOT / "docs/tutorial.md").read_text().replace("\n", " ")
    assert " ".join(answer["lines"]) in text


def test_defaults_are_those_that_are_told() -> None:
    assert stated("docs/howto/nan.md", r"After `--max-skipped` \((\d+)\)") == (str(TrainConfig().max_skipped),)
    assert stated("docs/howto/hosts.md", r"within `--timeout` seconds \((\d+)\)") == ("300",)


def test_low_precision_is_as_the_table_has_it() -> None:
    for name in ("float32", "bfloat16", "float16"):
        info = jnp.finfo(name)
        digits, largest, smallest, low, high = stated(
            "docs/explanation/precision.md", rf"\| {name} \| (\S+) \| (\S+) \| (\S+) \| (\S+) … (\S+) \|"
        )
        assert digits == f"{(info.nmant + 1) * np.log10(2):.1f}"
        assert float(largest.replace(",", "")) == pytest.approx(float(info.max), rel=0.02)
        assert float(smallest) == pytest.approx(float(info.tiny), rel=0.05)
        for text, end in ((low, info.tiny), (high, info.max)):
            assert float(text.replace("−", "-")) == pytest.approx(float(np.log(np.float64(end))), abs=1)
    noise = np.asarray(jax.random.normal(jax.random.key(0), (20_000,), jnp.bfloat16), np.float32)
    count, low, high = stated("docs/explanation/precision.md", r"take (\d+) distinct values, from −(\S+) to (\S+)\.\n")
    assert len(np.unique(noise)) == int(count)
    assert (f"{-noise.min():.1f}", f"{noise.max():.1f}") == (low, high)
