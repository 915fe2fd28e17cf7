"""Every check, in the order it is made and shown."""

from __future__ import annotations

from postlude.selftest import adapters, files, layout, passes, sampling
from postlude.selftest.check import Check

BOTH = ("log-prob", "gradient")

CHECKS: tuple[Check, ...] = (
    Check(
        "micro-batches",
        "the gradient of an update in 8 x 1 = 4 x 2 = 2 x 4 = 1 x 8 rows",
        ("gradient",),
        passes.micro_batches,
    ),
    Check("step", "the weights after a step on these", ("step",), passes.step),
    Check("packed", "packed rows = plain padded rows", BOTH, layout.packed),
    Check("shared-prompt", "a prompt kept once for its answers = a copy before each", BOTH, layout.shared_prompt),
    Check("padding", "each row alone = beside longer rows", ("log-prob",), layout.padding),
    Check("order", "rows in one order = in the opposite order", BOTH, passes.order),
    Check("masked", "tokens that are not trained, whatever they are = none", BOTH, passes.masked),
    Check("chunked-head", "the output layer for 7 tokens at a time = for all", BOTH, passes.chunked_head),
    Check("checkpointing", "activations recomputed = kept", ("gradient",), passes.checkpointing),
    Check("decode", "log-probs of decoding with a cache = of one pass", ("log-prob",), sampling.decode),
    Check(
        "temperature",
        "the sampler's log-probs = the trainer's, at the temperature of sampling",
        ("tempered",),
        sampling.temperature,
    ),
    Check("prefix-cache", "a second turn on what the first left = computed anew", ("log-prob",), sampling.prefix_cache),
    Check(
        "own-sampler",
        "max_lag: a sampler with a copy of the weights = the published version",
        ("log-prob",),
        sampling.own_sampler,
    ),
    Check("saved", "a folder opened again = the model in memory", ("exact", "log-prob"), files.saved),
    Check(
        "transformers", "the folder in transformers alone = the model in memory", ("log-prob",), files.by_transformers
    ),
    Check("resume", "a step, a checkpoint, a second step from it = two steps", ("exact",), files.resume),
    Check(
        "adapter-off", "LoRA: the adapter off = the model without one", ("log-prob",), adapters.adapter_off, "adapter"
    ),
    Check("adapter-packed", "LoRA: packed rows = plain padded rows", BOTH, layout.packed, "adapter"),
    Check("adapter-decode", "LoRA: log-probs of decoding = of one pass", ("log-prob",), sampling.decode, "adapter"),
    Check(
        "adapter-saved",
        "LoRA: the adapter's folder opened again = in memory",
        ("exact", "log-prob"),
        files.saved,
        "adapter",
    ),
    Check(
        "adapter-in-peft",
        "LoRA: the folder in transformers and peft alone = in memory",
        ("log-prob",),
        files.by_transformers,
        "adapter",
    ),
    Check("merged", "LoRA: merged into the model = the adapter on it", ("merged",), adapters.merged, "adapter"),
    Check(
        "adapter-resume",
        "LoRA: a step, a checkpoint, a second step from it = two steps",
        ("exact",),
        files.resume,
        "adapter",
    ),
)
