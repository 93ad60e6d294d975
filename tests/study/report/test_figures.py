"""Every variant has its place, and what is drawn of it are its own runs."""

import math

import numpy as np
from synthetic import DEFAULT, RATES, study

from jaxvae.parameterizations import PARAMETERIZATIONS
from jaxvae.plots.style import COLOURS
from jaxvae.study.report import figures
from jaxvae.study.statistics import analyze
from jaxvae.training.config import UNCONSTRAINED

KINDS = ["transforms", "learning_rates", "skipped", "gradients", "std", "curves"]
HANDLED = [f"{name}+{handling}" for name in UNCONSTRAINED for handling in ("projection", "lagrange")]


def placed(*variants: str) -> list[tuple[str, str]]:
    (outcome,) = analyze(study(variants, (0.01,), 1))
    return [figures.place(comparison) for comparison in outcome.comparisons]


def test_plain_transforms_have_a_row_and_special_ones_their_name():
    found = placed("log_variance", "softplus_std", "natural_softplus", "direct_std+lagrange", "nvae_log_std")
    assert found == [
        ("exp", "variance"),
        ("softplus", "std"),
        ("softplus", "natural"),
        ("identity + lagrange", "std"),
        ("nvae_log_std", "std"),
    ]
    # A transform with other numbers than the plain one's is another.
    assert placed("efficient_vdvae_std") == [("efficient_vdvae_std", "std")]


def test_an_alias_in_a_table_is_drawn_as_what_it_stands_for():
    assert placed("dehaene_exp_linear") == placed("exp_linear_std") == [("exp-linear", "std")]
    (outcome,) = analyze(study(["dehaene_exp_linear"], (0.01,), 1))
    assert figures._family(outcome.comparisons[0]) == "squareplus, exp-linear"


def test_every_registered_parameterization_is_in_the_map_and_in_one_panel():
    variants = [*PARAMETERIZATIONS, *HANDLED]
    (outcome,) = analyze(study(variants, (0.01, 0.1), 1))
    drawn = {d.kind: d.figure for d in figures.drawings([outcome])}
    assert len(drawn["transforms"].axes[0].texts) == len(variants)
    panels = drawn["learning_rates"].axes
    lines = [line.get_label() for panel in panels for line in panel.lines if not line.get_label().startswith("_")]
    names = [variant.replace("+", " + ") for variant in variants]
    assert sorted(lines) == sorted(names + ["log_variance"] * (len(panels) - 1))
    assert max(len(panel.get_legend().get_texts()) for panel in panels) <= len(COLOURS)


def test_of_a_variant_are_drawn_its_seeds_at_its_best_rate():
    records = study(["log_variance", "log_std"])
    (outcome,) = analyze(records)
    drawn = {d.kind: d.figure for d in figures.drawings([outcome])}
    best = outcome.comparisons[1].best
    mine = [
        r
        for r in records
        if (r["config"]["parameterization"], r["config"]["learning_rate"]) == ("log_std", best.learning_rate)
    ]
    assert len(mine) == 3
    (curve,) = [line for line in drawn["curves"].axes[0].lines if line.get_label() == "log_std"]
    np.testing.assert_allclose(curve.get_ydata(), np.mean([r["curve"]["elbo"] for r in mine], axis=0))
    counts = np.sum([r["std_histogram"] for r in mine], axis=0)
    heights = drawn["std"].axes[1].patches[0].get_data().values
    np.testing.assert_allclose(heights**2, counts / counts.sum())
    spans = [np.asarray(line.get_xdata()).tolist() for line in drawn["gradients"].axes[0].lines]
    median, most, highest = mine[0]["gradient_norm"]["head"]
    assert [median, highest] in spans
    assert [median, most] in spans
    (line,) = [line for line in drawn["learning_rates"].axes[0].lines if line.get_label() == "log_std"]
    means = [np.mean([r["nll"] for r in records[15:] if r["config"]["learning_rate"] == rate]) for rate in RATES]
    np.testing.assert_allclose(line.get_ydata(), means)


def test_gradient_norms_that_are_not_finite_are_infinite():
    (outcome,) = analyze(study(DEFAULT[:6], (0.01,), 3))
    head = figures._norms(outcome.comparisons[5]).head
    assert np.isfinite(head[:2]).all()
    assert math.isinf(head[2])


def test_skipped_steps_and_their_cause():
    drawings = figures.drawings(analyze(study(DEFAULT)))
    (panel,) = next(d.figure for d in drawings if d.kind == "skipped").axes
    said = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in panel.texts}
    assert len(said) == len(DEFAULT) * len(RATES)
    assert {text for text in said.values() if text != "0"} == {"93 σ", "0.4 ∇"}
    assert said[DEFAULT.index("direct_std"), 4] == "93 σ"


def test_settings_have_a_figure_each_but_for_the_map_of_skipped_steps_and_not_too_many():
    fields = [{"latents": n} for n in range(2, 2 + figures.DRAWN + 1)]
    found = list(figures.drawings(analyze(study(["log_variance", "direct_std"], (0.01, 0.1), 1, fields=fields))))
    names = [f"latents = {n}" for n in range(2, 2 + figures.DRAWN)]
    assert [(d.kind, d.setting) for d in found] == [
        (kind, name) for kind in KINDS for name in ([""] if kind == "skipped" else names)
    ]
    (skipped,) = [d.figure for d in found if d.kind == "skipped"]
    assert len(skipped.axes) == figures.DRAWN


def test_a_parameterization_that_is_not_registered_has_a_place():
    records = study(["log_variance", "log_std"], (0.01, 0.1), 1)
    for record in records[2:]:
        record["config"]["parameterization"] = "mine"
    (outcome,) = analyze(records)
    assert figures.place(outcome.comparisons[1]) == ("mine", "other")
    assert [d.kind for d in figures.drawings([outcome])] == [kind for kind in KINDS if kind != "skipped"]


def test_no_figure_has_nothing_to_show():
    (outcome,) = analyze(study(["log_variance", "log_std"], (0.01,), 1))
    kinds = [d.kind for d in figures.drawings([outcome])]
    assert kinds == [kind for kind in KINDS if kind not in ("learning_rates", "skipped")]
