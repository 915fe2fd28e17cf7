"""Two adapters as one, and the builds of adapters that this cannot be done with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from postlude.errors import Problem
from postlude.models import files
from postlude.models.fit import PREFIX

BEYOND_MATRICES = {
    "use_dora": "DoRA",
    "bias": "trained biases",
    "modules_to_save": "whole modules (modules_to_save)",
    "trainable_token_indices": "rows of the embedding (trainable_token_indices)",
    "target_parameters": "bare parameters (target_parameters)",
    "lora_bias": "biases of its own (lora_bias)",
    "layer_replication": "replicated layers (layer_replication)",
    "megatron_config": "Megatron layers",
    "arrow_config": "a router between adapters (arrow_config)",
    "use_bdlora": "block-diagonal matrices (use_bdlora)",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
    "ensure_weight_tying": "tied matrices (ensure_weight_tying)",
}
"""Settings of a LoRA adapter that make it more than a product of two matrices beside each linear map."""
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva", None)
"""`init_lora_weights` that leave the model's own weights as they were."""


def unopenable(config: Mapping[str, Any]) -> list[Problem]:
    """Why a LoRA adapter cannot be opened here, from its config."""
    problems: list[Problem] = []
    if config.get("alora_invocation_tokens"):
        problems.append(
            Problem(
                "bad-adapter",
                "an activated LoRA (alora_invocation_tokens) works on some tokens only, which no merged model can. "
                "Train a plain LoRA instead.",
            )
        )
    if config.get("use_qalora"):
        problems.append(
            Problem(
                "bad-adapter",
                "QALoRA (use_qalora) stands on quantised weights. Give the model merged by what trained it.",
            )
        )
    return problems


def more_than_matrices(config: Mapping[str, Any], holds: Iterable[str]) -> list[str]:
    """What an adapter's config (and the names of its tensors) has beyond pairs of matrices; joining would lose it."""
    extras = [what for key, what in BEYOND_MATRICES.items() if config.get(key) not in (None, False, "none", [], {})]
    start = config.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        extras.append(f"a start that changes the model's weights (init_lora_weights: {start})")
    if not extras and any(".lora_" not in name and not name.endswith(".base_layer.weight") for name in holds):
        extras.append("weights of the model itself")
    return extras


def joined(net: Any, *names: str, whole: Callable[[Any], Any] = lambda tensor: tensor) -> tuple[Any, dict[str, Any]]:
    """Config and tensors of one adapter that adds what several of a model do, exactly. `whole` gives all of a tensor
    that is spread over processes.

    With scales s: A = [A1; A2] and B = [s1 B1, s2 B2], so that B A = s1 B1 A1 + s2 B2 A2, at rank r1 + r2 and scale 1.
    """
    from peft import LoraConfig

    tensors: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for place, module in _layers(net):
        pairs, end = _pairs(module, names)
        if pairs:
            a, b = _stacked([(whole(a), whole(b), scale) for a, b, scale in pairs])
            tensors |= {f"{place}.{end.format('A')}": a, f"{place}.{end.format('B')}": b}
            ranks[place.removeprefix(PREFIX)] = a.shape[0]
    ((rank, _),) = Counter(ranks.values()).most_common(1)
    others = {name: r for name, r in ranks.items() if r != rank}
    trained = net.peft_config[names[-1]]
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(ranks),
        rank_pattern=others,
        alpha_pattern=others,
        fan_in_fan_out=trained.fan_in_fan_out,
        task_type=trained.task_type,
        inference_mode=True,
    )
    return config, tensors


def _layers(net: Any) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in net.named_modules() if isinstance(module, LoraLayer))


def _pairs(module: Any, names: Sequence[str]) -> tuple[list[tuple[Any, Any, float]], str]:
    """A [r, in], B [out, r] and scale of the adapters that a layer has, and the end of their tensors' names."""
    if any(name in module.lora_A for name in names):
        present = [name for name in names if name in module.lora_A]
        pairs = [(module.lora_A[n].weight, module.lora_B[n].weight, module.scaling[n]) for n in present]
        return pairs, "lora_{}.weight"
    present = [name for name in names if name in module.lora_embedding_A]
    return [(module.lora_embedding_A[n], module.lora_embedding_B[n], module.scaling[n]) for n in present], (
        "lora_embedding_{}"
    )


def _stacked(pairs: Sequence[tuple[Any, Any, float]]) -> tuple[Any, Any]:
    import torch

    rows = torch.cat([a.detach() for a, _, _ in pairs], 0)
    columns = torch.cat([b.detach() * scale for _, b, scale in pairs], 1)
    return rows.contiguous(), columns.contiguous()


def write(config: Any, tensors: Mapping[str, Any], folder: Path) -> None:
    """An adapter folder as peft writes it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    put_in_order(config)
    config.save_pretrained(folder)
    save_file(dict(tensors), folder / files.ADAPTER, metadata={"format": "pt"})


def put_in_order(config: Any) -> None:
    """Make lists of a peft config's sets, whose order is another in every process: a run repeated writes the same."""
    for name, value in vars(config).items():
        if isinstance(value, set):
            setattr(config, name, sorted(value))
