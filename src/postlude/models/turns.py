"""What a chat template writes around the words of each turn, found by rendering conversations that nobody had.

What ends a turn must end an answer, and what begins or ends turns must not be forged by what somebody wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from jinja2 import TemplateError

from postlude.data import Message

Render = Callable[..., str]
"""(messages, options of the template) -> text; raises what templates raise."""

REFUSALS = (
    TemplateError, ValueError, TypeError, LookupError, AttributeError, NameError, ArithmeticError, RecursionError,
    MemoryError, SyntaxError,
)  # fmt: skip
"""What a template may raise: whatever its expressions do, and what Python says of the program it is turned into."""
UNKNOWN = "\U000f1234"
"""A private character, which no vocabulary holds."""
_TAG = re.compile(r"</?\w+>")
_TOKENLIKE = re.compile(r"<[|｜][^|｜<>\s]{2,40}[|｜]>|<(?:start|end)_of_turn>|\[/?INST\]|</?s>")
"""How the control tokens of well-known models are spelt."""
_FOR_TURNS = re.compile(r"im_start|im_end|_of_turn|header_id|eot_id|INST|\b(?:user|assistant)\b|turn", re.IGNORECASE)
"""What the names of tokens around turns hold."""
_WORDS = {"user": "Qhello", "assistant": "Ahello", "system": "Shello"}


@dataclass(frozen=True)
class Turns:
    """The frame that a template puts around turns."""

    control: Mapping[str, int]
    """Text -> id of the tokens that begin or end turns, or the whole text: written by anybody else they are forged."""
    marks: tuple[str, ...] = ()
    """What begins or ends turns as plain letters, which nothing can tell from the same letters in a message."""
    end: int | None = None
    """The token that ends the assistant's turn, where it is one."""
    end_text: str = ""
    """How the assistant's turn ends where no token does it; empty where nothing stands there."""
    foreign: tuple[str, ...] = ()
    """What looks like tokens around turns, and is letters to the tokenizer."""
    unused: tuple[str, ...] = ()
    """Tokens that the tokenizer has for turns, none of which the template writes; empty where it writes one."""
    own_system: str = ""
    """What the template says as the system where a conversation has no such message."""
    notes: tuple[str, ...] = ()
    """What a user should know about the template."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds control texts; the longest goes first, as tokenizers do it. Never matches where there are none."""
        return _either(self.control)


def _either(texts: Mapping[str, int]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(t) for t in sorted(texts, key=len, reverse=True)) or r"(?!)")


def added_tokens(tokenizer: Any) -> dict[str, int]:
    """Text -> id of every token that a tokenizer finds in text before it splits anything."""
    ids = {str(token): int(i) for i, token in tokenizer.added_tokens_decoder.items()}
    for text in tokenizer.all_special_tokens:
        ids.setdefault(str(text), int(tokenizer.convert_tokens_to_ids(text)))
    return {text: i for text, i in ids.items() if text}


def turns_of(tokenizer: Any, stop_ids: frozenset[int], render: Render) -> Turns:
    """The frame of a tokenizer's chat template; of one without a template, only what ends texts."""
    known = added_tokens(tokenizer)
    control_ids = {*stop_ids, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    if tokenizer.unk_token_id not in tokenizer(UNKNOWN, add_special_tokens=False).input_ids:
        control_ids.add(
            tokenizer.unk_token_id
        )  # never written for a character: models over bytes end documents with it
    control = {text: i for text, i in known.items() if i in control_ids}
    if not tokenizer.chat_template:
        return Turns(control)
    frames = _frames(render)
    control |= {text: known[text] for text in _tokens(frames, _either(known))}
    end, end_text = _end(frames, known)
    if end is not None:
        control |= {text: i for text, i in known.items() if i == end}
    notes = [*_date_notes(str(tokenizer.chat_template)), *_opening_notes(render), *_end_notes(end, end_text, tokenizer)]
    foreign, unused = _foreign(frames, known), _unused(frames, known)
    return Turns(control, _marks(frames, known), end, end_text, foreign, unused, _own_system(frames), tuple(notes))


# -------------------------------------------------------------------------------------------------------- frames


@dataclass(frozen=True)
class Frame:
    """What stands between two turns; before the first and after the last a role is empty."""

    before: str
    after: str
    text: str


def _frames(render: Render) -> list[Frame]:
    """The frames of conversations with and without a system message, as far as the template takes them."""
    frames: list[Frame] = []
    for roles in (["user", "assistant", "user", "assistant"], ["system", "user", "assistant"]):
        messages = [{"role": role, "content": f"{_WORDS[role]}{i}x"} for i, role in enumerate(roles)]
        try:
            frames += _split(render(messages), messages)
        except REFUSALS:
            continue
    return frames


def _split(text: str, messages: Sequence[Message]) -> Iterator[Frame]:
    """The text between the words of the messages; none where some words are not there."""
    places = [text.find(m["content"]) for m in messages]
    if -1 in places or places != sorted(places):
        return
    spans = [(0, 0), *((p, p + len(m["content"])) for p, m in zip(places, messages, strict=True)), (len(text),) * 2]
    roles = ["", *(m["role"] for m in messages), ""]
    for (first, second), (before, after) in zip(pairwise(spans), pairwise(roles), strict=True):
        yield Frame(before, after, text[first[1] : second[0]])


def _tokens(frames: Sequence[Frame], pattern: re.Pattern[str]) -> set[str]:
    """Control texts of frames. Tags such as <think> before an answer are what the model itself writes there."""
    tokens: set[str] = set()
    for frame in frames:
        there = set(pattern.findall(frame.text))
        tokens |= {t for t in there if not _TAG.fullmatch(t)} if frame.after == "assistant" else there
    return tokens


def _marks(frames: Sequence[Frame], known: Mapping[str, int]) -> tuple[str, ...]:
    """The letters between turns that are more than a name of a role or a line break."""
    marks: set[str] = set()
    for frame in frames:
        if frame.before in ("user", "assistant") and frame.after:
            for piece in _either(known).sub("\n", frame.text).split("\n"):
                mark = piece.strip()
                if len(mark) > 2 and not mark.isalnum() and not _TAG.search(mark):
                    marks.add(mark)
    return tuple(sorted(marks))


def _foreign(frames: Sequence[Frame], known: Mapping[str, int]) -> tuple[str, ...]:
    """What looks like tokens in the frames, and is none of this tokenizer's, in the order it is written."""
    written = [text for frame in frames for text in _TOKENLIKE.findall(frame.text)]
    return tuple(dict.fromkeys(text for text in written if text not in known))


def _unused(frames: Sequence[Frame], known: Mapping[str, int]) -> tuple[str, ...]:
    """The tokenizer's tokens for turns, where the template writes none of them."""
    made = [text for text in known if _TOKENLIKE.fullmatch(text) and _FOR_TURNS.search(text)]
    return () if any(text in frame.text for text in made for frame in frames) else tuple(sorted(made))


def _own_system(frames: Sequence[Frame]) -> str:
    """What stands before the first user's words where the system's frame without words would stand."""

    def between(before: str, after: str) -> str | None:
        return next((f.text for f in frames if (f.before, f.after) == (before, after)), None)

    head, opening, closing = between("", "user"), between("", "system"), between("system", "user")
    if not head or not opening or closing is None or len(head) <= len(opening) + len(closing):
        return ""
    framed = head.startswith(opening) and head.endswith(closing)
    return head[len(opening) : len(head) - len(closing)].strip() if framed else ""


def _end(frames: Sequence[Frame], known: Mapping[str, int]) -> tuple[int | None, str]:
    """The token right behind the assistant's words, or the text there."""
    behind = [f for f in frames if f.before == "assistant"]
    last = [f.text for f in behind if not f.after and f.text.strip()] or [f.text for f in behind if f.after]
    if not last:
        return None, ""
    match = _either(known).match(last[0].lstrip())
    return (known[match.group()], "") if match else (None, last[0])


# --------------------------------------------------------------------------------------------------------- notes

_ASKED = [{"role": "user", "content": _WORDS["user"]}]


def _date_notes(template: str) -> Iterator[str]:
    if re.search(r"strftime_now\s*\(", template):
        yield (
            "the chat template writes today's date into the text, so the same row gives other tokens on another day, "
            "also where a run is resumed; a template without strftime_now (model.chat_template) does not"
        )


def _opening_notes(render: Render) -> Iterator[str]:
    """A template that opens no turn for the assistant leaves its head to the model, unless there is none."""
    answered = [*_ASKED, {"role": "assistant", "content": _WORDS["assistant"]}]
    try:
        bare, opened, whole = render(_ASKED), render(_ASKED, add_generation_prompt=True), render(answered)
    except REFUSALS:
        return
    head = whole[len(bare) : whole.find(_WORDS["assistant"])]
    if bare == opened and whole.startswith(bare) and head.strip():
        yield (
            f"the chat template does not use add_generation_prompt, so what it writes before an answer ({head!r}) is "
            "sampled and trained as part of the answer, and rewards read it"
        )


def _end_notes(end: int | None, text: str, tokenizer: Any) -> Iterator[str]:
    if end is None and text.strip():
        eos = "" if tokenizer.eos_token is None else f"; written answers are trained to end in {tokenizer.eos_token!r}"
        yield (
            f"the chat template ends the assistant's turn with text ({text[:40]!r}) and no token, so a model may go on "
            f"with turns of its own making{eos}; sampling.stop can name that text"
        )
