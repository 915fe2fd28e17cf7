"""Opening Hugging Face models: first what can be known without weights, then the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postlude import plain_json
from postlude.errors import ConfigError, EngineError, Problem, reason, shown
from postlude.models import adapters, fit, heads, opening, scorers
from postlude.models.adapters import base_path
from postlude.models.chat import Renderer
from postlude.models.dtypes import Dtype, wide
from postlude.models.files import ADAPTER_CONFIG, require_sound
from postlude.models.lora import Lora
from postlude.models.paths import is_nowhere
from postlude.models.quiet import quiet
from postlude.models.spec import Holding, ModelSpec

if TYPE_CHECKING:
    import torch

GENERATION = "generation_config.json"


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
    """What a user should know of them, such as how answers end."""


def problems_of_path(path: str) -> list[Problem]:
    """What is wrong with a model path, without importing anything heavy."""
    folder = Path(path).expanduser()
    problems = _problems_of_place(path)
    try:
        require_sound(folder)
    except ConfigError as error:
        problems += error.problems
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model", "spiece.model")
    if folder.is_dir() and not any((folder / name).exists() for name in names):
        problems.append(
            Problem(
                "bad-tokenizer",
                f"model: {path!r} has no tokenizer (tokenizer.json or tokenizer.model). Save it there with "
                "tokenizer.save_pretrained(FOLDER).",
            )
        )
    return problems


def _problems_of_place(path: str) -> list[Problem]:
    """Whether a path can hold a model at all."""
    folder = Path(path).expanduser()
    if is_nowhere(path):
        return [
            Problem(
                "no-such-model",
                f"model: {path!r} does not exist. Give a folder with a Hugging Face model, or a hub id OWNER/NAME.",
            )
        ]
    if not folder.exists():
        return []
    if folder.is_file():
        return [
            Problem(
                "not-a-model", f"model: {path!r} is a file. Give the folder that holds config.json and the weights."
            )
        ]
    if adapters.is_adapter(path):
        return [problem.within("model: ") for problem in _problems_of_base(folder)]
    if not (folder / "config.json").exists():
        return [
            Problem("not-a-model", f"model: {path!r} has no config.json, so it is not a Hugging Face model folder.")
        ]
    return []


def _problems_of_base(folder: Path) -> list[Problem]:
    """What is wrong with the model that an adapter folder names as its own."""
    try:
        base = plain_json.read(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    except (ValueError, AttributeError, OSError) as error:
        return [Problem("bad-adapter", f"{folder}: {ADAPTER_CONFIG} cannot be read ({error}). Save the adapter again.")]
    change = f"Set base_model_name_or_path in its {ADAPTER_CONFIG}."
    if not isinstance(base, str) or not base:
        return [Problem("bad-adapter", f"{folder}: the adapter does not say which model it belongs to. {change}")]
    if is_nowhere(base):
        return [
            Problem("no-such-model", f"{folder}: the adapter belongs to {base!r}, which does not exist here. {change}")
        ]
    if adapters.is_adapter(base):
        return [
            Problem(
                "adapter-cannot-stack",
                f"{folder}: the adapter stands on {base!r}, which is an adapter too. Merge that first "
                f"(postlude export {base} FOLDER), and name the result. {change}",
            )
        ]
    if name := adapters.changed_base(folder, Path(base).expanduser()):
        return [
            Problem(
                "misfit-weights",
                f"{folder}: the adapter was trained on {base!r}, whose {name} has changed since: on other weights it "
                f"says something else. Put that file back, or name the folder it is in now. {change}",
            )
        ]
    return []


def inspect(spec: ModelSpec, stop: tuple[str, ...] = ()) -> Facts:
    """Config and tokenizer of a model; every problem found in them at once, without loading weights."""
    problems = problems_of_path(spec.path)
    if problems:
        raise ConfigError(problems)
    from transformers import AutoTokenizer

    try:
        with quiet():
            config = scorers.config_of(spec.path)
            tokenizer: Any = AutoTokenizer.from_pretrained(spec.path, trust_remote_code=False)
    except ConfigError as error:
        raise ConfigError([problem.within("model: ") for problem in error.problems]) from error
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"model: cannot read config and tokenizer of {spec.path!r}: {first}", code="not-a-model"
        ) from error
    except Exception as error:  # what the libraries stumble over in a damaged file can be of any kind
        raise ConfigError(
            f"model: cannot read the tokenizer of {spec.path!r}: {reason(error)}", code="bad-tokenizer"
        ) from error
    _require_length(spec.path, tokenizer.model_max_length)
    if spec.chat_template:
        try:
            tokenizer.chat_template = Path(spec.chat_template).expanduser().read_text(encoding="utf-8")
        except FileNotFoundError:
            problems.append(Problem("no-such-file", f"model.chat_template: {spec.chat_template!r} does not exist."))
        except (OSError, ValueError) as error:
            problems.append(
                Problem("cannot-read", f"model.chat_template: cannot read {spec.chat_template[:80]!r}: {error}.")
            )
    if config.is_encoder_decoder:
        problems.append(
            Problem(
                "unsupported-model",
                f"model: {spec.path!r} is an encoder-decoder model ({config.model_type}); postlude trains causal "
                "language models only. Take a decoder-only model such as Llama, Qwen or Gemma.",
            )
        )
    named = _stop_ids(spec.path, config, tokenizer)
    stop_ids = named | _turn_end(tokenizer, named)
    if not stop_ids and not stop:
        problems.append(
            Problem(
                "answers-never-end",
                f"model: the tokenizer of {spec.path!r} has no end-of-sequence token, so answers would never end. Set "
                "tokenizer.eos_token and save it, or give sampling.stop.",
            )
        )
    text = config.get_text_config()
    rows = (adapters.is_adapter(spec.path) and adapters.vocabulary(spec.path)) or text.vocab_size
    problems += _unanswerable(spec.path, stop_ids, rows)
    if problems:
        raise ConfigError(problems)
    notes = (*_end_notes(tokenizer, named), *_beyond(spec.path, tokenizer, rows))
    return Facts(config, tokenizer, stop_ids, _context(text), rows, notes)


def _require_length(path: str, longest: Any) -> None:
    """A tokenizer's limit is a number; with anything else it tokenises nothing."""
    if not isinstance(longest, int | float):
        raise ConfigError(
            f"model: the tokenizer of {path!r} has model_max_length {shown(longest)}, which is no number: mend "
            "tokenizer_config.json.",
            code="bad-tokenizer",
        )


def _unanswerable(path: str, stop_ids: frozenset[int], rows: int) -> list[Problem]:
    """Ends of answers that the model has no output for."""
    beyond = sorted(i for i in stop_ids if i >= rows)
    if not beyond or len(beyond) < len(stop_ids):
        return []
    return [
        Problem(
            "answers-never-end",
            f"model: answers of {path!r} end with token id {beyond[0]}, and the model has {rows} rows in its "
            "vocabulary, so none would end. Resize the model's embedding to its tokenizer, or set another eos_token.",
        )
    ]


def _beyond(path: str, tokenizer: Any, rows: int) -> tuple[str, ...]:
    """Tokens that the tokenizer knows and the model does not, in a sentence."""
    beyond = sorted((i, token) for token, i in tokenizer.get_vocab().items() if i >= rows)
    if not beyond:
        return ()
    first = ", ".join(repr(token) for _, token in beyond[:4]) + (", ..." if len(beyond) > 4 else "")
    return (
        f"the tokenizer of {path!r} has {len(beyond)} tokens beyond the {rows} rows of the model's vocabulary "
        f"({first}): rows that hold them are refused",
    )


def inspect_files(path: str, scalar: bool = False, lora: Lora | None = None) -> None:
    """Raise ConfigError with all that the headers of a model's files say is wrong."""
    problems = _problems_of_place(path)
    if not problems:
        try:
            config = scorers.config_of(path)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(
                f"cannot read the config of {path!r}: {reason(error)}", code="bad-model-config"
            ) from error
        problems = opening.problems_of_weights(path, config, scalar, lora)
    if problems:
        raise ConfigError(problems)


def _context(config: Any) -> int | None:
    names = ("max_position_embeddings", "n_positions")
    return next((config.__dict__[n] for n in names if config.__dict__.get(n)), None)


def _stop_ids(path: str, config: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a completion: the tokenizer's, and those of the generation settings."""
    from transformers import GenerationConfig

    ids: set[int] = set()
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    base = base_path(path)
    try:
        with quiet():
            more = GenerationConfig.from_pretrained(base).eos_token_id
    except Exception as error:  # what transformers stumbles over in a damaged file can be of any kind
        if not isinstance(error, OSError) or (Path(base).expanduser() / GENERATION).exists():
            raise ConfigError(
                f"model: the {GENERATION} of {base!r} cannot be read: {reason(error)}", code="bad-model-config"
            ) from error
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


def load(
    spec: ModelSpec,
    held: Holding | None = None,
    adapter_from: str | None = None,
    scalar: bool = False,
    zero: bool = False,
) -> Any:
    """The model with its weights, held as `held` says; with a fresh LoRA adapter where the spec asks for one.

    `adapter_from`: a checkpoint folder whose adapter is continued instead. A model folder that holds an adapter
    gets it merged in float32 (float64 where that is the dtype), or under LoRA keeps it, frozen, below the new one: a
    reference taken from the start includes it either way. `scalar`: with one output
    number instead of a vocabulary, whose map is new (of zeros with `zero`) where the folder has none.
    """
    import torch
    from safetensors import SafetensorError

    held = held or Holding()
    device = device_of(held)
    dtype, merge = wide(held.dtype), spec.lora is None
    try:
        with quiet():
            inspect_files(spec.path, scalar, spec.lora)
            net = opening.scorer(spec.path, zero, dtype) if scalar else opening.causal(spec.path, merge, dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise EngineError(
            f"cannot load {spec.path!r}: {str(error).strip().splitlines()[0]}", code="cannot-read"
        ) from error
    for name, p in net.named_parameters():  # not the buffers: rotary frequencies must stay in float32
        if not name.startswith(f"{heads.HEAD}."):  # nor a scalar head, whose numbers half precision would round
            p.data = p.data.to(getattr(torch, held.dtype))
    if spec.lora:
        net = _with_adapter(net, spec, held.dtype, adapter_from, "SEQ_CLS" if scalar else "CAUSAL_LM")
    fit.require_finite(net, spec.path)
    if held.gradient_checkpointing:
        net.gradient_checkpointing_enable({"use_reentrant": False})
        if spec.lora:
            net.enable_input_require_grads()
    return net.to(device).train()


def device_of(held: Holding) -> torch.device:
    """Where a model is held. Raises EngineError where that device is not here."""
    import torch

    device = held.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            "engine.device is cuda, but no CUDA device is here. Use device: cpu, or auto.", code="no-such-device"
        )
    return torch.device(device)


BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Names under which torch lists instructions that multiply bfloat16 numbers."""


def note_of_half(dtype: str, device: str) -> str | None:
    """What to know before half precision is run on a processor without instructions for it; None where all is well."""
    import torch

    if dtype != "bfloat16" or device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.13
        return None
    capabilities = torch.cpu.get_capabilities()
    if any(capabilities.get(flag) for flag in BF16_FLAGS):
        return None
    return (
        "this processor has no instructions for bfloat16, which is emulated: expect several times the time of float32, "
        "and full fine-tuning saves no memory. Use engine.dtype=float32 here."
    )


def _with_adapter(net: Any, spec: ModelSpec, dtype: Dtype, checkpoint: str | None, task: str) -> Any:
    from peft import LoraConfig

    assert spec.lora is not None
    config = LoraConfig(
        r=spec.lora.rank,
        lora_alpha=spec.lora.alpha,
        lora_dropout=0.0,
        target_modules=fit.as_peft(spec.lora.targets),
        task_type=task,
    )
    start = spec.path if adapters.is_adapter(spec.path) else None
    with _default(wide(dtype)):
        return adapters.with_adapter(net, config, start, checkpoint)


@contextmanager
def _default(dtype: Dtype) -> Iterator[None]:
    """Make new weights in `dtype`: peft draws an adapter's in torch's default, whatever the model's."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
