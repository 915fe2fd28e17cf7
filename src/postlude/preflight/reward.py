"""Section `reward`: what the reward gives for real rows and for a few of the model's own answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from postlude.data import Completion, Prompt
from postlude.preflight.causes import likelier, of_answers
from postlude.preflight.probing import RIGHT, Probed, asks_models, judges, referenced
from postlude.preflight.report import Section
from postlude.preflight.sampled import Sampled
from postlude.prepared import Prepared
from postlude.rewards.rewards import Rewards
from postlude.words import counted

SHOWN = 3
"""Sampled answers in the report."""
FEW = 8
"""Rows from which on answers that are all alike are worth a word."""
LONG = 12
"""Characters from which on an answer does not stand in its prompt by chance."""
PARTLY = 0.25
"""Of what another column makes out: a reward by which the right answer makes out more goes by that, too."""
UNTRIED = "the rows hold no right answer (a reference program, say) that could be tried, so what is paid was not seen"
SLOW = 1.0
"""Seconds for an answer, from which on its time is worth a warning."""


def look_at_reward(prepared: Prepared, probed: Probed, sampled: Sampled | None) -> Section:
    """Values, errors, abstentions; whether it tells answers apart, and by what."""
    section = Section("reward", "Reward")
    names = ", ".join(m.spec.label for m in prepared.rewards.members)
    answers = sampled.completions if sampled else []
    section.figures |= _figures(probed, answers)
    section.summary = f"{names}: {_spread(answers)}" if answers else names
    _errors(probed, sampled, section)
    _golds(prepared.prompts, section)
    for note in sampled.notes if sampled else []:
        section.note("note", note)
    if not any(one.level == "broken" for one in section.findings):
        _told_apart(probed, answers, prepared.rewards, section)
        _abstained(answers, section)
    _compared(probed, section)
    _shown(answers, section)
    _cut(answers, prepared, section)
    _time(probed, sampled, section)
    asked = sum(judge.asker.questions for judge in judges(prepared.rewards))
    if judges(prepared.rewards):
        section.figures["judge_questions"] = asked
        section.table.append(("judge", f"was asked {counted(asked, 'question')} for this check"))
    return section


def _golds(prompts: Sequence[Prompt], section: Section) -> None:
    """Answers that look as if another column had been taken for them."""
    golds = [str(p.answer).strip() for p in prompts if p.answer is not None]
    if len(golds) < FEW:
        return
    what = ""
    if len({*golds}) == 1:
        what = f"the answer of all {len(golds):,} rows is {golds[0][:60]!r}"
    elif all(g.isdigit() for g in golds) and {int(b) - int(a) for a, b in pairwise(golds)} == {1}:
        what = f"the answers count the rows ({golds[0]}, {golds[1]}, {golds[2]}, ...)"
    elif all(gold in " ".join(p.text.split()) for gold, p in zip(golds, prompts, strict=False) if len(gold) > LONG):
        if any(len(gold) > LONG for gold in golds):
            what = "every answer stands in its own prompt already"
    if what:
        section.warn(
            "unlikely-answers",
            f"{what}: is that the right column?",
            "Name the column with the right answers: data.columns={answer: NAME}.",
        )


def _figures(probed: Probed, answers: Sequence[Completion]) -> dict[str, object]:
    numbers = [c.reward for c in answers if c.reward is not None]
    return {
        "probed_rows": probed.rows,
        "probed_answers": probed.answers,
        "by_column": {name: {"form": p.form, "own": p.row, "other": p.other} for name, p in probed.by.items()},
        "empty": probed.empty,
        "good": probed.good,
        "samples": len(answers),
        "sample_mean": sum(numbers) / len(numbers) if numbers else None,
        "sample_values": len({*numbers}),
        "abstained": len(answers) - len(numbers),
        "truncated": sum(c.truncated for c in answers),
    }


def _spread(answers: Sequence[Completion]) -> str:
    numbers = sorted(c.reward for c in answers if c.reward is not None)
    if not numbers:
        return f"no number for any of {counted(len(answers), 'sampled answer')}"
    mean = sum(numbers) / len(numbers)
    span = f"{numbers[0]:g} to {numbers[-1]:g}, mean {mean:.3g}" if numbers[0] < numbers[-1] else f"{numbers[0]:g} each"
    return f"{span} for {counted(len(numbers), 'sampled answer')}"


def _errors(probed: Probed, sampled: Sampled | None, section: Section) -> None:
    """What it raised, or gave that is no number."""
    if sampled is not None and sampled.error is not None:
        section.broken(sampled.error.code, f"on answers of the model: {sampled.error.what}", "Mend the function.")
        return
    for what, error in probed.errors[:2]:
        section.broken(
            error.code,
            f"on {what}: {error.what}",
            "Mend the function: it must give a finite number, or None where it cannot score, whatever the answer says.",
        )


def is_constant(probed: Probed, answers: Sequence[Completion]) -> bool:
    """Whether made-up answers and the model's own all got the very same number."""
    numbers = [x for x in (*probed.values, *(c.reward for c in answers)) if x is not None]
    return len(numbers) > 1 and len({*numbers}) == 1


def constant_text(probed: Probed, answers: Sequence[Completion]) -> tuple[str, str]:
    """What to say of such a reward, and what to do."""
    value = next(x for x in (*probed.values, *(c.reward for c in answers)) if x is not None)
    tried = ["answers that say nothing", *[f'the rows\' own "{name}" in many forms' for name in probed.by][:2]]
    sampled = f" and {counted(len(answers), 'answer')} of the model" if answers else ""
    return (
        f"the reward is {value:g} for everything that was tried: {', '.join(tried)}{sampled}. It cannot say which "
        "answer is better, so no step would have a gradient",
        "Look at what the function reads: the column it compares with (data.columns), the form it looks for in the "
        "answer, and what it returns at its end.",
    )


def _unpaid_text(probed: Probed) -> tuple[str, str]:
    """What to say where right answers that the rows hold get what answers get that say nothing, and what to do."""
    return (
        f"the rows' own right answers get {probed.good:.3g}, and so does everything else that was tried",
        "Look at the rewards beside the one that knows these answers (a gate, a limit of length), and at its args.",
    )


def wrong_column(probed: Probed) -> tuple[str, str] | None:
    """What to say of a reward that goes by another column than the answer's."""
    right = [name for name in probed.by if name in RIGHT]
    clear = [name for name in probed.goes_by() if probed.is_clear(name)]
    if not clear or not right or any(name in RIGHT for name in clear):
        return None
    name = clear[0]
    if any(probed.by[one].gap > PARTLY * probed.by[name].gap for one in right):
        return None
    paid, gold = probed.by[name], probed.by[right[0]]
    return (
        f'the reward goes by the column "{name}" and not by "{right[0]}": what a row says in "{name}" gets '
        f'{paid.row:.3g} (that of another row {paid.other:.3g}), and its "{right[0]}" {gold.row:.3g} '
        f"({gold.other:.3g})",
        f'Compare with "{right[0]}": take that argument in the function, or name the column (data.columns).',
    )


def _told_apart(probed: Probed, answers: Sequence[Completion], rewards: Rewards, section: Section) -> None:
    wrong = wrong_column(probed)
    if wrong is not None and not asks_models(rewards):
        section.broken("reward-not-telling", *wrong)
        return
    if is_constant(probed, answers) and probed.good is not None:
        section.broken("reward-not-telling", *_unpaid_text(probed))
        return
    if is_constant(probed, answers) and referenced(rewards):
        section.note("note", UNTRIED)
        return
    if is_constant(probed, answers):
        section.broken("reward-not-telling", *constant_text(probed, answers))
        return
    right = [name for name in probed.by if name in RIGHT]
    if right and not probed.goes_by():
        _untold(probed, right[0], asks_models(rewards), section)


def _untold(probed: Probed, name: str, asks_models: bool, section: Section) -> None:
    """Of a reward by which a row's own right answer is worth no more than that of another row."""
    paid = probed.by[name]
    text = f'a row\'s own "{name}" gets {paid.row:.3g}, that of another row {paid.other:.3g}'
    if asks_models:
        section.note(
            "reward-not-telling",
            f"{text}; that says little, where a model was made for whole answers and a bare one is none of them",
        )
    elif paid.row < paid.other and probed.is_clear(name):
        section.broken(
            "reward-not-telling",
            f"{text}, in {paid.worse} of {paid.worse + paid.better} rows less: the wrong answer is paid better",
            "Turn its sign around.",
        )
    else:
        section.warn("reward-not-telling", *untold_text(probed, name))


def untold_text(probed: Probed, name: str) -> tuple[str, str]:
    """What to say of a reward that does not go by the right answers, and what to do."""
    paid = probed.by[name]
    return (
        f'a row\'s own "{name}" gets {paid.row:.3g}, that of another row {paid.other:.3g}, in every form that was '
        "tried: the reward does not go by it",
        "Right, if it is to reward something else (length, form); else look at the column that it reads.",
    )


def _abstained(answers: Sequence[Completion], section: Section) -> None:
    lost = sum(c.reward is None for c in answers)
    if answers and lost == len(answers):
        section.broken(
            "reward-abstains",
            f"it could score none of {counted(lost, 'answer')} of the model",
            "Look at the answers below, and at where the function gives None.",
        )
    elif lost:
        section.warn("reward-abstains", f"it could not score {lost} of {counted(len(answers), 'answer')} of the model")


def _compared(probed: Probed, section: Section) -> None:
    if probed.good is not None:
        empty = "" if probed.empty is None else f", an empty answer {probed.empty:.3g}"
        section.table.append(("a row's right answer", f"{probed.good:.3g}{empty}"))
    for name, paid in probed.by.items():
        if name in RIGHT:
            how = "" if paid.form == "{}" else f" (as {paid.form.format('...')!r})"
            empty = "" if probed.empty is None else f", an empty answer {probed.empty:.3g}"
            section.table.append((f'a row\'s "{name}"{how}', f"{paid.row:.3g}, another row's {paid.other:.3g}{empty}"))


def _shown(answers: Sequence[Completion], section: Section) -> None:
    places = sorted({0, len(answers) // 2, len(answers) - 1}) if answers else []
    for place in places[:SHOWN]:
        one = answers[place]
        text = one.text if len(one.text) <= 100 else one.text[:60] + " ... " + one.text[-30:]
        value = "no number" if one.reward is None else f"{one.reward:.3g}"
        section.table.append((f"sample: {value}", repr(text) + (" (cut off)" if one.truncated else "")))


def _cut(answers: Sequence[Completion], prepared: Prepared, section: Section) -> None:
    empty = of_answers(answers)
    if empty is not None:
        section.warn(
            "answers-empty",
            f"{empty}: the model ends them at once",
            "Look at the template and the form of the prompts; where they are right, train it with sft first.",
        )
    cut = sum(c.truncated for c in answers)
    if not answers or cut < 0.5 * len(answers):
        return
    masked = prepared.recipe.objective.__dict__.get("mask_truncated", False)
    text = f"{cut} of {len(answers)} sampled answers were cut off at {prepared.recipe.sampling.max_tokens} tokens"
    mend = likelier(prepared, answers) + (
        "Raise sampling.max_tokens if they need more room; where they ramble on, the model has not learned to end: "
        "give a stop (sampling.stop), look at the template, or train it with sft first."
    )
    if masked and cut == len(answers):
        section.broken("nothing-to-train-on", f"{text}, and mask_truncated leaves all of them out", mend)
    else:
        section.warn("answers-cut", text, mend)


def _time(probed: Probed, sampled: Sampled | None, section: Section) -> None:
    spent = probed.seconds + (sampled.scoring if sampled else 0.0)
    count = probed.answers + (len(sampled.completions) if sampled else 0)
    if not count:
        return
    each = spent / count
    section.figures["seconds_per_answer"] = each
    section.table.append(("time", f"{each * 1000:.2g} ms for an answer"))
    if each > SLOW:
        section.warn("slow-reward", f"scoring takes {each:.2g} s for an answer", "Cache it (cache: true), or batch it.")
