"""Section `signal`: how many groups of the run will have something to compare, and what would give more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from postlude.data import Group
from postlude.objectives import Need
from postlude.preflight.forecast import SIZES, Share, Tried, pass_rate, share_that_differs, share_with_signal
from postlude.preflight.report import Section
from postlude.preflight.sampled import Sampled
from postlude.recipe import Recipe
from postlude.rollouts.filters import Accepted, Extremes, Mixed
from postlude.words import counted

HOPELESS = 0.1
"""Share of groups with a signal below which a run is called broken: nine of ten answers teach nothing."""
POOR = 0.3
"""Below this it is a warning."""
WORTH = 0.15
"""What a group size must reach to be advised at all."""
MOST_ROUNDS = 30
"""Times the sampling that the filter `mixed` may cost to be advised."""
GOOD = 0.5
"""What an advised group size reaches."""


def compares_groups(recipe: Recipe) -> bool:
    """Whether a method learns from what differs within a prompt's answers."""
    return Need.GROUP in recipe.objective.needs or isinstance(recipe.keep, Mixed | Extremes)


def look_at_signal(recipe: Recipe, sampled: Sampled, seed: int, likelier: str = "") -> Section:
    """From the scored answers of a sample. `likelier`: what to look at first where they teach nothing."""
    section = Section("signal", "Signal")
    groups = [g for g in sampled.groups if g.scored]
    if sampled.error is not None or not groups:
        section.warn("no-signal", "not known: the sampled answers have no reward")
        return section
    _base(groups, section, seed)
    if compares_groups(recipe):
        _forecast(recipe, groups, section, seed)
    elif isinstance(recipe.keep, Accepted):
        _accepted(recipe, groups, section)
    else:
        _spread(groups, section)
    section.findings = [
        replace(one, mend=likelier + one.mend) if one.level != "note" else one for one in section.findings
    ]
    if sampled.shortened:
        section.note(
            "note",
            f"{counted(len(groups), 'prompt')} of {len(groups[0].completions)} answers: {sampled.shortened}",
            "--prompts and --samples ask more.",
        )
    return section


def verdicts(groups: Sequence[Group]) -> list[Tried] | None:
    """Right answers of each prompt; None where answers are not called right or wrong.

    A reward that is never above 0 and tells answers apart, such as one that takes off for length, calls none wrong.
    """
    scored = [c for g in groups for c in g.scored]
    graded = all(len(c.scores) < 2 and c.correct is False for c in scored) and len({c.reward for c in scored}) > 2
    if graded or any(c.steps for c in scored):
        return None
    known = [[c.correct for c in g.scored if c.correct is not None] for g in groups]
    if any(len(one) < len(g.scored) for one, g in zip(known, groups, strict=True)):
        values = {c.reward for g in groups for c in g.scored if c.reward is not None}
        if len(values) != 2:
            return None
        return [Tried(len(g.scored), sum(c.reward == max(values) for c in g.scored)) for g in groups]
    return [Tried(len(one), sum(one)) for one in known]


def decides(groups: Sequence[Group]) -> bool:
    """Whether right or wrong is all that the rewards say: nothing differs among the right, or among the wrong."""
    pairs = {(c.correct, c.reward) for g in groups for c in g.scored if c.correct is not None}
    return len(pairs) == len({correct for correct, _ in pairs})


def differing(groups: Sequence[Group]) -> bool:
    """Whether rewards differ among the answers to any prompt."""
    return any(len({*one}) > 1 for one in rewards_of(groups))


def rewards_of(groups: Sequence[Group]) -> list[list[float]]:
    """Of each prompt's answers, or of their steps where those are rewarded."""
    steps = [[r for c in g.scored for _, r in c.steps] for g in groups]
    answers = [[c.reward for c in g.scored if c.reward is not None] for g in groups]
    return [of_steps or whole for of_steps, whole in zip(steps, answers, strict=True)]


def _base(groups: Sequence[Group], section: Section, seed: int) -> None:
    """The pass rate at the start, said plainly where it is none or all."""
    tried = verdicts(groups)
    answers = sum(len(g.scored) for g in groups)
    section.figures |= {"prompts": len(groups), "answers": answers, "pass_rate": None}
    if tried is None:
        rewards = [x for one in rewards_of(groups) for x in one]
        section.summary = f"mean reward {sum(rewards) / len(rewards):.3g} in {counted(answers, 'answer')}"
        return
    right = sum(t.right for t in tried)
    rate = pass_rate(tried, seed)
    section.figures |= {"pass_rate": right / answers, "pass_rate_low": rate.low, "pass_rate_high": rate.high}
    section.figures["by_prompt"] = [t.right / t.answers for t in tried]
    section.summary = (
        f"{right} of {answers} answers are right ({right / answers:.0%}; {rate.low:.0%} to {rate.high:.0%})"
    )
    if right in (0, answers) and differing(groups):
        section.note(
            "no-signal",
            f"{'all' if right else 'none'} of {answers} answers are right: what differs among the answers to a prompt "
            "is what the other rewards say",
        )
    elif right in (0, answers):
        section.warn(
            "no-signal",
            f"the base pass rate is {right // answers}: {'all' if right else 'none'} of {answers} answers are right",
            "Take harder prompts: there is nothing left to learn from these."
            if right
            else "Take easier prompts, train on written answers first (sft), or ask more: --prompts, --samples.",
        )


def share_of(groups: Sequence[Group], size: int, seed: int) -> Share:
    """The forecast for a group size."""
    tried = verdicts(groups)
    if tried is None or not decides(groups):
        return share_that_differs(rewards_of(groups), size, seed)
    return share_with_signal(tried, size, seed)


def _forecast(recipe: Recipe, groups: Sequence[Group], section: Section, seed: int) -> None:
    size = recipe.group_size
    sizes = sorted({*SIZES, size})
    shares = {one: share_of(groups, one, seed) for one in sizes}
    share = shares[size]
    section.figures |= {
        "share": share.mean, "share_low": share.low, "share_high": share.high,
        "by_group_size": {str(one): shares[one].mean for one in sizes},
    }  # fmt: skip
    section.summary += f"; about {share} of groups of {size} will have a signal"
    listed = "   ".join(f"{one}: {shares[one].mean:.0%}" for one in sizes)
    section.table.append(("signal by group_size", listed))
    if isinstance(recipe.keep, Mixed):
        _rounds(recipe, recipe.keep, share, section)
    else:
        judge_share(recipe, shares, section)


def advice(recipe: Recipe, shares: dict[int, Share]) -> str:
    """The group size, or the filter, that would give more signal."""
    size, share = recipe.group_size, shares[recipe.group_size]
    better = [one for one in shares if one > size and shares[one].mean >= max(GOOD, 1.5 * share.mean)]
    best = better[0] if better else max(shares, key=lambda one: shares[one].mean)
    worth = best > size and shares[best].mean >= max(WORTH, 1.2 * share.mean)
    ways = [f"group_size={best} ({shares[best].mean:.0%})"] if worth else []
    if recipe.keep is None and share.mean >= 1 / MOST_ROUNDS:
        ways.append(
            f"keep='{{kind: mixed}}' (asks until the step is full of groups with a signal: about {1 / share.mean:.0f} "
            "times the sampling)"
        )
    tail = "prompts that are neither too easy nor too hard, or sft first"
    return f"Take {'; or '.join(ways)}; or {tail}." if ways else f"Take {tail}."


def judge_share(recipe: Recipe, shares: dict[int, Share], section: Section) -> None:
    """Whether the recipe's own group size will do."""
    share, size = shares[recipe.group_size], recipe.group_size
    groups = share.mean * recipe.prompts_per_step
    plainly = [one.text for one in section.findings if (one.level, one.code) == ("warning", "no-signal")]
    section.findings = [one for one in section.findings if one.text not in plainly]
    text = (
        "; ".join(plainly)
        + ("; " if plainly else "")
        + (
            f"only {share} of groups of {size} are expected to have both better and worse answers, {groups:.2g} of "
            f"{recipe.prompts_per_step} a step: the other groups have advantage 0 and teach nothing"
        )
    )
    if share.mean < HOPELESS or groups < 1:
        section.broken("no-signal", text, advice(recipe, shares))
    elif share.mean < POOR or plainly:
        section.warn("no-signal", text, advice(recipe, shares))


def _rounds(recipe: Recipe, keep: Mixed, share: Share, section: Section) -> None:
    """Dynamic sampling asks again until the step is full."""
    rounds = 1 / share.mean if share.mean > 0 else float("inf")
    section.table.append(("mixed filter", f"about {rounds:.1f} rounds of sampling a step"))
    if keep.max_rounds and rounds > keep.max_rounds:
        section.warn(
            "no-signal",
            f"keep mixed would need about {rounds:.0f} rounds for a full step, and gives up after {keep.max_rounds}",
            advice(recipe, dict.fromkeys((recipe.group_size,), share)),
        )


def _accepted(recipe: Recipe, groups: Sequence[Group], section: Section) -> None:
    """Rejection sampling trains on what is accepted."""
    assert isinstance(recipe.keep, Accepted)
    solved = sum(recipe.keep(g) is not None for g in groups)
    section.figures["accepted_prompts"] = solved
    section.summary += f"; {solved} of {len(groups)} prompts have an answer that is accepted"
    if not solved:
        section.broken("no-signal", "no answer is accepted, so nothing would be trained", "Take easier prompts.")


def _spread(groups: Sequence[Group], section: Section) -> None:
    """Methods that compare with the mean of the batch, or with a critic."""
    rewards = [x for one in rewards_of(groups) for x in one]
    section.figures["values"] = len({*rewards})
    if len({*rewards}) == 1 and len(rewards) > 1:
        section.warn(
            "no-signal",
            f"all {len(rewards)} answers got {rewards[0]:g}: nothing stands out from the mean",
            "Take prompts of another difficulty, or a reward that tells answers apart.",
        )
