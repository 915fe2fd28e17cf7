"""What a row says and the model never reads, because the chat template has no place for it.

Found by rendering: a message's words are exchanged, a field is left out, and where the text stays the same nothing of
it reaches the model. What holds words makes the row bad; all else is counted, and said in one line for each kind.
Templates look at which roles and fields there are, so most of this is asked once for all rows of one shape.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postlude.data import Completion, Message, Prompt
from postlude.errors import DataError, Problem
from postlude.models.chat import Renderer, options_of
from postlude.models.spelling import strings
from postlude.sources.formats import require_one_shape
from postlude.sources.forms import ANSWERS, CANONICAL
from postlude.sources.messages import SYSTEM
from postlude.sources.table import Table
from postlude.words import counted

Columns = Mapping[str, Any]

WORDS = (
    "reasoning_content", "reasoning", "thinking", "thought", "thoughts", "tool_calls", "function_call", "refusal",
)  # fmt: skip
"""Fields of a message that hold what was said or done: a row must not lose them."""
BESIDE = (
    "context",
    "history",
    "input",
    "instruction",
    "passage",
    "reasoning_content",
    "reasoning",
    "thinking",
    "thought",
    "documents",
    "passages",
    "contexts",
)
"""Columns that often hold words which are meant for the model, and that no format reads beside others."""
SENTENCE = 4
"""From so many words on, any other column may be meant for the model too."""
MEDIA = re.compile(r"(image|audio|video)s?(_(url|uri|path|file|bytes)s?)?")
"""Names of columns and fields that no text model reads."""
TRAINED = ("weight", "loss", "train", "trainable", "training", "loss_weight")
"""Fields by which data sets say whether a turn is learned."""
_SPOKEN_FOR = {*CANONICAL, *ANSWERS, "system_prompt", "chat_template_kwargs"}
"""Columns that are read, or looked at elsewhere."""
IGNORED = {"role", "content", *TRAINED}
"""Keys that are looked at elsewhere."""


@dataclass(frozen=True)
class _Shape:
    """What is lost from every row of one shape."""

    problem: Problem | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Unused:
    """Looks at rows one by one; counts what is no reason to refuse them."""

    renderer: Renderer
    counts: Counter[str] = field(default_factory=Counter[str])
    """What was seen -> in how many rows."""
    read: Collection[str] = ()
    """Columns that rewards read."""
    rows: int = 0
    beside: Counter[str] = field(default_factory=Counter[str])
    """Column that the model does not read -> in how many rows it holds words."""
    unknown: int = 0
    """Rows with characters that the tokenizer has no token for."""
    _shapes: dict[str, _Shape] = field(default_factory=dict[str, _Shape])
    _chat: bool = False

    def problem(
        self, messages: str | Sequence[Message], columns: Columns, answers: Sequence[Any] = ()
    ) -> Problem | None:
        """Why a row cannot be used; else it is counted.

        `answers`: written ones, text or messages as the prompt is; without any the policy is asked.
        """
        seen: set[str] = set()
        try:
            if isinstance(messages, str):
                self._plain([messages, *map(str, answers)], columns, seen)
            else:
                for answer in answers or ([],):
                    self._conversation([*messages, *answer], columns, seen, asked=not answers)
        except DataError as error:
            return error.problems[0]
        beside = _left_beside(columns, [*strings([messages, *answers])])
        self.beside.update(beside - {*self.read})
        self.rows += 1
        self.counts.update(seen)
        return None

    def stops_early(self, completion: Completion) -> bool:
        """Whether a plain answer goes on behind a token at which every model stops."""
        return any(token in self.renderer.stop_ids for token in completion.tokens[:-1])

    def look_for_unknown(self, ids: Sequence[int]) -> None:
        """Count a row in which the tokenizer writes its token for unknown characters."""
        self.unknown += self.renderer.unknown is not None and self.renderer.unknown in ids

    def write_notes(self, table: Table) -> None:
        """Put what was counted into the table's notes."""
        table.notes += [
            f"{table.path}: in {n} of {counted(self.rows, 'row')} {what}" for what, n in self.counts.items()
        ]
        table.notes += self._told_beside(table.path)
        if self.unknown:
            unk = self.renderer.tokenizer.unk_token
            table.notes.append(
                f"{table.path}: in {self.unknown} of {counted(self.rows, 'row')} the tokenizer has no token for some "
                f"characters, and the model reads {unk!r} in their place"
            )
        if self._chat:
            table.notes += self.renderer.turns.notes

    def _told_beside(self, path: str) -> list[str]:
        rows = counted(self.rows, "row")
        if len(self.beside) == 1:
            ((name, n),) = self.beside.items()
            return [f'{path}: in {n} of {rows} "{name}" is a column that the model does not read']
        names = ", ".join(f'"{name}" (in {n} of {rows})' for name, n in sorted(self.beside.items()))
        return [f"{path}: columns that the model does not read: {names}"] if names else []

    # ---------------------------------------------------------------------------------------------- plain text

    def _plain(self, texts: Sequence[str], columns: Columns, seen: set[str]) -> None:
        _refuse_media(columns)
        mark = next((m.group() for m in map(self.renderer.turns.pattern.search, texts) if m), None)
        if mark is not None:
            seen.add(f"plain text holds control tokens such as {mark!r}, which are read as such, not as letters")
        way = " (data.chat=true makes it messages)" if "prompt" in columns or "text" not in columns else ""
        for name in (*SYSTEM, "tools"):
            if columns.get(name) and str(columns[name]).strip() not in texts[0]:
                what = "the prompt" if way else "the row"
                seen.add(f'"{name}" is not read, since {what} is plain text{way}')

    # ------------------------------------------------------------------------------------------------ messages

    def _conversation(self, messages: Sequence[Message], columns: Columns, seen: set[str], asked: bool) -> None:
        self._chat = True
        _refuse_media(columns)
        for i, message in enumerate(messages, 1):
            _refuse_media(message, f"message {i} ")
        tools, options = columns.get("tools"), options_of(columns)
        case = _Case(self.renderer, list(messages), tools, options, asked)
        shape = self._shapes.get(case.name)
        if shape is None:
            shape = self._shapes[case.name] = case.shape()
        if shape.problem:
            raise DataError(shape.problem)
        seen.update(shape.notes)
        seen.update(case.changes())
        self._look_for_marks(messages, seen)
        own_system = self.renderer.turns.own_system
        if own_system and all(m["role"] not in ("system", "developer") for m in messages):
            seen.add(f"the chat template adds a system message of its own, {own_system[:60]!r}, as there is none")

    def _look_for_marks(self, messages: Sequence[Message], seen: set[str]) -> None:
        turns = self.renderer.turns
        said = [*strings([*messages])]
        first = next((m.group() for m in map(turns.pattern.search, said) if m), None)
        if first is not None:
            seen.add(f"messages hold control tokens such as {first!r}; the model reads them as letters, not as tokens")
        letters = next((mark for mark in turns.marks for text in said if mark in text), None)
        if letters is not None:
            seen.add(
                f"messages hold {letters!r}, which the chat template writes around turns as plain letters: to the "
                "model it looks like the end or the beginning of a turn"
            )


def render(prompts: list[Prompt], table: Table, renderer: Renderer, read: Collection[str] = ()) -> Iterator[Prompt]:
    """The prompts with their ids; one that cannot be rendered, or not without losing words, is rejected by its row.

    `read`: columns that rewards read.
    """
    places = {prompt.place for prompt in prompts}
    require_one_shape(replace(table, rows=[row for row in table.rows if row.where in places]))
    unused = Unused(renderer, read=read)
    for prompt in prompts:
        try:
            problem = unused.problem(prompt.messages, prompt.columns)
            if problem:
                table.reject(prompt.place, problem)
            else:
                rendered = renderer.with_tokens(prompt)
                unused.look_for_unknown(rendered.tokens)
                yield rendered
        except DataError as error:
            table.reject(prompt.place, error.problems[0])
    unused.write_notes(table)


def _left_beside(columns: Columns, texts: Sequence[str]) -> set[str]:
    """Columns with words that are in no message: any that hold a sentence, or are called as such columns often are."""
    return {name for name, value in columns.items() if name not in _SPOKEN_FOR and _speaks_beside(name, value, texts)}


def _speaks_beside(name: str, value: Any, texts: Sequence[str]) -> bool:
    said = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    least = 1 if name in BESIDE else SENTENCE
    return any(
        isinstance(one, str) and len(one.split()) >= least and not any(one.strip() in text for text in texts)
        for one in said
    )


def _refuse_media(there: Mapping[str, Any], where: str = "") -> None:
    name = next((n for n, value in there.items() if MEDIA.fullmatch(n) and _holds(value)), None)
    if name:
        raise DataError(
            f'{where}"{name}" holds what no text model reads; leave the row out, or the column where the words alone '
            "are meant",
            code="unread-content",
        )


# ------------------------------------------------------------------------------------------------------ one row


@dataclass(frozen=True)
class _Case:
    """A conversation as it is rendered, and the same with something else or something less in it."""

    renderer: Renderer
    messages: list[Message]
    tools: Any
    options: Mapping[str, Any]
    asked: bool
    """Whether the assistant's turn is opened at the end."""

    @property
    def name(self) -> str:
        """What the rows of one shape have in common: roles, the fields that are there, what else is given."""
        fields = [(m["role"], sorted(k for k, v in m.items() if _is_there(v))) for m in self.messages]
        return repr((fields, bool(self.tools), sorted(self.options.items(), key=str), self.asked))

    def text(self, messages: Sequence[Message] | None = None, **changed: Any) -> str:
        options = {"tools": self.tools, "options": self.options, **changed}
        return self.renderer.text(self.messages if messages is None else messages, **options, ask=self.asked)

    # ---------------------------------------------------------------------------------- what a shape has no place for

    def shape(self) -> _Shape:
        """What this row and every other of its shape loses."""
        whole = self.text()
        notes: list[str] = []
        problem = self._lost_content(whole, notes) or self._lost_tools(whole)
        for key in sorted({k for m in self.messages for k, v in m.items() if _is_there(v)} - IGNORED):
            places = {i for i, m in enumerate(self.messages) if _is_there(m.get(key))}
            lost = {i for i in places if self._same(whole, _without(self.messages, {i}, key))}
            if lost == places and key in WORDS and not self._known(self.messages[min(places)], key):
                problem = problem or (
                    Problem(
                        "unread-content",
                        f'message {min(lost) + 1} has "{key}", which the chat template does not show to the model; '
                        "remove "
                        "it, or give a template that does (model.chat_template)",
                    )
                )
            elif lost and key in WORDS:
                notes.append(f'the chat template leaves out "{key}" of some turns')
            elif lost:
                notes.append(f'the chat template does not show "{key}" of messages')
        notes += [
            f'"{name}" changes nothing in what the chat template writes'
            for name in self.options
            if not self._heeds(whole, {k: v for k, v in self.options.items() if k != name})
        ]
        return _Shape(problem, tuple(dict.fromkeys(notes)))

    def _heeds(self, whole: str, others: Mapping[str, Any]) -> bool:
        """Whether an option beyond `others` changes the conversation, or how the assistant's turn is opened."""
        if self.text(options=others) != whole:
            return True
        last = max((i for i, m in enumerate(self.messages) if m["role"] == "assistant"), default=len(self.messages))
        before = self.messages[:last]
        context = {"tools": self.tools, "ask": True}
        opened = [self.renderer.text(before, options=options, **context) for options in (self.options, others)]
        return opened[0] != opened[1]

    def _same(self, whole: str, messages: Sequence[Message]) -> bool:
        """Whether other messages give the same text; those that a template refuses do not."""
        try:
            return self.text(messages) == whole
        except DataError:
            return False

    def _known(self, message: Message, key: str) -> bool:
        """Whether the template shows a field of the assistant's at least in its newest turn."""
        asked: list[Message] = [{"role": "user", "content": "Qhello"}, message]
        try:
            return self.text(asked) != self.text(_without(asked, {1}, key))
        except DataError:
            return False

    def _lost_content(self, whole: str, notes: list[str]) -> Problem | None:
        """The first message whose words are left out; earlier answers are noted, since some models forget theirs."""
        last = max((i for i, m in enumerate(self.messages) if m["role"] == "assistant"), default=-1)
        for i, message in enumerate(self.messages):
            content = message.get("content")
            if not isinstance(content, str) or not content.strip():
                continue
            other: Message = {**message, "content": "Qother"}
            if not self._same(whole, [*self.messages[:i], other, *self.messages[i + 1 :]]):
                continue
            calls = bool(message.get("tool_calls"))
            if message["role"] == "assistant" and i < last and not calls:
                notes.append("the chat template leaves out what the assistant said before its last turn")
                continue
            return Problem(
                "unread-content",
                f"message {i + 1}, of the {message['role']}, does not reach the model: the chat template leaves its "
                f"words out{' beside tool calls' if calls else ''}",
            )
        return None

    def _lost_tools(self, whole: str) -> Problem | None:
        if not self.tools or self.text(tools=None) != whole:
            return None
        return Problem(
            "unread-content",
            '"tools" does not reach the model: the chat template has no place for tools; remove the column, or give a '
            "template that shows them (model.chat_template)",
        )

    # --------------------------------------------------------------------------------------- what a row alone shows

    def changes(self) -> list[str]:
        """What the template makes of the words of this row. Raises DataError where it changes what is to be learned."""
        whole = self.text()
        last = max((i for i, m in enumerate(self.messages) if m["role"] == "assistant"), default=-1)
        notes: list[str] = []
        for i, message in enumerate(self.messages):
            content = message.get("content")
            if isinstance(content, str) and content not in whole:
                notes += self._changed(i, content, whole, learned=i == last and not self.asked)
            _check_calls(message, i, whole)
        return notes

    def _changed(self, place: int, content: str, whole: str, learned: bool) -> list[str]:
        if content.strip() in whole:
            who = "answers" if self.messages[place]["role"] == "assistant" else "messages"
            return [f"the chat template cuts white space at the ends of {who}"]
        if _escaped(content, whole):
            return []
        if learned:
            raise DataError(
                f"message {place + 1}, the answer that is to be learned, does not stand in what the chat template "
                "writes: it changes the words or leaves some out (thinking, say). Write it as the template wants it, "
                "or give another (model.chat_template)",
                code="unread-content",
            )
        return [f"the chat template changes or shortens what the {self.messages[place]['role']} says"]


def _holds(value: Any) -> bool:
    """Whether anything stands in a value, in a list of lists or an object of nulls too."""
    if isinstance(value, Mapping):
        return any(map(_holds, value.values()))
    return any(map(_holds, value)) if isinstance(value, list | tuple) else value is not None and value != ""


def _is_there(value: Any) -> bool:
    return value is not None and value != "" and value != [] and value != {}


def _without(messages: Sequence[Message], places: set[int], key: str) -> list[Message]:
    return [{k: v for k, v in m.items() if i not in places or k != key} for i, m in enumerate(messages)]


def _escaped(content: str, whole: str) -> bool:
    """Whether a text stands in another as JSON writes it."""
    return any(json.dumps(content.strip(), ensure_ascii=ascii)[1:-1] in whole for ascii in (False, True))


def _check_calls(message: Message, place: int, whole: str) -> None:
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str) and name not in whole:
            raise DataError(
                f"message {place + 1} calls {name!r}, which the chat template does not show to the model",
                code="unread-content",
            )
