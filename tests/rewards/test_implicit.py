"""A policy trained on preferences as a reward: its numbers by plain transformers, and every command that takes one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from postlude.check import equip
from postlude.cli.app import app
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.implicit import ImplicitScorer
from postlude.errors import ConfigError
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.runs import read

PROMPTS = [f"{a}{b}>" for a in "abcd" for b in "efgh"]
ANSWERS = ["a!", "hello", "x", "12. 34. 5", ""]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and policies trained from it: whole, as an adapter, length-normalised, and without a reference."""
    folder = tmp_path_factory.mktemp("implicit")
    save_tiny_model(folder / "model", layers=2, width=32, heads=2)
    rows = [{"prompt": p, "chosen": f"{p[0]}!", "rejected": f"{p[1]}?"} for p in PROMPTS]
    write(folder / "pairs.jsonl", rows)
    write(folder / "held.jsonl", [{**r, "prompt": r["prompt"] + ">"} for r in rows])
    write(folder / "prompts.jsonl", [{"prompt": p} for p in PROMPTS])
    train(folder, "dpo", "whole", objective={"link": {"beta": 0.3}})
    train(folder, "dpo", "adapter", {"lora": {"rank": 4}})
    train(folder, "dpo_length_normalised", "mean")
    train(folder, "simpo", "simpo")
    train(folder, "dpo", "above", {"lora": {"rank": 2}, "path": str(folder / "adapter/model")})
    train(folder, "dpo", "followed", {"reference": {"every": 3}})
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def train(place: Path, method: str, output: str, model: dict[str, Any] | None = None, **values: Any) -> None:
    launch(
        Document(
            {
                "method": method,
                "model": {"path": str(place / "model"), **(model or {})},
                "data": {"path": str(place / "pairs.jsonl")},
                "output": str(place / output),
                "steps": 6,
                "prompts_per_step": 16,
                "schedule": {"lr": 5e-3},
                **values,
            }
        )
    )


def opened(folder: Path, base: Path) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if not (folder / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(folder).eval()
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()


@torch.no_grad()
def log_ratio(place: Path, policy: str, reference: str, prompt: str, answer: str) -> list[float]:
    """Of each token of an answer and its end, by plain transformers."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    ids = tokenizer(prompt).input_ids
    said = [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    found = []
    for folder in (policy, reference):
        logits = opened(place / folder, place / "model")(torch.tensor([ids + said])).logits[0].double()
        found.append(logits.log_softmax(-1)[range(len(ids) - 1, len(ids) + len(said) - 1), said])
    return (found[0] - found[1]).tolist()


def scored(arguments: dict[str, Any], answers: list[str] = ANSWERS, prompt: str = "ae>") -> Any:
    rewards = Rewards.of([RewardSpec("implicit", args=arguments)])
    equip(rewards, None)
    group = Group(Prompt("p", prompt), tuple(Completion((), a) for a in answers))
    return asyncio.run(rewards.score([group])), rewards


@pytest.mark.parametrize(
    ("policy", "reference", "beta"),
    [("whole", "model", 0.3), ("adapter", "model", 0.1), ("above", "adapter/model", 0.1)],
)
def test_the_reward_is_betas_log_ratio_with_the_end_of_the_answer(
    place: Path, policy: str, reference: str, beta: float
) -> None:
    """Reference and beta are those of the run; an adapter on its reference is one model, any other pair are two."""
    result, rewards = scored({"policy": str(place / policy)})
    expected = [beta * sum(log_ratio(place, f"{policy}/model", reference, "ae>", a)) for a in ANSWERS]
    assert [c.reward for c in result.groups[0].completions] == pytest.approx(expected, abs=2e-5)
    assert max(map(abs, expected)) > 0.01
    (scorer,) = rewards.members[0].function.scorers  # type: ignore[union-attr]
    assert isinstance(scorer, ImplicitScorer)
    assert (scorer.model is scorer.reference) == (policy == "adapter")


@pytest.mark.parametrize("given", [None, False])
def test_a_length_normalised_run_rewards_the_mean(place: Path, given: bool | None) -> None:
    arguments = {"policy": str(place / "mean" / "model")} | ({} if given is None else {"per_token": given})
    result, _ = scored(arguments)
    ratios = [log_ratio(place, "mean/model", "model", "ae>", a) for a in ANSWERS]
    beta = yaml.safe_load((place / "mean" / "config.yaml").read_text())["objective"]["link"]["beta"]
    expected = [beta * sum(r) / (len(r) if given is None else 1) for r in ratios]
    assert [c.reward for c in result.groups[0].completions] == pytest.approx(expected, abs=2e-5)


def test_steps_add_up_to_the_whole(place: Path) -> None:
    from transformers import AutoTokenizer

    answer = "12. 34. 5"
    rewards = Rewards.of([RewardSpec("implicit", args={"policy": str(place / "whole"), "separator": "."})])
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    equip(rewards, tokenizer)
    completion = Completion((*tokenizer(answer).input_ids, tokenizer.eos_token_id), answer)
    (found,) = asyncio.run(rewards.score([Group(Prompt("p", "ae>"), (completion,))])).groups[0].completions
    ratios = [0.3 * x for x in log_ratio(place, "whole/model", "model", "ae>", answer)]
    expected = [sum(ratios[:3]), sum(ratios[3:7]), sum(ratios[7:])]  # a character is a token; the end is the last's
    assert [end for end, _ in found.steps] == [2, 6, len(completion.tokens) - 1]
    assert [value for _, value in found.steps] == pytest.approx(expected, abs=2e-5)
    assert found.reward == pytest.approx(sum(ratios), abs=2e-5)


def test_several_policies_are_an_ensemble(place: Path) -> None:
    both = {"policy": [str(place / "whole"), str(place / "adapter")], "combine": "worst", "beta": 0.5}
    result, _ = scored(both)
    members = [
        [0.5 * sum(log_ratio(place, f"{p}/model", "model", "ae>", a)) for a in ANSWERS] for p in ("whole", "adapter")
    ]
    assert [c.reward for c in result.groups[0].completions] == pytest.approx([*map(min, *members)], abs=2e-5)


def test_an_answer_of_messages_goes_through_the_policys_own_template(place: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] }}"
        "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'a:' }}{% endif %}"
    )
    policy = tmp_path / "policy"
    opened(place / "whole/model", place / "model").save_pretrained(policy)
    tokenizer.save_pretrained(policy)
    rewards = Rewards.of(
        [RewardSpec("implicit", args={"policy": str(policy), "reference": str(place / "model"), "beta": 0.3})]
    )
    equip(rewards, None)
    group = Group(Prompt("p", [{"role": "user", "content": "ae"}]), (Completion((), "b!"),))
    (found,) = asyncio.run(rewards.score([group])).groups[0].completions
    assert found.reward == pytest.approx(0.3 * sum(log_ratio(place, "whole/model", "model", "u:aea:", "b!")), abs=2e-5)


# ------------------------------------------------------------------------------------------------------ the commands


def call(*words: str) -> str:
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_eval_measures_it_on_held_out_pairs(place: Path, tmp_path: Path) -> None:
    for i, words in enumerate(
        (
            ["--reward", "implicit", "--reward-args", f"{{policy: {place}/whole}}"],
            ["--reward", f"{{use: implicit, args: {{policy: {place}/whole}}}}"],
        )
    ):
        out = tmp_path / f"eval-{i}.json"
        call("eval", *words, "--data", str(place / "held.jsonl"), "--out", str(out))
        found = json.loads(out.read_text())
        assert found["kind"] == "pair" and found["figures"]["pairs"] == len(PROMPTS)
        assert "implicit reward against" in found["model"]
        first = found["scores"][0]
        expected = [0.3 * sum(log_ratio(place, "whole/model", "model", first["prompt"], a)) for a in first["answers"]]
        assert first["scores"] == pytest.approx(expected, abs=2e-5)
        right = sum(x > y for x, y in (row["scores"] for row in found["scores"]))
        assert found["figures"]["accuracy"] == pytest.approx(right / len(PROMPTS))
        assert found["figures"]["accuracy"] > 0.5


def test_eval_of_an_ensemble_is_on_its_scale(place: Path, tmp_path: Path) -> None:
    args = f"{{policy: [{place}/whole, {place}/adapter], beta: 0.1, scale: [2, 1]}}"
    out = tmp_path / "eval.json"
    call("eval", "--reward", "implicit", "--reward-args", args, "--data", str(place / "held.jsonl"), "--out", str(out))
    found = json.loads(out.read_text())
    first = found["scores"][0]
    expected = [0.2 * sum(log_ratio(place, "whole/model", "model", first["prompt"], a)) for a in first["answers"]]
    assert first["scores"] == pytest.approx(expected, abs=2e-5)
    assert found["ensemble"] and len(found["others"]) == 1


@pytest.mark.parametrize("hard", [False, True])
def test_label_prefers_what_it_scores_higher(place: Path, tmp_path: Path, hard: bool) -> None:
    rows = [{"prompt": p, "completions": [f"{p[1]}?", f"{p[0]}!", "zz"]} for p in PROMPTS[:3]]
    write(tmp_path / "answers.jsonl", rows)
    args = ["--reward", "implicit", "--reward-args", f"{{policy: {place}/whole}}"]
    out = call("label", str(tmp_path / "answers.jsonl"), str(tmp_path / "out.jsonl"), *args, *(["--hard"] * hard))
    assert "reward implicit" in out and "pairs asked about 9 pairs written 9" in " ".join(out.split())
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(found) == 9
    for row in found[:3]:
        a, b = (
            0.3 * sum(log_ratio(place, "whole/model", "model", row["prompt"], row[s])) for s in ("chosen", "rejected")
        )
        assert a > b
        assert row.get("probability") == (
            None if hard else pytest.approx(1 / (1 + pow(2.718281828459045, b - a)), abs=1e-5)
        )


def test_pairs_best_of_n_audit_and_training_take_it(place: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    spec = f"{{use: implicit, args: {{policy: {place}/whole}}}}"
    data = ["--data", str(place / "prompts.jsonl"), "--max-tokens", "4"]
    call("pairs", str(place / "model"), *data, "--reward", spec, "-n", "4", "--out", str(tmp_path / "made.jsonl"))
    for row in map(json.loads, (tmp_path / "made.jsonl").read_text().splitlines()[:2]):
        expected = 0.3 * sum(log_ratio(place, "whole/model", "model", row["prompt"], row["chosen"]))
        assert row["chosen_score"] == pytest.approx(expected, abs=2e-5)
    best = call("sample", str(place / "model"), *data, "-n", "4", "--best-by", spec, "--json", "--limit", "2")
    one = json.loads(best.splitlines()[0])
    expected = 0.3 * sum(log_ratio(place, "whole/model", "model", one["prompt"], one["completion"]))
    assert one["reward"] == pytest.approx(expected, abs=2e-5)
    CliRunner().invoke(
        app, ["audit", spec, str(place / "held.jsonl"), "--max-tokens", "8", "--limit", "4"], catch_exceptions=False
    )
    assert json.loads((tmp_path / "audit-implicit.json").read_text())["rewards"][0]["reward"] == "implicit"
    done = launch(
        Document(
            {
                "method": "grpo",
                "model": str(place / "model"),
                "data": str(place / "prompts.jsonl"),
                "reward": [{"use": "implicit", "args": {"policy": str(place / "whole")}, "cache": True}],
                "output": str(tmp_path / "run"),
                "steps": 1,
                "prompts_per_step": 2,
                "group_size": 2,
                "sampling": {"max_tokens": 4},
            }
        )
    )
    row = read(done.folder).rollouts[1][0]
    expected = 0.3 * sum(log_ratio(place, "whole/model", "model", row["prompt"], row["completion"]))
    assert row["reward"] == pytest.approx(expected, abs=2e-5)


# -------------------------------------------------------------------------------------------------------- the check


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"policy": "{place}/nowhere"}, ["is no run, so what it was trained from", "its beta is not known"]),
        ({"policy": "{place}/nowhere", "reference": "{place}/model", "beta": 1.0}, ["policy: '", "does not exist"]),
        ({"policy": "{place}/whole", "reference": "{place}/none"}, ["reference: '", "does not exist"]),
        ({"policy": "{place}/model", "reference": "{place}/model", "beta": 0.1}, ["the reward would always be 0"]),
        ({"policy": "{place}/simpo"}, ["is no run of the DPO family, so its beta is not known"]),
        ({"policy": "{place}/followed"}, ["was refreshed while it trained"]),
        ({"policy": "{place}/whole", "beta": 0.0}, ["beta must be positive, got 0"]),
        ({"policy": "{place}/whole", "reference": "{place}/other"}, ["tokenizers", "differ"]),
        ({"policy": "{place}/whole", "reference": "{place}/scorer"}, ["is a reward model, which writes nothing"]),
        ({"policy": []}, ["must be a folder or a list of folders"]),
        ({"policy": ["{place}/whole", "{place}/adapter"], "separator": "."}, ["by one policy, not by several"]),
        ({"policy": "{place}/whole", "betta": 1}, ["has no argument 'betta'; did you mean 'beta'?"]),
        ({}, ["policy"]),
    ],
)
def test_what_cannot_be_right_is_refused_before_weights(
    place: Path, arguments: dict[str, Any], said: list[str]
) -> None:
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    config = AutoConfig.from_pretrained(place / "model")
    for name in ("other", "scorer"):
        config.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "<eos>": 1}, "a")))
    other.add_special_tokens({"eos_token": "<eos>"})
    other.save_pretrained(place / "other")
    config.architectures, config.num_labels = ["Qwen3ForSequenceClassification"], 1
    config.save_pretrained(place / "scorer")

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [*map(filled, value)]
        return value.format(place=place) if isinstance(value, str) else value

    with pytest.raises(ConfigError) as refused:
        Rewards.of([RewardSpec("implicit", args={k: filled(v) for k, v in arguments.items()})])
    text = " ".join(refused.value.problems)
    assert all(part in text for part in said), text


def test_eval_without_a_model_wants_a_reward_that_is_one(place: Path) -> None:
    data = ["--data", str(place / "held.jsonl")]
    for words, said in (
        ([], "give MODEL, or a reward model to measure as --reward"),
        (["--reward", "exact"], "--reward must be one reward model here"),
        ([str(place / "model")], "--reward implicit --reward-args '{policy: "),
        (["--reward", "{use: implicit, args: {policy: x}}", "--reward-args", "{beta: 1}"], "give them in one place"),
        (["--reward", "{use: implicit, argz: {}}"], "unknown key 'reward.0.argz'"),
    ):
        with pytest.raises(ConfigError) as refused:
            CliRunner().invoke(app, ["eval", *words, *data], catch_exceptions=False)
        assert said in " ".join(refused.value.problems)
