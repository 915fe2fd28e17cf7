"""`postlude check` with the model: every kind of method, what a judge is asked, Python, and that nothing is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import postlude
from tests.judging import ChatServer
from tests.preflight.conftest import look, write

REWARD = "def digits(completions, **columns):\n    return [float(c[:1] in '0123456789aeiou') for c in completions]\n"


@pytest.fixture
def place(here: Path) -> Path:
    (here / "digits.py").write_text(REWARD)
    rows = [{"prompt": f"{i}+{i}=", "completion": str(2 * i + i % 2), "label": i % 2 == 0} for i in range(24)]
    write(here / "labels.jsonl", rows)
    return here


ONLINE = ("model=plain", "data=prompts.jsonl", "reward=digits.py:digits", "sampling.max_tokens=4")
FAMILIES = {
    "sft": ("model=chat", "data=sft.jsonl", "schedule.lr=1e-4"),
    "dpo": ("model=chat", "data=pairs.jsonl", "data.chat=true", "model.lora.rank=4"),
    "kto": ("model=plain", "data=labels.jsonl"),
    "reward_model": ("model=plain", "data=pairs.jsonl"),
    "grpo": ONLINE,
    "drpo": ONLINE,
    "ppo": (*ONLINE, "model.lora.rank=4"),
    "online_dpo": (*ONLINE, "engine.dtype=bfloat16"),
    "rft": ONLINE,
    "dapo": (*ONLINE, "max_lag=1"),
}


@pytest.mark.parametrize("method", FAMILIES)
def test_a_sound_run_of_every_kind_is_ready(place: Path, method: str) -> None:
    before = sorted(p.name for p in place.iterdir())
    report = look(method, *FAMILIES[method])
    assert report.codes("broken") == [], [f.text for f in report.findings if f.level == "broken"]
    step = report.section("step_0").figures
    assert step["grad_norm"] > 0 and step["relative_change"] > 0 and step["weights_finite"]
    assert report.section("memory").figures["parts"]["weights"] > 0
    assert 0 < report.section("disk").figures["needed"] < report.section("disk").figures["free"]
    assert report.section("time").figures["run"] > 0
    assert sorted(p.name for p in place.iterdir()) == before, "nothing is written"
    if "reward=digits.py:digits" in FAMILIES[method]:
        assert step["sampler_trainer_mean"] < (0.02 if "engine.dtype=bfloat16" in FAMILIES[method] else 1e-4)
        assert report.section("signal").figures["answers"] >= 64


def test_the_weights_are_as_before_and_the_seed_decides_what_is_asked(place: Path) -> None:
    first, again, other = (look("grpo", *ONLINE, seed=seed).section("reward").table for seed in (1, 1, 2))
    without_time = [[row for row in table if row[0] != "time"] for table in (first, again, other)]
    assert without_time[0] == without_time[1] != without_time[2]


def test_a_judge_is_asked_a_few_questions_and_the_number_is_said(place: Path) -> None:
    with ChatServer(lambda messages: '{"reason": "so", "score": 3}') as server:
        reward = f"reward={{use: judge, args: {{url: {server.url}, model: judge}}}}"
        report = look("grpo", *ONLINE[:2], reward, "sampling.max_tokens=4")
        section = report.section("reward")
        assert 0 < len(server.seen) <= 12 and section.figures["judge_questions"] == len(server.seen)
    assert f"was asked {len(server.seen)} questions for this check" in dict(section.table)["judge"]


def test_a_rate_below_the_precision_of_the_weights_is_broken(place: Path) -> None:
    report = look("sft", "model=chat", "data=sft.jsonl", "schedule.lr=1e-12")
    assert report.codes("broken") == ["rate-too-small"]


def test_from_python_also_where_an_event_loop_runs(place: Path) -> None:
    settings = {"model": "plain", "data": "prompts.jsonl", "reward": "digits.py:digits", "sampling": {"max_tokens": 4}}

    async def notebook() -> str:
        return postlude.check_run("grpo", prompts=4, samples=4, **settings).verdict

    assert asyncio.run(notebook()) in ("ok", "warning")
    wrong = postlude.check_run({"method": "grpo", **settings}, group_size=0)
    assert (wrong.verdict, wrong.codes("broken")) == ("broken", ["out-of-range"])
