from tables import record, runs, spaced

from jaxvae.study import statistics as st
from jaxvae.study.factors import find_factors
from jaxvae.study.report.answers import verdict
from jaxvae.study.report.dependence import dependence_line, effect_lines, grounds

BASE = spaced(20, 0.1)


def told(field, *levels, base=BASE):
    """What is said where log_std has these NLLs at a field's levels, and the baseline others."""
    table = [
        r
        for value, ours in levels
        for name, nll in (("log_variance", base), ("log_std", ours))
        for r in runs(name, nll, **{field: value})
    ]
    outcomes = st.analyze(table)
    (factor,) = find_factors(outcomes)
    return dependence_line(factor), effect_lines(factor), grounds([factor], outcomes)


def test_no_dependence_is_seen():
    line, effect, ground = told("dataset", ("digits", spaced(20.1, 0.1)), ("mnist", spaced(20.3, 0.1)))
    # All vary alike, by 0.1: the difference is 1 spread here, 3 there, and the same for all seeds.
    assert line == (
        "Which variant is best is not seen to depend on the data set (digits and mnist), but how far they differ does: "
        "log_std's difference from log_variance changes by +2 [+2, +2] standard deviations over seeds from digits to "
        "mnist."
    )
    assert effect == []
    assert ground[1] == (
        "NLLs of different data aren't added: their unit is the standard deviation of NLL over seeds, in nats 0.1 at "
        "dataset = digits and 0.1 at dataset = mnist."
    )
    line, effect, ground = told("dtype", ("float32", (20.0, 20.1, 20.2)), ("bfloat16", (20.2, 20.1, 20.0)))
    # Changes of 0.2, 0 and -0.2 by seed: t = 4.3027, half = 0.2 t / √3; of the mean, half of that.
    assert line == (
        "Which variant is best is not seen to depend on the number format (float32 and bfloat16): no usable variant's "
        "difference from log_variance changes by more than 0.5 nats."
    )
    assert effect == ["Of the number format itself, NLL against that at float32: +0 [−0.25, +0.25] nats at bfloat16."]
    assert len(ground) == 1


def test_which_is_best_depends():
    line, _, _ = told("beta", (1.0, spaced(19, 0.1)), (2.0, spaced(21, 0.1)), (4.0, spaced(22, 0.1)))
    assert line == (
        "Which variant is best depends on β: log_std is better than log_variance at 1.0 and worse at 2.0 and 4.0."
    )


def test_what_cannot_be_said():
    line, effect, _ = told("dtype", ("float32", (20.0,)), ("bfloat16", (20.0,)), base=(20.0,))
    assert line == (
        "It cannot be said whether which variant is best depends on the number format: no usable variant has two seeds "
        "in common in comparable settings."
    )
    assert effect == []
    line, _, _ = told("dtype", ("float32", (20.0, 20.1)), ("bfloat16", (None, None)), base=(20.0, 20.1))
    assert line.endswith("depends on the number format: too few work.")


def test_it_stands_on_top_where_there_are_several_settings():
    table = [r for d in ("digits", "mnist") for n in ("log_variance", "log_std") for r in runs(n, BASE, dataset=d)]
    together, *settings = verdict(st.analyze(table))
    assert together.setting == ""
    assert together.lines[0].startswith(
        "Which variant is best is not seen to depend on the data set (digits and mnist)"
    )
    assert [answer.setting for answer in settings] == ["dataset = digits", "dataset = mnist"]
    assert len(verdict(st.analyze([record(), record("log_std")]))) == 1
