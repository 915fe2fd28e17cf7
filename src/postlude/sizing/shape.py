"""The shape of a model, read from its config.json or known by its size, and how many parameters that makes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postlude import plain_json
from postlude.errors import ConfigError
from postlude.models.paths import is_nowhere
from postlude.sizing.typical import MODELS

CONFIG = "config.json"
ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Linear:
    """A linear map of a layer."""

    name: str
    """Within the layer: self_attn.q_proj."""
    inputs: int
    outputs: int
    bias: bool = False
    copies: int = 1
    """How many there are: one for each expert of a mixture."""

    @property
    def parameters(self) -> int:
        return self.copies * (self.inputs * self.outputs + (self.outputs if self.bias else 0))


@dataclass(frozen=True)
class Shape:
    """The sizes of a causal language model."""

    name: str
    family: str
    """transformers' model_type."""
    layers: int
    width: int
    """Of hidden states (D)."""
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    """Width of the feed-forward block (I); of all experts that a token meets."""
    vocabulary: int
    tied: bool
    """Whether the output layer is the embedding."""
    linears: tuple[Linear, ...]
    """Of one layer."""
    vectors: int
    """Other parameters of one layer: norms."""
    outside: int
    """Parameters that are in no layer, embedding and output layer aside: the last norm, learned positions."""
    gated: bool = True
    """Whether the feed-forward block has a gate beside what it scales."""
    activation: str = "silu"
    note: str = ""
    """What is not exact about it, for people; empty where everything comes from the config."""

    @classmethod
    def of_config(cls, path: str | Path) -> Shape:
        """From a config.json, the folder it is in (of an adapter: of its model), or the name of a model in Hugging
        Face's cache. Raises ConfigError; nothing is downloaded."""
        file = config_file(str(path))
        try:
            values = plain_json.read(file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read: {error}", code="bad-model-config") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{file} describes no model: it is no JSON object.", code="bad-model-config")
        return of_values(values, str(path))

    @classmethod
    def of_size(cls, size: str) -> Shape:
        """The typical shape of a size such as 7B or 350M: that of the nearest well-known model, as wide as it takes.

        Raises ConfigError for what is no size."""
        return _of_size(size)

    @property
    def parameters(self) -> int:
        """All weights, as transformers counts them."""
        return self.embedding * (1 if self.tied else 2) + self.layers * self.of_layer + self.outside

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of an output layer of its own."""
        return self.vocabulary * self.width

    @property
    def of_layer(self) -> int:
        """Parameters of one layer."""
        return sum(linear.parameters for linear in self.linears) + self.vectors

    @property
    def key_width(self) -> int:
        """Numbers of the keys of one token in one layer; those of the values are as many."""
        return self.kv_heads * self.head_width

    @property
    def query_width(self) -> int:
        return self.heads * self.head_width

    @property
    def scorer(self) -> Shape:
        """The same trunk with one output number instead of a vocabulary: a reward model, a critic."""
        return replace(self, tied=True, outside=self.outside + self.width)

    def adapted(self, targets: str | tuple[str, ...] = "all-linear") -> tuple[Linear, ...]:
        """Linear maps of one layer that LoRA stands on: all, those named, or those an expression matches."""
        if targets == "all-linear":
            return self.linears
        if isinstance(targets, str):
            return tuple(one for one in self.linears if re.fullmatch(targets, f"model.layers.0.{one.name}"))
        return tuple(one for one in self.linears if one.name.endswith(targets))

    def adapter(self, rank: int, targets: str | tuple[str, ...] = "all-linear") -> int:
        """Parameters of a LoRA adapter: rank x (inputs + outputs) of every map it stands on."""
        maps = self.adapted(targets)
        return self.layers * sum(one.copies * rank * (one.inputs + one.outputs) for one in maps)


def config_file(path: str) -> Path:
    """The config.json behind a folder, a file, or a name that is in Hugging Face's cache. Raises ConfigError."""
    place = Path(path).expanduser()
    if place.is_file():
        return place
    if (place / ADAPTER).is_file() and not (place / CONFIG).is_file():
        base = plain_json.read(place / ADAPTER).get("base_model_name_or_path")
        if isinstance(base, str) and base != path:
            return config_file(base)
    if (place / CONFIG).is_file():
        return place / CONFIG
    if place.is_dir():
        raise ConfigError(f"model: {path!r} has no {CONFIG}, so it is not a model folder.", code="not-a-model")
    cached = None if is_nowhere(path) else _cached(path)
    if cached is None:
        raise ConfigError(
            f"model: {path!r} is no folder here, and Hugging Face's cache has no config of it. Give a folder with a "
            f"config.json, download the model first, or give a size: {size_in(path) or '7B'}.",
            code="no-such-model",
        )
    return cached


def _cached(name: str) -> Path | None:
    """The config of a hub id that was downloaded before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        return None
    return Path(file) if isinstance(file, str) else None


# ---------------------------------------------------------------------------------------------------- families


def of_values(values: Mapping[str, Any], name: str) -> Shape:
    """The shape that the values of a config.json describe. Raises ConfigError where sizes are missing or are none."""
    inner = values.get("text_config")
    values = {**values, **inner} if isinstance(inner, dict) else values
    family = str(values.get("model_type", ""))
    read = _Reader(values, name)
    if family == "gpt2":
        return _gpt2(read, name)
    if family == "gpt_neox":
        return _neox(read, name)
    return _llama(read, name, family)


@dataclass(frozen=True)
class _Reader:
    """Sizes of a config; the first of several names that is there."""

    values: Mapping[str, Any]
    name: str

    def size(self, *names: str, default: int | None = None) -> int:
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
            if value is not None:
                raise ConfigError(
                    f"the config.json of {self.name!r} has {name} {value!r}, which is no size.", code="bad-model-config"
                )
        if default is None:
            raise ConfigError(
                f"the config.json of {self.name!r} does not say {names[0]}: its shape is not known.",
                code="bad-model-config",
            )
        return default

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.values.get(name)
        return value if isinstance(value, bool) else default

    def word(self, *names: str, default: str = "") -> str:
        return next((value for name in names if isinstance(value := self.values.get(name), str)), default)


@dataclass(frozen=True)
class _Family:
    """What the config of a Llama-like family leaves to be known."""

    norms: int = 2
    """Of width D, in each layer."""
    head_norms: bool = False
    """Norms of queries and keys, as wide as a head."""
    whole_norms: bool = False
    """Norms of queries and keys, as wide as all heads."""
    qkv_bias: bool = False
    biased_by_config: bool = True
    tied: bool = False
    """Where the config does not say."""
    head_width: int = 0
    """The same."""


LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""Names that configs have for the number of layers."""
FAMILIES: Mapping[str, _Family] = {
    "llama": _Family(),
    "mistral": _Family(biased_by_config=False),
    "qwen2": _Family(qkv_bias=True, biased_by_config=False),
    "qwen3": _Family(head_norms=True, head_width=128),
    "smollm3": _Family(tied=True),
    "phi3": _Family(biased_by_config=False),
    "granite": _Family(),
    "olmo2": _Family(whole_norms=True),
    "gemma": _Family(tied=True, head_width=256),
    "gemma2": _Family(norms=4, tied=True, head_width=256),
    "gemma3_text": _Family(norms=4, head_norms=True, tied=True, head_width=256),
    "mixtral": _Family(biased_by_config=False),
    "qwen3_moe": _Family(head_norms=True, head_width=128),
}
"""Llama-like families whose parameters are counted exactly."""


def _llama(read: _Reader, name: str, family: str) -> Shape:
    known = FAMILIES.get(family)
    kind = known or _Family()
    width, layers = read.size("hidden_size", "n_embd", "d_model"), read.size(*LAYERS)
    heads = read.size("num_attention_heads", "n_head", "num_heads")
    kv_heads = read.size("num_key_value_heads", default=heads)
    each = read.size("head_dim", default=kind.head_width or width // heads)
    queries, keys = heads * each, kv_heads * each
    biased = kind.biased_by_config and read.flag("attention_bias")
    qkv, mlp = biased or kind.qkv_bias, kind.biased_by_config and read.flag("mlp_bias")
    attention = (
        Linear("self_attn.q_proj", width, queries, qkv),
        Linear("self_attn.k_proj", width, keys, qkv),
        Linear("self_attn.v_proj", width, keys, qkv),
        Linear("self_attn.o_proj", queries, width, biased),
    )
    forward, inner, routers = _forward(read, family, width, mlp)
    norms = 2 * each if kind.head_norms else queries + keys if kind.whole_norms else 0
    return Shape(
        name=name,
        family=family,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=each,
        inner=inner,
        vocabulary=read.size("vocab_size"),
        tied=read.flag("tie_word_embeddings", kind.tied),
        linears=(*attention, *forward),
        vectors=kind.norms * width + norms + routers,
        outside=width,
        activation=read.word("hidden_act", "hidden_activation", "activation_function", default="silu"),
        note="" if known else f"the family {family or 'of its config'!r} is not known here: counted as a Llama",
    )


def _forward(read: _Reader, family: str, width: int, bias: bool) -> tuple[tuple[Linear, ...], int, int]:
    """The feed-forward block: its maps, its width for one token, and the numbers of a router."""
    experts = read.size("num_local_experts", "num_experts", default=1)
    inner = read.size("intermediate_size", "n_inner", default=4 * width)
    if experts > 1:
        inner = read.size("moe_intermediate_size", default=inner)
    prefix = "mlp" if experts == 1 else "mlp.experts"
    maps = (
        Linear(f"{prefix}.gate_proj", width, inner, bias, experts),
        Linear(f"{prefix}.up_proj", width, inner, bias, experts),
        Linear(f"{prefix}.down_proj", inner, width, bias, experts),
    )
    active = read.size("num_experts_per_tok", default=1) if experts > 1 else 1
    return maps, active * inner, experts * width if experts > 1 else 0


def _gpt2(read: _Reader, name: str) -> Shape:
    width, heads = read.size("n_embd", "hidden_size"), read.size("n_head", "num_attention_heads")
    inner = read.size("n_inner", default=4 * width)
    maps = (
        Linear("attn.c_attn", width, 3 * width, True),
        Linear("attn.c_proj", width, width, True),
        Linear("mlp.c_fc", width, inner, True),
        Linear("mlp.c_proj", inner, width, True),
    )
    return Shape(
        name=name,
        family="gpt2",
        layers=read.size("n_layer", "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        inner=inner,
        vocabulary=read.size("vocab_size"),
        tied=read.flag("tie_word_embeddings", True),
        linears=maps,
        vectors=4 * width,
        outside=read.size("n_positions", default=1024) * width + 2 * width,
        gated=False,
        activation=read.word("activation_function", default="gelu_new"),
    )


def _neox(read: _Reader, name: str) -> Shape:
    width, heads, inner = read.size("hidden_size"), read.size("num_attention_heads"), read.size("intermediate_size")
    bias = read.flag("attention_bias", True)
    maps = (
        Linear("attention.query_key_value", width, 3 * width, bias),
        Linear("attention.dense", width, width, bias),
        Linear("mlp.dense_h_to_4h", width, inner, True),
        Linear("mlp.dense_4h_to_h", inner, width, True),
    )
    return Shape(
        name=name,
        family="gpt_neox",
        layers=read.size("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        inner=inner,
        vocabulary=read.size("vocab_size"),
        tied=read.flag("tie_word_embeddings"),
        linears=maps,
        vectors=4 * width,
        outside=2 * width,
        gated=False,
        activation=read.word("hidden_act", default="gelu"),
    )


# ------------------------------------------------------------------------------------------------------ sizes


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([mMbB])")


def number_of(size: str) -> float | None:
    """Parameters that a text such as 7B, 1.5b or 350M names; None where it names no size."""
    match = _SIZE.fullmatch(size.strip())
    return float(match[1]) * (1e6 if match[2] in "mM" else 1e9) if match else None


def size_in(name: str) -> str | None:
    """The size that the name of a model says: 7B of Qwen2.5-7B-Instruct."""
    match = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name.casefold())
    return f"{match[1]}{match[2].upper()}" if match else None


def _of_size(size: str) -> Shape:
    """The shape of the well-known model of that size; of others the nearest one's, wider or narrower."""
    wanted = number_of(size)
    if not wanted:
        raise ConfigError(f"{size!r} is no size of a model. Write it as 7B or 350M.", code="wrong-type")
    named = {number_of(name): known for name, known in MODELS.items()}
    if wanted in named:
        known = named[wanted]
        return replace(
            of_values(known.values, known.name), name=size, note=f"the typical shape of this size: that of {known.name}"
        )
    shapes = [of_values(known.values, known.name) for known in MODELS.values()]
    near = min(shapes, key=lambda shape: abs(math.log(shape.parameters / wanted)))
    shape, way = _as_large(near, wanted), "wider" if wanted > near.parameters else "narrower"
    if not 0.8 < shape.parameters / wanted < 1.25:
        raise ConfigError(
            f"{size!r}: no shape of a known model, made wider or narrower, has about so many parameters.",
            code="out-of-range",
        )
    note = f"no well-known model has this size: the shape of {near.name}, made {way}"
    return replace(shape, name=size, note=note)


def _as_large(shape: Shape, wanted: float) -> Shape:
    """The shape with every width scaled so that it has about so many parameters; depth and vocabulary stay."""
    low, high = 1 / 64, 64.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _scaled(shape, middle).parameters < wanted else (low, middle)
    return _scaled(shape, low)


def _scaled(shape: Shape, factor: float) -> Shape:
    each = max(1, round(shape.head_width * factor))

    def wide(size: int) -> int:
        return max(1, round(size * factor))

    linears = tuple(
        Linear(one.name, wide(one.inputs), wide(one.outputs), one.bias, one.copies) for one in shape.linears
    )
    return replace(
        shape,
        width=wide(shape.width),
        head_width=each,
        inner=wide(shape.inner),
        linears=linears,
        vectors=wide(shape.vectors),
        outside=wide(shape.outside),
    )
