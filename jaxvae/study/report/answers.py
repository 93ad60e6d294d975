"""What a study's statistics come to, in plain sentences."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from jaxvae.study.statistics import LEVEL, NEAR, Difference, Outcome, Width, spreads
from jaxvae.texts import assignments, counted, minus, percentage, with_error


def verdict(outcomes: Sequence[Outcome]) -> list[str]:
    """The study in plain sentences, setting by setting; each begins with whether it matters which variant one takes.

    A variant is called better or worse only where its adjusted interval leaves out 0.
    """
    said = [sentence for outcome in outcomes for sentence in _sentences(outcome)]
    by_setting = {outcome.setting: outcome for outcome in outcomes}
    for setting, plain in by_setting.items():
        twin = tuple((name, "fisher" if name == "precondition" else value) for name, value in setting)
        if ("precondition", "none") in setting and twin in by_setting:
            said += _eventually(plain, by_setting[twin])
    return said or ["It cannot be said whether the choice matters: the table is empty."]


def _sentences(outcome: Outcome) -> list[str]:
    where = assignments(outcome.setting)
    first, *rest = [*_differences(outcome), *_failures(outcome), *_tolerance(outcome), *_caveats(outcome)]
    return [f"With {where}: {first}" if where else first, *rest]


def _differences(outcome: Outcome) -> list[str]:
    """Does it matter, who is better, worse, the same, or not to be judged?"""
    base = next(c for c in outcome.comparisons if c.variant == outcome.baseline)
    others = [c for c in outcome.comparisons if c is not base]
    alive, lost = ([c.variant for c in others if bool(c.best) is works] for works in (True, False))
    unknown = "It cannot be said whether the choice matters"
    if base.best is None and not alive:
        return [f"{unknown}: runs of every variant failed at every learning rate."]
    if base.best is None:
        reason = f"runs of {base.variant}, the baseline, failed at every learning rate, unlike those of {_list(alive)}"
        return [f"Yes, it matters: {reason}.", "Without the baseline there are no differences in NLL."]

    judged = {c.variant: c.adjusted for c in others if c.adjusted and not math.isnan(c.adjusted.low)}
    ranked = sorted(judged, key=lambda name: judged[name].mean)
    better, same, worse = ([name for name in ranked if judged[name].sign == sign] for sign in (-1, 0, 1))
    unjudged = [name for name in alive if name not in judged]
    bound = max((abs(end) for name in same for end in judged[name][1:3]), default=0.0)
    no_difference = f"no difference from {base.variant} seen, up to ±{_nats(bound)} nats"
    if better or worse:
        answer = f"Yes, it matters: {len(better + worse)} of {len(judged)} variants differ from {base.variant} in NLL"
    elif lost:
        answer = f"It matters for whether training works: runs of {_list(lost)} failed at every learning rate"
    elif judged:
        answer = f"Not as far as this study can tell, each at its best learning rate: {no_difference}"
    elif others:
        answer = f"{unknown}: no other variant has two seeds in common with {base.variant}"
    else:
        answer = f"{unknown}: {base.variant} is the only variant"
    seeds = sorted({difference.seeds for difference in judged.values()})
    terms = f"{percentage(LEVEL)}, adjusted for {counted(len(others), 'comparison')}, over {_range(seeds)} seeds"
    reached = with_error(base.best.mean, base.best.standard_error)
    told = [
        (True, f"{answer}."),
        (True, f"{base.variant} reaches {reached} nats at learning rate {base.best.learning_rate:g}."),
        (better, f"Better than {base.variant}: {_with_intervals(better, judged)}."),
        (worse, f"Worse than {base.variant}: {_with_intervals(worse, judged)}."),
        (same and (better or worse or lost), f"Of {_list(same)}: {no_difference}."),
        (lost and (better or worse), f"Runs of {_list(lost)} failed at every learning rate."),
        (unjudged and (judged or lost), f"No claim on {_list(unjudged)}: below two seeds in common."),
        (judged, f"Intervals: {terms}."),
    ]
    return [sentence for applies, sentence in told if applies]


def _failures(outcome: Outcome) -> list[str]:
    """Which variants met non-finite numbers, where, how often, and where these arose."""
    told = []
    for comparison in outcome.comparisons:
        struck = [p for p in comparison.points if p.failures or p.skipped.any()]
        if struck:
            skipped = float(np.concatenate([p.skipped for p in struck]).mean())
            causes = Counter(record["cause"] for p in struck for record in p.records if record["cause"])
            first = f", first in {_list([name for name, _ in causes.most_common()])}" if causes else ""
            told.append(
                f"{comparison.variant} at {_list([f'{p.learning_rate:g}' for p in struck])} "
                f"({sum(p.failures for p in struck)} of {counted(sum(len(p.records) for p in struck), 'run')} failed, "
                f"{percentage(skipped)} of steps skipped{first})"
            )
    return [f"Not finite at learning rates: {'; '.join(told)}."] if told else []


def _tolerance(outcome: Outcome) -> list[str]:
    """Who tolerates the widest range of learning rates, as far as the digit that is told tells."""
    widths = {c.variant: c.width for c in outcome.comparisons}
    told = {name: round(width.decades, 1) for name, width in widths.items()}
    widest = max(told.values())
    if widest == 0 or len(widths) == 1:
        return []
    names = [name for name in widths if told[name] == widest]
    range_ = next((widths[name] for name in names if widths[name].open_low or widths[name].open_high), widths[names[0]])
    others = "" if outcome.baseline in names else f"; {outcome.baseline} {_decades(widths[outcome.baseline])}"
    most = f"Within {NEAR:g} nat of the best NLL over the widest range of learning rates"
    return [f"{most}: {_list(names)}, {_decades(range_)}{others}."]


def _decades(width: Width) -> str:
    return f"{'at least ' if width.open_low or width.open_high else ''}{width.decades:.1f} decades"


def _caveats(outcome: Outcome) -> list[str]:
    """What stands between these numbers and a better study."""
    grid = {p.learning_rate for c in outcome.comparisons for p in c.points}
    seeds = {seed for c in outcome.comparisons for p in c.points for seed in p.seeds.tolist()}
    whole = len(outcome.comparisons) * len(grid) * len(seeds)
    missing = whole - sum(len(p.records) for c in outcome.comparisons for p in c.points)
    at_end = [c.variant for c in outcome.comparisons if c.best and c.best.learning_rate in (min(grid), max(grid))]
    told = [
        (missing, f"{missing} of {whole} runs are missing; differences are over the seeds that both have."),
        (at_end, f"Best at an end of the learning rates tried, perhaps better beyond: {_list(at_end)}."),
    ]
    return [sentence for applies, sentence in told if applies]


def _eventually(plain: Outcome, fisher: Outcome) -> list[str]:
    """Does the Fisher preconditioner make all variants the same?"""
    found = spreads(*([p for c in outcome.comparisons for p in c.points] for outcome in (plain, fisher)))
    where = assignments((name, value) for name, value in plain.setting if name != "precondition")
    claim = f"All the same eventually{f' ({where})' if where else ''}?"
    if not found:
        return [f"{claim} It cannot be said: no learning rate has two one-to-one variants that work on both sides."]
    rates = {sign: [f"{s.learning_rate:g}" for s in found if s.change.sign == sign] for sign in (-1, 0, 1)}
    turns = {-1: "brings the variants closer together", 1: "drives them apart", 0: "makes no difference seen"}
    effects = [f"{turns[sign]} at learning rate {_list(rates[sign])}" for sign in turns if rates[sign]]
    numbers = [
        f"{_nats(s.plain)} to {_nats(s.fisher)} at {s.learning_rate:g} "
        f"(change {_signed(s.change)}, {len(s.variants)} variants)"
        for s in found
    ]
    return [
        f"{claim} The Fisher preconditioner {', '.join(effects)}.",
        f"Spread of NLL over one-to-one variants, plain to Fisher, in nats: {'; '.join(numbers)}.",
    ]


def _with_intervals(names: Sequence[str], differences: Mapping[str, Difference]) -> str:
    return ", ".join(f"{name} {_signed(differences[name])}" for name in names) + " nats"


def _signed(difference: Difference) -> str:
    mean, low, high = (_nats(x, "+") for x in difference[:3])
    return f"{mean}, no interval" if math.isnan(difference.low) else f"{mean} [{low}, {high}]"


def _nats(x: float, sign: str = "") -> str:
    """Two digits, and every one before the point."""
    return minus(f"{x:{sign}.{'0f' if abs(x) >= 10 else '2g'}}")


def _list(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _range(ascending: Sequence[int]) -> str:
    return " to ".join(dict.fromkeys(map(str, (*ascending[:1], *ascending[-1:]))))
