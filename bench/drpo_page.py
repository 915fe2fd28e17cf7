"""The page of the DRPO study, from the folder of its runs: `python -m bench.drpo_page FOLDER`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.drpo_study import FAMILIES, RATES, SEEDS, START, STEPS, arm_name
from bench.long_answers import is_long
from postlude.contest.comparison import Comparison
from postlude.contest.plan import Contest
from postlude.contest.results import Result
from postlude.contest.running import choices
from postlude.contest.verdicts import Difference
from postlude.inference import Estimate, crossed, holm, of_values
from postlude.statistics import accuracy_efficiency, mean

CAP = 64
"""C, the longest answer in tokens."""
TARGET = Path("docs/drpo-study.md")
ACCURACY, LENGTH = "sampled/accuracy", "sampled/length"
PUBLISHED = {
    "DRPO": "0.649, 3493 / 0.642, 2793 / 0.632, 2005 / **0.624, 1527**",
    "GRPO": "not in the comparison",
    "RLOO-LP": "0.590, 3427 / 0.576, 3203 (α 0.1) / 0.567, 2531 / 0.537, 1760",
    "ALP": "0.606, 3494 / 0.568, 2655 / 0.533, 1388 / 0.480, 1120 (β 0, 1e-9, 1e-8, 1e-7)",
    "HAPO": "0.592, 3327 / 0.534, 1791 / 0.506, 1717 / 0.494, 1355 (w 0, 0.01, 0.1, 1)",
}
"""Pass@1 and tokens of the 1.5B model in the paper, strengths from none on; most are read off its plot."""


@dataclass(frozen=True)
class Point:
    """An arm in the plane: means over seeds."""

    family: str
    strength: str
    seeds: int
    accuracy: float
    accuracy_half: float | None
    """Half of the 95 % interval over seeds."""
    length: float
    length_half: float | None
    short_accuracy: float
    short_length: float
    long_accuracy: float
    long_length: float
    tokens: float
    efficiency: float
    """AES against the same family without a penalty."""


def base_of(family: str) -> str:
    """The arm without a penalty that a family's others are held against."""
    return arm_name("GRPO" if family == "ALP" else family, ".inf" if family == "DRPO" else "0")


def arms_of(family: str) -> list[str]:
    """From no penalty on."""
    names = [arm_name(family, strength) for strength in FAMILIES[family][2]]
    return names if base_of(family) in names else [base_of(family), *names]


def of_kind(result: Result, long: bool) -> tuple[float, float]:
    """(accuracy, length) of the last sampled answers to prompts of a kind."""
    assert result.history is not None
    last = result.history.evals[-1]
    rows = [row for row in result.history.answers if row["step"] == last["step"]][int(last["greedy/answers"]) :]
    some = [row for row in rows if is_long(row["prompt"]) == long]
    return mean([float(row["correct"]) for row in some]), mean([float(row["length"]) for row in some])


def half(estimate: Estimate | None) -> float | None:
    return None if estimate is None else (estimate.high - estimate.low) / 2


def points(comparison: Comparison) -> Iterator[Point]:
    """Every arm that has finished a run."""
    for family, (_, _, strengths, _) in FAMILIES.items():
        base = comparison.runs.get(base_of(family), {})
        for strength in strengths:
            runs = comparison.runs.get(arm_name(family, strength), {})
            if not runs:
                continue
            accuracy = [r.figures[ACCURACY] for r in runs.values()]
            length = [r.figures[LENGTH] for r in runs.values()]
            short, long = ([of_kind(r, kind) for r in runs.values()] for kind in (False, True))
            before = (
                mean([r.figures[ACCURACY] for r in base.values()]),
                mean([r.figures[LENGTH] for r in base.values()]),
            )
            yield Point(
                family,
                strength,
                len(runs),
                mean(accuracy),
                half(of_values(accuracy)),
                mean(length),
                half(of_values(length)),
                *(mean([pair[at] for pair in kind]) for kind in (short, long) for at in (0, 1)),
                mean([float(r.used.tokens) for r in runs.values()]),
                accuracy_efficiency(mean(accuracy), mean(length), *before),
            )


# ---------------------------------------------------------------------------------- accuracy at equal reduction

REDUCTIONS = (0.1, 0.2, 0.3)


def reduced(comparison: Comparison, family: str, seed: int, share: float) -> dict[str, float] | None:
    """Prompt -> accuracy of a family where its answers are shorter by `share` than its own without a penalty: between
    the first two strengths, from none on, that have that length between them. None where no strength is so short."""
    runs = [comparison.runs[arm][seed] for arm in arms_of(family)]
    target = (1 - share) * runs[0].figures[LENGTH]
    for longer, shorter in pairwise(runs):
        a, b = longer.figures[LENGTH], shorter.figures[LENGTH]
        if b <= target < a:
            at = (a - target) / (a - b)
            ours, theirs = longer.answers[ACCURACY], shorter.answers[ACCURACY]
            return {p: (1 - at) * ours[p] + at * theirs[p] for p in ours}
    return None


@dataclass(frozen=True)
class Reduced:
    """What families reach when their answers are shorter by one share."""

    share: float
    accuracy: Mapping[str, float]
    """Family -> mean over seeds; of those that were so short in every seed."""
    change: Mapping[str, Estimate | None]
    """The same less the family's own without a penalty."""
    differences: Sequence[Difference]
    """DRPO minus each other family."""


def reductions(comparison: Comparison) -> Iterator[Reduced]:
    seeds = [s for s in comparison.contest.seeds if all(s in by_seed for by_seed in comparison.runs.values())]
    for share in REDUCTIONS if seeds else ():
        tables: dict[str, list[list[float]]] = {}
        for family in FAMILIES:
            each = [reduced(comparison, family, seed, share) for seed in seeds]
            if all(one is not None for one in each):
                tables[family] = [[one[p] for p in sorted(one)] for one in each if one is not None]
        changes: dict[str, Estimate | None] = {}
        for family, rows in tables.items():
            before = [comparison.runs[base_of(family)][seed].answers[ACCURACY] for seed in seeds]
            bases = [[one[p] for p in sorted(one)] for one in before]
            changes[family] = crossed(
                [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(rows, bases, strict=True)]
            )
        accuracy = {family: mean([mean(row) for row in rows]) for family, rows in tables.items()}
        yield Reduced(share, accuracy, changes, [*_against_drpo(tables)])


def _against_drpo(tables: Mapping[str, list[list[float]]]) -> Iterator[Difference]:
    if "DRPO" not in tables:
        return
    ours = tables["DRPO"]
    some: list[Difference] = []
    for family, theirs in tables.items():
        if family != "DRPO":
            gaps = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(ours, theirs, strict=True)]
            value = mean([mean(row) for row in gaps])
            some.append(Difference(ACCURACY, "DRPO", family, value, len(gaps), len(gaps[0]), crossed(gaps)))
    adjusted = holm([d.estimate.p if d.estimate else 1.0 for d in some])
    for d, p in zip(some, adjusted, strict=True):
        yield Difference(d.figure, d.first, d.second, d.value, d.seeds, d.prompts, d.estimate, p, len(some))


# ---------------------------------------------------------------------------------------------- what a step saw


@dataclass(frozen=True)
class Groups:
    """Of the sampled groups of an arm, all steps and seeds."""

    arm: str
    all_right: float
    """Share of groups: no gradient in DRPO."""
    mixed: float
    several_lengths: float
    """Share of groups that are mixed, with right answers of different lengths: where DRPO's length weights act."""
    spread: float
    """Mean over those of longest minus shortest right answer, in tokens."""
    shortest: float
    """Mean over those of the weight that the shortest right answers get under the arm's lambda, over their share among
    the right: 1 is no preference."""
    pushed_down: float
    """Share of right answers whose advantage is negative under the arm's price on length."""


def groups(comparison: Comparison, arm: str, lam: float, alpha: float = 0.0, cap: int = CAP) -> Groups:
    """Under DRPO's lambda, or GRPO's price alpha."""
    kinds = {"right": 0, "mixed": 0, "several": 0}
    down = right = 0
    spreads: list[float] = []
    weights: list[float] = []
    count = 0
    for result in comparison.runs[arm].values():
        assert result.history is not None
        for step in result.history.rollouts:
            by: dict[str, list[Mapping[str, Any]]] = {}
            for row in result.history.rollouts[step]:
                by.setdefault(row["prompt_id"], []).append(row)
            for rows in by.values():
                count += 1
                lengths = [len(row["tokens"]) for row in rows if row["correct"]]
                mixed = 0 < len(lengths) < len(rows)
                worth = [1 - alpha * n / cap for n in lengths]
                right, down = right + len(lengths), down + sum(w < sum(worth) / len(rows) - 1e-9 for w in worth)
                kinds["right"] += len(lengths) == len(rows)
                kinds["mixed"] += mixed
                if mixed and len({*lengths}) > 1:
                    kinds["several"] += 1
                    spreads.append(max(lengths) - min(lengths))
                    weights.append(preference(lengths, lam, cap))
    shares = {name: number / count for name, number in kinds.items()}
    values = shares["right"], shares["mixed"], shares["several"], mean(spreads or [0]), mean(weights or [1])
    return Groups(arm, *values, down / max(right, 1))


def at_the_start(result: Result) -> Iterator[str]:
    """How answers of each form fare before training, and whether longer answers to one prompt are right more often."""
    assert result.history is not None
    first = result.history.evals[0]
    rows = [row for row in result.history.answers if row["step"] == first["step"]][int(first["greedy/answers"]) :]
    yield "| prompts | form of the answer | share | right | tokens |"
    yield "|---|---|---|---|---|"
    for kind, name in ((False, "short"), (True, "long")):
        some = [row for row in rows if is_long(row["prompt"]) == kind]
        for form in FORMS:
            of = [row for row in some if form_of(row["completion"]) == form]
            if of:
                right, tokens = mean([float(r["correct"]) for r in of]), mean([float(r["length"]) for r in of])
                yield f"| {name} | {form} | {len(of) / len(some):.2f} | {right:.2f} | {tokens:.1f} |"
    yield ""
    by: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by.setdefault(row["prompt_id"], []).append(row)
    gaps: list[float] = []
    for of in by.values():
        lengths = [[float(row["length"]) for row in of if bool(row["correct"]) == right] for right in (True, False)]
        if all(lengths):
            gaps.append(mean(lengths[0]) - mean(lengths[1]))
    estimate = of_values(gaps)
    assert estimate is not None
    yield (
        f"Of answers to one prompt the right ones are {estimate.value:+.1f} tokens longer than the wrong ones "
        f"({estimate.low:+.1f} to {estimate.high:+.1f}, {len(gaps)} prompts that have both)."
    )


FORMS = ("at once", "worked out plainly", "worked out with hums")


def form_of(answer: str) -> str:
    return FORMS[0] if "=" not in answer else FORMS[1] if "hm" not in answer else FORMS[2]


def preference(lengths: Sequence[int], lam: float, cap: int) -> float:
    """Weight of the shortest right answers under DRPO, over their share among the right."""
    raw = [math.exp((min(lengths) - n) / cap / lam) for n in lengths]
    at = [w for w, n in zip(raw, lengths, strict=True) if n == min(lengths)]
    return sum(at) / sum(raw) / (len(at) / len(lengths))


# ------------------------------------------------------------------------------------------------------ the page


def pm(value: float, spread: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + (f" ±{spread:.{digits}f}" if spread is not None else "")


def table(rows: Sequence[Point]) -> Iterator[str]:
    yield "| method | strength | accuracy | tokens | short prompts | long prompts | AES | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for p in rows:
        short, long = (
            f"{a:.3f}, {n:.1f}" for a, n in ((p.short_accuracy, p.short_length), (p.long_accuracy, p.long_length))
        )
        strength = {"DRPO": "λ", "GRPO": "α", "RLOO-LP": "α", "ALP": "β", "HAPO": "w"}[p.family] + " " + p.strength
        yield (
            f"| {p.family} | {strength.replace('.inf', '∞')} | {pm(p.accuracy, p.accuracy_half, 3)} "
            f"| {pm(p.length, p.length_half, 1)} | {short} | {long} | {p.efficiency:+.2f} | {p.seeds} |"
        )


def reduced_table(rows: Sequence[Reduced]) -> Iterator[str]:
    yield "| shorter by | " + " | ".join(FAMILIES) + " |"
    yield "|---|" + "---|" * len(FAMILIES)
    for row in rows:
        cells = [_change(row, f) if f in row.accuracy else "not reached" for f in FAMILIES]
        yield f"| {row.share:.0%} | " + " | ".join(cells) + " |"
    yield ""
    for row in rows:
        for d in row.differences:
            yield f"* {row.share:.0%} shorter: {d.words()}"


def _change(row: Reduced, family: str) -> str:
    e = row.change[family]
    return f"{row.accuracy[family]:.3f}" + (f" ({e.value:+.3f}: {e.low:+.3f} to {e.high:+.3f})" if e else "")


def plot(rows: Sequence[Point], start: tuple[float, float], target: Path) -> None:
    """Accuracy against length, a line for each family from no penalty on; bars are 95 % over seeds."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "postlude"
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for family in FAMILIES:
        names = arms_of(family)
        some = [p for name in names for p in rows if arm_name(p.family, p.strength) == name]
        axes.plot([p.length for p in some], [p.accuracy for p in some], "o-", label=family, markersize=4)
        for p in some:
            if p.accuracy_half is not None:
                axes.plot(
                    [p.length] * 2, [p.accuracy - p.accuracy_half, p.accuracy + p.accuracy_half], color="0.8", zorder=0
                )
            if p.family == family:
                axes.annotate(
                    p.strength.replace(".inf", "∞"),
                    (p.length, p.accuracy),
                    fontsize=7,
                    xytext=(3, 3),
                    textcoords="offset points",
                )
    axes.plot(*reversed(start), "k*", label="start")
    outside = [p for p in rows if p.length < start[1] / 2]  # would squeeze the others into a corner
    axes.set_xlim(left=min(p.length for p in rows if p not in outside) - 2)
    axes.set_ylim(bottom=start[0] - 0.02)
    beyond = "; ".join(f"{p.family} {p.strength}: {p.length:.1f} tokens, {p.accuracy:.2f}" for p in outside)
    axes.text(0.02, 0.03, f"outside: {beyond}" if beyond else "", transform=axes.transAxes, fontsize=8)
    axes.set_xlabel("tokens of a sampled answer")
    axes.set_ylabel("held-out accuracy")
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def rates(folder: Path) -> Iterator[str]:
    contest = Contest.read(folder / "rates")
    yield "| method | " + " | ".join(RATES) + " | taken |"
    yield "|---|" + "---|" * (len(RATES) + 1)
    for family, choice in choices(contest, folder / "rates").items():
        cells = [f"{choice.tried[f'schedule.lr={rate}']:.3f}" for rate in RATES]
        yield f"| {family} ({FAMILIES[family][3]}) | " + " | ".join(cells) + f" | {choice.settings['schedule.lr']} |"


AGAINST = "DRPO 0.1"


def against(folder: Path) -> Iterator[str]:
    """The tests of the strongest DRPO arm against every other."""
    for d in Comparison.of(folder / "frontier", [ACCURACY], AGAINST).differences:
        yield f"* {d.words()}"


def why(comparison: Comparison) -> Iterator[str]:
    heads = ("arm", "all right", "mixed", "mixed, right answers of several lengths", "longest - shortest right")
    yield f"| {' | '.join(heads)} | weight of the shortest | right answers pushed down |"
    yield "|---|---|---|---|---|---|---|"
    for strength in FAMILIES["DRPO"][2]:
        lam = math.inf if strength == ".inf" else float(strength)
        g = groups(comparison, arm_name("DRPO", strength), lam)
        yield (
            f"| DRPO λ {strength.replace('.inf', '∞')} | {g.all_right:.2f} | {g.mixed:.2f} | {g.several_lengths:.2f} "
            f"| {g.spread:.1f} | {g.shortest:.2f} x | 0.00 |"
        )
    for strength in FAMILIES["GRPO"][2]:
        g = groups(comparison, arm_name("GRPO", strength), math.inf, float(strength))
        shares = f"{g.all_right:.2f} | {g.mixed:.2f} | {g.several_lengths:.2f} | {g.spread:.1f}"
        yield f"| GRPO α {strength} | {shares} | - | {g.pushed_down:.2f} |"


def main(folder: Path) -> None:
    comparison = Comparison.of(folder / "frontier")
    rows = [*points(comparison)]
    first = next(r for by in comparison.runs.values() for r in by.values())
    assert first.history is not None
    began = first.history.evals[0]
    start = float(began[ACCURACY]), float(began[LENGTH])
    equal = [*reductions(comparison)]
    from bench.drpo_reading import HEAD, READING

    facts = {"steps": STEPS, "seeds": SEEDS, "start": START, "accuracy": start[0], "length": start[1]}
    published = [f"| {family} | {text} |" for family, text in PUBLISHED.items()]
    parts = [
        HEAD.format(**facts), "## Rates", "", *rates(folder), "", "## Accuracy and length", "", *table(rows), "",
        "![accuracy against length](drpo-study.svg)", "",
        f"{AGAINST} against the other arms (accuracy, p by Holm among all of them):", "", *against(folder), "",
        "## At equal reductions of length", "", *reduced_table(equal), "",
        "## Where DRPO's preference acts", "", *why(comparison), "", "## What length is worth at the start", "",
        *at_the_start(first), "", READING.strip(), "", "## The published table", "",
        "| method | pass@1, tokens, from no penalty on (1.5B) |", "|---|---|", *published, "",
    ]  # fmt: skip
    notes = [f"* {note}" for note in comparison.notes]
    TARGET.write_text("\n".join([*parts, *(["Notes:", "", *notes, ""] if notes else [])]))
    values = {
        "start": dict(zip(("accuracy", "length"), start, strict=True)),
        "points": [asdict(p) for p in rows],
        "equal": [{**asdict(e), "words": [d.words() for d in e.differences]} for e in equal],
        "runs": comparison.rows(),
    }
    for row in values["runs"]:
        row.pop("folder")
    TARGET.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
    plot(rows, start, TARGET.with_suffix(".svg"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
