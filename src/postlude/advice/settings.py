"""What the recipe sets, and why: one function for each group of keys, from the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from postlude.advice.evidence import Evidence, Part
from postlude.advice.room import BYTES, Room, room_for
from postlude.advice.routes import MANY, Fit
from postlude.algorithms import ALGORITHMS
from postlude.facts.tables import ADAPTER_FACTOR, BETAS, DPO_RANK, rank_basis, rank_for
from postlude.method import Algorithm
from postlude.objectives import ContrastObjective, Need
from postlude.sizing.setting import Loaded
from postlude.sizing.setting import Setting as Asking
from postlude.sizing.work import Work

MEAN_BETAS = {"far": 1.0, "usual": 2.0, "little": 5.0, "hardly": 10.0}
"""Of methods that average log-ratios over tokens, where the same pull wants a larger beta (2 to 10)."""
KL_COEFS = {"far": 0.0, "usual": 0.04, "little": 0.1, "hardly": 0.4}
"""Of a KL term in the loss: GRPO's 0.04 is usual, the others are steps by the same habit."""
GROUP = 8
MOST_WEIGHT = 10.0
"""Of the rarer thumbs in KTO: beyond it a step hangs on single rows."""
MOST_STEPS = 5_000


@dataclass(frozen=True)
class Setting:
    """One key of the recipe."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Sizes:
    """How much is gone through."""

    steps: int
    batch: int
    """Rows, or prompts, of a step."""
    passes: float
    """How often a row comes up."""


def entry_of(fit: Fit) -> Algorithm:
    return ALGORITHMS[fit.method]


def sizes_of(part: Part, entry: Algorithm) -> Sizes:
    """Batch and steps by the number of distinct rows."""
    rows = part.distinct if entry.source != "rollout" else part.prompts
    batch = next((size for size, least in ((32, 500), (16, 100), (8, 40)) if rows >= least), 4)
    if entry.source == "rollout":
        steps = max(20, min(200, ceil(8 * rows / batch)))
    else:
        aim = 3 if entry.source == "file" and rows < 2_000 else 2 if rows < 5_000 else 1
        steps = max(10, min(MOST_STEPS, ceil(aim * rows / batch)))
    return Sizes(steps, batch, steps * batch / rows)


def setting_of(e: Evidence, part: Part, entry: Algorithm) -> Asking:
    """What the run holds at a time, for the arithmetic of memory."""
    sampled, sizes = entry.source == "rollout", sizes_of(part, entry)
    answer, prompt = (max_tokens(e, part) if sampled else part.answered.longest), part.asked.longest
    group = group_of(entry) if sampled else max(1, round(part.size)) if part.feedback == "lists" else entry.group_size
    sequence, together = max(prompt + answer, 1), max(prompt + answer * group, 1)
    piece = sequence if entry.objective.splits_groups else together
    answers = sizes.batch * group if sampled else 0
    update = ceil(sizes.batch / entry.updates) * together
    work = Work(True, sequence, piece, update, answers, prompt=prompt, group=group if sampled else 1)
    kl = any(s.key == "objective.kl" and s.value is None for s in _kl(e, part, entry))
    judged = part.feedback == "prompts" and e.reward is None and e.model is not None and e.model.shape is not None
    judges = (Loaded("judge", BYTES * e.model.shape.parameters),) if judged and e.model and e.model.shape else ()
    return Asking(
        method=entry.name,
        work=work,
        samples=sampled,
        reads_old=sampled or Need.REFERENCE in entry.needs,
        reference=Need.REFERENCE in entry.needs and not kl,
        critic="own" if Need.VALUES in entry.needs else None,
        scores=Need.SCORES in entry.needs,
        others=judges,
    )


def group_of(entry: Algorithm) -> int:
    """Answers to a prompt."""
    return MANY if entry.name == "rft" else GROUP


def rank_of(billions: float, entry: Algorithm) -> tuple[int, str]:
    """The adapter's rank, and what it rests on."""
    if entry.source == "preference" and not entry.name.startswith("reward_model"):
        return DPO_RANK, "the notes' rank for preferences, whatever the size"
    rank = rank_for(billions, "sft" if entry.source == "file" else "rl")
    return rank, f"by size ({billions:.3g} B) and kind of training, {rank_basis(billions)}"


def room_of(e: Evidence, fit: Fit) -> Room | None:
    """What it asks of memory; None where model or device are not known."""
    part = e.part(fit.feedback)
    if part is None or e.device is None or e.model is None or e.model.shape is None or not e.model.billions:
        return None
    entry = entry_of(fit)
    return room_for(e.model.shape, setting_of(e, part, entry), rank_of(e.model.billions, entry)[0], e.device)


def max_tokens(e: Evidence, part: Part) -> int:
    """The longest answer that is sampled: room for the longest right ones, within the model's context."""
    usual = 1024 if part.feedback in ("tests",) or e.goal.has("reasoning") else 512
    usual = max(usual, 2 * part.answered.high) if part.answered.high else usual
    if e.base is not None and e.base.cut_off > 0.2:
        usual *= 2
    elif e.base is not None and e.base.longest:
        usual = min(usual, max(64, 2 * e.base.longest))
    if e.model is not None and e.model.context is not None:
        usual = min(usual, max(16, e.model.context - part.asked.longest - 1))
    return min(usual, 4096)


def settings_of(e: Evidence, fit: Fit, room: Room | None) -> list[Setting]:
    """Everything the recipe sets, in the order it stands there."""
    part = e.part(fit.feedback)
    assert part is not None
    entry = entry_of(fit)
    return [
        *_holding(e, entry, room), *_batch(part, entry), *_sampling(e, part, entry), *_reward(e, part, entry),
        *_objective(e, part, entry), *_rate(part, entry, room), *_measuring(e, part, entry),
    ]  # fmt: skip


def _holding(e: Evidence, entry: Algorithm, room: Room | None) -> list[Setting]:
    if room is None:
        return []
    holding = room.holding
    wide = "half the memory of float32; the optimiser keeps a float32 master copy"
    settings = [Setting("engine.dtype", holding.dtype, wide)] if holding.dtype != "float32" else []
    if holding.checkpointing:
        settings.append(
            Setting("engine.gradient_checkpointing", True, "without it this does not fit; a third more time")
        )
    if holding.lora and e.model and e.model.billions:
        rank, basis = rank_of(e.model.billions, entry)
        settings.append(Setting("model.lora.rank", rank, f"all weights do not fit; rank: {basis}"))
    return settings


def _batch(part: Part, entry: Algorithm) -> list[Setting]:
    sizes, unit = sizes_of(part, entry), "prompts" if entry.source == "rollout" else "rows"
    rows = part.prompts if entry.source == "rollout" else part.distinct
    settings = [
        Setting(
            "steps",
            sizes.steps,
            f"{sizes.steps} x {sizes.batch} = {sizes.passes:.1f} times through {rows:,} distinct {unit}",
        ),
        Setting("prompts_per_step", sizes.batch, f"{unit} of a step, by how many there are"),
    ]
    if entry.source == "rollout":
        size = group_of(entry)
        why = (
            "right answers are rare, so many are drawn"
            if entry.name == "rft"
            else "answers to a prompt, compared with each other"
        )
        settings.append(Setting("group_size", size, why))
    return settings


def _sampling(e: Evidence, part: Part, entry: Algorithm) -> list[Setting]:
    if entry.source != "rollout":
        return []
    why = "the longest answer; watch truncated_frac, and raise it where answers are cut off"
    if e.base is not None and e.base.cut_off > 0.2:
        why = f"much room: {e.base.cut_off:.0%} of the sampled answers were cut off"
    elif e.base is not None and e.base.longest:
        why = f"the longest answer; of those sampled here the longest took {e.base.longest}"
    return [Setting("sampling.max_tokens", max_tokens(e, part), why)]


def reward_of(e: Evidence, part: Part) -> tuple[dict[str, Any], str]:
    """The reward's entry, and why this one."""
    if e.reward is not None:
        return dict(e.reward), "the reward that you named"
    if part.feedback == "tests":
        return {"use": "code"}, "runs the last Python block of an answer against the tests, in a sandbox"
    if part.feedback == "prompts":
        judge = {"model": e.model.path} if e.model and e.model.named else {}
        judge |= {"mode": "pairs", "read": "likelihood"}
        return {"use": "judge", "args": judge}, "a language model compares the answers; put a stronger one here"
    if part.letters >= 0.8 * part.distinct:
        return {"use": "choice"}, f"{part.letters:,} of {part.distinct:,} right answers are a letter"
    if part.readable >= 0.5 * part.distinct:
        return {"use": "maths"}, f"compares values, and can read {part.readable:,} of {part.distinct:,} right answers"
    return {"use": "exact", "args": {"ignore_case": True}}, "right answers are words, compared as text"


def _reward(e: Evidence, part: Part, entry: Algorithm) -> list[Setting]:
    if entry.source != "rollout":
        return []
    reward, why = reward_of(e, part)
    return [Setting(f"reward.{key}", value, why if key == "use" else "") for key, value in reward.items()]


def _objective(e: Evidence, part: Part, entry: Algorithm) -> list[Setting]:
    objective = entry.objective
    if not isinstance(objective, ContrastObjective):
        return _kl(e, part, entry)
    if objective.score in ("head", "pair_head"):
        return []
    moves = e.moves or "usual"
    beta = next(b for b in BETAS if b.moves == moves)
    value, effect = beta.value, beta.effect
    if objective.score.endswith("_mean"):
        value, effect = MEAN_BETAS[moves], f"averaged log-ratios are small and want a larger beta ({moves})"
    settings = [Setting("objective.link.beta", value, effect)]
    if entry.name == "kto":
        return settings + _balance(part)
    why = "a likelihood term on the better answer: without it both may become unlikely while the margin grows"
    return [*settings, Setting("objective.nll", 0.5, why)]


def _balance(part: Part) -> list[Setting]:
    """KTO's weights, so that weight times count of good over bad lies in [1, 4/3] (2402.01306)."""
    ratio = part.up / max(part.down, 1)
    most = f"; {MOST_WEIGHT:g} at most, since more lets single rows decide a step"
    why = f"{part.up:,} up and {part.down:,} down: weight times count, up over down, is to lie between 1 and 4/3"
    if ratio > 4 / 3:
        return [Setting("objective.link.lam_undesirable", min(MOST_WEIGHT, round(ratio * 3 / 4, 2)),
                        why + (most if ratio * 3 / 4 > MOST_WEIGHT else ""))]  # fmt: skip
    weight = min(MOST_WEIGHT, round(1 / ratio, 2)) if ratio else MOST_WEIGHT
    why += most if weight == MOST_WEIGHT else ""
    return [Setting("objective.link.lam_desirable", weight, why)] if ratio < 1 else []


def _kl(e: Evidence, part: Part, entry: Algorithm) -> list[Setting]:
    if entry.name != "grpo":
        return []
    verified = part.feedback in ("tests", "golds") and e.reward is None
    moves = e.moves or ("far" if verified else "usual")
    coef = KL_COEFS[moves]
    if not coef:
        why = "what is verified cannot be gamed by drifting, so nothing holds the policy near its start"
        return [Setting("objective.kl", None, why if e.moves is None else "the policy may move far")]
    return [Setting("objective.kl.coef", coef, f"holds the policy near its start: it may move: {moves}")]


def _rate(part: Part, entry: Algorithm, room: Room | None) -> list[Setting]:
    lora = room is not None and room.holding.lora
    rate = float(f"{entry.lr * (ADAPTER_FACTOR if lora else 1):.4g}")
    why = f"the method's {entry.lr:g}" + (f", times {ADAPTER_FACTOR:g} for an adapter" if lora else " for all weights")
    steps = sizes_of(part, entry).steps
    settings = [
        Setting("schedule.lr", rate, why),
        Setting("schedule.warmup", min(10, max(1, steps // 20)), "a gentle start"),
    ]
    if entry.source != "rollout":
        settings.append(
            Setting("schedule.decay", "cosine" if entry.source == "file" else "linear", "one way through, then still")
        )
    return settings


def _measuring(e: Evidence, part: Part, entry: Algorithm) -> list[Setting]:
    steps = sizes_of(part, entry).steps
    settings = [Setting("checkpoints.every", max(5, steps // 4), "four on the way")]
    if e.measured_by(part.feedback) is not None:
        settings.insert(
            0, Setting("evaluate.every", max(5, steps // 10), "held-out rows show what is learned, not memorised")
        )
    return settings


def watch(fit: Fit) -> Sequence[tuple[str, str]]:
    """(figure, what to look at) once the run has started, the first first."""
    entry = entry_of(fit)
    if entry.source == "file":
        return (("loss/policy", "held out: it falls, then rises once rows are memorised: stop there"),)
    if entry.source == "rollout":
        return (
            ("frac_zero_std_groups", "above 0.8 there is nothing to learn from: easier or harder prompts"),
            ("reward/mean", "rises within 20 to 50 steps, or the rate is too low"),
            ("truncated_frac", "above 0.2 answers are cut off: raise sampling.max_tokens"),
            ("completion_length/mean", "growing without reward is padding"),
        )
    if entry.name.startswith("reward_model"):
        return (("rewards/accuracy", "held out: above 0.5 soon; well below the trained one is memorising"),)
    return (
        ("rewards/accuracy", "held out: rises above 0.5 within the first tenth"),
        ("logps/chosen", "must not sink far: then both answers become unlikely (raise objective.nll)"),
        ("rewards/margin", "grows slowly; a leap means the rate is too high"),
    )
