"""The conclusions from a study's statistics, in plain sentences."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxvae.study.factors import find_factors
from jaxvae.study.intervals import LEVEL, MOST_SEEDS, POWER, Difference, seeds_to_resolve
from jaxvae.study.report.dependence import dependence_line, effect_lines, grounds
from jaxvae.study.statistics import NEAR, Comparison, Outcome, Width, spreads
from jaxvae.texts import assignments, counted, listed, percentage, rough, with_error

RESOLVE = 0.1
"""The default difference, in nats, for which the report says how many seeds would resolve it."""


class Answer(NamedTuple):
    """The conclusions for a setting ("" for all settings): the lines on top, and the sentences below them."""

    setting: str
    lines: Sequence[str]
    details: Sequence[str]


def verdict(outcomes: Sequence[Outcome], resolve: float = RESOLVE) -> list[Answer]:
    """Describes the study in plain sentences: whether the best variant depends on the setting, then each setting.

    The lines say whether the choice of the variant matters, which variant is the safest, and which to avoid. A variant
    is called better or worse only if its adjusted interval excludes 0.

    Args:
        outcomes: from ``analyze``.
        resolve: the difference, in nats, for which the report says how many seeds would resolve it.
    """
    found = [_answer(outcome, resolve) for outcome in outcomes]
    if varied := find_factors(outcomes):
        lines = [line for factor in varied for line in (dependence_line(factor), *effect_lines(factor))]
        found.insert(0, Answer("", lines, grounds(varied, outcomes)))
    by_setting = {outcome.setting: outcome for outcome in outcomes}
    for setting, plain in by_setting.items():
        twin = tuple((name, "fisher" if name == "precondition" else value) for name, value in setting)
        if ("precondition", "none") in setting and twin in by_setting:
            first, *rest = _eventually(plain, by_setting[twin])
            found.append(Answer("", [first], rest))
    return found or [Answer("", ["It cannot be said whether the choice matters: the table is empty."], [])]


def _answer(outcome: Outcome, resolve: float) -> Answer:
    base = next(c for c in outcome.comparisons if c.variant == outcome.baseline)
    if base.best is None:
        lines = [_without_baseline(outcome), *_avoid(outcome)]
    else:
        lines = [_difference(outcome), *_safest(outcome), *_avoid(outcome)]
    details = [*_numbers(outcome, base), *_choice(outcome), *_power(outcome, resolve), *_caveats(outcome)]
    return Answer(assignments(outcome.setting), lines, [*details, *_failures(outcome)])


def _judged(outcome: Outcome) -> dict[str, Comparison]:
    """Returns the usable variants that have an interval, sorted by mean difference."""
    found = [c for c in outcome.comparisons if c.usable and c.adjusted and not math.isnan(c.adjusted.low)]
    return {c.variant: c for c in sorted(found, key=lambda c: c.adjusted.mean if c.adjusted else 0.0)}


def _of_sign(outcome: Outcome, sign: int) -> dict[str, Difference]:
    """Returns the adjusted differences of the usable variants that are better (-1), worse (1), or neither (0)."""
    return {name: c.adjusted for name, c in _judged(outcome).items() if c.adjusted and c.adjusted.sign == sign}


def _without_baseline(outcome: Outcome) -> str:
    alive = [c.variant for c in outcome.comparisons if c.best]
    if not alive:
        return "It cannot be said whether the choice matters: runs of every variant failed at every learning rate."
    return (
        f"It matters: runs of {outcome.baseline}, the baseline, failed at every learning rate, unlike those of "
        f"{listed(alive)}; without it there are no differences in NLL."
    )


def _difference(outcome: Outcome) -> str:
    """Says whether the choice of the variant matters, and how much it does among the usable variants."""
    base, tuned = outcome.baseline, ", each at its best learning rate" * (len(outcome.learning_rates) > 1)
    better, same, worse = (_of_sign(outcome, sign) for sign in (-1, 0, 1))
    if not (better or same or worse):
        several = len(outcome.comparisons) > 1
        reason = f"no usable variant has two seeds in common with {base}" if several else f"{base} is the only variant"
        return f"It cannot be said whether the choice matters: {reason}."
    bound = rough(max((abs(end) for x in same.values() for end in x[1:3]), default=0.0))
    if not better and not worse:
        usable = sum(c.usable and (c.variant in same or c.variant == base) for c in outcome.comparisons)
        return (
            f"No difference is seen between the {usable} usable variants{tuned}: none is more than {bound} nats "
            f"from {base}, at {percentage(LEVEL)} confidence."
        )
    told = [f"{_amounts(some)} nats {word}" for some, word in ((better, "better"), (worse, "worse")) if some]
    rest = f"; {listed(list(same))} within {bound} nats of it" if same else ""
    return f"It matters{tuned}: {'; '.join(told)} than {base}{rest}."


def _safest(outcome: Outcome) -> list[str]:
    """Says which variants work over the widest range of learning rates, to the digit that is shown."""
    safe = {c.variant: c.width for c in outcome.comparisons if c.usable and not c.mirrors}
    told = {name: round(width.decades, 1) for name, width in safe.items()}
    if len(told) < 2 or max(told.values()) == 0 or outcome.uneven:  # one variant, one learning rate, or unequal seeds
        return _take(outcome)
    names = [name for name in told if told[name] == max(told.values())]
    width = next((safe[name] for name in names if safe[name].open_low or safe[name].open_high), safe[names[0]])
    near = f"within {NEAR:g} nat of the best NLL over {_decades(width)} of learning rate"
    if len(names) == len(told):
        return [f"Any usable variant is as safe: each stays {near}."]
    base = safe.get(outcome.baseline)
    others = "" if base is None or outcome.baseline in names else f" ({outcome.baseline}: {_decades(base)})"
    return [f"Safest: {listed(names)}, which stay{'s' * (len(names) == 1)} {near}{others}."]


def _take(outcome: Outcome) -> list[str]:
    better = list(_of_sign(outcome, -1))
    if better:
        return [f"Take {better[0]}: nothing here is better."]
    return [f"Take {outcome.baseline}: nothing here is better."] if _judged(outcome) else []


def _avoid(outcome: Outcome) -> list[str]:
    """Says which variants failed, and how often; and which are advised against."""
    told = []
    for c in outcome.comparisons:
        runs, failed = sum(len(p.records) for p in c.points), [p for p in c.points if p.failures]
        count = f"{sum(p.failures for p in failed)} of {counted(runs, 'run')} failed"
        rates = f", at learning rate {listed([f'{p.learning_rate:g}' for p in failed])}" * (len(c.points) > 1)
        if failed:
            told.append(f"{c.variant} ({count}{rates})")
        elif not c.advised:
            told.append(f"{c.variant} (advised against)")
    return [f"Avoid {listed(told)}." if told else "Nothing to avoid: no run failed."]


def _numbers(outcome: Outcome, base: Comparison) -> list[str]:
    """Says which scores are reached by which variants, and what the intervals are."""
    if base.best is None:
        return []
    judged = _judged(outcome)
    others = {c.variant: c for c in outcome.comparisons if c is not base and not c.mirrors}
    against = {name: c.adjusted for name, c in others.items() if c.adjusted and not c.advised and c.adjusted.seeds > 1}
    unjudged = [name for name, c in others.items() if c.best and not (c.adjusted and c.adjusted.seeds > 1)]
    mirrors = [f"{c.variant} is {c.mirrors} with raw's sign turned" for c in outcome.comparisons if c.mirrors]
    seeds = sorted({c.adjusted.seeds for c in judged.values() if c.adjusted})
    several = len(outcome.learning_rates) > 1
    at = f" at learning rate {base.best.learning_rate:g}" if several else ""
    told = [
        (True, f"{base.variant} reaches {with_error(base.best.mean, base.best.standard_error)} nats{at}."),
        (against, f"Of those advised against: {_with_intervals(against)} nats from it."),
        (mirrors, f"{'; '.join(mirrors)}: the same model, and so no evidence."),
        (unjudged, f"No claim on {listed(unjudged)}: below two seeds in common."),
        (
            judged,
            f"Intervals: {percentage(LEVEL)}, adjusted for {counted(len(others), 'comparison')}, over "
            f"{_range(seeds)} seeds{', with the noise of choosing the learning rates' if several else ''}.",
        ),
    ]
    return [sentence for applies, sentence in told if applies]


def _choice(outcome: Outcome) -> list[str]:
    """Says by which images learning rates were chosen."""
    if len(outcome.learning_rates) < 2:
        return []
    if outcome.validated:
        return ["Learning rates are chosen on the validation images, and NLL is that of the test images."]
    return [
        "Learning rates are chosen on the test images, as not every run has scores of validation images: the NLLs are "
        "a little too good, most so where they vary most."
    ]


def _power(outcome: Outcome, resolve: float) -> list[str]:
    """Says how many seeds would resolve a difference of this size."""
    if math.isnan(outcome.deviation):
        return []
    seeds = seeds_to_resolve(resolve, outcome.deviation, outcome.level)
    count = f"over {MOST_SEEDS:,}" if seeds is None else f"{seeds:,}"
    return [f"To tell {resolve:g} nats apart takes {count} seeds, with a chance of {percentage(POWER)}."]


def _failures(outcome: Outcome) -> list[str]:
    """Says which variants had non-finite numbers, at which learning rates, how often, and where these arose."""
    told, several = [], len(outcome.learning_rates) > 1
    for comparison in outcome.comparisons:
        struck = [p for p in comparison.points if p.failures or p.skipped.any()]
        if struck:
            skipped = float(np.concatenate([p.skipped for p in struck]).mean())
            causes = Counter(record["cause"] for p in struck for record in p.records if record["cause"])
            first = f", first in {listed([name for name, _ in causes.most_common()])}" if causes else ""
            rates = f" at {listed([f'{p.learning_rate:g}' for p in struck])}" if several else ""
            told.append(
                f"{comparison.variant}{rates} "
                f"({sum(p.failures for p in struck)} of {counted(sum(len(p.records) for p in struck), 'run')} failed, "
                f"{percentage(skipped)} of steps skipped{first})"
            )
    return [f"Not finite{' at learning rates' if several else ''}: {'; '.join(told)}."] if told else []


def _decades(width: Width) -> str:
    return f"{'at least ' if width.open_low or width.open_high else ''}{width.decades:.1f} decades"


def _caveats(outcome: Outcome) -> list[str]:
    """Names the limits of the study."""
    grid = outcome.learning_rates
    seeds = {seed for c in outcome.comparisons for p in c.points for seed in p.seeds.tolist()}
    whole = len(outcome.comparisons) * len(grid) * len(seeds)
    missing = whole - sum(len(p.records) for c in outcome.comparisons for p in c.points)
    ends = (grid[0], grid[-1]) if len(grid) > 1 else ()
    at_end = [c.variant for c in outcome.comparisons if c.best and c.best.learning_rate in ends]
    told = [
        (
            missing and not outcome.uneven,
            f"{missing} of {whole} runs are missing; differences are over the seeds that both have.",
        ),
        (
            outcome.uneven,
            "Not all learning rates have all seeds, as after a search: only those that have are chosen from, and how "
            "wide a range of them works isn't known.",
        ),
        (at_end, f"Best at an end of the learning rates tried, perhaps better beyond: {listed(at_end)}."),
    ]
    return [sentence for applies, sentence in told if applies]


def _eventually(plain: Outcome, fisher: Outcome) -> list[str]:
    """Says whether the Fisher preconditioner makes all variants the same."""
    found = spreads(*([p for c in outcome.comparisons for p in c.points] for outcome in (plain, fisher)))
    where = assignments((name, value) for name, value in plain.setting if name != "precondition")
    claim = f"All the same eventually{f' ({where})' if where else ''}?"
    if not found:
        return [f"{claim} It cannot be said: no learning rate has two one-to-one variants that work on both sides."]
    rates = {sign: [f"{s.learning_rate:g}" for s in found if s.change.sign == sign] for sign in (-1, 0, 1)}
    turns = {-1: "brings the variants closer together", 1: "drives them apart", 0: "makes no difference seen"}
    effects = [f"{turns[sign]} at learning rate {listed(rates[sign])}" for sign in turns if rates[sign]]
    numbers = [
        f"{rough(s.plain)} to {rough(s.fisher)} at {s.learning_rate:g} "
        f"(change {_signed(s.change)}, {len(s.variants)} variants)"
        for s in found
    ]
    return [
        f"{claim} The Fisher preconditioner {', '.join(effects)}.",
        f"Spread of NLL over one-to-one variants, plain to Fisher, in nats: {'; '.join(numbers)}.",
    ]


def _with_intervals(differences: Mapping[str, Difference]) -> str:
    return ", ".join(f"{name} {_signed(difference)}" for name, difference in differences.items())


def _amounts(differences: Mapping[str, Difference]) -> str:
    """Says how far each variant is from the baseline, without the sign."""
    told = []
    for name, x in differences.items():
        low, high = sorted((abs(x.low), abs(x.high)))
        told.append(f"{name} {rough(abs(x.mean))} [{rough(low)}, {rough(high)}]")
    return listed(told)


def _signed(difference: Difference) -> str:
    mean, low, high = (rough(x, "+") for x in difference[:3])
    return f"{mean}, no interval" if math.isnan(difference.low) else f"{mean} [{low}, {high}]"


def _range(ascending: Sequence[int]) -> str:
    return " to ".join(dict.fromkeys(map(str, (*ascending[:1], *ascending[-1:]))))
