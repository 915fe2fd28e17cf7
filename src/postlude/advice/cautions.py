"""What to be wary of: one function for each, a sentence with its evidence and what to do; several may hold at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from postlude.advice.evidence import Evidence, Part
from postlude.advice.goals import MEANINGS
from postlude.advice.routes import RARELY, Fit, longer_wins
from postlude.advice.settings import entry_of, reward_of, sizes_of

FEW = 200
"""Distinct rows up to which memorising is likely."""
HUGE = 50_000


def _few(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.distinct >= FEW:
        return None
    sizes = sizes_of(part, entry_of(fit))
    keep = max(5, part.distinct // 5)
    return (
        f"only {part.distinct:,} distinct rows: the model comes by each {sizes.passes:.0f} times and may memorise "
        f"them. Put {keep} aside by "
        "hand as data.eval before anything else, none of them near to one that stays; stop when the held-out "
        "figure stops "
        "rising while the trained one goes on; collect more, or write variations"
    )


def _no_held_out(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.distinct < FEW or (e.held_out is not None and part.feedback in e.held_out.kinds):
        return None
    return (
        f"no held-out rows of this kind were named: put {min(500, max(50, part.distinct // 20))} aside as data.eval, "
        "or nothing shows what is learned"
    )


def _leaked(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.held_out is None or not e.held_out.leaked:
        return None
    return (
        f"{e.held_out.leaked:,} of {e.held_out.rows:,} held-out rows ask what is trained on: they would measure memory"
    )


def _length(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.longer is None:
        return None
    share = part.longer
    if longer_wins(part):
        return (
            f"the better answer is the longer one in {share} of comparisons: no loss can tell length from quality "
            "here. "
            f"Compare answers of like length ({part.close:,} differ by less than a tenth), balance the rows, or "
            "try simpo or ipo_mean "
            "too; watch sampled/length on held-out prompts"
        )
    if share.low > 0.55:
        return (
            f"the better answer is the longer one in {share} of comparisons: expect answers to grow, and watch "
            "their length"
        )
    return None


def _wants_shorter(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.goal.has("shorter") or fit.method == "drpo":
        return None
    if part.longer is not None and part.longer.value > 0.5:
        return (
            f"you ask for shorter answers, and the rows prefer the longer one in {part.longer}: they teach the "
            "opposite. Drop such "
            "rows, or let a rule choose (postlude pairs --reward length)"
        )
    if part.longer is not None:
        return (
            "you ask for shorter answers, which changes nothing of this run: no part of it is about length, and the "
            f"better answer is the longer one in {part.longer}. Keep the rows whose better answer is the shorter, or "
            "let a rule choose (postlude pairs --reward length)"
        )
    return (
        "nothing here says that shorter is better: shorten the written answers, or use rows whose right "
        "answers can be told (drpo)"
    )


def _wants_longer(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.goal.has("longer"):
        return None
    shown = f": the better answer is the longer one in {part.longer}" if part.longer else ""
    return (
        "you ask for longer answers, which changes nothing of this run: no part of it is about length, and rows teach "
        f"it as far as they show it{shown}"
    )


def _wants_safer(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.goal.has("safer"):
        return None
    text = (
        "safety is learned from prompts that tempt: see that rows hold them, refusals and harmless ones alike "
        "(else it refuses all)"
    )
    if part.feedback == "prompts":
        return text
    return text + ("; hold the policy near its start (--move little)" if e.moves is None else "")


def _wants_reasoning(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.goal.has("reasoning") or e.part("golds", "tests") or e.reward:
        return None
    return (
        f"better reasoning was asked for, and {part.words} teach mostly manner: add right answers or tests, so "
        "that GRPO can "
        "reward what is right"
    )


def _wants_scorer(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.goal.has("reward model", "judge") or fit.method.startswith("reward_model"):
        return None
    return (
        "a scorer of answers was asked for, which needs compared or judged answers: there are none, so this "
        "trains a policy"
    )


def _wants_facts(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.goal.has("knowledge"):
        return None
    return (
        "facts are better looked up (retrieval) than trained in: training teaches manner first, and "
        "half-learned facts sound sure"
    )


def _goal_unread(e: Evidence, *_: object) -> str | None:
    if not e.goal.text:
        return None
    if not e.goal.understood:
        known = ", ".join(MEANINGS)
        return f'nothing of --goal "{e.goal.text}" was understood, so it decided nothing; words are known for: {known}'
    if e.goal.unread:
        return f"of the goal these words decided nothing: {', '.join(e.goal.unread)}"
    return None


def _repeats(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.repeated <= 0.01 * part.rows:
        return None
    return (
        f"{part.repeated:,} of {part.rows:,} rows repeat others and count for nothing here (postlude data "
        "check --fix drops them)"
    )


def _near(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.near <= 0.05 * part.distinct or part.near < 5:
        return None
    return (
        f"{part.near:,} of {part.distinct:,} rows nearly repeat another: there is less to learn than it looks, "
        "and held-out rows may leak"
    )


def _conflicts(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not part.conflicts:
        return None
    return f"{part.conflicts:,} rows contradict another (postlude data check names them)"


def _bad(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.bad:
        return None
    return f"{e.bad:,} of {e.read:,} rows cannot be read, and are left out (postlude data check says why)"


def _left_out(e: Evidence, *_: object) -> str | None:
    said = [f"{n:,} {what}" for what, n in e.left.items() if n]
    return f"left out: {'; '.join(said)}" if said else None


def _said(e: Evidence, fit: Fit, part: Part) -> str | None:
    return f"rows are read with {part.said}" if part.said else None


def _unreadable(e: Evidence, fit: Fit, part: Part) -> str | None:
    if (
        part.feedback != "golds"
        or e.reward
        or reward_of(e, part)[0]["use"] != "maths"
        or part.readable >= part.distinct
    ):
        return None
    return (
        f"{part.distinct - part.readable:,} of {part.distinct:,} right answers have no value that the maths "
        "reward compares: those "
        "that it cannot read are left out, words are compared as text (postlude data check --reward maths)"
    )


def _constant(e: Evidence, fit: Fit, part: Part) -> str | None:
    return "all answers are the same" if part.constant else None


def _thumbs(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.feedback != "thumbs" or not part.up or not part.down or 0.1 < part.up / part.distinct < 0.9:
        return None
    return (
        f"thumbs are lopsided, {part.up:,} up and {part.down:,} down: the weights of the recipe make up for "
        "it as far as weights should (10 at most), the few rows cannot"
    )


def _tests(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.feedback != "tests":
        return None
    few = (
        f"prompts have {part.size:g} test{'s' if part.size != 1 else ''} (median): a program may answer just these; "
        if part.size < 3
        else ""
    )
    return (
        few + "keep hidden tests for data.eval (hidden_tests), and run postlude audit for ways to pass without solving"
    )


def _solutions(e: Evidence, fit: Fit, part: Part) -> str | None:
    """Written solutions beside what is verified."""
    written = next((p for p in e.parts if p.feedback == "answers" and p.others), None)
    if part.feedback not in ("tests", "golds") or fit.method == "sft" or written is None:
        return None
    return (
        f"{written.distinct:,} written solutions stand beside: they are what SFT learns from, and go first where the "
        "model solves next to nothing (it is asked where --model is a folder)"
    )


def _language(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.language == "English":
        return None
    return (
        f"most of it looks like {e.language}: see that the model writes {e.language} well before training "
        "(postlude sample), that judges "
        "and reward models read it, and that held-out rows are in it; tokens take more room than in English"
    )


def _cut_off(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.feedback == "text" or part.cut_off <= 0.05 * part.distinct or part.cut_off < 3:
        return None
    return f"{part.cut_off:,} rows hold an answer that stops within a sentence: they teach not to end"


def _copied(e: Evidence, fit: Fit, part: Part) -> str | None:
    return f"in {part.copied:,} rows the prompt holds the whole answer" if part.copied > 0.02 * part.distinct else None


def _chat(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.model is None or e.model.chat is not False or not part.chat:
        return None
    return "rows are messages, and the model has no chat template: give one (model.chat_template), or use text"


def _unmeasured(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.base is not None or part.feedback not in ("golds", "tests") or entry_of(fit).source != "rollout":
        return None
    why = (
        f" ({e.unasked})" if e.unasked else ": name a model that is here (--model), or run postlude check on the recipe"
    )
    return (
        f"whether the model solves some and not all of these was not measured{why}; at 0 do SFT or RFT first, near 1 "
        "there is nothing to learn"
    )


def _sampled(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.base is None:
        return None
    b = e.base
    said: list[str] = []
    if fit.method in ("rft", "sft") and b.right.high > 0.1 and b.right.value < RARELY:
        said.append(
            f"so few were asked that up to {b.right.high:.0%} may be right: ask more (--prompts 64) before you decide"
        )
    elif b.prompts < 8:
        said.append(f"the base pass rate is of {b.prompts} prompts only")
    if b.cut_off > 0.2:
        said.append(f"{b.cut_off:.0%} of the sampled answers were cut off, so the rate may be too low")
    return "; ".join([*said, b.remark]).rstrip("; ") or None


def _judge(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.feedback != "prompts" or e.reward:
        return None
    itself = e.model is not None and e.model.named
    named = "the recipe names the model itself as judge, only so that it runs: name a stronger one"
    named = named if itself else "the recipe names no judge: name one that is stronger than the model"
    return f"{named} (reward.args.model, or url of a server). Judges like long answers: watch completion_length/mean"


def _labels(e: Evidence, fit: Fit, part: Part) -> str | None:
    if part.feedback != "prompts" or e.reward:
        return None
    return (
        "cheaper and steadier than a judge in the loop: let it compare once, then train dpo on the pairs: postlude "
        "pairs MODEL --data DATA --reward judge --reward-args '{model: JUDGE}' --out pairs.jsonl; by written "
        "principles: postlude constitution revise, and compare"
    )


def _reward(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.reward is None or entry_of(fit).source == "rollout":
        return None
    return (
        f"--reward {e.reward['use']} decides nothing in this run: {fit.method} learns from answers that are "
        "there; it can make pairs of "
        "the model's own answers (postlude pairs), or reward them once this run is done (grpo)"
    )


def _huge(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.device is None or e.device.kind != "cpu" or (part.distinct < HUGE and part.answered.total < 10_000_000):
        return None
    return (
        f"{part.distinct:,} rows on a CPU: try it on some thousands first, on a small model, and take a GPU "
        "for the whole"
    )


def _devices(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.device is None or e.device.count < 2:
        return None
    return (
        f"memory and time are of one of the {e.device.count} GPUs. engine=ray trains on all of them (docs/scale.md); "
        "they can sample (engine.servers), serve a judge or other runs as well"
    )


def _long(e: Evidence, fit: Fit, part: Part) -> str | None:
    if e.model is None or e.model.context is None:
        return None
    longest = part.asked.longest + (part.answered.longest if entry_of(fit).source != "rollout" else 1)
    if longest <= e.model.context:
        return None
    return (
        f"the longest row takes about {longest:,} tokens, and the model's context holds {e.model.context:,}: "
        "longer rows are bad rows"
    )


def _unread(e: Evidence, fit: Fit, part: Part) -> str | None:
    if not e.unread:
        return None
    columns = ", ".join(f"{name} ({count:,} rows)" for name, count in e.unread.items())
    return (
        f"not read: {columns}. Nothing here says what these columns hold, and the advice would be another if it is "
        "feedback: name them prompt, completion, chosen, rejected, label or answer (docs/feedback.md), and ask again"
    )


CAUTIONS: Sequence[Callable[[Evidence, Fit, Part], str | None]] = (
    _goal_unread, _unread, _reward, _few, _length, _wants_shorter, _wants_longer,
    _wants_safer, _wants_reasoning, _wants_scorer,
    _wants_facts, _unmeasured, _sampled, _judge, _labels, _unreadable, _thumbs, _solutions, _tests, _conflicts,
    _repeats, _near,
    _leaked, _no_held_out, _language, _bad, _left_out, _said, _cut_off, _copied, _constant, _chat, _long, _huge,
    _devices,
)  # fmt: skip
"""Told in this order."""


def cautions_of(e: Evidence, fit: Fit, part: Part) -> tuple[str, ...]:
    return tuple(text for look in CAUTIONS if (text := look(e, fit, part)))


def without_fit(e: Evidence) -> tuple[str, ...]:
    """What is to be known where nothing is trained."""
    return tuple(text for text in (_goal_unread(e), _bad_rows(e), _left_out(e)) if text)


def _bad_rows(e: Evidence) -> str | None:
    return f"{e.bad:,} of {e.read:,} rows cannot be read" if e.bad else None
