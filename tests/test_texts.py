"""Numbers and formulas as text; what the doctests don't show."""

import math

import pytest

from jaxvae import texts


def test_numbers_in_formulas() -> None:
    assert texts.number(math.log(2)) == "ln 2"
    assert [texts.number(x) for x in (math.inf, -math.inf, 0.5, 1 / 3)] == ["∞", "-∞", "0.5", "0.3333"]
    assert [texts.scaled(x, "r") for x in (1, -2, math.log(2))] == ["r", "-2·r", "ln 2·r"]


def test_calls_have_one_pair_of_brackets() -> None:
    assert texts.call("f", "(a)·(b)") == "f((a)·(b))"
    assert texts.call("f", "(a + b)") == "f(a + b)"
    assert texts.call("f", "a") == "f(a)"


def test_only_small_exponents_are_shortened() -> None:
    assert [texts.short_exponent(f"{x:g}") for x in (1e-5, 1e-10, 0.5)] == ["1e-5", "1e-10", "0.5"]


@pytest.mark.parametrize("x", [-0.004, -0.0, 0.0, 0.004])
def test_nothing_has_no_sign(x: float) -> None:
    assert texts.signed(x) == "0.00"


def test_a_difference_has_as_many_digits_as_fit() -> None:
    assert [texts.signed(x) for x in (9.994, 9.996, -9.996, -123.45)] == ["+9.99", "+10.0", "−10.0", "−123.5"]


def test_a_share_is_never_rounded_to_none() -> None:
    assert [texts.percent(x) for x in (1e-6, 0.0949, 0.0951, 0.0996)] == ["0.0001", "9", "10", "10"]
    assert texts.percentage(0.001, least=0.001) == "0.1 %"
    assert texts.percentage(0) == "0 %"


def test_an_error_that_is_zero_is_told() -> None:
    assert texts.with_error(1.0, 0.0) == "1.00 ± 0.00"
