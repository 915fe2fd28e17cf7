"""Small runs of many kinds: a model of a few thousand weights, answers of a few tokens, six steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postlude.models.quiet import quiet
from postlude.models.tiny import save_tiny_model
from postlude.plain_yaml import dump

REWARDS = """
def parity(completions):
    return [float(sum(map(ord, c)) % 2) for c in completions]

def tells(completions, log_extra, log_metric):
    for name in ("first", "second", "third"):
        log_extra(name, [len(c) for c in completions])
        log_metric(name, float(len(completions)))
    return parity(completions)

def lines(steps):
    return [[float(len(s) % 2) for s in row] for row in steps]

def even(prompts):
    return [float(sum(map(ord, p)) % 2) for p in prompts]

def fades(prompts, completions, trainer_state):
    return parity(completions) if trainer_state.global_step < 2 else even(prompts)

def awakes(prompts, completions, trainer_state):
    return parity(completions) if trainer_state.global_step > 4 else even(prompts)
"""
PARITY = {"use": "mine.py:parity", "outcome": True}
"""Says right or wrong of any answer, each about half of the time."""
TELLS = {"use": "mine.py:tells", "outcome": True}
STEPS = {"use": "mine.py:lines", "steps": "="}
ONLINE: dict[str, Any] = {"reward": [PARITY]}
BEST = {"best": "sampled/accuracy"}
FOLLOWS = {"every": 3}
ADAPTIVE = {"kind": "proportional", "target": 0.01, "unit": "token", "horizon": 50}


@dataclass(frozen=True)
class Family:
    """A kind of run."""

    name: str
    method: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    code: int = 0
    """With which its run ends."""
    judged: bool = False
    """Its answers are judged by a chat server, whose address is put in the place of its reward."""

    def shorter(self) -> Family:
        """Three steps, a checkpoint after each: what every operation of it is tried on."""
        return replace(self, values=_joined(self.values, {"steps": 3, "checkpoints": {"every": 1}}))

    def recipe(self, url: str | None = None) -> dict[str, Any]:
        """The whole recipe, for a folder that `make_world` filled."""
        base: dict[str, Any] = {
            "method": self.method,
            "model": {"path": "model"},
            "data": {"path": "prompts.jsonl", "eval": "eval.jsonl"},
            "output": "run",
            "steps": 6,
            "prompts_per_step": 3,
            "group_size": 3,
            "sampling": {"max_tokens": 6, "stop": [*"abcdefg12345"]},
            "schedule": {"lr": 0.01},
            "evaluate": {"every": 2, "prompts": 2},
            "checkpoints": {"every": 2, "keep": 2},
            "engine": {"threads": 1},
        }
        if self.judged:
            base["reward"] = [{"use": "judge", "args": {"url": url, "model": "j", "pause": 0.001}}]
        return _joined(base, self.values)


def _joined(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in more.items():
        inner = result.get(key)
        result[key] = _joined(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def written(file: str, **values: Any) -> dict[str, Any]:
    """Settings of a method that learns from written answers."""
    return {"data": {"path": file, "eval": file.replace(".jsonl", "-eval.jsonl")}, "reward": [], **values}


def adapted(**values: Any) -> dict[str, Any]:
    """Settings of an online method under LoRA."""
    return {**ONLINE, "model": {"path": "model", "lora": {"rank": 2}}, **values}


FAMILIES = {
    family.name: family
    for family in (
        Family("sft", "sft", written("written.jsonl")),
        Family("dpo", "dpo", written("pairs.jsonl")),
        Family("reward model", "reward_model", written("pairs.jsonl")),
        Family("grpo", "grpo", {**ONLINE, "objective": {"kl": {"coef": 0.01}}, "checkpoints": BEST}),
        Family(
            "dapo, carried groups",
            "dapo",
            {**ONLINE, "keep": {"max_rounds": 4}, "group_size": 2},
        ),
        Family("ppo, own critic", "ppo", {**ONLINE, "critic": {"form": "own", "warmup": 1}, "updates": 2}),
        Family(
            "adaptive KL, epochs",
            "grpo",
            {**ONLINE, "objective": {"kl": {"coef": 0.05}}, "kl_control": ADAPTIVE, "updates": 2, "epochs": 2},
        ),
        Family(
            "ppo_ptx",
            "ppo_ptx",
            {**ONLINE, "critic": {"form": "trunk"}, "pretrain": {"path": "text.jsonl", "rows": 4}, "epochs": 2},
        ),
        Family("drpo", "drpo", {**ONLINE, "updates": 2}),
        Family("hapo", "hapo", ONLINE),
        Family("LoRA", "grpo", adapted()),
        Family("LoRA on an adapter", "grpo", adapted(model={"path": "adapter", "lora": {"rank": 3}})),
        Family("bf16", "grpo", {**ONLINE, "model": {"path": "model"}, "engine": {"dtype": "bfloat16", "threads": 1}}),
        Family("max_lag 1", "grpo", {**ONLINE, "max_lag": 1}),
        Family(
            "process rewards",
            "grpo_process",
            {"reward": [STEPS, {**PARITY, "weight": 0}]},
        ),
        Family("judge with a cache", "grpo", {}, judged=True),
        Family("online dpo", "online_dpo", {"reward": [TELLS], "group_size": 4}),
        Family("gradient checkpointing", "grpo", {**ONLINE, "engine": {"gradient_checkpointing": True, "threads": 1}}),
        Family("signal that fades", "grpo", {"reward": [{"use": "mine.py:fades"}]}),
        Family("signal that awakes", "grpo", {"reward": [{"use": "mine.py:awakes"}]}),
        Family("no signal", "grpo", {"reward": [{"use": "mine.py:even"}]}, code=2),
        Family("refreshed reference", "dpo", written("pairs.jsonl", model={"path": "model", "reference": FOLLOWS})),
    )
}


def make_world(place: Path) -> None:
    """A model, an adapter on it, rows of every kind, and a file of rewards, in an empty folder."""
    place.mkdir(parents=True, exist_ok=True)
    with quiet():
        save_tiny_model(place / "model", layers=1, width=16, heads=2, spread=0.5)
        _save_adapter(place / "model", place / "adapter")
    (place / "mine.py").write_text(REWARDS)
    for name, rows in _rows().items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:-3]))
        (place / f"{name}-eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[-3:]))
    (place / "prompts-eval.jsonl").rename(place / "eval.jsonl")


def _rows() -> dict[str, list[dict[str, Any]]]:
    sums = [(f"{a}+{b}=", str(a + b)) for a in range(4) for b in range(4)]
    return {
        "prompts": [{"prompt": p, "answer": a} for p, a in sums],
        "written": [{"prompt": p, "completion": a} for p, a in sums],
        "pairs": [{"prompt": p, "chosen": a, "rejected": a + "7"} for p, a in sums],
        "text": [{"text": p + a} for p, a in sums],
    }


def _save_adapter(model: Path, target: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_pretrained(model)
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(net, settings).save_pretrained(target)
    AutoTokenizer.from_pretrained(model).save_pretrained(target)


def write_recipe(place: Path, family: Family, url: str | None = None) -> None:
    """recipe.yaml of a family in the folder of a world."""
    (place / "recipe.yaml").write_text(dump(family.recipe(url)))
