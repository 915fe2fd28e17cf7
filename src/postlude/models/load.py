"""Opening Hugging Face models: first what can be known without weights, then the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from postlude.errors import ConfigError, EngineError
from postlude.models import adapters, heads
from postlude.models import lora as lora_arithmetic
from postlude.models.chat import Renderer
from postlude.models.paths import is_nowhere


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter on the model ("LoRA Without Regret": all linear layers, alpha 32)."""

    rank: int = 16
    alpha: int = lora_arithmetic.ALPHA
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ValueError(f"rank and alpha must be at least 1, got {self.rank} and {self.alpha}")


@dataclass(frozen=True)
class Refreshed:
    """A reference that follows the policy: after every so many steps it becomes the policy as it is then."""

    every: int
    """Steps (draws) between refreshes; the first follows step `every`, the start is the reference until then."""
    mix: float = 1.0
    """The policy's share in the new reference: mix x policy + (1 - mix) x reference, weight by weight (TR-DPO's alpha,
    2404.09656). 1 replaces the reference."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")
        if not 0 < self.mix <= 1:
            raise ValueError(f"mix must lie in (0, 1], got {self.mix:g}")


@dataclass(frozen=True)
class ModelSpec:
    """Which model, and how it is held."""

    path: str
    """A folder with a Hugging Face model, or a hub id such as Qwen/Qwen3-0.6B."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights while training; with bfloat16 the optimiser keeps an fp32 master copy."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    lora: Lora | None = None
    """Train an adapter instead of all weights."""
    reference: Literal["start", "none"] | Refreshed = "start"
    """What methods with a reference compare with: the starting weights, or the policy of a few steps ago. `none`
    promises that no copy of any weights is kept; methods that compare then refuse."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    packed: bool = True
    """Use the packed path where the self-check passes; false forces plain padded rows."""
    chat_template: str | None = None
    """A Jinja file used instead of the tokenizer's own template."""


@dataclass(frozen=True)
class Critic:
    """The value function of a method that has one."""

    form: Literal["own", "trunk"] = "own"
    """`own` is a second model; `trunk` a linear map on the policy's hidden states, which its gradient then changes."""
    path: str | None = None
    """Where a critic of its own starts, a reward model (whose head is kept) or any other. Default: where the policy
    starts, with a head of zeros."""
    lr: float | None = None
    """Its learning rate. Default: ten times the policy's."""
    warmup: int = 0
    """Steps in which the critic alone learns."""

    def __post_init__(self) -> None:
        if self.lr is not None and self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr:g}")
        if self.warmup < 0:
            raise ValueError(f"warmup must not be negative, got {self.warmup}")
        if self.form == "trunk" and self.path:
            raise ValueError("a critic on the policy's trunk starts with the policy; path is for a critic of its own")


@dataclass(frozen=True)
class Facts:
    """What is known of a model before its weights are read."""

    config: Any
    tokenizer: Any
    stop_ids: frozenset[int]
    context: int | None
    """Longest sequence in tokens, None where the config does not say."""
    vocabulary: int
    """Rows of the embedding."""
    notes: tuple[str, ...] = ()
    """What a user should know about how answers end."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the terminal while loading."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def problems_of_path(path: str) -> list[str]:
    """What is wrong with a model path, without importing anything heavy."""
    folder = Path(path).expanduser()
    if is_nowhere(path):
        return [f"model: {path!r} does not exist. Give a folder with a Hugging Face model, or a hub id OWNER/NAME."]
    if not folder.exists():
        return []
    if folder.is_file():
        return [f"model: {path!r} is a file. Give the folder that holds config.json and the weights."]
    problems = []
    if not (folder / "config.json").exists() and not (folder / "adapter_config.json").exists():
        problems.append(f"model: {path!r} has no config.json, so it is not a Hugging Face model folder.")
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model", "spiece.model")
    if not any((folder / name).exists() for name in names):
        problems.append(
            f"model: {path!r} has no tokenizer (tokenizer.json or tokenizer.model). Save it there with "
            "tokenizer.save_pretrained(FOLDER)."
        )
    return problems


def inspect(spec: ModelSpec, stop: tuple[str, ...] = ()) -> Facts:
    """Config and tokenizer of a model; every problem found in them at once, without loading weights."""
    problems = problems_of_path(spec.path)
    if problems:
        raise ConfigError(problems)
    from transformers import AutoConfig, AutoTokenizer

    try:
        with quiet():
            config: Any = AutoConfig.from_pretrained(base_path(spec.path), trust_remote_code=False)
            tokenizer: Any = AutoTokenizer.from_pretrained(spec.path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"model: cannot read config and tokenizer of {spec.path!r}: {first}") from error
    if spec.chat_template:
        template = Path(spec.chat_template)
        if template.exists():
            tokenizer.chat_template = template.read_text()
        else:
            problems.append(f"model.chat_template: {spec.chat_template!r} does not exist.")
    if config.is_encoder_decoder:
        problems.append(
            f"model: {spec.path!r} is an encoder-decoder model ({config.model_type}); postlude trains causal language "
            "models only. Take a decoder-only model such as Llama, Qwen or Gemma."
        )
    named = _stop_ids(spec.path, config, tokenizer)
    stop_ids = named | _turn_end(tokenizer, named)
    if not stop_ids and not stop:
        problems.append(
            f"model: the tokenizer of {spec.path!r} has no end-of-sequence token, so answers would never end. Set "
            "tokenizer.eos_token and save it, or give sampling.stop."
        )
    if problems:
        raise ConfigError(problems)
    text = config.get_text_config()
    return Facts(config, tokenizer, stop_ids, _context(text), text.vocab_size, tuple(_end_notes(tokenizer, named)))


def _context(config: Any) -> int | None:
    names = ("max_position_embeddings", "n_positions")
    return next((config.__dict__[n] for n in names if config.__dict__.get(n)), None)


def base_path(path: str) -> str:
    """The model under an adapter folder, or the folder itself."""
    import json

    adapter = Path(path).expanduser() / "adapter_config.json"
    if adapter.exists() and not (adapter.parent / "config.json").exists():
        return json.loads(adapter.read_text())["base_model_name_or_path"]
    return path


def _stop_ids(path: str, config: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a completion: the tokenizer's, and those of the generation settings."""
    from transformers import GenerationConfig

    ids: set[int] = set()
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    try:
        with quiet():
            more = GenerationConfig.from_pretrained(base_path(path)).eos_token_id
    except OSError:
        more = config.get_text_config().__dict__.get("eos_token_id")
    if tokenizer.eos_token_id is not None and more is not None:
        ids |= {more} if isinstance(more, int) else set(more)
    return frozenset(ids)


def _turn_end(tokenizer: Any, named: frozenset[int]) -> frozenset[int]:
    """The token with which the chat template ends the assistant's turn, where it is one."""
    end = Renderer(tokenizer, named).turns.end
    return frozenset() if end is None else frozenset({end})


def _end_notes(tokenizer: Any, named: frozenset[int]) -> Iterator[str]:
    for i in sorted(_turn_end(tokenizer, named) - named):
        others = ", ".join(repr(tokenizer.convert_ids_to_tokens(k)) for k in sorted(named)) or "nothing"
        yield (
            f"model: the chat template ends a turn with {tokenizer.convert_ids_to_tokens(i)!r}, while tokenizer and "
            f"generation settings name {others}: answers end at both, and a checkpoint's generation settings name both"
        )
    if tokenizer.eos_token_id is None:
        yield "model: the tokenizer has no EOS token: a written answer that no chat template ends has no end to learn"


def name_stops(net: Any, stop_ids: frozenset[int]) -> None:
    """Let the model's generation settings name every id that ends an answer, so that other tools stop there too."""
    settings = net.generation_config
    named = settings.eos_token_id
    if not stop_ids <= {*(named if isinstance(named, list) else [named])}:
        settings.eos_token_id = sorted(stop_ids)


def load(spec: ModelSpec, adapter_from: str | None = None, scalar: bool = False, zero: bool = False) -> Any:
    """The model with its weights, on its device; with a fresh LoRA adapter where the spec asks for one.

    `adapter_from`: a checkpoint folder whose adapter is continued instead. A model folder that holds an adapter
    gets it merged in float32, or under LoRA keeps it, frozen, below the new one: a reference taken from the start
    includes it either way. `scalar`: with one output
    number instead of a vocabulary, whose map is new (of zeros with `zero`) where the folder has none.
    """
    import torch

    device = spec.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("model.device is cuda, but no CUDA device is here. Use device: cpu, or auto.")
    dtype = torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
    try:
        with quiet():
            net = open_scorer(spec.path, zero) if scalar else open_causal(spec.path, merge=spec.lora is None)
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(f"cannot load {spec.path!r}: {str(error).strip().splitlines()[0]}") from error
    for name, p in net.named_parameters():  # not the buffers: rotary frequencies must stay in float32
        if not name.startswith(f"{heads.HEAD}."):  # nor a scalar head, whose numbers half precision would round
            p.data = p.data.to(dtype)
    if spec.lora:
        net = _with_adapter(net, spec, adapter_from, "SEQ_CLS" if scalar else "CAUSAL_LM")
    if spec.gradient_checkpointing:
        net.gradient_checkpointing_enable({"use_reentrant": False})
        if spec.lora:
            net.enable_input_require_grads()
    return net.to(device).train()


BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Names under which torch lists instructions that multiply bfloat16 numbers."""


def note_of_half(dtype: str, device: str) -> str | None:
    """What to know before half precision is run on a processor without instructions for it; None where all is well."""
    import torch

    if dtype != "bfloat16" or device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.13
        return None
    found = torch.cpu.get_capabilities()
    if any(found.get(flag) for flag in BF16_FLAGS):
        return None
    return (
        "this processor has no instructions for bfloat16, which is emulated: expect several times the time of float32, "
        "and full fine-tuning saves no memory. Use model.dtype=float32 here."
    )


def open_causal(path: str, merge: bool) -> Any:
    """The model of a folder; an adapter that it holds is merged, unless another will stand on it."""
    import torch
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(base_path(path), dtype=torch.float32, trust_remote_code=False)
    return adapters.merged(net, path) if merge and adapters.is_adapter(path) else net


def open_scorer(path: str, zero: bool = False) -> Any:
    """A scalar head on a folder's model; on top of an adapter that it may hold, of a policy or a scorer."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id != tokenizer.eos_token_id else None
    net = heads.load_scorer(base_path(path), pad, zero)
    return adapters.merged(net, path) if adapters.is_adapter(path) else net


def _with_adapter(net: Any, spec: ModelSpec, checkpoint: str | None, task: str) -> Any:
    from peft import LoraConfig

    assert spec.lora is not None
    targets = spec.lora.targets if isinstance(spec.lora.targets, str) else list(spec.lora.targets)
    config = LoraConfig(
        r=spec.lora.rank, lora_alpha=spec.lora.alpha, lora_dropout=0.0, target_modules=targets, task_type=task
    )
    start = spec.path if adapters.is_adapter(spec.path) else None
    return adapters.with_adapter(net, config, start, checkpoint)
