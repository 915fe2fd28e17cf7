"""What a recipe says to engines: how to sample, to step, to hold models and to reach servers. Needs no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from postlude.bounds import Bounds, Count, CountOrZero, Fits, Line, NotNegative, Seconds, Small, Word, hold
from postlude.credentials import in_url, take_from, veiled
from postlude.models.dtypes import Dtype
from postlude.models.spec import Holding

LONGEST_RETRY_AFTER = 120.0
"""Seconds: nobody waits longer, even where a server asks for it."""


def _wrong_url(url: str, place: str, example: str) -> str | None:
    """What is wrong, without what may be secret, with what is no URL, or one that holds what belongs in `place`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"must look like {example}, got {veiled(url)!r}"
    if parts.username or parts.password or in_url(url):
        return f"must not hold a user, a password or a key; put the key into {place}"
    return None


def _wrong_server(url: str) -> str | None:
    return _wrong_url(url, "the servers' own configuration", "http://10.0.0.5:8000")


ServerUrl = Annotated[Line, Fits(_wrong_server)]


def _wrong_cluster(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    is_port = port.isdecimal() and 0 < int(port) < 2**16
    if address in ("local", "auto") or (is_port and host and not set(host) & set("/@ ")):
        return None
    return f"is auto, local, or host:port of a Ray cluster's head, such as 10.0.0.5:6379; got {veiled(address)!r}"


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn."""

    temperature: Annotated[float, Bounds(0, 100)] = 1.0
    """1 samples from the model as it is, less makes likely tokens likelier, 0 takes the most likely one."""
    top_p: Annotated[float, Bounds(0, 1, above=True)] = 1.0
    """Sample from the smallest set of tokens with this much probability; 1 is off, and right for training."""
    top_k: CountOrZero = 0
    """Sample from this many most likely tokens; 0 is off."""
    max_tokens: Annotated[int, Bounds(1, 2**24)] = 256
    """The longest completion, in tokens."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they stay part of it."""

    def __post_init__(self) -> None:
        hold(self)
        if "" in self.stop:
            raise ValueError("stop must not hold an empty string")

    @property
    def truncates(self) -> bool:
        """Whether some tokens are never sampled: log-probs are then of the part that is kept."""
        return self.top_p < 1 or self.top_k > 0


@dataclass(frozen=True)
class Optimizer:
    """AdamW and what surrounds it. The rate comes with every step."""

    beta1: Annotated[float, Bounds(0, 1, below=True)] = 0.9
    """AdamW's memory of the gradient."""
    beta2: Annotated[float, Bounds(0, 1, below=True)] = 0.95
    """AdamW's memory of its square."""
    eps: Small = 1e-8
    """Under the division; larger is steadier in low precision."""
    weight_decay: Annotated[float, Bounds(0, 100)] = 0.0
    """Share of a weight, times the rate, that a step takes off."""
    max_grad_norm: NotNegative = 1.0
    """Gradients are scaled down to this norm; 0 is off."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Servers:
    """vLLM servers that sample for a run and get its weights after every step: started here, or running already."""

    count: Annotated[int, Bounds(1, 1024)] | None = None
    """How many servers are started on this machine, watched and stopped again. Either this or `urls` is given."""
    urls: tuple[ServerUrl, ...] = ()
    """Servers that run already, such as http://10.0.0.5:8000, on this machine or a private network that reads the run
    folder under the same path."""
    python: Line | None = None
    """The interpreter that started ones run under, which has vllm; such as .venv-vllm/bin/python."""
    gpus: Annotated[int, Bounds(1, 1024)] = 1
    """Of each, which its model is cut over (tensor parallel). On a CPU without effect."""
    args: tuple[Word, ...] = ()
    """More of vLLM's command line, as it is: ["--max-num-seqs", 64]."""
    start_timeout: Seconds = 900.0
    """Seconds until a server must be healthy that is started, or that loads as the run begins (`urls`)."""
    timeout: Seconds = 600.0
    """Seconds for one answer; long answers of a busy server need more."""
    concurrency: Annotated[int, Bounds(1, 4096)] = 256
    """Answers under way at once, at each."""
    colocate: bool = False
    """Trainer and servers share the same GPU: the servers sleep while the trainer works."""

    def __post_init__(self) -> None:
        if (self.count is None) == (not self.urls):
            what = "neither is there" if self.count is None else "both are there, and only one may be"
            raise ValueError(f"give `count` (servers that are started here) or `urls` (that run already): {what}")
        if self.count is not None and self.python is None:
            raise ValueError("`count` needs `python`, an interpreter that has vllm: make vllm-env makes one")
        for url in self.urls:
            if wrong := _wrong_server(url):
                raise ValueError(f"urls {wrong}")
        hold(self)


Publishing = Literal["auto", "files", "lora", "stream"]
"""How servers get a version of the weights."""


@dataclass(frozen=True)
class Local(Holding):
    """The engine of one process: one model that samples and trains, on a CPU or one GPU; or trains, where vLLM servers
    sample for it."""

    kind: Literal["local"] = "local"
    token_budget: Count | None = None
    """Tokens per micro-batch; results do not change. Default: what fits into the memory that is free, at most 16384."""
    head_chunk: Count | None = None
    """Tokens whose logits are held at a time in training; results do not change. Default: 16 million logits, fewer
    where memory is short."""
    cache_gib: Annotated[float, Bounds(0, 1e5, above=True)] | None = None
    """Room for keys and values while sampling, in GiB. Default: 40 % of a GPU's memory, 2 on a CPU, less where memory
    is short."""
    threads: Annotated[int, Bounds(1, 1024)] | None = None
    """CPU threads, of each trainer where there are several. Default: 1 for models under 5 M parameters, else what
    torch chooses."""
    servers: Servers | None = None
    """vLLM servers that sample instead. Default: this process samples."""
    publish: Publishing = "auto"
    """How servers get new weights: `lora` as an adapter's folder, `stream` over a process group, `files` from a folder.
    Default: lora where there is an adapter, else files."""
    commit_every: Annotated[int, Bounds(1, 10**6)] | None = None
    """With servers or several trainers, steps from one commit to the next, a checkpoint that is saved before weights
    are published: what a run that is killed has to make again. Default: 1 with servers, else 10."""
    probe_every: Annotated[int, Bounds(1, 10**6)] = 1
    """Publications from one comparison of the servers' log-probs with the trainer's to the next."""
    trainers: Annotated[int, Bounds(1, 4096)] = 1
    """Processes (ranks) that train one model together, as Ray actors that share its weights, gradients and moments
    (FSDP2), one GPU each where there are GPUs; they compute what one does, but for rounding. `gpus`, or `engine: ray`,
    is one for each GPU of this machine, at least 2. Default: this process trains."""
    address: Annotated[Line, Fits(_wrong_cluster)] = "local"
    """The Ray cluster that several trainers are placed on: `auto` is what RAY_ADDRESS says, else what `ray start` has
    noted on this machine; or host:port of its head. Default: one that is started here and ends with the run."""
    timeout: Seconds = 600.0
    """Seconds that several trainers may take for one piece of work, an update or a save, until they count as dead."""
    restarts: Annotated[int, Bounds(0, 1000)] = 3
    """How often several trainers are started again without a finished step between, until the run ends."""

    def __post_init__(self) -> None:
        hold(self)


def _check_url(url: str, place: str) -> None:
    """Raises ValueError where `_wrong_url` finds something."""
    if wrong := _wrong_url(url, place, "http://localhost:8000/v1"):
        raise ValueError(f"url {wrong}")


@dataclass(frozen=True)
class Served:
    """A model behind an OpenAI-compatible server. The key, where one is needed, is read from OPENAI_API_KEY."""

    url: Line
    """A server that answers instead, such as http://localhost:8000/v1; only for `postlude sample` and `eval`."""
    model: Line | None = None
    """Its name on the server. Default: the only one the server has."""
    concurrency: Annotated[int, Bounds(1, 4096)] = 32
    """Requests under way at once."""
    timeout: Seconds = 120.0
    """Seconds for one answer; long answers from a busy server need more."""
    retries: Annotated[int, Bounds(0, 1000)] = 4
    """Further tries after 429, 5xx and broken connections, with growing pauses or as Retry-After says."""

    def __post_init__(self) -> None:
        _check_url(self.url, "OPENAI_API_KEY")
        hold(self)


@dataclass(frozen=True)
class ScorerSpec:
    """A reward model: where it is and how it is held."""

    path: str
    dtype: Dtype = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    separator: str = "\n"
    """Between the steps of an answer, for a process model."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The models it is made of."""
        return (self.path,)


@dataclass(frozen=True)
class ImplicitSpec(ScorerSpec):
    """A policy as a reward model, against the policy it was trained from: beta (log policy(y|x) - log reference(y|x)).

    `path` is the policy.
    """

    reference: str = ""
    beta: float = 0.1
    per_token: bool = False
    """The mean over the answer's tokens instead of the sum, as of a length-normalised DPO."""

    @property
    def folders(self) -> tuple[str, ...]:
        return (self.path, self.reference)


@dataclass(frozen=True)
class ChatSpec:
    """A language model that is asked in words: in this process, or behind an OpenAI-compatible server."""

    model: str = ""
    """A folder, run or hub id; with `url` its name on the server (default: the only one there)."""
    url: str | None = None
    """Such as http://localhost:8000/v1. The key, where one is needed, is read from the environment."""
    key: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    concurrency: Annotated[int, Bounds(1, 4096)] = 16
    """Requests under way at once."""
    timeout: Seconds = 60.0
    """Seconds for one request."""
    retries: Annotated[int, Bounds(0, 1000)] = 5
    """Further tries after 408, 409, 429, 5xx and broken connections."""
    pause: Annotated[float, Bounds(0, 3600)] = 1.0
    """Seconds before the first retry; they double up to 60, times 0.5 to 1.5 at random. Retry-After goes first."""
    breaker: Count = 20
    """So many questions in a row that failed for good, and no more are sent."""
    dtype: Dtype = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if not self.model and not self.url:
            raise ValueError("give `model` (a folder, run or hub id), or the `url` of a server")
        if self.url is not None:
            _check_url(self.url, "a variable and name that: `key`")
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.key) and self.key not in os.environ:
            raise ValueError("key is the name of a variable of the environment, such as OPENAI_API_KEY, not the key")
        take_from(self.key)
        hold(self)
