"""One answer of a server, read from its JSON and checked: ids, log-probs, and which weights sampled which token."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic_core import from_json

from postlude.engines.answers import Unsound, check_numbers
from postlude.engines.http import short
from postlude.engines.settings import Sampling

ABORTED = "abort"
"""The `finish` of an answer that the server ended before its time, with whatever tokens it had."""


class _Uncollected:
    """Within, garbage is not looked for. JSON holds no cycles, but a container for each token: looking through all that
    a process has after every few hundred of them was three quarters of the time that reading took. One at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._collects = True

    def __enter__(self) -> None:
        self._turn.acquire()
        self._collects = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._collects:
            gc.enable()
        self._turn.release()


_uncollected = _Uncollected()


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `end` (exclusive) were sampled by the weights of this label."""

    version: str
    """As the server has it: a number where postlude gave it, `default` where nobody did."""
    start: int
    end: int


@dataclass(frozen=True)
class Answer:
    """Sampled tokens with their log-probs in nats, at the sampling temperature."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str
    """`stop`, `length` or `abort`."""
    spans: tuple[Span, ...]
    """From token 0 to the last without a gap; none of an aborted answer."""


def read(body: bytes, prompt: Sequence[int], sampling: Sampling) -> Answer:
    """What `/inference/v1/generate` answers to one prompt. Raises Unsound with what is wrong, or missing and how a
    server is started that gives it. Ids are not held against a vocabulary, which the endpoint does not know."""
    reply = _object(parsed(body), "an answer")
    choice = _only_choice(reply)
    finish = choice.get("finish_reason")
    if finish == ABORTED:
        return Answer((), (), ABORTED, ())
    if finish not in ("stop", "length"):
        raise Unsound(f"an answer with finish_reason {short(repr(finish))}.")
    tokens, logprobs = _ids(choice), _logprobs(choice)
    written, used = _usage(reply)
    check_numbers(tokens, logprobs, sampling, written)
    if used is not None and used != len(prompt):
        raise Unsound(f"another prompt was answered: {len(prompt)} token ids were sent, {used} were used.")
    if finish == "length" and len(tokens) < sampling.max_tokens:
        raise Unsound(_too_short(len(prompt), len(tokens), sampling.max_tokens))
    return Answer(tuple(tokens), tuple(map(float, logprobs)), finish, _spans(choice, len(tokens)))


def parsed(body: bytes) -> Any:
    """The JSON of a reply. Raises Unsound."""
    try:
        with _uncollected:
            return from_json(body)
    except ValueError:
        text = body[:2000].decode(errors="replace")
        seen = "a page of HTML" if text.lstrip().startswith("<") else repr(short(text))
        raise Unsound(f"not JSON: {seen}.") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unsound(f"{what} is no JSON object: {short(repr(value)[:2000])}.")
    return cast("dict[str, Any]", value)


def _only_choice(reply: dict[str, Any]) -> dict[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Unsound(f"an answer without choices (it has {', '.join(sorted(reply)) or 'nothing'}).")
    choices = cast("list[Any]", choices)
    if len(choices) != 1:
        raise Unsound(f"{len(choices)} answers to a request for one.")
    return _object(choices[0], "a choice")


def _ids(choice: dict[str, Any]) -> list[Any]:
    ids = choice.get("token_ids")
    if not isinstance(ids, list):
        raise Unsound(
            f"an answer without token_ids (it has {_fields(choice)}): postlude never guesses ids from text. Only "
            "vLLM's /inference/v1/generate returns them, which --enable-scale-out opens."
        )
    return cast("list[Any]", ids)


def _logprobs(choice: dict[str, Any]) -> list[Any]:
    """Of every token, whose ids must be those of the answer."""
    details = choice.get("logprobs")
    content = cast("dict[str, Any]", details).get("content") if isinstance(details, dict) else None
    if not isinstance(content, list):
        raise Unsound(
            f"an answer without log-probs (it has {_fields(choice)}), which were asked for (logprobs: 0). Start the "
            "server with --logprobs-mode processed_logprobs and without --max-logprobs."
        )
    rows = [_object(row, "an entry of logprobs") for row in cast("list[Any]", content)]
    if [row.get("token_id") for row in rows] != choice["token_ids"]:
        raise Unsound("the log-probs of an answer are of other tokens than its token_ids.")
    return [row.get("logprob") for row in rows]


def _fields(choice: dict[str, Any]) -> str:
    return ", ".join(sorted(key for key, value in choice.items() if value is not None)) or "nothing"


def _usage(reply: dict[str, Any]) -> tuple[Any, Any]:
    """(tokens of the answer, of the prompt), as the server counts them; None where it does not."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None, None
    usage = cast("dict[str, Any]", usage)
    return usage.get("completion_tokens"), usage.get("prompt_tokens")


def _too_short(sent: int, count: int, most: int) -> str:
    return (
        f"an answer was cut after {count} tokens, but max_tokens is {most}: the server's longest sequence is "
        f"{sent + count} tokens, the prompt's {sent} among them. Start it with --max-model-len {sent + most} or more, "
        "or lower max_tokens."
    )


def _spans(choice: dict[str, Any], count: int) -> tuple[Span, ...]:
    """One behind the other, from token 0 to `count`."""
    rows = choice.get("weight_versions")
    if not isinstance(rows, list):
        raise Unsound(
            f"an answer without weight_versions (it has {_fields(choice)}), so nobody knows which weights sampled it. "
            "vLLM 0.32 returns them from /inference/v1/generate, which --enable-scale-out opens."
        )
    spans = [_span(_object(row, "an entry of weight_versions")) for row in cast("list[Any]", rows)]
    ends = [0, *(span.end for span in spans)]
    if [span.start for span in spans] != ends[:-1] or ends[-1] != count or any(s.start >= s.end for s in spans):
        shown = ", ".join(f"{span.version}: {span.start}-{span.end}" for span in spans) or "none"
        raise Unsound(f"weight_versions do not cover the {count} tokens of an answer one by one: {short(shown)}.")
    return tuple(spans)


def _span(row: dict[str, Any]) -> Span:
    version, start, end = row.get("version"), row.get("start"), row.get("end")
    if not isinstance(version, str) or type(start) is not int or type(end) is not int:
        raise Unsound(f"an entry of weight_versions that is none: {short(repr(row)[:2000])}.")
    return Span(version, start, end)
