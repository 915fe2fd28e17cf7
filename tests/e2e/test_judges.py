"""Whole runs under a judge behind a real server: what it likes rises, nothing is asked twice, faults cost nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from postlude.errors import RewardError
from postlude.runs import read
from tests.cases import JUDGES, judge, likes_dots
from tests.judging import Bad, ChatServer, Messages
from tests.learning import Case, chosen, figures, keeps, run, weights


@pytest.mark.parametrize("case", chosen(JUDGES, "dots-score"))
def test_what_the_judge_likes_rises(world: Path, case: Case) -> None:
    done = keeps(case, world).run
    first = figures(done, "step")[0]
    assert first["judge/calls"] > 0 and first["judge/unreadable"] == 0
    start = figures(done, "start")[0]
    assert any("reward judge: j at http" in line and "questions" in line for line in start["data"])


def test_a_resumed_run_asks_nothing_twice(world: Path) -> None:
    settings = {"prompts_per_step": 4, "data": {"path": str(world / "prompts.jsonl")}, "checkpoint_every": 2}
    with ChatServer(likes_dots) as server:
        whole = run(world, "grpo", "sft/model", reward=judge(server), output="judged-whole", steps=6, **settings)
    with ChatServer(likes_dots) as server:
        own = {**settings, "output": "judged-cut"}
        with pytest.raises(RewardError, match=r"max_calls is \d+; \d+ were spent"):
            run(world, "grpo", "sft/model", reward=judge(server, max_calls=120), steps=6, **own)
        before = len(server.seen)
        again = run(world, "grpo", "sft/model", True, reward=judge(server), steps=6, **own)
        texts = [json.dumps(body["messages"]) for body in server.seen]
    # a question that is under way when the cap stops the run is broken off, and asked again
    assert before <= 120 and len(texts) - len(set(texts)) <= 8, "what was answered is not asked again"
    for key, value in weights(whole.folder).items():
        assert torch.equal(value, weights(again.folder)[key]), key


def test_a_step_with_too_many_answers_unscored_is_not_trained(world: Path) -> None:
    def moody(messages: Messages) -> str:
        return "no" if len(server.seen) > 60 else likes_dots(messages)

    settings = {"prompts_per_step": 4, "data": {"path": str(world / "prompts.jsonl")}, "steps": 8, "output": "moody"}
    with ChatServer(moody) as server, pytest.raises(RewardError, match="judge"):
        run(world, "grpo", "sft/model", reward=judge(server, canary_limit=None), **settings)
    assert any("nothing of this step is trained on" in note for note in read(world / "moody").notes)


def test_a_bad_key_stops_at_once(world: Path) -> None:
    settings = {"prompts_per_step": 4, "data": {"path": str(world / "prompts.jsonl")}, "steps": 2, "output": "keyless"}
    with ChatServer(always=Bad(401)) as server, pytest.raises(RewardError, match="Set OPENAI_API_KEY"):
        run(world, "grpo", "sft/model", reward=judge(server), **settings)
    assert len(server.seen) <= 40, "what was under way, nothing after it"


def test_direct_rlaif_with_a_model_in_this_process(world: Path) -> None:
    (world / "pairs.jinja").write_text("{{ prompt }}{{ first }}|{{ second }}>")
    args = {"model": str(world / "sft"), "mode": "pairs", "read": "likelihood", "canary_limit": None}
    reward = [{"use": "judge", "args": {**args, "template": str(world / "pairs.jinja")}}]
    settings = {"prompts_per_step": 4, "data": {"path": str(world / "prompts.jsonl")}, "steps": 2, "output": "direct"}
    done = run(world, "grpo", "sft/model", reward=reward, **settings)
    assert 0 <= figures(done, "step")[0]["reward/judge"] <= 1
    assert any("judges tend to like their own kind" in line for line in figures(done, "start")[0]["data"])
