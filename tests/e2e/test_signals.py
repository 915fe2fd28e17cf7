"""What a method asks of its rewards and its sampler is there, or the check says so; runs with it have right numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from postlude.check import check
from postlude.errors import ConfigError, RewardError
from postlude.launch import launch
from postlude.models.heads import VALUE_HEAD
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.events import Event, Step
from postlude.runs.folder import Run
from tests.refusals import refused

BODY = """
def marks(completions):
    return [0.2 + 0.3 * (sum(map(ord, c)) % 3) for c in completions]

def parity(completions):
    return [float(sum(map(ord, c)) % 2) for c in completions]

def graded(completions):
    return [0.5 * (sum(map(ord, c)) % 2) for c in completions]

def half(completions):
    return [0.5 if c else 0.25 for c in completions]

def lines(steps):
    return [[float(len(s) % 2) for s in row] for row in steps]

def tokens(completion_ids):
    return [[float(i % 3) / 3 for i in ids] for ids in completion_ids]

def texts(prefixes, completions):
    assert all(not p or p[-1] == c for p, c in zip(prefixes, completions))
    return [[float("1" in text) for text in row] for row in prefixes]
"""
SCORES = {"use": "mine.py:marks", "outcome": False}
"""A reward that does not say what is right."""
LINES = {"use": "mine.py:lines", "steps": "1"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"prompt": f"{i}=", "answer": str(i)} for i in range(20)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:16]))
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[16:]))
    (tmp_path / "mine.py").write_text(BODY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(model: Path, method: str, reward: Any, **values: Any) -> Document:
    base = {
        "method": method,
        "model": {"path": str(model)},
        "data": {"path": "prompts.jsonl"},
        "reward": [*reward] if isinstance(reward, list) else [reward],
        "output": "run",
        "steps": 2,
        "prompts_per_step": 4,
        "group_size": 4,
        "sampling": {"max_tokens": 6},
        "schedule": {"lr": 1e-3},
        "checkpoint_every": 0,
    }
    return Document({**base, **values})


def problems(model: Path, method: str, reward: Any, **values: Any) -> str:
    with pytest.raises(ConfigError) as error:
        check(document(model, method, reward, **values))
    return str(error.value)


def steps_of(run: Run) -> list[dict[str, Any]]:
    return [*read(run.folder).of("step")]


def answers_of(run: Run) -> list[dict[str, Any]]:
    return read(run.folder).rollouts.all()


# ------------------------------------------------------------------------------------------------ right or wrong


@pytest.mark.parametrize(
    ("method", "reader"),
    [
        ("drpo", "method drpo"),
        ("disco", "method disco"),
        ("disco_ratio", "method disco_ratio"),
        ("drpo_value", "method drpo_value"),
        ("rloo_lp", "shaping rloo_length"),
        ("alp", "shaping adaptive_length"),
        ("hapo", "shaping history_length"),
    ],
)
def test_who_must_know_what_is_correct_is_told_before_the_run(
    method: str, reader: str, place: Path, model_folder: Path
) -> None:
    for reward in (SCORES, {"use": "length", "args": {"limit": 6}}):
        said = problems(model_folder, method, reward)
        assert f"{reader} must know which answers are correct" in said and "Set correct_above" in said
    check(document(model_folder, method, SCORES, correct_above=0.5))
    check(document(model_folder, method, [SCORES, {"use": "exact", "weight": 0, "outcome": True}]))


def test_an_end_by_accuracy_needs_accuracy(place: Path, model_folder: Path) -> None:
    values = {"data": {"path": "prompts.jsonl", "eval": "eval.jsonl"}, "evaluate": {"stop_at": 0.9}}
    assert "evaluate.stop_at must know" in problems(model_folder, "grpo", SCORES, **values)
    check(document(model_folder, "grpo", SCORES, correct_above=0.5, **values))


def test_a_threshold_on_relative_numbers_or_none_at_all(place: Path, model_folder: Path) -> None:
    relative = {**SCORES, "normalise": "group"}
    assert "reward marks is normalised" in problems(model_folder, "drpo", relative, correct_above=0.0)
    for wrong in (math.nan, math.inf):
        assert "correct_above must be a finite number" in problems(model_folder, "drpo", SCORES, correct_above=wrong)


@pytest.mark.parametrize("method", ["drpo", "drpo_value", "rloo_lp", "rft", "dapo"])
def test_a_threshold_decides_by_the_reward_before_shaping(method: str, place: Path, model_folder: Path) -> None:
    run = launch(document(model_folder, method, SCORES, correct_above=0.4))
    rows = answers_of(run)
    assert {r["correct"] for r in rows} == {True, False}
    assert all(r["correct"] == (r["scores"]["marks"] > 0.4) for r in rows)
    assert all(s["grad_norm"] > 0 for s in steps_of(run)), "and something is learnt"
    assert all(0 < s["sampled_accuracy"] < 1 for s in steps_of(run))


def test_held_out_accuracy_is_by_the_same_threshold_and_a_resumed_run_keeps_it(place: Path, model_folder: Path) -> None:
    values = {"data": {"path": "prompts.jsonl", "eval": "eval.jsonl"}, "correct_above": 0.4, "steps": 4}
    whole = launch(document(model_folder, "drpo", SCORES, **values))
    assert "sampled/accuracy" in read(whole.folder).evals[0]
    launch(document(model_folder, "drpo", SCORES, **{**values, "steps": 2, "output": "parts"}))
    again = launch(document(model_folder, "drpo", SCORES, **{**values, "output": "parts"}), resume=True)
    assert steps_of(whole)[2:] == steps_of(again)[2:]


def test_a_run_in_which_nobody_says_what_is_correct_stops(place: Path, model_folder: Path) -> None:
    with refused("reward-abstains", said="reward half called none of 16 answers right", kind=RewardError) as error:
        launch(document(model_folder, "drpo", {"use": "mine.py:half"}, steps=6))
    assert "3 steps in a row" in str(error.value) and "set correct_above" in str(error.value)


def test_answers_that_are_neither_right_nor_wrong_are_told_and_named_as_the_cause(
    place: Path, model_folder: Path
) -> None:
    """Once a run, also of one that was killed and taken up again."""
    done = launch(document(model_folder, "drpo", {"use": "mine.py:graded"}, steps=3))
    assert done.failed
    settings = {"checkpoint_every": 1, "steps": 3}
    whole = launch(document(model_folder, "drpo", {"use": "mine.py:graded"}, output="whole", **settings))

    def kill(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            raise KeyboardInterrupt

    parts = document(model_folder, "drpo", {"use": "mine.py:graded"}, output="parts", **settings)
    with pytest.raises(KeyboardInterrupt):
        launch(parts, listeners=[kill])
    again = launch(parts, resume=True)
    assert (again.folder / "events.jsonl").read_text() == (whole.folder / "events.jsonl").read_text()
    notes = read(done.folder).notes
    assert sum("answers are neither right (1 or more) nor wrong (0 or less)" in text for text in notes) == 1
    assert any("no prompt had right answers beside wrong ones, and some answers were neither" in text for text in notes)
    assert all(0 < step["neither_frac"] < 1 for step in steps_of(done))


# ------------------------------------------------------------------------------------------------ steps and tokens


@pytest.mark.parametrize(
    "method", ["grpo", "reinforce", "rloo", "drpo_value", "gspo_token", "dapo", "rft", "online_dpo"]
)
def test_who_trains_on_one_number_is_told_that_steps_are_lost(method: str, place: Path, model_folder: Path) -> None:
    for reward in (LINES, {"use": "mine.py:tokens", "tokens": True}):
        said = problems(model_folder, method, reward)
        assert f"{method} trains on one number for an answer: the steps would be lost" in said
        check(document(model_folder, method, {**reward, "whole": "mean"}))
        check(document(model_folder, method, [{**reward, "weight": 0}, {"use": "mine.py:parity"}]))


def test_who_reads_steps_only_is_told_of_what_it_would_not_see(place: Path, model_folder: Path) -> None:
    parity = {"use": "mine.py:parity"}
    assert "reward parity is of whole answers" in problems(model_folder, "grpo_process", [LINES, parity])
    assert "shaping overlong changes" in problems(model_folder, "grpo_process", LINES, shaping=[{"kind": "overlong"}])
    assert "needs rewards of steps" in problems(model_folder, "grpo_process", [{**LINES, "weight": 0}, parity])
    check(document(model_folder, "grpo_process", [LINES, {**parity, "weight": 0}, {**parity, "name": "g", "gate": 0}]))
    assert "which it would not reach" in problems(model_folder, "ppo", LINES, shaping=[{"kind": "plus_minus_one"}])
    check(document(model_folder, "ppo", LINES, shaping=[{"kind": "overlong"}]))


@pytest.mark.parametrize(
    "reward",
    [LINES, {"use": "mine.py:tokens", "tokens": True}, {"use": "mine.py:texts", "tokens": True}],
    ids=["steps", "tokens", "prefixes"],
)
def test_ppo_is_paid_step_by_step(reward: dict[str, Any], place: Path, model_folder: Path) -> None:
    """A new critic says 0 and the policy is still its reference, so returns are rewards to go (lam 1)."""
    advantage = {"kind": "gae", "lam": 1.0, "kl_coef": 0.05}
    values = {"steps": 1, "objective": {"advantage": advantage}, "updates": 1}
    run = launch(document(model_folder, "ppo", [reward, {"use": "mine.py:parity"}], **values))
    total, count = 0.0, 0
    for row in answers_of(run):
        paid = [0.0] * len(row["tokens"])
        for end, number in row.get("steps", []):
            paid[end] += number
        assert row["reward"] == pytest.approx(row["whole"] + row["scores"][reward["use"].split(":")[1]])
        assert row["whole"] == row["scores"]["parity"]
        paid[-1] += row["whole"]
        total += sum(sum(paid[t:]) for t in range(len(paid)))
        count += len(paid)
    assert steps_of(run)[0]["return/mean"] == pytest.approx(total / count, rel=1e-4)


def test_a_process_model_and_a_reward_model_of_prefixes(place: Path, model_folder: Path) -> None:
    labelled = [
        {"prompt": f"{i}=", "completions": ["12\n", "34\n", "5"], "labels": [True, i % 2 > 0, False]} for i in range(16)
    ]
    (place / "steps.jsonl").write_text("".join(json.dumps(r) + "\n" for r in labelled))
    pairs = [{"prompt": f"{i}=", "chosen": "12", "rejected": "a"} for i in range(16)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in pairs))
    for method, data in (("reward_model_process", "steps"), ("reward_model", "pairs")):
        launch(document(model_folder, method, [], data={"path": f"{data}.jsonl"}, output=data, steps=1))
    process = {"use": "process_model", "args": {"path": "steps", "separator": "1"}}
    every = {"use": "model", "args": {"path": "pairs", "prefixes": True}}
    assert "the steps would be lost" in problems(model_folder, "grpo", process)
    assert "the steps would be lost" in problems(model_folder, "grpo", every)
    check(document(model_folder, "grpo", {**process, "args": {**process["args"], "combine": "min"}}))
    for method in ("ppo", "reinforce_pp", "grpo_process"):
        run = launch(document(model_folder, method, process, output=method))
        assert all(s["grad_norm"] > 0 for s in steps_of(run))
        rows = [r for r in answers_of(run) if r.get("steps")]
        assert all(0 < p < 1 for r in rows for _, p in r["steps"])
        assert all(r["scores"]["process_model"] == pytest.approx(math.prod(p for _, p in r["steps"])) for r in rows)
    run = launch(document(model_folder, "reinforce_pp", every, output="every"))
    for row in answers_of(run):
        assert [end for end, _ in row["steps"]] == [*range(len(row["tokens"]))]
        assert row["reward"] == row["steps"][-1][1], "the last prefix is the answer"
    plain = launch(document(model_folder, "reinforce_pp", {"use": "model", "args": {"path": "pairs"}}, output="plain"))
    assert answers_of(run)[0]["reward"] == pytest.approx(answers_of(plain)[0]["reward"], abs=1e-5)


def test_step_rewards_survive_a_stop_in_mid_draw(place: Path, model_folder: Path) -> None:
    values = {"group_size": 2, "keep": {"kind": "mixed", "max_rounds": 3}, "steps": 4}
    whole = launch(document(model_folder, "reinforce_pp", LINES, output="whole", **values))
    launch(document(model_folder, "reinforce_pp", LINES, output="parts", **{**values, "steps": 2}))
    again = launch(document(model_folder, "reinforce_pp", LINES, output="parts", **values), resume=True)
    assert steps_of(whole)[2:] == steps_of(again)[2:]
    one, other = (load_file(r.folder / "model" / "model.safetensors") for r in (whole, again))
    assert all((value == other[key]).all() for key, value in one.items())
    assert VALUE_HEAD not in one


# ------------------------------------------------------------------------------------------------ the sampler's share


PARITY = {"use": "mine.py:parity"}


@pytest.mark.parametrize(
    ("method", "change", "key"),
    [
        ("grpo", {}, "objective.correction"),
        ("ppo", {}, "objective.correction"),
        ("rft_online", {}, "objective.correction"),
        ("dppo", {}, "objective.behaviour"),
        ("grpo", {"objective": {"correction": None, "off_policy_mask": {"delta": 0.5}}}, "objective.off_policy_mask"),
        ("grpo", {"objective": {"correction": None, "kl": {"against": "rollout"}}}, "objective.kl"),
    ],
)
@pytest.mark.parametrize(("name", "value"), [("top_p", 0.5), ("top_k", 5)])
def test_log_probs_of_a_part_are_not_compared_with_those_of_the_whole(
    name: str, value: float, method: str, change: dict[str, Any], key: str, place: Path, model_folder: Path
) -> None:
    said = problems(model_folder, method, PARITY, sampling={"max_tokens": 6, name: value}, **change)
    assert f"sampling.{name} is {value:g}: the sampler's log-probs are then of the tokens it keeps" in said
    assert f"({key}) would take the difference for a change of the policy" in said


@pytest.mark.parametrize("method", ["grpo", "drpo", "rft", "ppo", "online_dpo"])
@pytest.mark.parametrize("sampling", [{"top_k": 1}, {"top_k": 1, "top_p": 0.9}, {"temperature": 0}])
def test_answers_that_cannot_differ(method: str, sampling: dict[str, Any], place: Path, model_folder: Path) -> None:
    said = problems(model_folder, method, PARITY, sampling={"max_tokens": 6, **sampling})
    assert "would be the same" in said


@pytest.mark.parametrize(
    ("method", "change", "told"),
    [("grpo", {"objective": {"correction": None}}, True), ("drpo", {}, True), ("rft", {}, False)],
)
def test_where_nothing_compares_the_figure_is_left_out_and_said(
    method: str, change: dict[str, Any], told: bool, place: Path, model_folder: Path
) -> None:
    cut = document(model_folder, method, PARITY, sampling={"max_tokens": 6, "top_p": 0.5}, **change)
    assert any("nothing corrects for that" in note for note in check(cut).notes) == told
    run = launch(document(model_folder, method, PARITY, sampling={"max_tokens": 6, "top_p": 0.5}, **change))
    assert not [name for s in steps_of(run) for name in s if name.startswith("mismatch")]
    whole = launch(document(model_folder, method, PARITY, output="whole", **change))
    assert all(abs(s["mismatch/k1"]) < 1e-5 for s in steps_of(whole)), "equal weights, equal log-probs"


def test_a_goal_that_no_figure_can_reach_is_said_and_costs_no_step(place: Path, model_folder: Path) -> None:
    values = {"data": {"path": "prompts.jsonl", "eval": "eval.jsonl"}, "evaluate": {"stop_at": 0.9}, "steps": 4}
    two = [{"use": "mine.py:half"}, {"use": "mine.py:parity"}]
    run = launch(document(model_folder, "grpo", two, **values))
    assert any("evaluate.stop_at can end nothing" in note for note in read(run.folder).notes)
    assert len(steps_of(run)) == 4 and any(s["grad_norm"] > 0 for s in steps_of(run))
