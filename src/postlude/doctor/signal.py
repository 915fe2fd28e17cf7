"""Rules on what a sampling run has to learn from, and whether it learns: groups, rewards, the course of the reward."""

from __future__ import annotations

from postlude.doctor.answers import MOST_CUT
from postlude.doctor.held_out import falling as held_out_falls
from postlude.doctor.progress import NOW, START, gains, headroom, right
from postlude.doctor.rates import lower
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track
from postlude.doctor.windows import Window

EARLY = 3
"""Steps without any signal before the first that has one: so many cost little, and say that something is wrong."""
LATE = 10
"""Steps in a row without any signal after one that had one: a few come by chance where answers are few."""
BEFORE = 5
"""Steps before those without a signal, by which it is told whether it came gradually."""
NEARLY = 0.8
"""Share of what can be won that was won in them."""
USELESS = 0.9
"""Share of groups without a signal (design of the audit: saturation is a share above 90 %)."""
LONG = 20
"""Steps for which it has to last."""
SOLVED = 0.95
"""Accuracy from which on a task is solved."""
FLAT = 50
"""Steps after which a reward that has not risen is worth a word: ten times fewer say nothing against noise."""
LITTLE_ROOM = 0.1
"""Share of the reward's range that is left to win, below which a flat reward is a high one."""
UNMOVED_KL = 1e-6
"""Nats per token from the reference: at the usual rates a run is beyond 1e-4 after 30 steps, and KL goes by the square
of the distance, so this is a tenth of the way and less."""
UNMOVED_STEPS = 30
CRASH_ERRORS = 6.0
"""Standard errors of the fall: the highest of a hundred means of pure noise lies 5 from the lowest."""
CRASH_EFFECT = 0.5
"""Of the standard deviation of the rewards within a step: a fall that matters, whatever the noise."""
CRASH_SHARE = 0.5
"""Of what was gained since the start."""

CAUSES = {
    "skipped": "every update was left out, since something in it was not finite.",
    "unscored": "no answer got a reward.",
    "right": "every answer was right.",
    "best": "every answer had the highest reward that any has had.",
    "wrong": "every answer was wrong.",
    "constant": "the reward was the same for every answer.",
    "neither": "no prompt had right answers beside wrong ones, and some answers were neither.",
    "even": "all answers to each prompt got the same reward.",
    "unknown": "the gradient was exactly 0.",
}


# ------------------------------------------------------------------------------------------------ no signal


def _silent_steps(track: Track, most: int) -> int:
    """Steps in a row, up to the newest and at most so many, that had nothing to learn from."""
    count = 0
    for back in range(1, most + 1):
        step = track.step - back + 1
        if step < 1 or _had_signal(track, step):
            break
        count += 1
    return count


def _at(column: Column, step: int) -> float | None:
    """The value of a step among the newest; None where it has none."""
    for place in range(len(column) - 1, max(len(column) - 3 * LATE, -1), -1):
        if column.steps[place] <= step:
            return column.values[place] if column.steps[place] == step else None
    return None


def _had_signal(track: Track, step: int) -> bool:
    """Whether a step had a gradient, and answers that stand out from others where it goes by those."""
    gradient = _at(track.get("grad_norm"), step)
    advantages = [_at(track.get(name), step) for name in ("advantage/mean", "advantage/std")]
    listed = [value for value in advantages if value is not None]
    least, most = (_at(track.get(f"reward/{end}"), step) for end in ("min", "max"))
    same = least is not None and least == most and _compares_answers(track)
    return bool(gradient) and not same and (not listed or any(listed))


def no_signal(track: Track) -> Finding | None:
    """Steps in a row that had nothing to learn from: the first ones of a run, or many."""
    count = _silent_steps(track, LATE)
    needed = EARLY if count == track.step else LATE
    if count < min(needed, LATE) or (count < LATE and count != track.step):
        return None
    cause = _cause(track)
    if count < track.step and cause in ("right", "best", "constant") and _came_gradually(track, count):
        return None  # the task is solved, or the reward has all it can have: hints say so
    text = f"nothing to learn from in the last {count} steps: {CAUSES[cause].rstrip('.')}"
    evidence = track.first_of("reward/mean|samples|grad_norm").last(count)
    cut = track.get("truncated_frac").last(count)
    if cause in ("wrong", "even") and len(cut) and cut.mean >= MOST_CUT:
        text += f"; {cut.mean:.0%} of them were cut off by the length limit"
        return seen(evidence, count, needed, text, track.times("sampling.max_tokens", 2))
    fix = track.times("group_size", 2) if cause in ("wrong", "even") else None
    return seen(evidence, count, needed, text, fix)


def _came_gradually(track: Track, count: int) -> bool:
    """Whether nearly everything was paid in full already before so many steps: a reward that breaks jumps."""
    paid = track.first_of("sampled_accuracy|reward/mean") if len(right(track)) else track["reward/mean"]
    before = paid.last(count + BEFORE)
    level = sum(before.values[:BEFORE]) / BEFORE
    most, least = (1.0, 0.0) if paid.name == "sampled_accuracy" else (paid.highest, track["reward/min"].lowest)
    return paid.newest >= most and level >= least + NEARLY * (most - least)


def _cause(track: Track) -> str:
    """Why the newest step had nothing to learn from, by its figures: a key of CAUSES."""
    newest = {name: value for name in _TELLING if (value := _at(track.get(name), track.step)) is not None}
    answers, accuracy = newest.get("samples", 0.0), newest.get("sampled_accuracy", newest.get("accuracy"))
    same = newest.get("reward/min") == newest.get("reward/max")
    causes = {
        "unscored": answers > 0 and newest.get("unscored", 0.0) >= answers,
        "skipped": newest.get("skipped_updates", 0.0) > 0,
        "right": accuracy == 1.0,
        "best": same and not len(right(track)) and newest.get("reward/max") == track.get("reward/max").highest,
        "wrong": accuracy == 0.0,
        "neither": newest.get("neither_frac", 0.0) > 0,
        "constant": same and "reward/min" in newest and accuracy is None,
        "even": newest.get("frac_zero_std_groups") == 1.0 or newest.get("reward/std") == 0.0,
    }
    return next((cause for cause, holds in causes.items() if holds), "unknown")


_TELLING = (
    "samples", "unscored", "skipped_updates", "sampled_accuracy", "accuracy", "neither_frac", "reward/min",
    "reward/max", "reward/std", "frac_zero_std_groups",
)  # fmt: skip


def _compares_answers(track: Track) -> bool:
    """Whether answers to a prompt are compared: not where accepted ones are imitated."""
    return "acceptance_rate" not in track


def useless_groups(track: Track) -> Finding | None:
    """Groups whose answers are all equally good, for long, and not since the task is solved."""
    share = track["frac_zero_std_groups"].last(LONG)
    room = headroom(track)
    if share.mean < USELESS or room is None or room < 1 - SOLVED:
        return None
    wrong = track.get("group/all_wrong_frac").last(LONG)
    hard = len(wrong) and wrong.mean > share.mean / 2
    text = f"in {share.mean:.0%} of the groups of the last {len(share)} steps all answers were equally good" + (
        f"; in {wrong.mean:.0%} all were wrong: the prompts are too hard, or the reward finds no answer in the text"
        if hard
        else ""
    )
    choose = track.setting("keep") is None and track.setting("group_size") != 1 and not hard
    chosen = "keep.kind=mixed" if choose else None
    return seen(share, share.mean, USELESS, text, chosen or track.times("group_size", 2))


def solved(track: Track) -> Finding | None:
    """An accuracy that leaves nothing to learn."""
    accuracy = track.first_of("sampled_accuracy|accuracy")
    share = accuracy.last(LONG)
    if share.mean < SOLVED or held_out_falls(track) is not None:
        return None
    text = f"{share.mean:.1%} of the answers of the last {len(share)} steps were right: little is left to learn here"
    return seen(share, share.mean, SOLVED, text)


# -------------------------------------------------------------------------------------- the reward over time


def flat_reward(track: Track) -> Finding | None:
    """Nothing that should rise has risen, and there is room."""
    room = headroom(track)
    if gains(track, START, 2 * NOW) or (room is not None and room < LITTLE_ROOM):
        return None
    change = track["reward/mean"].change(START, 2 * NOW)
    if change is None or change.falls:
        return None
    text = (
        f"the reward is no higher than at the start: {change.before.mean:.3g} in the first {START} steps, "
        f"{change.after.mean:.3g} in the last {2 * NOW}, a difference within its noise"
    )
    return seen(change.after, change.difference, 0.0, text, track.times("schedule.lr", 3))


def unmoved(track: Track) -> Finding | None:
    """A policy that is where it began: the rate is too low for anything to happen."""
    distance = track["kl_ref/k3"].last(NOW)
    warmup = track.number("schedule.warmup") or 0.0
    if track.step < UNMOVED_STEPS + warmup or gains(track) or not distance.all(lambda kl: abs(kl) < UNMOVED_KL):
        return None
    if not any(track.get("grad_norm").last(NOW).values):
        return None  # nothing to learn from: another rule's
    text = (
        f"after {track.step} steps the policy is {max(distance.high, 0.0):.1g} nats per token from where it began, and "
        "the reward has not risen: the updates are too small"
    )
    return seen(distance, distance.high, UNMOVED_KL, text, track.times("schedule.lr", 10))


def crash(track: Track) -> Finding | None:
    """A reward that was high for some steps and has fallen for good."""
    column = track.get("sampled_accuracy") if track.setting("keep") is not None else track["reward/mean"]
    spread = track["reward/std"].last(5 * NOW)
    if len(column) < START + 2 * NOW:
        return None
    start, now, typical = column.first(START), column.last(NOW), max(spread.values)
    if now.mean > column.highest - CRASH_EFFECT * typical:  # most steps: what follows reads the whole column
        return None
    peak = _highest(column)
    noise = (peak.variance / len(peak) + now.variance / len(now)) ** 0.5
    fall, gained = peak.mean - now.mean, max(peak.mean - start.mean, 0.0)
    if fall <= CRASH_EFFECT * typical or fall <= CRASH_SHARE * gained or fall <= CRASH_ERRORS * noise or fall <= 0:
        return None
    text = (
        f"the reward had risen to {peak.mean:.3g} (steps {peak.steps[0]} to {peak.steps[-1]}) and has fallen to "
        f"{now.mean:.3g}, from {start.mean:.3g} at the start"
    )
    return seen(now, now.mean, peak.mean - CRASH_SHARE * gained, text, lower(track, 10 / 3))


def _highest(column: Column) -> Window:
    """The `NOW` neighbouring values with the highest mean, in blocks of so many."""
    blocks = range(0, len(column) - NOW + 1, NOW)
    best = max(blocks, key=lambda place: sum(column.values[place : place + NOW]))
    return Window(column.name, tuple(column.steps[best : best + NOW]), tuple(column.values[best : best + NOW]))


RULES = (
    Rule(
        name="no-signal",
        symptom="nothing to learn from",
        reads=("samples",),
        threshold=f"the first {EARLY} steps, or {LATE} in a row later, without a gradient or without any advantage",
        cause="the reward gives all answers to a prompt the same: too easy, too hard, or a reward that cannot tell.",
        remedy="Look at rollouts/ and at the reward; take prompts of another difficulty, more answers to each "
        "(group_size), a higher sampling.temperature, or fine-tune on written answers first (sft).",
        source="section 0.6 of docs/specification.md",
        check=no_signal,
        follows=(
            "broken-policy",
            "kl-explosion",
            "endless",
            "entropy-collapse",
            "empty-answers",
            "unscored",
            "not-finite",
        ),
        gravity="grave",
        kinds=("sampled",),
    ),
    Rule(
        name="useless-groups",
        symptom="hardly any group has a signal",
        reads=("frac_zero_std_groups",),
        threshold=f"{USELESS:.0%} of the groups over {LONG} steps, with accuracy below {SOLVED:.0%}",
        cause="prompts are too easy or too hard for the policy: equal rewards give no advantage.",
        remedy="Take prompts of another difficulty, more answers to each (group_size), or dynamic sampling "
        "(keep.kind=mixed).",
        source="section 8 of docs/specification.md, 2503.14476",
        check=useless_groups,
        follows=("broken-policy", "kl-explosion", "no-signal", "endless", "cut-off", "entropy-collapse"),
        kinds=("sampled",),
        where=_compares_answers,
        points=LONG,
    ),
    Rule(
        name="solved",
        symptom="the task is solved",
        reads=("sampled_accuracy|accuracy",),
        threshold=f"{SOLVED:.0%} of the answers right over {LONG} steps",
        cause="the policy can do what the prompts ask: steps go on without anything to learn.",
        remedy="Stop here (evaluate.stop_at ends a run by held-out accuracy), or take harder prompts.",
        source="section 8 of docs/specification.md",
        check=solved,
        follows=(
            "reward-without-truth",
            "truth-falls",
            "held-out-falls",
            "over-optimised",
            "saturation",
            "length-paid",
            "same-affix",
            "repetition",
            "echo",
            "no-signal",
        ),
        gravity="hint",
        kinds=("sampled",),
        points=LONG,
    ),
    Rule(
        name="flat-reward",
        symptom="the reward does not improve",
        reads=("reward/mean", "reward/std"),
        threshold=f"after {FLAT} steps nothing that is rewarded is higher than in the first {START}, beyond noise, and "
        f"{LITTLE_ROOM:.0%} of its range or more is left to win",
        cause="the rate is too low, or the reward says nothing about what the policy can change.",
        remedy="Raise schedule.lr; look at the reward: postlude audit, and answers with their scores in rollouts/.",
        source="training notes, debugging table",
        check=flat_reward,
        follows=(
            "no-signal",
            "useless-groups",
            "unmoved",
            "broken-policy",
            "reward-crash",
            "kl-explosion",
            "entropy-collapse",
            "entropy-rise",
            "endless",
            "empty-answers",
            "unscored",
            "reward-fails",
            "not-finite",
            "unreadable-answers",
        ),
        gravity="hint",
        kinds=("sampled",),
        where=_compares_answers,
        points=FLAT,
    ),
    Rule(
        name="unmoved",
        symptom="the policy does not move",
        reads=("kl_ref/k3", "grad_norm"),
        threshold=f"after {UNMOVED_STEPS} steps less than {UNMOVED_KL:g} nats per token from the reference, and a "
        "reward that has not risen",
        cause="the rate is too low.",
        remedy="Raise schedule.lr: RL usually takes 1e-6 with all weights trained, and ten times that under LoRA.",
        source="training notes, debugging table; section 3.9 of docs/specification.md",
        check=unmoved,
        kinds=("sampled",),
        points=NOW,
        unseen="set objective.kl, whose reference it is measured against",
    ),
    Rule(
        name="reward-crash",
        symptom="the reward rises and then crashes",
        reads=("reward/mean", "reward/std"),
        threshold=f"the mean of {NOW} steps falls from its highest by more than {CRASH_ERRORS:g} standard errors, "
        f"{CRASH_SHARE:.0%} of what was gained and {CRASH_EFFECT} standard deviations of the answers' rewards",
        cause="the rate is too high: an update has broken what was learnt.",
        remedy="Go back to a checkpoint before it, with a lower schedule.lr, fewer updates per draw (updates, epochs) "
        "or a stronger KL penalty.",
        source="training notes, debugging table",
        check=crash,
        follows=("broken-policy",),
        gravity="grave",
        kinds=("sampled",),
        points=START + 2 * NOW,
    ),
)
