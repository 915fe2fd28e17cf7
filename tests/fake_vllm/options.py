"""How the fake server was started, and what it can be told to do wrong. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.steps import Step


@dataclass
class Options:
    """What a command line or an environment says to the real one; and faults that last."""

    name: str = "policy"
    max_model_len: int = 1024
    processed: bool = True
    """`--logprobs-mode processed_logprobs`."""
    scale_out: bool = True
    dev: bool = True
    runtime_lora: bool = True
    enable_lora: bool = True
    version: str = "0.32.0"
    piece: int = 0
    """Tokens of an answer between which it can be paused; 0 is all of them. From 0 on the tokens of an answer are the
    local sampler's for the same seed; the pieces after the first have seeds of their own."""
    tied_head: bool = False
    """Keep the output head of the start where the model's embeddings are tied."""
    quantised: bool = False
    """Round every weight to 17 levels."""
    raw: bool = False
    """Log-probs at temperature 1, though told otherwise."""
    start: str = ""
    """`dies`, or `silent`: never answers."""

    @property
    def raw_logprobs(self) -> bool:
        return self.raw or not self.processed


@dataclass(frozen=True)
class Fault(Step):
    """What one call does instead. Beside a `Step`'s: status, headers, body, delay, drip, change."""

    skip: bool = False
    """Nothing is done, but the reply says it was."""
    hang: bool = False
    """No reply, until the client leaves."""
    drop: bool = False
    """The connection is closed without a word; nothing is done."""
    cut: bool = False
    """It is done, and the connection closed in the middle of the reply."""
    die: bool = False
    """The server ends at once, with every connection."""


def _choice(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda reply: change(reply["choices"][0])


def _labelled(*labels: str) -> Callable[[dict[str, Any]], object]:
    def change(choice: dict[str, Any]) -> None:
        for span, label in zip(choice["weight_versions"], labels, strict=False):
            span["version"] = label

    return _choice(change)


def _first_logprob(value: Any) -> Callable[[dict[str, Any]], object]:
    return _choice(lambda choice: choice["logprobs"]["content"][0].update(logprob=value))


def _end_early(choice: dict[str, Any]) -> None:
    choice["weight_versions"][-1]["end"] -= 1


def _strange(choice: dict[str, Any]) -> None:
    choice["token_ids"][0] = choice["logprobs"]["content"][0]["token_id"] = 10**6


def _count(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda reply: reply["usage"].update({key: reply["usage"][key] + 1})


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no ids": _choice(lambda choice: choice.pop("token_ids")),
    "no log-probs": _choice(lambda choice: choice.update(logprobs=None)),
    "no spans": _choice(lambda choice: choice.pop("weight_versions")),
    "no choices": lambda reply: reply.pop("choices"),
    "two choices": lambda reply: reply["choices"].append(reply["choices"][0]),
    "default": _labelled("default"),
    "unpublished": _labelled("999"),
    "a span short": _choice(_end_early),
    "a span late": _choice(lambda choice: choice["weight_versions"][0].update(start=1)),
    "an id short": _choice(lambda choice: choice["token_ids"].pop()),
    "a strange id": _choice(_strange),
    "nan": _first_logprob(float("nan")),
    "above 0": _first_logprob(0.5),
    "none": _first_logprob(-9999.0),
    "text": _first_logprob("-1"),
    "usage": _count("completion_tokens"),
    "another prompt": _count("prompt_tokens"),
    "abort": _choice(lambda choice: choice.update(finish_reason="abort")),
    "another finish": _choice(lambda choice: choice.update(finish_reason="error")),
}  # fmt: skip
"""Changes of an answer, by names that a process of its own can be told."""
