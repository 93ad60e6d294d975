import math

import numpy as np
import pytest
import scipy.stats
from tables import record, runs, spaced

from jaxvae.study import statistics as st
from jaxvae.study.factors import find_factors, spread

LEVEL = 0.95
DIGITS, MNIST, COUNTS = ({"dataset": name, "architecture": "mlp"} for name in ("digits", "mnist", "counts"))
A = {"log_variance": (20.0, 20.3, 20.1), "log_std": (20.2, 20.4, 20.9), "softplus_std": (19.9, 20.3, 20.0)}
B = {"log_variance": (90.0, 92.0, 93.0), "log_std": (91.0, 92.5, 93.0), "softplus_std": (89.0, 92.5, 93.5)}


def table(numbers, **fields):
    return [r for name, nll in numbers.items() for r in runs(name, nll, **fields)]


def found(*parts):
    return {factor.names: factor for factor in find_factors(st.analyze([r for part in parts for r in part]))}


def scipys(contrast, comparisons=1):
    """The mean of numbers of seeds, and its interval, allowing for so many."""
    interval = scipy.stats.ttest_1samp(contrast, 0).confidence_interval(1 - (1 - LEVEL) / comparisons)
    return pytest.approx((np.mean(contrast), interval.low, interval.high, len(contrast)))


def less(numbers, name):
    return np.subtract(numbers[name], numbers["log_variance"])


def test_one_setting_has_no_factor():
    assert found(table(A)) == {}


def test_data_are_compared_in_units_of_the_spread_over_seeds():
    factor = found(table(A, **DIGITS), table(B, **MNIST))["dataset",]
    (first, second), variants = factor.levels, ("log_std", "softplus_std")
    assert (factor.levels, factor.baseline, factor.variants) == ((("digits",), ("mnist",)), "log_variance", variants)
    assert factor.scaled
    assert not factor.effects  # of NLLs of other data
    scales = [math.sqrt(np.mean([np.var(nll, ddof=1) for nll in numbers.values()])) for numbers in (A, B)]
    for name in variants:
        here, there = (less(numbers, name) / scale for numbers, scale in zip((A, B), scales, strict=True))
        assert factor.differences[name, first] == scipys(here, comparisons=4)
        assert factor.differences[name, second] == scipys(there, comparisons=4)
        assert factor.changes[name, second] == scipys(there - here, comparisons=2)


def test_what_leaves_the_density_as_it_is_has_an_effect_in_nats():
    factor = found(table(A, dtype="float32"), table(B, dtype="bfloat16"))["dtype",]
    assert not factor.scaled
    second = factor.levels[1]
    mean = np.mean([np.subtract(B[name], A[name]) for name in A], axis=0)
    assert factor.effects[second] == scipys(mean)
    assert factor.changes["log_std", second] == scipys(less(B, "log_std") - less(A, "log_std"), comparisons=2)


def test_by_hand():
    ours, theirs = {"log_variance": spaced(20, 0), "log_std": spaced(23, 1)}, {"log_variance": spaced(20, 0)}
    factor = found(table(ours, dtype="float32"), table({**theirs, "log_std": spaced(20, 2)}, dtype="bfloat16"))[
        "dtype",
    ]
    # Seed by seed -4, -3 and -2: t of 2 degrees of freedom at 0.975 is 4.3027, times 1 / √3.
    assert factor.changes["log_std", ("bfloat16",)] == pytest.approx((-3, -3 - 2.4841, -3 + 2.4841, 3), abs=1e-4)


def test_settings_that_not_every_level_has_do_not_count():
    conv = {"dataset": "digits", "architecture": "conv"}
    whole = found(table(A, **DIGITS), table(B, **DIGITS | conv), table(A, **MNIST), table(B, **COUNTS))
    data, network = whole["dataset",], whole["architecture",]
    assert data.levels == (("digits",), ("mnist",), ("counts",))
    scale = math.sqrt(np.mean([np.var(nll, ddof=1) for nll in A.values()]))
    assert data.differences["log_std", ("digits",)] == scipys(less(A, "log_std") / scale, comparisons=6)  # not of conv
    assert not network.scaled  # of digits alone
    assert network.changes["log_std", ("conv",)] == scipys(less(B, "log_std") - less(A, "log_std"), comparisons=2)


def test_an_average_has_every_setting_once_whatever_its_spread():
    parts = [{"dtype": t, "dataset": d} for t in ("float32", "bfloat16") for d in ("digits", "mnist")]
    factor = found(*(table(n, **part) for n, part in zip((A, B, B, A), parts, strict=True)))["dtype",]
    assert factor.scaled
    a, b = (math.sqrt(np.mean([np.var(nll, ddof=1) for nll in numbers.values()])) for numbers in (A, B))
    expected = (less(A, "log_std") / a + less(B, "log_std") / b) / 2
    assert factor.differences["log_std", ("float32",)] == scipys(expected, comparisons=4)
    assert factor.differences["log_std", ("bfloat16",)] == scipys(expected, comparisons=4)


def test_fields_that_change_together_are_one_factor():
    parts = ({"architecture": "mlp", "hidden": [8]}, {"architecture": "conv", "hidden": [4, 4]})
    (factor,) = found(table(A, **parts[0]), table(B, **parts[1])).values()
    assert factor.names == ("architecture", "hidden")
    assert factor.levels == (("mlp", (8,)), ("conv", (4, 4)))


def test_what_follows_from_a_factor_is_part_of_it():
    epochs = {"digits": 150, "mnist": 30, "counts": 150}
    parts = [
        table(A, **setting, epochs=epochs[setting["dataset"]], hidden=[8] if setting["architecture"] == "mlp" else [4])
        for setting in (DIGITS, MNIST, COUNTS, {**DIGITS, "architecture": "conv"})
    ]
    assert [*found(*parts)] == [("dataset", "epochs"), ("architecture", "hidden")]


def test_a_variant_crosses_where_it_is_better_here_and_worse_there():
    base = {"log_variance": spaced(20, 0.1)}
    better, worse = ({**base, "log_std": spaced(mean, 0.1)} for mean in (19, 21))
    steady = {**base, "log_std": spaced(20, 0.2)}
    parts = [table(n, dtype=t) for n, t in zip((better, steady, worse), ("a", "b", "c"), strict=True)]
    assert found(*parts)["dtype",].crossing == {"log_std": ([("a",)], [("c",)])}
    assert found(*parts[:2])["dtype",].crossing == {}


def test_what_fails_or_mirrors_somewhere_is_left_out():
    some = {"log_variance": spaced(20, 0.1), "log_precision": spaced(20, 0.1), "direct_std": spaced(20, 0.1)}
    here, there = {**some, "log_std": spaced(20, 0.1)}, {**some, "log_std": (20.0, None, 20.0)}
    factor = found(table(here, dtype="a"), table(there, dtype="b"))["dtype",]
    assert factor.variants == ()
    assert not factor.told
    assert factor.effects["b",].mean == pytest.approx(0)  # of the baseline alone


def test_a_level_whose_baseline_failed_leaves_nothing_to_compare():
    failed = {**A, "log_variance": (None, None, None)}
    factor = found(table(A, dtype="a"), table(failed, dtype="b"))["dtype",]
    assert (factor.variants, factor.told, factor.effects, factor.changes) == ((), False, {}, {})
    whole = found(table(A, dtype="a"), table(failed, dtype="b"), table(B, dtype="c"))["dtype",]
    assert whole.levels == (("a",), ("c",))
    assert whole.changes["log_std", ("c",)] == scipys(less(B, "log_std") - less(A, "log_std"), comparisons=2)


def test_one_seed_tells_nothing():
    single = [[record(name, nll=x, dtype=t) for name, x in (("log_variance", 2.0), ("log_std", 1.0))] for t in "ab"]
    factor = found(*single)["dtype",]
    assert factor.changes["log_std", ("b",)] == pytest.approx((0, math.nan, math.nan, 1), nan_ok=True)
    assert not factor.told


def test_a_learning_rate_in_doubt_widens_a_change():
    rates = {0.01: (20.0, 20.2, 20.4), 0.1: (20.4, 20.0, 20.0)}
    there = [*table(A, dtype="a"), *runs("log_variance", A["log_variance"], dtype="b")]

    def half(chosen):
        tried = [r for rate in chosen for r in runs("log_std", rates[rate], rate, dtype="b")]
        change = found(there, tried)["dtype",].changes["log_std", ("b",)]
        return change.high - change.mean

    assert half((0.1, 0.01)) != pytest.approx(half((0.1,)))


def test_the_spread_is_of_usable_variants_at_their_best():
    (outcome,) = st.analyze([*table(A), *runs("direct_std", spaced(20, 9)), *runs("log_std", spaced(90, 9), 0.1)])
    assert spread(outcome) == pytest.approx(math.sqrt(np.mean([np.var(nll, ddof=1) for nll in A.values()])))


def test_intervals_hold_the_truth_in_units_of_the_spread_too():
    """Four settings whose spreads differ, three seeds, six variants that are all the same: changes are 0."""
    rng, held = np.random.default_rng(0), []
    names = ("log_variance", "log_std", "softplus_std", "softplus_variance", "squareplus_std", "squareplus_variance")
    for _ in range(40):
        parts = [
            table({name: scale * rng.standard_normal(3) for name in names}, dataset=d, dtype=t)
            for scale, d, t in ((1.0, "a", "x"), (30.0, "b", "x"), (1.0, "a", "y"), (30.0, "b", "y"))
        ]
        changes = found(*parts)["dtype",].changes.values()
        held += [all(x.low < 0 < x.high for x in changes)]  # family-wise, at 95 %
    assert np.mean(held) >= 0.95 - 2.5 * math.sqrt(0.95 * 0.05 / 40)
