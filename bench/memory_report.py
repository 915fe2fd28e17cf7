"""docs/memory.md and docs/memory.json: what `make memory-check` found, and arithmetic on models that are not here."""

# ruff: noqa: E501  # lines of a table

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from postlude.footprint import Lengths, forecast
from postlude.sizing import Estimate
from postlude.sizing.heap import HEAP, HEAP_AGAIN, HEAP_MODULES

TARGET = Path("docs/memory.md")
CLOSE = 0.10
"""How far what is predicted may be from what is measured."""
HEAD = """\
# What a run takes of memory

```
postlude memory 8B --method grpo                 # a size, a model folder, or a name in Hugging Face's cache
postlude memory 8B --method ppo engine.dtype=bfloat16 --gpu-memory 80
postlude memory recipe.yaml model.lora.rank=16   # a recipe, with the lengths of its own data
postlude.memory("8B", method="dpo").peak         # from Python
```

It answers before anything is loaded, from config.json alone: every part with its bytes and the arithmetic behind them, phase by
phase (the peak is the largest phase, and no sum over phases), the settings that would take less, each with what it saves by the same
arithmetic, and what it cannot know. The engine chooses its micro-batches, chunk and cache by these formulas too
(`postlude/sizing`), and `postlude check` shows their total.

With `--gpu-memory GIB` it says whether the run fits (`fits` in `--json`; with `--gpus`, whether a rank's share does). Where it does
not, the table is of the least that it takes, with the smallest micro-batches and cache, and below stand the settings that make it
fit, alone or together, or the largest usual size that would; that is an answer, and ends with exit code 0.

## The arithmetic

P is parameters, t those that train (of an adapter: rank x (inputs + outputs) of each map), e bytes of a number in the model and o in
the optimiser (at least 4), T tokens of the largest pass, N those of answers, D width, A width of all queries, K of all keys, I of the
feed-forward block, V vocabulary, c the chunk of the output layer, L layers.

| part | when | bytes |
|---|---|---|
| weights | always | e P |
| fp32 master weights | always, in half precision | 4 t |
| optimiser (AdamW) | always | 2 o t |
| reference | always, unless an adapter trains (which is switched off for it) | e P |
| critic of its own | always | (e + 2 o) P', and 4 P' in half precision; on the trunk: 12 (D + 1) |
| sampler's copy | always with max_lag 1, when sampling stands beside training | e P |
| reward models, judges | always | e P of each |
| weights files, float32 | loading | files as they are, and weights in float32 until they are converted |
| keys and values | sampling | 2 L K e for each token of the answers that are sampled at a time; prompts longer than 64 tokens once a group |
| logits while drawing | sampling | 12 V for each of these answers |
| copy for decoding | sampling, small models | layers (and output layer) again, laid out for one token at a time |
| gradients | update | o t in all passes but the first, whose gradients come as its activations go |
| activations | update | T L (4D + 3A + 3I) e + keys 2K e as often as answers see them + masks; with an adapter rank x maps more; GPT-2: 4D + 3A + 5I |
| the same with gradient checkpointing | update | T L D e + one layer whole |
| logits | update | 8 c V, or 4 c V and the output layer's gradient e V D |
| the file, read again | saving | e P |

Formulas for activations were counted from the code and then held against every tensor that is alive at the peak
(`tests/sizing/test_estimate.py`): they differ by less than 1 % for Llama, Qwen, LoRA, bf16 and GPT-2, and lie up to 9 % above for
gradient checkpointing. Of other families they are a likely figure, and the command says so.

**Fitted, not counted**: what the heap takes beside tensors. glibc gives blocks below a threshold from its heap, and raises that
threshold to 32 MB once larger ones were freed; a heap in which short-lived and long-lived tensors stand side by side keeps holes. {holes}
Where rows differ much in length the holes grow: 1.33 times the tensors after seven batches of mixed lengths, full
fine-tuning and LoRA alike. With a fixed threshold of 1 MB (`mallopt`) they all but vanish (1.01 to 1.08), but every tensor is then
a fresh piece of the kernel's memory, and a step takes 40 % more processor time; so the engine leaves glibc as it is and plans with
twice the tensors where it chooses.

## Predicted against measured

`make memory-check`: each row is a run of `postlude.train` (two steps) in a process of its own, on random weights.
Predicted is printed before the run begins. Measured is the peak of resident memory that the kernel counts for the process (VmHWM in
/proc/self/status), minus that of the same method on a model of 6,000 parameters in the same kind of process: Python, torch,
transformers and what a run imports, with every operation used once ({idle}).

| run | model | rows (prompt + answer) | trains | predicted | measured | ratio |
|---|---|---|---|---|---|---|
"""
TAIL = """
{close} of {count} are within {percent:.0%}; {blind} of the {others} that nothing was fitted on. {missed}

What the peaks are made of was counted in such runs (tensors alive through every pass, beside the heap's own figures from
`mallinfo2`): no tensor is missing from the arithmetic. A pass of the reward model held 580 MB where 590 are predicted, DPO with LoRA
on GPT-2 578 of 578, DPO with LoRA and checkpointing 192 of 192, PPO with a critic of its own 144 of 151. Above them stands what the heap
keeps for nobody, and two of its causes are arithmetic, with no number fitted:

* **places of gradients**: the optimiser's moments are made in the first step between the gradients; once those are dropped they leave
  places as large as they are, in which no activation finds room. The holes of an update are these, or the fitted share, whichever is more.
* **what the last update left**: the heap is not given back between phases, and logits of 32 MB and more do not use it. Reading before
  the next update (old log-probs, reference, values) therefore comes on top of it, and is the worst phase of PPO with a critic of its own.

Both were found on the three rows of PPO and the reward model, which are a blind test no more; the other rows had been measured before.

Giving the heap back (`malloc_trim`) after every optimiser step lowered PPO with a critic of its own from 526 to 476 MB, and before
every pass to 481; PPO with the critic on the trunk stayed at 1,175 of 1,176. A call took 7 to 50 ms of processor time, up to 2.2 % of
the whole run, where 1 % is the most that it may cost, and pages that are taken anew come on top; so the engine does not.

**Adapters with checkpointing, and on GPT-2, are predicted too low.** Their small gradients and moments live on and come to stand in the
middle of what passes free: DPO with LoRA and checkpointing had 64 MB of small tensors alive at the worst, and its heap grew by
260 MB. The same run varies: 676, 688 and 758 MB were measured. Plan for a third more there. No number was fitted to these rows.

{not_rerun}

## What GRPO costs against PPO on 8B

The table that is told of 8B models (in the notes that postlude implements), and the arithmetic for Llama-3.1-8B: prompts of 512
and answers of 256 tokens, 16 prompts of 8 answers, micro-batches as small as they can be, gradient checkpointing.

| run | as told | bf16 weights alone | always there | peak |
|---|---|---|---|---|
{eight}

The told figures leave AdamW out: in mixed precision it takes 12 bytes for each parameter beside weights and gradients, so full
fine-tuning of 8B needs about 18 bytes each, 144 GB, whatever the method; 16 GB are the bf16 weights and nothing else. What is right in
them is the order: a critic of its own about doubles a run (it has weights, gradients and an optimiser too), and with an adapter
everything but the weights is small.

## On GPUs: nothing is measured here

The same formulas hold for tensors; CUDA's context (0.3 to 0.6 GB), what the caching allocator keeps in pieces, and attention's
workspace come on top, and no figure of this page was taken on a GPU. Published figures beside the arithmetic:

| source | says | the same by these formulas |
|---|---|---|
{published}

`--gpus N` (or `engine.trainers`) is what each of N ranks takes (FSDP2): a share of weights, gradients and optimiser, in float32 also where the
model is bfloat16 (the share is the optimiser's master), a share of a frozen reference, its own part of the update, and what it gathers
in a pass: the layer that runs, the next, embedding and output layer, and gradients of one layer (or of embedding and output layer) on their way
to the others. `postlude plan` puts it beside servers and seconds ([scale.md](scale.md#what-it-will-cost-postlude-plan)).
"""


def write(new: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Both files: these rows in place of those of the same names, in the order of `names`."""
    file = TARGET.with_suffix(".json")
    before = json.loads(file.read_text())["rows"] if file.exists() else []
    found = {row["name"]: row for row in [*before, *new]}
    rows = [found[name] for name in names if name in found]
    file.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    good = [row for row in rows if abs(row["ratio"] - 1) <= CLOSE]
    others = [row for row in rows if not row["fitted"]]
    missed = ", ".join(f"{row['name']} ({row['ratio']:.2f})" for row in rows if row not in good)
    on = ", ".join(f"*{row['name']}*" for row in rows if row["fitted"])
    holes = (
        f"What they take is {HEAP:.1%} of what comes and goes in a phase, {HEAP_AGAIN:.0%} in an update with gradient checkpointing, "
        f"and {HEAP_MODULES:.0%} for families that transformers' modules compute; these three numbers are fitted on the runs {on} "
        "of the table below and on nothing else."
    )
    idle = ", ".join(sorted({f"{row['baseline'] / 1e6:.0f} MB" for row in rows}))
    text = HEAD.format(holes=holes, idle=idle) + "".join(_line(row) for row in rows)
    text += TAIL.format(
        close=len(good),
        count=len(rows),
        percent=CLOSE,
        blind=sum(row in good for row in others),
        others=len(others),
        missed=f"Missed: {missed}." if missed else "",
        not_rerun=_not_rerun(rows, names),
        eight="\n".join(_eight()),
        published="\n".join(_published()),
    )
    TARGET.write_text(text)


def _not_rerun(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Which rows were measured before the last change of the arithmetic, and which never."""
    before = ", ".join(f"*{row['name']}*" for row in rows if row.get("measured_before"))
    missing = ", ".join(f"*{name}*" for name in names if name not in {row["name"] for row in rows})
    text = "Predictions are all by the arithmetic above."
    if before:
        text += f" Measured before its last change, by an engine that it did not touch: {before}."
    return text + (f" Not measured: {missing}." if missing else "")


def _line(row: Mapping[str, Any]) -> str:
    settings = row["settings"]
    trains = "LoRA" if "model.lora.rank" in settings else "all"
    dtype = " bf16" if "engine.dtype" in settings else ""
    mark = "" if abs(row["ratio"] - 1) <= CLOSE else " **missed**"
    name = row["name"] + (" (fitted on)" if row["fitted"] else "")
    sizes = f"{row['prompt']} + {row['answer']}"
    figures = f"{row['predicted'] / 1e6:,.0f} MB | {row['measured'] / 1e6:,.0f} MB | {row['ratio']:.2f}{mark}"
    return f"| {name} | {row['model']} | {sizes} | {trains}{dtype} | {figures} |\n"


def _small(method: str, *settings: str) -> Estimate:
    """On 8B in bf16, on a GPU of any size, with the smallest micro-batches."""
    usual = ["engine.dtype=bfloat16", "engine.device=cuda", "engine.gradient_checkpointing=true", "engine.cache_gib=2"]
    return forecast("8B", [*usual, *settings], method).least


def _eight() -> list[str]:
    runs = (
        ("PPO, policy and critic", "~48 GB", _small("ppo")),
        ("GRPO", "~24 GB", _small("grpo")),
        ("GRPO without reference", "", _small("grpo", "objective.kl=null")),
        ("GRPO + LoRA of rank 16", "~16 GB", _small("grpo", "model.lora.rank=16")),
    )
    return [
        f"| {name} | {told} | 16 GB | {whole.always / 1e9:,.0f} GB | {whole.peak / 1e9:,.0f} GB |"
        for name, told, whole in runs
    ]


def _published() -> list[str]:
    full = forecast("7B", ["engine.dtype=bfloat16", "engine.device=cuda"], "sft", lengths=Lengths(256, 256)).least
    lora = forecast(
        "7B", ["engine.dtype=bfloat16", "engine.device=cuda", "model.lora.rank=8"], "sft", lengths=Lengths(256, 256)
    ).least
    parameters = full.shape.parameters / 1e9
    states = 2 * parameters + 4 * parameters + 8 * parameters + 2 * parameters
    return [
        f"| ZeRO (1910.02054, figure 1): 7.5B parameters, mixed precision, Adam, without activations | 120 GB | {states:.0f} GB "
        f"for {parameters:.1f} B with its bf16 gradients; postlude adds gradients up in fp32: {states + 2 * parameters:.0f} GB |",
        f"| LLaMA-Factory's README, estimated: full fine-tuning in bf16, 7B | 120 GB (18 GB per B) | {full.peak / 1e9:.0f} GB for "
        f"{parameters:.1f} B, {full.peak / 1e9 / parameters:.1f} per B |",
        f"| the same, LoRA, 7B | 16 GB (2 GB per B) | {lora.peak / 1e9:.0f} GB, {lora.peak / 1e9 / parameters:.1f} per B |",
    ]
