"""Text and messages to token ids, in one place: what is rendered here is what is sampled from and trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from postlude.data import Completion, Message, Prompt
from postlude.errors import DataError


@dataclass(frozen=True)
class Renderer:
    """A tokenizer with its chat template, and the ids that end a completion."""

    tokenizer: Any
    stop_ids: frozenset[int]

    def prompt(self, messages: str | Sequence[Message]) -> tuple[int, ...]:
        """Ids of a prompt: plain text with the tokenizer's own BOS, or messages up to the assistant's turn."""
        if isinstance(messages, str):
            return self._with_bos(messages)
        return self._template(messages, add_generation_prompt=True)

    def with_tokens(self, prompt: Prompt) -> Prompt:
        """The prompt with its ids filled in."""
        from dataclasses import replace

        return replace(prompt, tokens=self.prompt(prompt.messages))

    def completion(self, prompt: Prompt, answer: str | Sequence[Message]) -> Completion:
        """A written answer as a completion with reward 1, ending with the end-of-sequence token.

        A chat answer may hold several turns; only the assistant's are trained.
        """
        if isinstance(answer, str):
            return self._finished(self._plain(answer), answer)
        if isinstance(prompt.messages, str):
            raise DataError('"completion" is a list of messages but "prompt" is text; make both the same')
        return self._turns([*prompt.messages], [*answer])

    def conversation(self, messages: Sequence[Message]) -> tuple[Prompt, Completion]:
        """A whole conversation: everything before the first assistant turn is the prompt."""
        first = next(i for i, m in enumerate(messages) if m["role"] == "assistant")
        if first == 0:
            raise DataError('"messages" starts with the assistant: there is nothing it answers')
        prompt = Prompt("", list(messages[:first]), tokens=self.prompt(list(messages[:first])))
        return prompt, self._turns([*messages[:first]], [*messages[first:]])

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
        ids, bare = tuple(self.tokenizer(text).input_ids), self._plain(text)
        for start in range(len(ids) - len(bare) + 1 if bare else 0):
            if ids[start : start + len(bare)] == bare:
                ids = ids[: start + len(bare)]
                break
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == (bos, bos):
            raise DataError(f"the prompt starts with two BOS tokens: {text[:60]!r} already holds one; remove it")
        return ids

    def _template(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> tuple[int, ...]:
        if not self.tokenizer.chat_template:
            raise DataError(
                "these are chat messages, but the tokenizer has no chat template; use text, or give model.chat_template"
            )
        try:
            rendered = self.tokenizer.apply_chat_template(
                [dict(m) for m in messages],
                add_generation_prompt=add_generation_prompt,
                tokenize=True,
                return_dict=False,
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise DataError(f"the chat template refuses the messages: {error}") from error
        return tuple(rendered)

    def _finished(self, ids: tuple[int, ...], text: str) -> Completion:
        eos = self.tokenizer.eos_token_id
        if eos is not None and (not ids or ids[-1] not in self.stop_ids):
            ids = (*ids, eos)
        return Completion(ids, text=text, reward=1.0)

    def _turns(self, before: list[Message], turns: list[Message]) -> Completion:
        """Completion ids after `before`, action True on the assistant's turns; found by rendering prefixes."""
        if not any(t["role"] == "assistant" for t in turns):
            raise DataError("the answer holds no message of the assistant")
        start = self._template(before, add_generation_prompt=True)
        whole = self._template([*before, *turns])
        self._check_prefix(start, whole, before)
        action = [False] * len(whole)
        for k, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            head = self._template([*before, *turns[:k]], add_generation_prompt=True)
            tail = self._template([*before, *turns[: k + 1]])
            self._check_prefix(head, whole, [*before, *turns[:k]])
            self._check_prefix(tail, whole, [*before, *turns[: k + 1]])
            end = len(tail)
            ends = [i for i in range(len(head), end) if whole[i] in self.stop_ids]
            for i in range(len(head), ends[-1] + 1 if ends else end):
                action[i] = True
        tokens, actions = whole[len(start) :], tuple(action[len(start) :])
        while actions and not actions[-1]:
            tokens, actions = tokens[:-1], actions[:-1]
        if tokens and tokens[-1] not in self.stop_ids and self.tokenizer.eos_token_id is not None:
            tokens, actions = (*tokens, self.tokenizer.eos_token_id), (*actions, True)  # an answer must end
        text = next(str(t["content"]) for t in reversed(turns) if t["role"] == "assistant")
        return Completion(tokens, text=text, action=actions, reward=1.0)

    def _check_prefix(self, prefix: tuple[int, ...], whole: tuple[int, ...], messages: Sequence[Message]) -> None:
        if whole[: len(prefix)] != prefix:
            raise DataError(
                f"the chat template renders the first {len(messages)} messages differently once more follow, so the "
                "assistant's tokens cannot be found by prefix. Use prompt/completion rows, or another template."
            )
