"""Settings that make a run smaller, each with what it saves by the same arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from postlude.errors import ConfigError
from postlude.models.lora import Lora
from postlude.sizing.setting import Setting
from postlude.sizing.work import Plan, Work

WORTH = 0.005
"""Of the peak: what saves less is not named."""


@dataclass(frozen=True)
class Knob:
    """A setting that would take less."""

    key: str
    """KEY=VALUE of a recipe."""
    saves: int
    """Bytes less at the peak."""
    peak: int
    costs: str
    """What one gives for it."""


def knobs(one: Setting, plan: Plan, now: int, peak_of: Callable[[Setting], int]) -> list[Knob]:
    """Every setting that saves something of a peak of `now` bytes, the one that saves most first."""
    found: list[Knob] = []
    for key, setting, price in changes(one, plan):
        try:
            peak = peak_of(setting)
        except ConfigError:
            continue
        if now - peak > WORTH * now:
            found.append(Knob(key, now - peak, peak, price))
    return sorted(found, key=lambda knob: -knob.saves)


def changes(one: Setting, plan: Plan) -> Iterator[tuple[str, Setting, str]]:
    """(KEY=VALUE, the setting with it, what it costs), one at a time."""
    work = one.work
    yield from _of_weights(one)
    if not one.checkpointing:
        yield "engine.gradient_checkpointing=true", replace(one, checkpointing=True), "about a third more time"
    for budget in (plan.token_budget // 2, 2048, 512):
        if work.piece <= budget < min(plan.token_budget, work.update or plan.token_budget):
            smaller = replace(one, asked=replace(one.asked, token_budget=budget))
            yield f"engine.token_budget={budget}", smaller, "nothing but speed: results do not change"
    chunk = max(16, plan.head_chunk // 8)
    yield f"engine.head_chunk={chunk}", replace(one, asked=replace(one.asked, head_chunk=chunk)), "a little speed"
    if work.answers:
        gib = plan.cache_bytes / 4 / 2**30
        smaller = replace(one, asked=replace(one.asked, cache_gib=gib))
        yield f"engine.cache_gib={gib:.2g}", smaller, "fewer answers are sampled at a time"
    if work.answers or one.served:
        yield from _of_answers(one, work)


def _of_weights(one: Setting) -> Iterator[tuple[str, Setting, str]]:
    if one.lora is None:
        lora = replace(one, lora=Lora(), reference=one.reference)
        yield "model.lora.rank=16", lora, "an adapter trains instead of all weights; its rate is ten times higher"
    elif one.lora.rank > 1:
        yield "model.lora.rank=1", replace(one, lora=replace(one.lora, rank=1)), "less can be learnt; RL needs little"
    if one.dtype == "float32":
        yield "engine.dtype=bfloat16", replace(one, dtype="bfloat16"), "coarser rounding; slow on most CPUs"
    if one.reference and not one.lora and one.without_reference:
        yield one.without_reference, replace(one, reference=False), "nothing holds the policy near its start"
    if one.critic == "own":
        yield "critic.form=trunk", replace(one, critic="trunk"), "the critic's gradient changes the policy's trunk"
    if one.apart:
        yield "max_lag=0", replace(one, apart=False), "sampling waits for training"


def _of_answers(one: Setting, work: Work) -> Iterator[tuple[str, Setting, str]]:
    half = max(1, work.answer // 2)
    if one.samples and work.answer > 1:
        shorter = _with(work, work.group, half)
        yield f"sampling.max_tokens={half}", replace(one, work=shorter), "longer answers are cut off"
    if one.samples and work.group > 2:
        fewer = _with(work, work.group // 2, work.answer)
        yield f"group_size={work.group // 2}", replace(one, work=fewer), "noisier baselines"


def _with(work: Work, group: int, answer: int) -> Work:
    """The same prompts with other answers."""
    before, after = work.prompt + work.group * work.answer, work.prompt + group * answer
    sequence = work.prompt + answer
    return replace(
        work,
        group=group,
        sequence=sequence,
        piece=after if work.piece == before else sequence,
        update=work.update * after // before,
        draw=work.draw * after // before,
        answers=work.answers * group // work.group,
    )
