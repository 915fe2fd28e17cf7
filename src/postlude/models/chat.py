"""Text and messages to token ids, in one place: what is rendered here is what is sampled from and trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from postlude.data import Completion, Message, Prompt, message_text
from postlude.errors import ConfigError, DataError
from postlude.models.spelling import letters, places, stand_in, strings, with_strings
from postlude.models.trial import endless
from postlude.models.turns import REFUSALS, UNKNOWN, Turns, turns_of

Tools = Sequence[Mapping[str, Any]] | None
"""JSON schemas of the tools a template shows to the model."""
Options = Mapping[str, Any] | None
"""What else a template is given, by name."""
Ids = tuple[int, ...]
OPTIONS = ("enable_thinking", "documents")
"""Columns that templates read by their own names, beside those in `chat_template_kwargs`."""
_RESERVED = {
    "messages", "conversation", "tools", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
    "padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask",
    "tokenizer_kwargs", "sanitize_control_tokens",
}  # fmt: skip
LEAST_MARKED = 4
"""Characters of what others say from which on it is told from a chance match."""
LONGEST_END = 40
"""Characters of an answer's end that are looked for among what is trained."""
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


def options_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """What the columns of a row say to the chat template. Raises DataError for what is not theirs to say."""
    settings = columns.get("chat_template_kwargs")
    if settings is not None and not isinstance(settings, Mapping):
        raise DataError(
            f'"chat_template_kwargs" must be an object, found {type(settings).__name__}', code="wrong-field"
        )
    options = {str(k): v for k, v in (settings or {}).items() if v is not None}
    taken = sorted(_RESERVED & {*options})
    if taken:
        raise DataError(f'"chat_template_kwargs" sets {taken[0]!r}, which is not for a row to set', code="wrong-field")
    for name in OPTIONS:
        value = columns.get(name)
        if isinstance(value, bool) or (isinstance(value, list) and value and all(isinstance(v, dict) for v in value)):
            options.setdefault(name, value)
    return options


@dataclass(frozen=True)
class Renderer:
    """A tokenizer with its chat template, and the ids that end a completion.

    In messages no text becomes a token that begins or ends turns (`turns.control`): it is read as letters. Plain text
    is tokenised as it is, control tokens included.
    """

    tokenizer: Any
    stop_ids: frozenset[int]

    @cached_property
    def turns(self) -> Turns:
        """What the chat template writes around turns."""
        return turns_of(self.tokenizer, self.stop_ids, lambda messages, **options: self._text(messages, None, options))

    @cached_property
    def unknown(self) -> int | None:
        """The token for characters that the tokenizer does not know; None where it can write every character."""
        unk = self.tokenizer.unk_token_id
        return unk if unk is not None and unk in self._plain(UNKNOWN) else None

    def prompt(self, messages: str | Sequence[Message], tools: Tools = None, options: Options = None) -> Ids:
        """Ids of a prompt: plain text with the tokenizer's own BOS, or messages up to the assistant's turn."""
        if isinstance(messages, str):
            return self._with_bos(messages)
        return self._template(messages, _Given(tools, options), add_generation_prompt=True)

    def with_tokens(self, prompt: Prompt) -> Prompt:
        """The prompt with its ids filled in; `tools` and other columns that templates read go to the template."""
        context = _given(prompt)
        return replace(prompt, tokens=self.prompt(prompt.messages, context.tools, context.options))

    def completion(self, prompt: Prompt, answer: str | Sequence[Message]) -> Completion:
        """A written answer as a completion with reward 1, ending with the end-of-sequence token.

        A chat answer may hold several turns; only the assistant's are trained.
        """
        if isinstance(answer, str):
            return self._finished(self._plain(answer), answer)
        if isinstance(prompt.messages, str):
            raise DataError(
                '"completion" is a list of messages but "prompt" is text; make both the same', code="text-or-messages"
            )
        return self._turns([*prompt.messages], [*answer], _given(prompt))

    def conversation(
        self, messages: Sequence[Message], tools: Tools = None, options: Options = None
    ) -> tuple[Prompt, Completion]:
        """A whole conversation: everything before the first assistant turn is the prompt."""
        first = next(i for i, m in enumerate(messages) if m["role"] == "assistant")
        if first == 0:
            raise DataError('"messages" starts with the assistant: there is nothing it answers', code="bad-messages")
        before = list(messages[:first])
        completion = self._turns(before, [*messages[first:]], _Given(tools, options))
        return Prompt("", before, tokens=self.prompt(before, tools, options)), completion

    def text(self, messages: Sequence[Message], tools: Tools = None, options: Options = None, ask: bool = False) -> str:
        """What the template makes of messages, for looking at; `ask` opens the assistant's turn."""
        self._require_template()
        try:
            return self._text(messages, tools, {**(options or {}), "add_generation_prompt": ask})
        except REFUSALS as error:
            raise _refused(error) from error

    def plain_text(self, text: str) -> tuple[Ids, Completion]:
        """Language-modelling text: the prompt is the BOS token alone, where the tokenizer has one."""
        ids = self._with_bos(text)
        bos = self.tokenizer.bos_token_id
        start = 1 if ids and bos is not None and ids[0] == bos else 0
        return ids[:start], self._finished(ids[start:], text)

    # ------------------------------------------------------------------------------------------------ parts

    def _plain(self, text: str) -> Ids:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _with_bos(self, text: str) -> Ids:
        """Ids with the tokenizer's own beginning, without an end-of-sequence token it may add."""
        ids = tuple(self.tokenizer(text).input_ids)
        bare = self._plain(text) if self.tokenizer.num_special_tokens_to_add() else ids
        for start in range(len(ids) - len(bare) + 1 if bare else 0):
            if ids[start : start + len(bare)] == bare:
                ids = ids[: start + len(bare)]
                break
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == (bos, bos):
            raise DataError(
                f"the prompt starts with two BOS tokens: {text[:60]!r} already holds one; remove it",
                code="control-tokens",
            )
        return ids

    def _template(self, messages: Sequence[Message], context: _Given, add_generation_prompt: bool = False) -> Ids:
        return self._rendered(messages, context, add_generation_prompt=add_generation_prompt)[0]

    def _rendered(self, messages: Sequence[Message], context: _Given, **how: bool) -> tuple[Ids, list[int]]:
        """Ids, and which of them the template marks as the assistant's, where it was asked for that."""
        self._require_template()
        try:
            rendered = self._apply(messages, context.tools, {**(context.options or {}), **how}, return_dict=True)
            ids: Ids = tuple(rendered["input_ids"])
            masks: list[int] = list(rendered["assistant_masks"]) if "assistant_masks" in rendered else []
            if any(map(self.turns.pattern.search, strings([*messages, context.tools, context.options]))):
                return self._spelled(ids, masks, self._own_places(messages, context, how))
        except REFUSALS as error:
            raise _refused(error) from error
        return ids, masks

    def _require_template(self) -> None:
        if not self.tokenizer.chat_template:
            raise DataError(
                "these are chat messages, but the tokenizer has no chat template; use text, or give "
                "model.chat_template",
                code="no-chat-template",
            )

    def _require_end(self, tools: Any) -> None:
        """The template was tried where a limit holds: raise ConfigError where it did not come to its end there."""
        without_end = endless(self.tokenizer.get_chat_template(tools=tools))
        if without_end:
            raise ConfigError(
                f"model: the chat template cannot be used: {without_end}. Give another one: model.chat_template.",
                code="bad-template",
            )

    def _own_places(self, messages: Sequence[Message], context: _Given, how: Mapping[str, bool]) -> list[bool]:
        """For each control token of a rendered conversation, whether a message wrote it and not the template."""
        everything = [list(map(dict, messages)), context.tools, dict(context.options or {})]
        stand_in_text = stand_in(everything)
        replaced = with_strings(everything, lambda text: self.turns.pattern.sub(stand_in_text, text))
        asked = {"add_generation_prompt": how.get("add_generation_prompt", False)}
        return places(self._text(replaced[0], replaced[1], {**replaced[2], **asked}), self.turns.pattern, stand_in_text)

    def _spelled(self, ids: Ids, masks: list[int], places: list[bool]) -> tuple[Ids, list[int]]:
        """The ids with letters in place of the control tokens that messages wrote."""
        names = {i: text for text, i in self.turns.control.items()}
        if sum(i in names for i in ids) != len(places):
            raise DataError(
                "a message holds control tokens of the tokenizer which cannot be told from the chat template's own; "
                "remove them",
                code="control-tokens",
            )
        left = iter(places)
        parts = [letters(self.tokenizer, names[i], names) if i in names and next(left) else (i,) for i in ids]
        spread = [mask for mask, part in zip(masks, parts, strict=True) for _ in part] if masks else []
        return tuple(i for part in parts for i in part), spread

    def _text(self, messages: Sequence[Message], tools: Tools, options: Mapping[str, Any]) -> str:
        return self._apply(messages, tools, options, tokenize=False)

    def _apply(self, messages: Sequence[Message], tools: Tools, options: Mapping[str, Any], **how: bool) -> Any:
        context = {"tools": [dict(t) for t in tools] if tools else None, **options, **how}
        self._require_end(context["tools"])
        try:
            return self.tokenizer.apply_chat_template([dict(m) for m in messages], **context)
        except TypeError:  # some templates join the arguments of calls to text, as if they were JSON text themselves
            written = [_with_text_arguments(m) for m in messages]
            if written == [*messages]:
                raise
            return self.tokenizer.apply_chat_template(written, **context)

    def _has_marks(self, tools: Tools) -> bool:
        """Whether the template itself says which tokens are the assistant's; slow tokenizers cannot tell."""
        if not self.tokenizer.chat_template or not self.tokenizer.is_fast:
            return False
        return bool(_MARK.search(self.tokenizer.get_chat_template(tools=tools or None)))

    def _finished(self, ids: Ids, text: str) -> Completion:
        eos = self.tokenizer.eos_token_id
        if eos is not None and (not ids or ids[-1] not in self.stop_ids):
            ids = (*ids, eos)
        return Completion(ids, text=text, reward=1.0)

    def _turns(self, before: list[Message], turns: list[Message], context: _Given) -> Completion:
        """Completion ids after `before`, action True on the assistant's turns."""
        if not any(t["role"] == "assistant" for t in turns):
            raise DataError("the answer holds no message of the assistant", code="nothing-to-train-on")
        start = self._template(before, context, add_generation_prompt=True)
        if self._has_marks(context.tools):
            whole, action = self._by_marks([*before, *turns], context)
            if any(message_text(t)[:1].isspace() for t in turns if t["role"] == "assistant"):
                for head in self._heads(before, turns, context):
                    whole, action = self._parted(whole, action, head)
            self._check_marks(whole, action, [*before, *turns])
        else:
            whole, action = self._by_prefix(before, turns, context)
        self._check_prefix(start, whole, before)
        tokens, actions = whole[len(start) :], tuple(action[len(start) :])
        while actions and not actions[-1]:
            tokens, actions = tokens[:-1], actions[:-1]
        if tokens and tokens[-1] not in self.stop_ids and self.tokenizer.eos_token_id is not None:
            tokens, actions = (*tokens, self.tokenizer.eos_token_id), (*actions, True)  # an answer must end
        text = next(message_text(t) for t in reversed(turns) if t["role"] == "assistant")
        return Completion(tokens, text=text, sampled=actions, reward=1.0)

    def _by_marks(self, messages: list[Message], context: _Given) -> tuple[Ids, list[bool]]:
        """The assistant's tokens as the template's own `{% generation %}` marks them, each turn with its end."""
        try:
            whole, masks = self._rendered(messages, context, return_assistant_tokens_mask=True)
        except DataError as error:
            if not isinstance(error.__cause__, OverflowError):
                raise
            # transformers looked for the character before the first
            raise DataError(
                "the marks {% generation %} of the chat template surround nothing at its beginning; let them surround "
                "the content of the assistant's turn (model.chat_template)",
                code="nothing-to-train-on",
            ) from error
        action = [False] * len(whole)
        place = 0
        for marked, span in groupby(masks):
            start, place = place, place + len(list(span))
            # many templates end the mark before the end of turn: without it no model would learn to stop
            end = place + 1 if place < len(whole) and whole[place] in self.stop_ids else place
            if marked:
                self._set(action, whole, start, end)
        return whole, action

    def _check_marks(self, whole: Ids, action: Sequence[bool], messages: Sequence[Message]) -> None:
        """Raise DataError where the template marks other words than the assistant's: a loss would look normal."""
        marked = self.tokenizer.decode([i for i, trained in zip(whole, action, strict=True) if trained])
        text = self.tokenizer.decode(list(whole))
        said = {m["role"] == "assistant": str(m.get("content") or "").strip() for m in messages}
        answer, other = said.get(True, ""), said.get(False, "")
        end = answer[-LONGEST_END:]  # its beginning may be thinking that a template leaves out on purpose
        if end in text and end not in marked:
            raise DataError(
                f"the marks {{% generation %}} of the chat template leave out what the assistant says ({answer[:40]!r})"
                ", so it would not be trained; let them surround the content of the assistant's turn "
                "(model.chat_template)",
                code="nothing-to-train-on",
            )
        if len(other) >= LEAST_MARKED and other in marked and other not in answer:
            raise DataError(
                f"the marks {{% generation %}} of the chat template surround what the assistant does not say "
                f"({other[:40]!r}), so that would be trained; let them surround the assistant's turns only "
                "(model.chat_template)",
                code="nothing-to-train-on",
            )

    def _by_prefix(self, before: list[Message], turns: list[Message], context: _Given) -> tuple[Ids, list[bool]]:
        """The assistant's tokens as what follows the conversation so far, turn by turn.

        A template may render earlier turns otherwise once more follow, as those of thinking models do. Such a turn
        does not stand in the conversation as the model would have said it, and is not trained; the last one must.
        """
        assistants = [k for k, turn in enumerate(turns) if turn["role"] == "assistant"]
        heads = self._heads(before, turns, context)
        whole = self._parted_at(heads, self._template([*before, *turns], context))
        action = [False] * len(whole)
        for k, head in zip(assistants, heads, strict=True):
            ahead = [*before, *turns[:k]]
            tail = self._parted_at(heads, self._template([*ahead, turns[k]], context))
            if whole[: len(head)] == head and whole[: len(tail)] == tail:
                self._set(action, whole, len(head), len(tail))
            elif k == assistants[-1]:
                self._check_prefix(head, whole, ahead)
                self._check_prefix(tail, whole, [*ahead, turns[k]])
        return whole, action

    def _heads(self, before: list[Message], turns: list[Message], context: _Given) -> list[Ids]:
        """What stands before each of the assistant's turns, as the model would be asked for it."""
        heads: list[Ids] = []
        for k, turn in enumerate(turns):
            if turn["role"] == "assistant":
                ids = self._template([*before, *turns[:k]], context, add_generation_prompt=True)
                heads.append(self._parted_at(heads, ids))
        return heads

    def _parted_at(self, heads: Sequence[Ids], ids: Ids) -> Ids:
        for head in heads:
            ids, _ = self._parted(ids, [False] * len(ids), head)
        return ids

    def _parted(self, whole: Ids, action: list[bool], head: Ids) -> tuple[Ids, list[bool]]:
        """The conversation with the white space that opens the assistant's turn in tokens of its own.

        Where an answer begins with line breaks, a tokenizer may join them to the template's own. The model is asked
        with the ids of `head` alone, so that is what stands before its answer, whose line breaks are tokens behind it.
        """
        same = next((i for i, (a, b) in enumerate(zip(whole, head, strict=False)) if a != b), None)
        if same is None:
            return whole, action
        opening = self._said(head[same:])
        for end in range(same + 1, min(len(whole), len(head) + 1) + 1):
            said = self._said(whole[same:end])
            if len(said) > len(opening) or said.strip():
                break
        else:
            return whole, action
        rest = self._plain(said[len(opening) :])
        parted = (*head, *rest, *whole[end:])
        if opening.strip() or not said.startswith(opening) or self._said(parted) != self._said(whole):
            return whole, action
        flags = [False] * (len(head) - same) + [action[end - 1]] * len(rest)
        return parted, [*action[:same], *flags, *action[end:]]

    def _said(self, ids: Ids) -> str:
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def _set(self, action: list[bool], whole: Ids, start: int, end: int) -> None:
        """Mark one turn, up to the token that ends it: what follows that is never sampled."""
        ends = [i for i in range(start, end) if whole[i] in self.stop_ids]
        for i in range(start, ends[-1] + 1 if ends else end):
            action[i] = True

    def _check_prefix(self, prefix: Ids, whole: Ids, messages: Sequence[Message]) -> None:
        if whole[: len(prefix)] != prefix:
            raise DataError(
                f"the first {len(messages)} messages give other tokens once more follow, so the assistant's cannot be "
                "found by prefix: the chat template writes them differently, or an answer begins with line breaks that "
                "merge with the template's own into one token. Take white space off the beginning of answers, or give "
                "a template that marks them with {% generation %} (model.chat_template).",
                code="template-refuses",
            )


@dataclass(frozen=True)
class _Given:
    """What a template is given beside messages."""

    tools: Tools = None
    options: Options = None


def _given(prompt: Prompt) -> _Given:
    if isinstance(prompt.messages, str):
        return _Given()
    return _Given(prompt.columns.get("tools"), options_of(prompt.columns))


def _refused(error: Exception) -> DataError:
    return DataError(f"the chat template refuses the messages: {error}", code="template-refuses")


def _with_text_arguments(message: Message) -> dict[str, Any]:
    """The message with the arguments of its calls as JSON text."""
    calls: list[Any] = []
    for call in message.get("tool_calls") or ():
        function = call.get("function")
        if isinstance(function, Mapping) and not isinstance(function.get("arguments"), str):
            text = json.dumps(function.get("arguments"), ensure_ascii=False)
            call = {**call, "function": {**function, "arguments": text}}
        calls.append(call)
    return {**message, "tool_calls": calls} if calls else dict(message)
