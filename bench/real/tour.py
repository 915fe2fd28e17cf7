"""Every command and family on a real model: `make real`, a quarter of an hour on two cores.

Each stop runs one command of postlude in a process of its own and checks what it left; the table is docs/real.md.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.real import material
from bench.real.command import LIMIT_GIB, Done, furthest, moved_by, postlude, rows, steps
from postlude.runs import read

PAGE = Path("docs/real.md")
SHORT = ("prompts_per_step=2", "group_size=4", "sampling.max_tokens=16", "schedule.lr=1e-5")
ALL_ROWS = f"prompts_per_step={material.ROWS}"
LORA = ("model.lora.rank=16", "schedule.lr=1e-3")


@dataclass(frozen=True)
class Stop:
    """A command and what has to be true afterwards; the check says what it saw, or raises AssertionError."""

    name: str
    arguments: tuple[str, ...]
    check: Callable[[Path, Done], str]
    codes: tuple[int, ...] = (0,)
    """Exit codes that are right."""


def train(name: str, method: str, check: Callable[[Path, Done], str], *settings: str, data: str = "prompts") -> Stop:
    """A run in the folder `name`; of a setting given twice the last counts."""
    given = ("model=model", f"data={data}.jsonl", f"output={name}", "steps=2", *settings)
    last = {setting.partition("=")[0]: setting for setting in given}
    return Stop(name, ("train", method, *last.values()), check)


def online(name: str, method: str, check: Callable[[Path, Done], str], *settings: str) -> Stop:
    """A run that samples, under the plain reward."""
    return train(name, method, check, "reward=my_rewards.py:right", *SHORT, *settings)


# --------------------------------------------------------------------------------------------------------- checks


def falls(run: str, figure: str) -> Callable[[Path, Done], str]:
    """The figure of the last step is below that of the first."""

    def check(folder: Path, done: Done) -> str:
        seen = [step[figure] for step in steps(folder, run)]
        assert seen[-1] < seen[0], f"{figure} did not fall: {seen}"
        return f"{figure} {seen[0]:.3f} -> {seen[-1]:.3f}"

    return check


def begins_at(run: str, figure: str, value: float, within: float) -> Callable[[Path, Done], str]:
    """As `falls`, and the first value is what theory says of a policy that has not moved."""

    def check(folder: Path, done: Done) -> str:
        first = steps(folder, run)[0][figure]
        assert abs(first - value) <= within, f"{figure} begins at {first}, not {value}"
        return falls(run, figure)(folder, done)

    return check


def samples_as_it_trains(run: str) -> Callable[[Path, Done], str]:
    """Log-probs of the sampler are those of transformers, rewards are numbers, and weights moved."""

    def check(folder: Path, done: Done) -> str:
        first = steps(folder, run)[0]
        apart = from_transformers(folder, read(folder / run).rollouts[1][:4])
        assert apart < 1e-3, f"log-probs of the sampler and of transformers differ by {apart}"
        reward = next(value for name, value in first.items() if name.startswith("reward/"))
        assert math.isfinite(reward), first
        moved = moved_by(folder / run / "model", folder / "model")
        assert moved > 0 or all(s.get("grad_norm", 0) == 0 for s in steps(folder, run)), "no weight moved"
        answers = read(folder / run).rollouts[1]
        assert len({a["completion"] for a in answers}) > 1, "all answers are the same"
        return f"log-probs within {apart:.0e} of transformers', reward {reward:.2f}, weights moved {moved:.0e}"

    return check


def from_transformers(folder: Path, answers: list[dict[str, Any]]) -> float:
    """The largest difference between the log-probs of sampled tokens and those of plain transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder / "model")
    net: Any = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    apart = 0.0
    for answer in answers:
        prompt = tokenizer.apply_chat_template(answer["prompt"], add_generation_prompt=True, return_dict=False)
        ids = torch.tensor([prompt + answer["tokens"]])
        with torch.no_grad():
            logits = net(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        mine = logits.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        apart = max(apart, float((mine - torch.tensor(answer["logprobs"])).abs().max()))
    return apart


def resumed(folder: Path, done: Done) -> str:
    """The run that was interrupted after a step ends where the one that was not did, to the last bit."""
    apart = furthest(folder / "grpo" / "model", folder / "grpo-resumed" / "model")
    assert apart == 0, f"weights differ by {apart}"
    assert steps(folder, "grpo") == steps(folder, "grpo-resumed"), "figures differ"
    return "weights and figures equal those of the run without a break"


def lagged(folder: Path, done: Done) -> str:
    """Answers of the second draw come from the weights before the first update."""
    versions = {a["policy_version"] for a in read(folder / "max-lag").rollouts[2]}
    assert versions == {0}, versions
    return "the second draw comes from version 0"


def near_float32(folder: Path, done: Done) -> str:
    """bfloat16 begins with the loss of float32, as far as its digits go, and learns."""
    (half, *_), (full, *_) = steps(folder, "sft-bf16"), steps(folder, "sft")
    apart = abs(half["loss/policy"] - full["loss/policy"])
    assert apart < 0.05, f"first losses {half['loss/policy']} and {full['loss/policy']}"
    return f"first loss {apart:.3f} from float32's, {falls('sft-bf16', 'loss/policy')(folder, done)}"


def same_figures(run: str, other: str, within: float) -> Callable[[Path, Done], str]:
    """Two runs that differ in how the model is run, not in what is computed."""

    def check(folder: Path, done: Done) -> str:
        a, b = steps(folder, run), steps(folder, other)
        apart = max(abs(x[k] - y[k]) for x, y in zip(a, b, strict=True) for k in ("loss/policy", "grad_norm"))
        assert apart < within, f"loss or gradient differ by {apart}"
        return f"loss and gradient within {apart:.0e} of the direct path's"

    return check


def exported(folder: Path, done: Done) -> str:
    """The merged model gives the logits of the model with its adapter."""
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder / "merged")
    ids = tokenizer("The capital of France is Paris, and it lies on the Seine.", return_tensors="pt").input_ids
    merged: Any = AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float32)
    adapted: Any = AutoPeftModelForCausalLM.from_pretrained(str((folder / "sft-lora" / "model").resolve()))
    with torch.no_grad():
        apart = float((merged(ids).logits - adapted(ids).logits).abs().max())
    assert apart < 1e-3, f"logits differ by {apart}"
    return f"logits within {apart:.0e} of the adapter's"


def greedy(folder: Path, done: Done) -> str:
    """The best known fact is known."""
    assert "Paris" in done.output, done.output[-500:]
    return "says Paris"


def evaluated(folder: Path, done: Done) -> str:
    """Accuracies are shares, and the pretrained model knows some of the answers."""
    found = json.loads((folder / "eval.json").read_text())
    share = next(v for k, v in _flat(found) if k.endswith("sampled/accuracy") or k.endswith("accuracy"))
    assert 0 < share <= 1, share
    return f"accuracy {share:.2f}"


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in _flat(v, f"{name}/{k}" if name else str(k))]
    return [(name, value)] if isinstance(value, int | float) else []


def wrote(name: str, *keys: str, least: int = 1) -> Callable[[Path, Done], str]:
    """A file of JSON lines with these columns."""

    def check(folder: Path, done: Done) -> str:
        found = rows(folder / name)
        assert len(found) >= least and all(key in row for row in found for key in keys), done.output[-500:]
        return f"{len(found)} rows with {', '.join(keys)}"

    return check


def said(*words: str) -> Callable[[Path, Done], str]:
    """The output holds these words."""

    def check(folder: Path, done: Done) -> str:
        missing = [word for word in words if word not in done.output]
        assert not missing, f"not said: {missing} in {done.output[-800:]}"
        return f"says {', '.join(words)}"

    return check


def judged(folder: Path, done: Done) -> str:
    """The judge gave every answer a number between -1 and 1."""
    scores = [row["reward"] for row in read(folder / "judge").rollouts[1]]
    assert all(s is not None and -1 <= s <= 1 for s in scores), scores
    assert len({round(s, 6) for s in scores}) > 1, f"every answer got {scores[0]}"
    return f"scores from {min(scores):.2f} to {max(scores):.2f}"


JUDGE = "{use: judge, args: {model: model, mode: score, read: likelihood, canary_limit: null}}"
TOUR = (
    Stop("sample", ("sample", "model", "--prompt", "What is the capital of France?", "--chat", "--temperature", "0",
                    "--max-tokens", "12"), greedy),
    Stop("eval", ("eval", "model", "--data", "held-out.jsonl", "--reward", "my_rewards.py:right", "-n", "2",
                  "--max-tokens", "16", "--out", "eval.json"), evaluated),
    Stop("audit", ("audit", "my_rewards.py:right", "prompts.jsonl", "--limit", "4", "--out", "audit.json"),
         said("saved to audit.json"), codes=(0, 1)),  # 1: the plain reward of the tour can be gamed
    train("sft", "sft", falls("sft", "loss/policy"), ALL_ROWS, "schedule.lr=1e-4", "steps=3", data="sft"),
    train("sft-padded", "sft", same_figures("sft-padded", "sft", 0.02), ALL_ROWS, "schedule.lr=1e-4",
          "steps=3", "engine.packed=false", data="sft"),
    train("sft-lora", "sft", falls("sft-lora", "loss/policy"), ALL_ROWS, *LORA, "steps=3", data="sft"),
    train("sft-bf16", "sft", near_float32, ALL_ROWS, "schedule.lr=1e-4", "steps=3",
          "engine.dtype=bfloat16", data="sft"),
    train("dpo", "dpo", begins_at("dpo", "loss/pairs", math.log(2), 1e-5), ALL_ROWS, "schedule.lr=1e-5",
          data="pairs"),
    train("kto", "kto", falls("kto", "loss/points"), ALL_ROWS, "schedule.lr=1e-5", "steps=3",
          data="labels"),
    train("reward-model", "reward_model", falls("reward-model", "loss/pairs"), ALL_ROWS,
          "schedule.lr=2e-5", "steps=3", "data.eval=held-out-pairs.jsonl", data="pairs"),
    Stop("eval reward-model", ("eval", "reward-model", "--data", "held-out-pairs.jsonl", "--out", "rm.json"),
         said("accuracy")),
    online("grpo", "grpo", samples_as_it_trains("grpo")),
    online("grpo-resumed", "grpo", samples_as_it_trains("grpo-resumed"), "steps=1"),
    Stop("resume", ("train", "grpo-resumed", "steps=2", "--resume"), resumed),
    online("grpo-lora", "grpo", samples_as_it_trains("grpo-lora"), *LORA, "objective.kl.coef=0.05"),
    online("max-lag", "grpo", lagged, "max_lag=1", "objective.correction.high=2.0"),
    online("dapo", "dapo", samples_as_it_trains("dapo")),
    online("drpo", "drpo", samples_as_it_trains("drpo")),
    train("ppo", "ppo", samples_as_it_trains("ppo"), "reward={use: model, args: {path: reward-model}}", *SHORT,
          *("model.lora.rank=16", "critic.form=trunk")),
    online("rft", "rft", samples_as_it_trains("rft")),
    train("judge", "grpo", judged, f"reward={JUDGE}", *SHORT, "steps=1", *LORA),
    Stop("label", ("label", "answers.jsonl", "labelled.jsonl", "--judge", "model", "--read", "likelihood"),
         wrote("labelled.jsonl", "prompt", "chosen", "rejected", "probability")),
    Stop("pairs", ("pairs", "model", "--data", "prompts.jsonl", "--reward", "my_rewards.py:right", "--out",
                   "own.jsonl", "-n", "4", "--max-tokens", "16"), wrote("own.jsonl", "prompt", "chosen", "rejected")),
    Stop("export", ("export", "sft-lora", "merged"), exported),
    Stop("eval export", ("eval", "merged", "--data", "held-out.jsonl", "--reward", "my_rewards.py:right", "-n", "2",
                         "--max-tokens", "16", "--out", "merged.json"), said("accuracy")),
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the tour


def visit(stop: Stop, folder: Path) -> tuple[Done, str, bool]:
    """Run a command and check; what it left, the verdict, and whether that is good."""
    done = postlude(folder, *stop.arguments)
    if done.code not in stop.codes:
        return done, f"exit code {done.code}: {done.output.strip()[-300:]}", False
    try:
        return done, stop.check(folder, done), True
    except (AssertionError, KeyError, OSError, StopIteration, ValueError) as error:
        return done, f"{type(error).__name__}: {error}", False


def line(stop: Stop, done: Done, verdict: str, good: bool) -> str:
    """A row of the table."""
    text = " ".join(verdict.replace("|", "/").split())
    text = text if good else f"**fails**: {text}"
    return f"| {stop.name} | {done.path} | {done.seconds:.0f} | {done.peak_mb:.0f} | {text} |"


def page(model: str, table: list[str]) -> str:
    """docs/real.md."""
    text = f"""# Every command on a real model

Written by `make real`: {model}, on real text with its whole vocabulary. Each command has a process of its own, whose
address space is limited to {LIMIT_GIB} GiB. Settings are short (two or three steps, answers of 16 tokens): they show
that everything runs, fits and agrees, not that it learns.

`path` is how the model was run ([engine.md](engine.md)), `seconds` are of CPU time with start and loading, `MB` is the
peak of resident memory.

| command | path | seconds | MB | checked |
|---|---|---|---|---|
"""
    return text + "".join(f"{row}\n" for row in table)


def main(model: str, only: list[str]) -> int:
    """Walk the tour; the number of commands that failed."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(tempfile.mkdtemp(prefix="postlude-real-"))
    material.write(folder)
    source = Path(model).expanduser()
    (folder / "model").symlink_to(source.resolve())
    table, failed = [], 0
    for stop in TOUR:
        if only and stop.name not in only:
            continue
        done, verdict, good = visit(stop, folder)
        table.append(line(stop, done, verdict, good))
        failed += not good
        print(table[-1], flush=True)
    name = source.name
    if not only:
        PAGE.write_text(page(name, table))
        print(f"wrote {PAGE}")
    print(f"{len(table) - failed} of {len(table)} good; the runs are in {folder}")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1], sys.argv[2:]) else 0)
