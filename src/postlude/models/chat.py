"""Text and messages to token ids, in one place: what is rendered here is what is sampled from and trained on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from jinja2 import TemplateError

from postlude.data import Completion, Message, Prompt, message_text
from postlude.errors import DataError

Tools = Sequence[Mapping[str, Any]] | None
"""JSON schemas of the tools a template shows to the model."""
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class Renderer:
    """A tokenizer with its chat template, and the ids that end a completion."""

    tokenizer: Any
    stop_ids: frozenset[int]

    def prompt(self, messages: str | Sequence[Message], tools: Tools = None) -> tuple[int, ...]:
        """Ids of a prompt: plain text with the tokenizer's own BOS, or messages up to the assistant's turn."""
        if isinstance(messages, str):
            return self._with_bos(messages)
        return self._template(messages, tools, add_generation_prompt=True)

    def with_tokens(self, prompt: Prompt) -> Prompt:
        """The prompt with its ids filled in; a `tools` column goes to the chat template."""
        return replace(prompt, tokens=self.prompt(prompt.messages, prompt.columns.get("tools")))

    def completion(self, prompt: Prompt, answer: str | Sequence[Message]) -> Completion:
        """A written answer as a completion with reward 1, ending with the end-of-sequence token.

        A chat answer may hold several turns; only the assistant's are trained.
        """
        if isinstance(answer, str):
            return self._finished(self._plain(answer), answer)
        if isinstance(prompt.messages, str):
            raise DataError('"completion" is a list of messages but "prompt" is text; make both the same')
        return self._turns([*prompt.messages], [*answer], prompt.columns.get("tools"))

    def conversation(self, messages: Sequence[Message], tools: Tools = None) -> tuple[Prompt, Completion]:
        """A whole conversation: everything before the first assistant turn is the prompt."""
        first = next(i for i, m in enumerate(messages) if m["role"] == "assistant")
        if first == 0:
            raise DataError('"messages" starts with the assistant: there is nothing it answers')
        before = list(messages[:first])
        return Prompt("", before, tokens=self.prompt(before, tools)), self._turns(before, [*messages[first:]], tools)

    def plain_text(self, text: str) -> tuple[tuple[int, ...], Completion]:
        """Language-modelling text: the prompt is the BOS token alone, where the tokenizer has one."""
        ids = self._with_bos(text)
        bos = self.tokenizer.bos_token_id
        start = 1 if ids and bos is not None and ids[0] == bos else 0
        return ids[:start], self._finished(ids[start:], text)

    # ------------------------------------------------------------------------------------------------ parts

    def _plain(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _with_bos(self, text: str) -> tuple[int, ...]:
        """Ids with the tokenizer's own beginning, without an end-of-sequence token it may add."""
        ids = tuple(self.tokenizer(text).input_ids)
        bare = self._plain(text) if self.tokenizer.num_special_tokens_to_add() else ids
        for start in range(len(ids) - len(bare) + 1 if bare else 0):
            if ids[start : start + len(bare)] == bare:
                ids = ids[: start + len(bare)]
                break
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == (bos, bos):
            raise DataError(f"the prompt starts with two BOS tokens: {text[:60]!r} already holds one; remove it")
        return ids

    def _template(
        self, messages: Sequence[Message], tools: Tools, add_generation_prompt: bool = False
    ) -> tuple[int, ...]:
        return tuple(self._rendered(messages, tools, add_generation_prompt=add_generation_prompt)["input_ids"])

    def _rendered(self, messages: Sequence[Message], tools: Tools, **options: bool) -> Any:
        if not self.tokenizer.chat_template:
            raise DataError(
                "these are chat messages, but the tokenizer has no chat template; use text, or give model.chat_template"
            )
        try:
            return self.tokenizer.apply_chat_template(
                [dict(m) for m in messages],
                tools=[dict(t) for t in tools] if tools else None,
                tokenize=True,
                return_dict=True,
                **options,
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise DataError(f"the chat template refuses the messages: {error}") from error

    def _has_marks(self, tools: Tools) -> bool:
        """Whether the template itself says which tokens are the assistant's; slow tokenizers cannot tell."""
        if not self.tokenizer.chat_template or not self.tokenizer.is_fast:
            return False
        return bool(_MARK.search(self.tokenizer.get_chat_template(tools=tools or None)))

    def _finished(self, ids: tuple[int, ...], text: str) -> Completion:
        eos = self.tokenizer.eos_token_id
        if eos is not None and (not ids or ids[-1] not in self.stop_ids):
            ids = (*ids, eos)
        return Completion(ids, text=text, reward=1.0)

    def _turns(self, before: list[Message], turns: list[Message], tools: Tools) -> Completion:
        """Completion ids after `before`, action True on the assistant's turns."""
        if not any(t["role"] == "assistant" for t in turns):
            raise DataError("the answer holds no message of the assistant")
        start = self._template(before, tools, add_generation_prompt=True)
        if self._has_marks(tools):
            whole, action = self._by_marks([*before, *turns], tools)
        else:
            whole, action = self._by_prefix(before, turns, tools)
        self._check_prefix(start, whole, before)
        tokens, actions = whole[len(start) :], tuple(action[len(start) :])
        while actions and not actions[-1]:
            tokens, actions = tokens[:-1], actions[:-1]
        if tokens and tokens[-1] not in self.stop_ids and self.tokenizer.eos_token_id is not None:
            tokens, actions = (*tokens, self.tokenizer.eos_token_id), (*actions, True)  # an answer must end
        text = next(message_text(t) for t in reversed(turns) if t["role"] == "assistant")
        return Completion(tokens, text=text, action=actions, reward=1.0)

    def _by_marks(self, messages: list[Message], tools: Tools) -> tuple[tuple[int, ...], list[bool]]:
        """The assistant's tokens as the template's own `{% generation %}` marks them, each turn with its end."""
        rendered = self._rendered(messages, tools, return_assistant_tokens_mask=True)
        whole = tuple(rendered["input_ids"])
        action = [False] * len(whole)
        place = 0
        for marked, span in groupby(rendered["assistant_masks"]):
            start, place = place, place + len(list(span))
            # many templates end the mark before the end of turn: without it no model would learn to stop
            end = place + 1 if place < len(whole) and whole[place] in self.stop_ids else place
            if marked:
                self._set(action, whole, start, end)
        return whole, action

    def _by_prefix(
        self, before: list[Message], turns: list[Message], tools: Tools
    ) -> tuple[tuple[int, ...], list[bool]]:
        """The assistant's tokens as what follows the conversation so far, turn by turn.

        A template may render earlier turns otherwise once more follow, as those of thinking models do. Such a turn
        does not stand in the conversation as the model would have said it, and is not trained; the last one must.
        """
        whole = self._template([*before, *turns], tools)
        action = [False] * len(whole)
        assistants = [k for k, turn in enumerate(turns) if turn["role"] == "assistant"]
        for k in assistants:
            ahead = [*before, *turns[:k]]
            head = self._template(ahead, tools, add_generation_prompt=True)
            tail = self._template([*ahead, turns[k]], tools)
            if whole[: len(head)] == head and whole[: len(tail)] == tail:
                self._set(action, whole, len(head), len(tail))
            elif k == assistants[-1]:
                self._check_prefix(head, whole, ahead)
                self._check_prefix(tail, whole, [*ahead, turns[k]])
        return whole, action

    def _set(self, action: list[bool], whole: tuple[int, ...], start: int, end: int) -> None:
        """Mark one turn, up to the token that ends it: what follows that is never sampled."""
        ends = [i for i in range(start, end) if whole[i] in self.stop_ids]
        for i in range(start, ends[-1] + 1 if ends else end):
            action[i] = True

    def _check_prefix(self, prefix: tuple[int, ...], whole: tuple[int, ...], messages: Sequence[Message]) -> None:
        if whole[: len(prefix)] != prefix:
            raise DataError(
                f"the chat template renders the first {len(messages)} messages differently once more follow, so the "
                "assistant's tokens cannot be found by prefix. Use prompt/completion rows, or a template that marks "
                "them with {% generation %} (model.chat_template)."
            )
