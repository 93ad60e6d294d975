"""The conclusions from a study's factors, in plain sentences."""

from collections.abc import Sequence

from jaxvae.study.factors import Factor, Level, spread
from jaxvae.study.intervals import LEVEL, Difference
from jaxvae.study.statistics import Outcome
from jaxvae.texts import assignments, listed, percentage, rough

_WORDS = {
    "architecture": "the network",
    "beta": "β",
    "dataset": "the data set",
    "dtype": "the number format",
    "precondition": "the preconditioner",
}


def dependence_line(factor: Factor) -> str:
    """Says whether the best variant depends on a factor."""
    word, base, unit = _word(factor), factor.baseline, _unit(factor)
    if not factor.told:
        reason = (
            "no usable variant has two seeds in common in comparable settings" if factor.variants else "too few work"
        )
        return f"It cannot be said whether which variant is best depends on {word}: {reason}."
    if factor.crossing:
        told = [
            f"{name} is better than {base} at {_levels(better)} and worse at {_levels(worse)}"
            for name, (better, worse) in factor.crossing.items()
        ]
        return f"Which variant is best depends on {word}: {'; '.join(told)}."
    changed = {key: x for key, x in factor.changes.items() if x.sign}
    where = f"({_levels(factor.levels)})"
    if not changed:
        bound = max(abs(end) for x in factor.changes.values() if x.low == x.low for end in (x.low, x.high))
        return (
            f"Which variant is best is not seen to depend on {word} {where}: no usable variant's difference from "
            f"{base} changes by more than {rough(bound)} {unit}."
        )
    (name, level), most = max(changed.items(), key=lambda item: abs(item[1].mean))
    rest = f", the largest of {len(changed)} changes that are seen" if len(changed) > 1 else ""
    return (
        f"Which variant is best is not seen to depend on {word} {where}, but how far they differ does: {name}'s "
        f"difference from {base} changes by {_signed(most)} {unit} from {_levels(factor.levels[:1])} to "
        f"{_levels([level])}{rest}."
    )


def effect_lines(factor: Factor) -> list[str]:
    """Says how a factor changes the NLL itself, if its levels can be compared."""
    told = {level: x for level, x in factor.effects.items() if x.low == x.low}
    if not told:
        return []
    unit, first = _unit(factor), _levels(factor.levels[:1])
    amounts = listed([f"{_signed(x)} {unit} at {_levels([level])}" for level, x in told.items()])
    return [f"Of {_word(factor)} itself, NLL against that at {first}: {amounts}."]


def grounds(some: Sequence[Factor], outcomes: Sequence[Outcome]) -> list[str]:
    """Says how these sentences follow from the statistics."""
    told = [
        "Settings are compared by contrasts of the differences from "
        f"{some[0].baseline}, seed by seed, each variant at its best learning rate; intervals: {percentage(LEVEL)}, "
        "adjusted for the number of contrasts of a factor."
    ]
    if any(factor.scaled for factor in some):
        spreads = [f"{rough(spread(outcome))} at {assignments(outcome.setting)}" for outcome in outcomes]
        told.append(
            "NLLs of different data aren't added: their unit is the standard deviation of NLL over seeds, in nats "
            f"{listed(spreads)}."
        )
    return told


def _word(factor: Factor) -> str:
    return listed([_WORDS.get(name, f"the {name.replace('_', ' ')}") for name in factor.names])


def _unit(factor: Factor) -> str:
    return "standard deviations over seeds" if factor.scaled else "nats"


def _levels(some: Sequence[Level]) -> str:
    return listed([" ".join(map(str, level)) for level in some])


def _signed(x: Difference) -> str:
    return f"{rough(x.mean, '+')} [{rough(x.low, '+')}, {rough(x.high, '+')}]"
