"""Twelve runs that are broken from the start, and siblings of each: what `postlude check` says of them and where, and
what `postlude train` does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from postlude.build import build_engine
from postlude.check import check
from postlude.data import Completion
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Progress, Request, Sampler, Weights
from postlude.engines.settings import Sampling
from postlude.errors import TrainingError
from postlude.launch import launch
from postlude.preflight.first import look_at_first
from postlude.preflight.invariants import look_at_agreement
from postlude.preflight.report import Report, Section
from postlude.preflight.resources import space_text
from postlude.preflight.sampled import sample
from postlude.prepared import Prepared
from postlude.recipe.opening import document_of
from postlude.runs import read
from postlude.runs.space import Space
from postlude.sources.source import Drawn
from tests.preflight.conftest import ONE, ONLINE, look
from tests.refusals import refused

SFT = ("model=chat", "data=sft.jsonl")


@dataclass(frozen=True)
class Case:
    """A broken run: what is found by the check, in which section, and by the training run."""

    name: str
    recipe: str
    settings: tuple[str, ...]
    code: str
    section: str = "refused"
    said: str = ""
    """Words that the finding must hold, of the way out among them."""
    train: str = "refused"
    """`refused` with the same code; `noted` at step 1; empty: trains on without a word."""


BIG = "1000000"
CASES = [
    Case(
        "template", "sft",
        (*SFT, "model.chat_template=llama.jinja"),
        "wrong-template", said="Leave model.chat_template out",
    ),
    Case("template of roles", "sft", (*SFT, "model.chat_template=zephyr.jinja"), "wrong-template"),
    Case("template without the user", "sft", (*SFT, "model.chat_template=forgets_user.jinja"), "bad-rows"),
    Case(
        "template, sampling", "grpo",
        ("model=chat", "data=levels.jsonl", "data.chat=true", "reward=exact", "model.chat_template=llama.jinja"),
        "wrong-template",
    ),
    Case(
        "answers masked out", "sft",
        (*SFT, "model.chat_template=marked_nothing.jinja"),
        "nothing-to-train-on", said="generation",
    ),
    Case("the user trained", "sft", (*SFT, "model.chat_template=marked_user.jinja"), "nothing-to-train-on"),
    Case(
        "pairs masked out", "dpo",
        ("model=chat", "data=pairs.jsonl", "data.chat=true", "model.chat_template=marked_nothing.jinja"),
        "nothing-to-train-on",
    ),
    Case(
        "all cut and masked", "dapo",
        (*ONE, "reward=r.py:vowels", "objective.mask_truncated=true"),
        "nothing-to-train-on", "reward", "sampling.max_tokens", "",
    ),
    Case(
        "reward of another column", "grpo",
        (*ONLINE, "reward=r.py:level"),
        "reward-not-telling", "reward", '"level" and not by "answer"',
    ),
    Case(
        "the same, hidden", "grpo",
        (*ONLINE, "reward=r.py:hidden"),
        "reward-not-telling", "reward", '"level" and not by "answer"',
    ),
    Case(
        "the same, with a lucky hit", "grpo",
        (*ONLINE, "reward=r.py:lucky"),
        "reward-not-telling", "reward", '"level" and not by "answer"',
    ),
    Case(
        "reward of a column that is not there", "grpo",
        (*ONLINE, "reward=r.py:gone"),
        "no-signal", "signal", "base pass rate is 0|does not go by it", "noted",
    ),
    Case(
        "columns mapped over answers", "grpo",
        (*ONLINE, "reward=exact", "data.columns={answer: level}"),
        "ambiguous-rows", said="level",
    ),
    Case(
        "reward turned around", "grpo",
        (*ONLINE, "reward=r.py:flipped"),
        "reward-not-telling", "reward", "sign", "",
    ),
    Case(
        "reference by path", "grpo",
        (*ONLINE, "reward=r.py:vowels", "model.reference=other"),
        "not-a-choice", said="start",
    ),
    Case(
        "reference of an implicit reward", "grpo",
        (*ONLINE, "reward={use: implicit, args: {policy: plain, reference: other, beta: 0.1}}"),
        "reference-differs", "step_0", "trained from", "",
    ),
    Case(
        "its tokenizer", "grpo",
        (*ONLINE, "reward={use: implicit, args: {policy: plain, reference: chat, beta: 0.1}}"),
        "bad-tokenizer",
    ),
    Case(
        "constant reward", "grpo",
        (*ONLINE, "reward=r.py:half"),
        "reward-not-telling", "reward", "0.5 for everything",
    ),
    Case(
        "always 0", "grpo",
        (*ONLINE, "reward=r.py:zero"),
        "reward-not-telling", "reward", "0 for everything", "noted",
    ),
    Case(
        "constant, with a critic", "ppo",
        (*ONLINE, "reward=r.py:half"),
        "reward-not-telling", "reward", "0.5 for everything",
    ),
    Case("never a number", "grpo", (*ONLINE, "reward=r.py:unscored"), "reward-abstains", "reward", "None", ""),
    Case(
        "long prompt", "grpo",
        ("model=plain", "data=long.jsonl", "reward=exact", "sampling.max_tokens=4"),
        "too-long", said="long.jsonl",
    ),
    Case(
        "long answer", "grpo",
        ("model=plain", "data=levels.jsonl", "reward=exact", "sampling.max_tokens=2000"),
        "too-long",
    ),
    Case("long row", "sft", ("model=chat", "data=long_sft.jsonl"), "too-long", said="long_sft.jsonl"),
    Case("long pair", "dpo", ("model=plain", "data=long_pairs.jsonl"), "too-long"),
    Case(
        "eval in train", "grpo",
        (*ONLINE, "reward=exact", "data.eval=levels.jsonl"),
        "held-out-overlap", said="same file",
    ),
    Case(
        "eval in train but for spaces", "grpo",
        (*ONLINE, "reward=exact", "data.eval=held.jsonl"),
        "held-out-overlap",
    ),
    Case("eval in train, sft", "sft", (*SFT, "data.eval=held_sft.jsonl"), "held-out-overlap"),
    Case(
        "eval in train, texts", "sft",
        ("model=plain", "data=texts.jsonl", "data.eval=held_texts.jsonl"),
        "held-out-overlap",
    ),
    Case("nan", "grpo", (*ONLINE, "reward=r.py:nan"), "bad-reward-value", "reward", "nan"),
    Case("infinite", "grpo", (*ONLINE, "reward=r.py:infinite"), "bad-reward-value", "reward", "inf"),
    Case(
        "nan of an empty answer", "grpo",
        (*ONLINE, "reward=r.py:nan_of_nothing"),
        "bad-reward-value", "reward", "nan", "",
    ),
    Case("nan, with a critic", "ppo", (*ONLINE, "reward=r.py:nan"), "bad-reward-value", "reward", "nan"),
    Case(
        "two answers at a pass rate of 0.02", "grpo",
        (*ONE, "reward=r.py:rare", "group_size=2"), "no-signal", "signal", "mixed|easier|sft", "noted",
    ),
    Case(
        "the same without a baseline of deviations", "dr_grpo",
        (*ONE, "reward=r.py:rare", "group_size=2"), "no-signal", "signal", "of groups of 2", "noted",
    ),
    Case(
        "nobody is ever right", "rloo", (*ONE, "reward=exact"), "no-signal", "signal", "base pass rate is 0", "noted",
    ),
    Case(
        "disk", "grpo",
        (*ONLINE, "reward=r.py:vowels", f"steps={BIG}", f"checkpoints.keep={BIG}000", "checkpoints.every=1"),
        "disk-full", "disk", "checkpoints.keep",
    ),
]  # fmt: skip


def found(report: Report, case: Case) -> bool:
    findings = [f for f in report.section(case.section).findings if f.level == "broken" and f.code == case.code]
    return any(re.search(case.said, f"{one.text} {one.mend}") for one in findings)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_broken_run_is_called_broken_where_it_is(broken: Path, case: Case) -> None:
    report = look(case.recipe, *case.settings)
    seen = [
        (s.name, f.level, f.code, f.text, f.mend) for s in report.sections for f in s.findings if f.level == "broken"
    ]
    assert report.verdict == "broken" and found(report, case), seen


@pytest.mark.parametrize("case", [c for c in CASES if c.train == "refused"], ids=lambda case: case.name)
def test_it_is_not_trained(broken: Path, case: Case, tmp_path: Path) -> None:
    document = document_of(Path(case.recipe), [*case.settings, f"output={tmp_path}/run"])
    with refused(case.code):
        launch(document)
    events = tmp_path / "run" / "events.jsonl"
    assert not events.exists() or '"kind": "step"' not in events.read_text()


@pytest.mark.parametrize("case", [c for c in CASES if c.train == "noted"], ids=lambda case: case.name)
def test_it_is_said_at_the_first_step(broken: Path, case: Case, tmp_path: Path) -> None:
    few = ["steps=1", "prompts_per_step=8", f"output={tmp_path}/run"]
    launch(document_of(Path(case.recipe), [*case.settings, *few]))
    notes = [row["text"] for row in read(tmp_path / "run").of("note") if row["step"] == 0]
    assert any(re.search(case.said, note) for note in notes), notes


def test_a_run_that_is_refused_for_its_disk_leaves_no_folder(broken: Path, tmp_path: Path) -> None:
    case = next(one for one in CASES if one.name == "disk")
    with refused("disk-full", said="Make room, or take checkpoints.keep=1, or model.lora.rank=16"):
        launch(document_of(Path(case.recipe), [*case.settings, f"output={tmp_path}/run"]))
    assert not (tmp_path / "run").exists()


def test_answers_that_fill_a_disk_ask_for_fewer_steps(broken: Path) -> None:
    recipe = check(document_of(Path("grpo"), [*ONLINE, "reward=r.py:vowels", "model.lora.rank=4"])).recipe
    recipe = replace(recipe, checkpoints=replace(recipe.checkpoints, keep=1))
    assert space_text(recipe, Space({"checkpoints": 1, "answers": 9}, 5), 1)[1] == (
        "Make room, or take fewer steps (steps), whose answers are most of it, or an output on another disk."
    )
    assert space_text(recipe, Space({"checkpoints": 9, "answers": 1}, 5), 9)[1] == (
        "Make room, or take an output on another disk."
    )


# ----------------------------------------------------------------------------------------------- engines


@dataclass
class Warmer:
    """A sampler that is faulty: it answers at another temperature than it is asked for."""

    inner: Sampler
    temperature: float
    version: int = 0
    on_progress: Callable[[Progress], None] | None = None

    async def load(self, weights: Weights) -> None:
        await self.inner.load(weights)

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        return self.inner.sample(requests, replace(sampling, temperature=self.temperature))


def started(*settings: str) -> tuple[Prepared, LocalEngine]:
    prepared = check(document_of(Path("grpo"), [*ONLINE, "reward=r.py:vowels", *settings]))
    engine = build_engine(prepared)
    assert isinstance(engine, LocalEngine)
    return prepared, engine


def drawn_of(prepared: Prepared, engine: LocalEngine) -> Drawn:
    sampled = asyncio.run(sample(prepared, engine, 4, 4, 0, 4))
    return Drawn(sampled.groups, sampled.groups)


@pytest.mark.parametrize(("asked", "sampled"), [(1.0, 0.5), (0.7, 1.0), (0.5, 2.0)])
def test_a_sampler_at_another_temperature_is_named(broken: Path, asked: float, sampled: float) -> None:
    prepared, engine = started(f"sampling.temperature={asked}")
    faulty = replace(engine, sampler=Warmer(engine.sampler, sampled))  # type: ignore[arg-type]
    drawn, section = drawn_of(prepared, faulty), Section("step_0", "Step 0")
    asyncio.run(look_at_agreement(prepared.recipe, faulty, drawn.groups, section))
    said = f"answers at temperature {sampled:g}, and the trainer computes with sampling.temperature={asked:g}"
    assert [f.code for f in section.findings if f.level == "broken" and said in f.text] == ["sampler-differs"]
    with refused("sampler-differs", said=f"temperature {sampled:g}", kind=TrainingError):
        asyncio.run(look_at_first(prepared, faulty, drawn))


def test_a_sound_sampler_agrees_at_any_temperature(broken: Path) -> None:
    prepared, engine = started("sampling.temperature=0.6")
    section = Section("step_0", "Step 0")
    asyncio.run(look_at_agreement(prepared.recipe, engine, drawn_of(prepared, engine).groups, section))
    assert section.findings == [] and section.figures["sampler_trainer_mean"] < 1e-5
    assert section.figures["ratio"] == 1.0 and section.figures["reference_mean"] == 0.0


@pytest.mark.parametrize("lora", [False, True])
def test_a_reference_of_another_model_is_refused_before_the_first_update(broken: Path, lora: bool) -> None:
    prepared, engine = started(*["model.lora.rank=4"] * lora)
    drawn = drawn_of(prepared, engine)
    with torch.no_grad():  # as if the policy had come from elsewhere
        for p in engine.trainer.parts["policy"].params:
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    asyncio.run(engine.publish())
    drawn = drawn_of(prepared, engine)
    with refused("reference-differs", said="nats per token apart before the first update", kind=TrainingError):
        asyncio.run(look_at_first(prepared, engine, drawn))
    section = Section("step_0", "Step 0")
    asyncio.run(look_at_agreement(prepared.recipe, engine, drawn.groups, section))
    assert [f.code for f in section.findings] == ["reference-differs"]
