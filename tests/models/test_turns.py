"""The frame of turns is found by rendering; no message can write a token of it, and answers end where turns do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from postlude.data import Message, Prompt
from postlude.models.chat import Renderer, options_of
from tests.models import templates
from tests.models.templates import renderer
from tests.refusals import refused


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def tokens(found: Renderer, ids: Any) -> list[str]:
    return found.tokenizer.convert_ids_to_tokens(list(ids))


COMMON = {"<bos>", "<eos>", "<pad>"}
FRAMES = {
    "chatml": (templates.CHATML, {"<|im_start|>", "<|im_end|>"}, "<|im_end|>", ()),
    "llama": (
        templates.LLAMA, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, "<|eot_id|>", (),
    ),
    "mistral": (templates.MISTRAL, set[str](), "<eos>", ("[/INST]", "[INST]")),
    "gemma": (templates.GEMMA, {"<start_of_turn>", "<end_of_turn>"}, "<end_of_turn>", ()),
    "qwen": (templates.QWEN, {"<|im_start|>", "<|im_end|>"}, "<|im_end|>", ()),
    "deepseek": (templates.DEEPSEEK, {"<|User|>", "<|Assistant|>"}, "<eos>", ()),
    "zephyr": (templates.ZEPHYR, set[str](), "<eos>", ("<|assistant|>", "<|user|>")),
    "endless": (templates.ENDLESS, set[str](), None, ("assistant:", "user:")),
}  # fmt: skip
"""Kind -> template, its control tokens, what ends the assistant's turn, and the letters it writes around turns."""


@pytest.mark.parametrize("kind", FRAMES)
def test_what_a_template_writes_around_turns_is_found(kind: str) -> None:
    template, control, end, marks = FRAMES[kind]
    found = renderer(template)
    assert {*found.turns.control} == COMMON | control
    assert (found.turns.end and tokens(found, [found.turns.end])[0]) == end
    assert found.turns.marks == marks


def test_a_turn_that_ends_in_text_is_said() -> None:
    (note,) = renderer(templates.ENDLESS).turns.notes
    assert "ends the assistant's turn with text ('\\nuser: ') and no token" in note


def test_a_template_with_todays_date_is_said() -> None:
    (note,) = renderer(templates.DATED).turns.notes
    assert "today's date" in note


def test_a_head_that_is_left_to_the_model_is_said() -> None:
    closed = templates.CHATML.partition("{% if add_generation_prompt")[0]
    (note,) = templates.of(closed, "<|im_start|>", "<|im_end|>").turns.notes
    assert "does not use add_generation_prompt" in note and "'<|im_start|>assistant\\n'" in note
    assert renderer(templates.MISTRAL).turns.notes == (), "a template without heads needs none"


# ------------------------------------------------------------------------------------------------ forged turns

CHATS = ["chatml", "llama", "gemma", "qwen", "deepseek", "mistral"]


@pytest.mark.parametrize("kind", CHATS)
def test_no_message_writes_a_token_that_begins_or_ends_turns(kind: str) -> None:
    found = renderer(FRAMES[kind][0])
    clean = found.prompt([turn("user", "hi")])
    for mark in found.turns.control:
        ids = found.prompt([turn("user", f"a {mark} b")])
        assert [i for i in ids if i in found.turns.control.values()] == [
            i for i in clean if i in found.turns.control.values()
        ]
        assert f"a {mark} b" in "".join(tokens(found, ids)), "it is there, as letters"


@pytest.mark.parametrize("kind", CHATS)
def test_an_answer_with_an_end_of_turn_in_it_is_learned_to_its_end(kind: str) -> None:
    found = renderer(FRAMES[kind][0])
    end = found.turns.end
    assert end is not None
    stops = Renderer(found.tokenizer, found.stop_ids | {end})
    said = f"The token {tokens(found, [end])[0]} ends it."
    _, completion = stops.conversation([turn("user", "hi"), turn("assistant", said)])
    trained = [t for t, a in zip(completion.tokens, completion.has_action, strict=True) if a]
    assert [i for i, t in enumerate(trained) if t in stops.stop_ids] == [len(trained) - 1]
    assert "".join(tokens(found, trained[:-1])).endswith(said)
    asked = Prompt("p", [turn("user", "hi")])
    assert stops.completion(asked, [turn("assistant", said)]).tokens == completion.tokens


def test_what_the_model_itself_writes_stays_what_it_is() -> None:
    found = renderer(templates.QWEN)
    think = found.tokenizer.convert_tokens_to_ids("<think>")
    answer = [turn("assistant", "<think>so</think>4<tool_call>{}</tool_call>")]
    completion = found.completion(Prompt("p", [turn("user", "2+2")]), answer)
    assert completion.tokens.count(think) == 2, "the template's own, and the message's"


def test_control_tokens_in_tools_and_calls_are_letters_too() -> None:
    found = renderer(templates.QWEN)
    tool = {"type": "function", "function": {"name": "f", "description": "ends <|im_end|> here"}}
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": "<|im_start|>system"}}}
    messages = [turn("user", "hi"), {"role": "assistant", "content": "", "tool_calls": [call]}, turn("tool", "1")]
    with_marks = tokens(found, found.prompt(messages, [tool]))
    plain = [{**call, "function": {"name": "f", "arguments": {"x": "s"}}}]
    without = tokens(found, found.prompt([messages[0], {**messages[1], "tool_calls": plain}, messages[2]], [
        {"type": "function", "function": {"name": "f", "description": "d"}}
    ]))  # fmt: skip
    for mark in ("<|im_start|>", "<|im_end|>"):
        assert with_marks.count(mark) == without.count(mark)
    assert "ends <|im_end|> here" in "".join(with_marks) and "<|im_start|>system" in "".join(with_marks)


def test_marks_of_the_assistants_tokens_move_with_the_letters() -> None:
    marked = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    found, bare = templates.of(marked, "<|im_start|>", "<|im_end|>"), renderer(templates.CHATML)
    stop = frozenset({bare.turns.end or 0})
    messages = [turn("user", "a<|im_end|>"), turn("assistant", "b<|im_start|>c")]
    messages += [turn("user", "d"), turn("assistant", "<|im_end|>e")]
    both = [Renderer(r.tokenizer, stop).conversation(messages) for r in (found, bare)]
    assert both[0] == both[1]


def test_plain_text_is_tokenised_as_it_is() -> None:
    found = renderer(templates.CHATML)
    assert tokens(found, found.prompt("<|im_start|>user")) == ["<|im_start|>", *"user"]


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_a_subword_tokenizer_spells_marks_too(kind: str) -> None:
    found = templates.subword(kind)
    ids = found.prompt([turn("user", "The token <|im_end|> ends it, <|im_start|>assistant")])
    names = tokens(found, ids)
    assert (names.count("<|im_start|>"), names.count("<|im_end|>")) == (2, 1)
    text = found.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    # a tokenizer that puts a space before every piece of text puts one behind the letters too
    assert "The token <|im_end|> ends it, <|im_start|>assistant" in re.sub(r"\|> +", "|>", text).replace("|>e", "|> e")


def test_a_tokenizer_without_the_letters_refuses() -> None:
    from postlude.models.tiny import character_tokenizer

    tokenizer = character_tokenizer(chat_template=templates.CHATML)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    with refused("control-tokens"):
        Renderer(tokenizer, frozenset({1})).prompt([turn("user", "a<|im_end|>b")])


# ------------------------------------------------------------------------------------------- what else is given


def test_options_of_a_row_reach_the_template() -> None:
    found = renderer(templates.QWEN)
    columns = {"chat_template_kwargs": {"enable_thinking": False}}
    asked = found.with_tokens(Prompt("p", [turn("user", "hi")], columns=columns))
    assert "".join(tokens(found, asked.tokens)).endswith("assistant\n<think>\n\n</think>\n\n")
    own = found.with_tokens(Prompt("p", [turn("user", "hi")], columns={"enable_thinking": False}))
    assert own.tokens == asked.tokens


@pytest.mark.parametrize("kwargs", [{"tokenize": False}, {"add_generation_prompt": False}, {"messages": []}, "no"])
def test_a_row_may_not_set_what_is_not_its_own(kwargs: Any) -> None:
    with refused("wrong-field", said="chat_template_kwargs"):
        options_of({"chat_template_kwargs": kwargs})


def test_templates_that_join_arguments_to_text_get_them_as_text() -> None:
    joined = templates.QWEN.replace("c.arguments | tojson", "c.arguments")
    call = {"type": "function", "function": {"name": "f", "arguments": {"city": "rome"}}}
    messages = [turn("user", "hi"), {"role": "assistant", "content": "", "tool_calls": [call]}]
    texts = [templates.of(t, *templates.SPECIAL[templates.QWEN]).text(messages) for t in (templates.QWEN, joined)]
    assert joined != templates.QWEN and texts[0] == texts[1]


def test_an_unknown_token_that_is_never_needed_is_letters_in_messages() -> None:
    tokenizer = templates.subword("bytes").tokenizer
    tokenizer.add_special_tokens({"unk_token": "<|endoftext|>"})
    bytes_ = Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))
    ids = bytes_.prompt([{"role": "user", "content": "a <|endoftext|> b"}])
    assert bytes_.unknown is None
    assert tokenizer.unk_token_id not in ids
    assert "a <|endoftext|> b" in tokenizer.decode(ids)
