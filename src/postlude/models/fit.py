"""Whether weights are those of the model that a config describes: names and shapes, at load and before it.

Before it the model stands on torch's meta device, where it has shapes and no memory, and the headers of the weights
files are loaded into it as transformers loads the weights themselves. So older names of an architecture are known here
too, and an adapter, or LoRA targets, can be tried on it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from postlude.errors import ConfigError, EngineError, Problem, reason
from postlude.models import heads
from postlude.models.dtypes import Dtype
from postlude.models.files import Stored, some
from postlude.models.quiet import quiet

PREFIX = "base_model.model."
"""Before the names of a model's own modules, where an adapter stands on it."""
QUANTISED = "quantization_config"


@dataclass(frozen=True)
class Loaded:
    """What transformers says of a load: names that were not in the files, in the files only, and of another shape."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @classmethod
    def of(cls, info: Mapping[str, Any], prefix: str | None = None) -> Loaded:
        """From its loading info. With `prefix`, that of the trunk, names elsewhere are a head's: it may be new, and a
        language model's may be left out."""
        ours = lambda name: prefix is None or name.startswith(f"{prefix}.")
        shapes = [f"{n} {tuple(a)} for {tuple(b)}" for n, a, b in sorted(info["mismatched_keys"], key=str)]
        missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
        return cls(tuple(filter(ours, missing)), tuple(filter(ours, unexpected)), tuple(shapes))

    def problems(self, path: str) -> list[Problem]:
        """In sentences; none where every weight has its place."""
        kinds = (
            (self.missing, "tensors are missing from the weights, and would be random"),
            (self.unexpected, "tensors of the weights have no place in the model that config.json describes"),
            (self.mismatched, "tensors have another shape than in the model that config.json describes"),
        )
        return [
            Problem(
                "misfit-weights",
                f"{path}: {len(names)} {what}: {some(names)}. Weights and config do not belong together; get both "
                "again.",
            )
            for names, what in kinds
            if names
        ]


def model_class(config: Any, scalar: bool) -> Any:
    """transformers' class for a config, as a language model or as a scorer. Raises ConfigError where there is none."""
    from transformers.models.auto.auto_factory import _get_model_class
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if scalar:
        try:
            return heads.scorer_class(config)
        except EngineError as error:
            raise ConfigError(error.problems) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ConfigError(
            f"{config.model_type} models write no text in transformers, so they cannot be trained.",
            code="unsupported-model",
        )
    return _get_model_class(config, MODEL_FOR_CAUSAL_LM_MAPPING)


def read(cls: Any, path: str, config: Any, trunk_only: bool = False, dtype: Dtype = "float32") -> Any:
    """A model with the weights of a folder or hub id, in `dtype`. Raises ConfigError unless every one has its place.

    `trunk_only`: a head may be missing, and one of another kind may be left out.
    """
    with quiet():
        net, info = cls.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, in a sentence
        )
    problems = Loaded.of(info, net.base_model_prefix if trunk_only else None).problems(path)
    if problems:
        raise ConfigError(problems)
    return net


def skeleton(config: Any, scalar: bool, stored: Mapping[str, Stored] | None = None, path: str = "") -> Any:
    """The model on the meta device. With `stored`, raises ConfigError unless every tensor of `path` has its place."""
    import torch

    cls = model_class(config, scalar)
    new_head = scalar and not heads.is_scorer(config)
    if scalar:
        config.num_labels = 1
    try:
        if stored is None:
            with torch.device("meta"):
                return cls(config)
        with quiet():
            net, info = cls.from_pretrained(
                None,
                config=config,
                state_dict={name: torch.empty(one.shape, device="meta") for name, one in stored.items()},
                device_map="meta",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # whatever the values of a config that no model can have make it stumble over
        raise ConfigError(
            f"{path}: no model can be made from its config.json: {reason(error)}", code="bad-model-config"
        ) from error
    problems = Loaded.of(info, net.base_model_prefix if new_head else None).problems(path)
    if problems:
        raise ConfigError(problems)
    return net


def unfit(config: Any, path: str) -> Problem | None:
    """Why a kind of model cannot be trained, from its config; None where nothing speaks against it."""
    settings = config.__dict__.get(QUANTISED)
    if settings:
        method = settings.get("quant_method", "unknown") if isinstance(settings, dict) else type(settings).__name__
        return Problem(
            "unread-weights",
            f"the weights of {path!r} are quantised ({method}), and only float32, bfloat16 and float16 ones can "
            "be opened. Give the model they were made from.",
        )
    text = config.get_text_config()
    if not hasattr(text, "num_attention_heads") or not hasattr(text, "num_hidden_layers"):
        return Problem(
            "unsupported-model",
            f"{path!r} is a {config.model_type} model, which has no attention heads; only models with attention "
            "can be sampled and trained here. Take one such as Llama, Qwen or Gemma.",
        )
    return None


def problems_of_targets(net: Any, targets: str | tuple[str, ...], task: str) -> list[Problem]:
    """What is wrong with `model.lora.targets` on a model without memory (which they change), with the names it has."""
    from peft import LoraConfig, get_peft_model

    here = _adaptable(net)
    there = f"There are: {', '.join(here)}."
    modules = dict(net.named_modules())
    if targets == "all-linear":
        return []
    if isinstance(targets, str):
        problems = _problems_of_expression(targets, modules, there)
    else:
        chosen = {name: [m for m in modules if m == name or m.endswith(f".{name}")] for name in targets}
        problems = [
            Problem("bad-targets", f"model.lora.targets: no module is called {name!r}.{_hint(name, here)} {there}")
            for name in chosen
        ]
        problems = [text for text, matches in zip(problems, chosen.values(), strict=True) if not matches]
    if problems:
        return problems
    try:
        with warnings.catch_warnings(action="ignore"):
            get_peft_model(net, LoraConfig(target_modules=as_peft(targets), task_type=task))
    except (ValueError, TypeError, NotImplementedError) as error:
        first = str(error).strip().splitlines()[0]
        return [
            Problem(
                "bad-targets",
                f"model.lora.targets: LoRA cannot stand on all that {targets!r} names ({first[:60]}...). {there}",
            )
        ]
    return []


def as_peft(targets: str | tuple[str, ...]) -> str | list[str]:
    """Targets in the type that peft knows: a list of names, or an expression."""
    return targets if isinstance(targets, str) else list(targets)


def _problems_of_expression(targets: str, modules: Mapping[str, Any], there: str) -> list[Problem]:
    try:
        if any(re.fullmatch(targets, module) for module in modules):
            return []
    except re.error as error:
        return [Problem("bad-targets", f"model.lora.targets: {targets!r} is no regular expression: {error}. {there}")]
    return [
        Problem(
            "bad-targets",
            f"model.lora.targets: text is a regular expression for whole names, and {targets!r} matches none. To name "
            f"modules by the last part of their names, give a list, as in '[q_proj, v_proj]'. {there}",
        )
    ]


def _hint(name: str, here: list[str]) -> str:
    close = get_close_matches(name, here, 1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _adaptable(net: Any) -> list[str]:
    """Last parts of the names of modules that LoRA can stand on, in the model's order."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.Embedding, Conv1D)
    return [*dict.fromkeys(name.rpartition(".")[2] for name, m in net.named_modules() if isinstance(m, kinds))]


def require_finite(net: Any, path: str) -> None:
    """Raise EngineError where a weight is NaN or infinite, with the tensor's name."""
    import torch

    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if not tensor.is_floating_point() or torch.isfinite(tensor.sum()):
            continue
        bad = int((~torch.isfinite(tensor)).sum())  # a sum can overflow by itself
        if bad:
            raise EngineError(
                f"{path}: {bad} of {tensor.numel()} numbers of {name.removeprefix(PREFIX)} are NaN or infinite, so "
                "every answer would be. Download or save the model again, or take an earlier checkpoint.",
                code="not-finite",
            )
