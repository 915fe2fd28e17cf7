"""What `postlude memory` says against what the kernel saw: `make memory-check`, or with names of settings.

Each setting is a run of `postlude.train` in a process of its own. What is predicted is printed before the run begins.
Measured is the peak of the process's resident memory (VmHWM in /proc/self/status), minus that of the same run with a
model of a few thousand parameters, in which every library is loaded and every kind of operation has been used once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import memory_report as report

REAL = Path(os.environ.get("MODEL", ".models/smollm2"))
"""Made by `make real-model`; its run is left out where it is not there."""
REWARD = """\
import hashlib


def score(completions):
    return [hashlib.sha256(text.encode()).digest()[0] / 255 for text in completions]
"""
SHAPES: Mapping[str, dict[str, Any]] = {
    "nothing": dict(kind="llama", vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=8),
    "llama-8M": dict(kind="llama", vocab_size=8000, hidden_size=256, intermediate_size=704, num_hidden_layers=8,
                     num_attention_heads=8, num_key_value_heads=4, head_dim=32),
    "qwen3-48M": dict(kind="qwen3", vocab_size=16000, hidden_size=512, intermediate_size=1408, num_hidden_layers=14,
                      num_attention_heads=8, num_key_value_heads=2, head_dim=64),
    "llama-95M": dict(kind="llama", vocab_size=32000, hidden_size=768, intermediate_size=2048, num_hidden_layers=10,
                      num_attention_heads=12, num_key_value_heads=12, head_dim=64),
    "gpt2-22M": dict(kind="gpt2", vocab_size=10000, n_embd=384, n_layer=10, n_head=6, n_positions=1024),
    "qwen3-259M": dict(kind="qwen3", vocab_size=32000, hidden_size=1024, intermediate_size=3584, num_hidden_layers=16,
                       num_attention_heads=16, num_key_value_heads=8, head_dim=64),
}  # fmt: skip
"""Random weights of these; their numbers of parameters are in their names."""


@dataclass(frozen=True)
class Case:
    """A run."""

    name: str
    model: str
    method: str
    prompt: int
    answer: int
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fitted: bool = False
    """Whether a constant was fitted on it: `HEAP` of `sizing/estimate.py`."""


CASES = (
    Case("sft", "llama-8M", "sft", 60, 196, {"prompts_per_step": 12}, fitted=True),
    Case("dpo", "qwen3-48M", "dpo", 100, 120, {"prompts_per_step": 6}, fitted=True),
    Case("sft, long rows, checkpointing", "qwen3-48M", "sft", 40, 900,
         {"prompts_per_step": 3, "engine.gradient_checkpointing": True}, fitted=True),
    Case("sft, GPT-2", "gpt2-22M", "sft", 60, 196, {"prompts_per_step": 6}, fitted=True),
    Case("dpo, LoRA, GPT-2", "gpt2-22M", "dpo", 60, 80, {"prompts_per_step": 5, "model.lora.rank": 16}),
    Case("dpo, LoRA, checkpointing", "qwen3-48M", "dpo", 40, 200,
         {"prompts_per_step": 4, "model.lora.rank": 16, "engine.gradient_checkpointing": True}),
    Case("sft, bf16", "llama-8M", "sft", 60, 160, {"prompts_per_step": 6, "engine.dtype": "bfloat16"}),
    Case("grpo", "qwen3-48M", "grpo", 100, 60, {"prompts_per_step": 3, "group_size": 8}),
    Case("grpo, LoRA", "qwen3-48M", "grpo", 100, 60,
         {"prompts_per_step": 4, "group_size": 8, "model.lora.rank": 16}),
    Case("grpo, no reference", "llama-95M", "grpo", 30, 60,
         {"prompts_per_step": 2, "group_size": 6, "objective.kl": None}),
    Case("grpo, short rows, max_lag 1", "llama-8M", "grpo", 20, 40,
         {"prompts_per_step": 8, "group_size": 8, "max_lag": 1}),
    Case("grpo, several passes", "llama-95M", "grpo", 100, 60,
         {"prompts_per_step": 3, "group_size": 6, "engine.token_budget": 512}),
    Case("ppo, a critic of its own", "llama-8M", "ppo", 60, 100, {"prompts_per_step": 12}),
    Case("ppo, the critic on the trunk", "qwen3-48M", "ppo", 60, 100, {"prompts_per_step": 8, "critic.form": "trunk"}),
    Case("reward model", "llama-95M", "reward_model", 60, 100, {"prompts_per_step": 4}),
    Case("sft, LoRA, 259M", "qwen3-259M", "sft", 60, 196, {"prompts_per_step": 3, "model.lora.rank": 16}),
    Case("grpo, LoRA, SmolLM2-135M", "real", "grpo", 100, 48,
         {"prompts_per_step": 3, "group_size": 8, "model.lora.rank": 16}),
)  # fmt: skip


# ------------------------------------------------------------------------------------------------- worlds


def words(count: int) -> Any:
    """A tokenizer of so many words, a token each."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(count - 3))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def make_model(name: str, folder: Path) -> None:
    """Random weights of a shape as a Hugging Face folder, with a tokenizer of as many words."""
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    kinds = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
        "gpt2": (GPT2Config, GPT2LMHeadModel),
    }
    values = dict(SHAPES[name])
    config_class, model_class = kinds[values.pop("kind")]
    if config_class is GPT2Config:
        values |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    else:
        values |= {"max_position_embeddings": 2048, "tie_word_embeddings": True}
    torch.manual_seed(0)
    ends = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    model_class(config_class(**values, **ends)).save_pretrained(folder)
    words(values["vocab_size"]).save_pretrained(folder)


def make_rows(case: Case, tokens: int, file: Path) -> None:
    """Prompts and answers of random words, all of the same lengths."""
    import random

    draw = random.Random(0)

    def text(length: int) -> str:
        return " ".join(f"w{draw.randrange(tokens - 4)}" for _ in range(length))

    rows: list[dict[str, str]] = []
    for _ in range(64):
        row = {"prompt": text(case.prompt)}
        if case.method in ("dpo", "reward_model"):
            row |= {"chosen": text(case.answer - 1), "rejected": text(case.answer - 1)}
        elif case.method == "sft":
            row |= {"completion": text(case.answer - 1)}
        rows.append(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe_of(case: Case, place: Path, tiny: bool) -> list[str]:
    """KEY=VALUE of the run."""
    model = place / "nothing" if tiny else REAL.resolve() if case.model == "real" else place / case.model
    values: dict[str, Any] = {
        "model.path": str(model),
        "data.path": str(place / f"{'tiny' if tiny else case.name}.jsonl"),
        "steps": 2,
        "output": str(place / f"run-{case.name}-{tiny}"),
        "engine.threads": 1,
        "sampling.max_tokens": case.answer,
        **({"reward": [{"use": str(place / "reward.py") + ":score"}]} if case.method in ("grpo", "ppo") else {}),
        **case.settings,
    }
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


# ------------------------------------------------------------------------------------------------- measuring


def status(name: str) -> int:
    """Bytes that the kernel counts for this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def measured(method: str, overrides: Sequence[str]) -> dict[str, Any]:
    """A run here, and the most that the process held: of all, and from each phase to the next."""
    import postlude
    from postlude.api import document_from
    from postlude.launch import launch
    from postlude.recipe.documents import override
    from postlude.recipe.opening import key_of

    assert postlude
    phases: dict[str, int] = {}
    last = "start"

    def watch(event: Any) -> None:
        nonlocal last
        if event.kind == "phase":
            phases[last] = max(phases.get(last, 0), status("VmHWM"))
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            last = event.phase

    document = document_from(method, {})
    override(document, list(overrides), key_of)
    launch(document, listeners=[watch])
    phases[last] = max(phases.get(last, 0), status("VmHWM"))
    return {"peak": max(phases.values()), "phases": phases}


def in_a_process(method: str, overrides: Sequence[str]) -> dict[str, Any]:
    """`measured` in a process of its own."""
    command = [sys.executable, "-m", "bench.memory_check", "--one", method, *overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    return json.loads(done.stdout.splitlines()[-1])


@dataclass
class World:
    """A folder with models, rows and rewards, and what was measured of runs with next to no model."""

    place: Path
    idle: dict[tuple[str, bool], int] = field(default_factory=dict[tuple[str, bool], int])

    def baseline(self, case: Case) -> int:
        """Bytes of the process without a model to speak of: by method, and with or without an adapter's library."""
        key = case.method, any("lora" in name for name in case.settings)
        if key not in self.idle:
            make_rows(case, SHAPES["nothing"]["vocab_size"], self.place / "tiny.jsonl")
            self.idle[key] = in_a_process(case.method, recipe_of(case, self.place, tiny=True))["peak"]
        return self.idle[key]


def check(case: Case, world: World) -> dict[str, Any]:
    """Predicted, printed; then measured."""
    from postlude.footprint import forecast

    for name in {"nothing", case.model} - {"real"}:
        if not (world.place / name).exists():
            make_model(name, world.place / name)
    vocabulary = 2000 if case.model == "real" else SHAPES[case.model]["vocab_size"]
    make_rows(case, vocabulary, world.place / f"{case.name}.jsonl")
    overrides = recipe_of(case, world.place, tiny=False)
    whole = forecast(case.method, overrides)
    said = whole.peak - whole.process
    print(f"{case.name:32s} {case.model:11s} predicted {said / 1e6:6.0f} MB ({whole.worst})", end="", flush=True)
    seen, idle = in_a_process(case.method, overrides), world.baseline(case)
    net = seen["peak"] - idle
    print(f"   measured {net / 1e6:6.0f} MB   {said / net:5.2f}   beside {idle / 1e6:.0f} MB", flush=True)
    parts = {"always": whole.always - whole.process}
    return {
        "name": case.name,
        "model": case.model,
        "method": case.method,
        "prompt": case.prompt,
        "answer": case.answer,
        "fitted": case.fitted,
        "settings": dict(case.settings),
        "parameters": whole.shape.parameters,
        "predicted": said,
        "predicted_phases": {**parts, **{name: size - whole.process for name, size in whole.phases.items()}},
        "measured": net,
        "measured_phases": {name: size - idle for name, size in seen["phases"].items()},
        "baseline": idle,
        "ratio": said / net,
    }


def main(arguments: Sequence[str]) -> int:
    """Ends with 1 where a prediction is too far off."""
    if arguments[:1] == ["--one"]:
        print(json.dumps(measured(arguments[1], arguments[2:])))
        return 0
    names = set(arguments)
    chosen = [case for case in CASES if not names or case.name in names]
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "reward.py").write_text(REWARD)
        world, rows = World(Path(place)), list[dict[str, Any]]()
        for case in chosen:
            if case.model != "real" or REAL.exists():
                rows.append(check(case, world))
                report.write(rows, [case.name for case in CASES])
    return int(any(abs(row["ratio"] - 1) > report.CLOSE for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
