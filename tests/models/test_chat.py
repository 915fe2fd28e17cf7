"""Rendering: what is trained on is what is sampled after, and only the assistant's tokens are trained."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from postlude.data import Completion, Message, Prompt
from postlude.errors import DataError
from postlude.models.chat import Renderer
from postlude.models.tiny import character_tokenizer
from tests.refusals import refused

START, END = "<|im_start|>", "<|im_end|>"
TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
TURNS = "{% for m in messages %}" + TURN + "{% endfor %}"
CHATML = TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
FORGETFUL = (
    "{% for m in messages %}"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ '<|im_start|>assistant\n...<|im_end|>\n' }}"
    "{% else %}" + TURN + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Shortens every assistant turn but the last, as templates of thinking models do."""
ENDLESS = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""Nothing ends a turn."""


def chat(template: str = CHATML) -> Renderer:
    tokenizer = character_tokenizer(chat_template=template)
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END]})
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END)}))


def plain(single: str | None = None) -> Renderer:
    """A renderer without chat; `single` is how the tokenizer frames a text, with `<bos>` and `<eos>`."""
    tokenizer = character_tokenizer()
    if single:
        tokenizer.add_special_tokens({"bos_token": "<bos>"})
        special = [("<bos>", tokenizer.bos_token_id), ("<eos>", tokenizer.eos_token_id)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=special)
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))


def said(renderer: Renderer, ids: Any) -> str:
    return "".join(renderer.tokenizer.convert_ids_to_tokens(list(ids)))


def trained(renderer: Renderer, completion: Completion) -> str:
    """The completion with `~` for every token that is not trained."""
    tokens = renderer.tokenizer.convert_ids_to_tokens(list(completion.tokens))
    return "".join(t if a else "~" for t, a in zip(tokens, completion.has_action, strict=True))


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def framed(role: str, content: str) -> str:
    return f"{START}{role}\n{content}{END}\n"


# ------------------------------------------------------------------------------------------------------ plain


def test_a_plain_prompt_is_its_characters() -> None:
    renderer = plain()
    assert said(renderer, renderer.prompt("1+2=")) == "1+2="


def test_a_plain_answer_ends_in_eos_once() -> None:
    renderer = plain()
    prompt = Prompt("p", "1+2=")
    for text in ("3", "3<eos>"):
        completion = renderer.completion(prompt, text)
        assert said(renderer, completion.tokens) == "3<eos>"
        assert all(completion.has_action)
        assert (completion.text, completion.reward, completion.stop) == (text, 1.0, "data")


def test_a_prompt_is_filled_in_with_its_ids() -> None:
    renderer = plain()
    prompt = Prompt("p", "1+2=", "3", {"answer": "3"})
    filled = renderer.with_tokens(prompt)
    assert filled.tokens == renderer.prompt("1+2=")
    assert (filled.id, filled.messages, filled.answer, filled.columns) == ("p", "1+2=", "3", {"answer": "3"})


def test_a_text_row_without_bos_is_all_trained() -> None:
    renderer = plain()
    start, completion = renderer.plain_text("abc")
    assert start == ()
    assert trained(renderer, completion) == "abc<eos>"


def test_a_text_row_starts_from_bos_alone() -> None:
    renderer = plain("<bos> $A")
    start, completion = renderer.plain_text("abc")
    assert said(renderer, start) == "<bos>"
    assert trained(renderer, completion) == "abc<eos>"


def test_bos_stands_before_the_prompt_and_not_before_the_answer() -> None:
    renderer = plain("<bos> $A")
    assert said(renderer, renderer.prompt("ab")) == "<bos>ab"
    assert said(renderer, renderer.completion(Prompt("p", "ab"), "c").tokens) == "c<eos>"


def test_an_eos_that_the_tokenizer_adds_is_not_part_of_the_prompt() -> None:
    renderer = plain("<bos> $A <eos>")
    assert said(renderer, renderer.prompt("ab")) == "<bos>ab"
    start, completion = renderer.plain_text("ab")
    assert (said(renderer, start), said(renderer, completion.tokens)) == ("<bos>", "ab<eos>")
    assert said(renderer, renderer.completion(Prompt("p", "ab"), "c").tokens) == "c<eos>"


@pytest.mark.parametrize("single", ["<bos> $A", "<bos> $A <eos>"])
def test_an_eos_written_in_the_prompt_stays(single: str) -> None:
    renderer = plain(single)
    assert said(renderer, renderer.prompt("ab<eos>")) == "<bos>ab<eos>"


def test_two_bos_tokens_are_an_error() -> None:
    renderer = plain("<bos> $A")
    with refused("control-tokens"):
        renderer.prompt("<bos>ab")
    with refused("control-tokens"):
        renderer.plain_text("<bos>ab")


# ------------------------------------------------------------------------------------------------------- chat


def test_a_chat_prompt_ends_where_the_assistant_begins() -> None:
    renderer = chat()
    messages = [turn("system", "be kind"), turn("user", "hi")]
    expected = framed("system", "be kind") + framed("user", "hi") + f"{START}assistant\n"
    assert said(renderer, renderer.prompt(messages)) == expected


def test_a_chat_answer_is_its_text_and_the_end_of_turn() -> None:
    renderer = chat()
    prompt = renderer.with_tokens(Prompt("p", [turn("user", "hi")]))
    completion = renderer.completion(prompt, [turn("assistant", "yo")])
    assert trained(renderer, completion) == f"yo{END}"
    assert (completion.text, completion.reward) == ("yo", 1.0)
    whole = framed("user", "hi") + framed("assistant", "yo")
    assert said(renderer, prompt.tokens + completion.tokens) == whole.removesuffix("\n")


def test_only_the_assistants_tokens_of_a_conversation_are_trained() -> None:
    renderer = chat()
    messages = [turn("user", "hi"), turn("assistant", "yo"), turn("user", "more"), turn("assistant", "no")]
    prompt, completion = renderer.conversation(messages)
    between = len("\nSuser\nmoreE\nSassistant\n")  # S and E: one token each
    assert trained(renderer, completion) == f"yo{END}" + "~" * between + f"no{END}"
    assert completion.length == len("yo") + len("no") + 2
    whole = "".join(framed(m["role"], m["content"]) for m in messages)
    assert said(renderer, prompt.tokens + completion.tokens) == whole.removesuffix("\n")
    assert prompt.messages == messages[:1]
    assert completion.text == "no"


def test_a_conversation_keeps_what_stands_before_the_first_answer_as_its_prompt() -> None:
    renderer = chat()
    messages = [turn("system", "be kind"), turn("user", "hi"), turn("user", "so?"), turn("assistant", "yo")]
    prompt, completion = renderer.conversation(messages)
    assert prompt.messages == messages[:3]
    assert prompt.tokens == renderer.prompt(messages[:3])
    assert trained(renderer, completion) == f"yo{END}"


def test_a_conversation_of_two_turns_equals_prompt_and_answer() -> None:
    renderer = chat()
    user, answer = turn("user", "hi"), turn("assistant", "yo")
    prompt, completion = renderer.conversation([user, answer])
    assert prompt.tokens == renderer.prompt([user])
    assert completion == renderer.completion(Prompt("p", [user]), [answer])


def test_a_tools_answer_is_not_trained() -> None:
    renderer = chat()
    answer = [turn("assistant", "call"), turn("tool", "42"), turn("assistant", "it is 42")]
    completion = renderer.completion(Prompt("p", [turn("user", "hi")]), answer)
    assert trained(renderer, completion).replace("~", "") == f"call{END}it is 42{END}"
    assert f"{START}tool\n42{END}" in said(renderer, completion.tokens)


def test_an_answer_that_the_user_ends_stops_at_the_last_assistant_turn() -> None:
    renderer = chat()
    answer = [turn("assistant", "yo"), turn("user", "thanks")]
    completion = renderer.completion(Prompt("p", [turn("user", "hi")]), answer)
    assert trained(renderer, completion) == f"yo{END}"


def test_turns_that_a_template_rewrites_are_not_trained_and_the_last_one_is() -> None:
    renderer = chat(FORGETFUL)
    one = [turn("user", "hi"), turn("assistant", "yo")]
    assert trained(renderer, renderer.conversation(one)[1]) == f"yo{END}"
    completion = renderer.conversation([*one, turn("user", "more"), turn("assistant", "no")])[1]
    assert trained(renderer, completion).replace("~", "") == f"no{END}"
    assert said(renderer, completion.tokens).startswith(f"...{END}")


def test_a_template_whose_answer_does_not_follow_its_generation_prompt_is_an_error() -> None:
    renderer = chat(CHATML.replace("'<|im_start|>assistant\n' }}{% endif", "'<|im_start|>bot\n' }}{% endif"))
    with refused("template-refuses"):
        renderer.conversation([turn("user", "hi"), turn("assistant", "yo")])


def test_every_answer_of_a_conversation_must_follow_its_generation_prompt() -> None:
    later = "<|im_start|>{{ 'assistant' if messages | length == 1 else 'bot' }}\n"
    renderer = chat(TURNS + "{% if add_generation_prompt %}" + later + "{% endif %}")
    one = [turn("user", "hi"), turn("assistant", "yo")]
    assert trained(renderer, renderer.conversation(one)[1]) == f"yo{END}"
    with refused("template-refuses", said="first 3 messages give other tokens"):
        renderer.conversation([*one, *one])


def test_an_answer_must_begin_with_the_assistant() -> None:
    answer = [turn("user", "so?"), turn("assistant", "yo")]
    with pytest.raises(DataError):
        chat().completion(Prompt("p", [turn("user", "hi")]), answer)


def test_messages_do_not_answer_a_plain_prompt() -> None:
    with refused("text-or-messages", said="make both the same"):
        chat().completion(Prompt("p", "hi"), [turn("assistant", "yo")])


def test_an_answer_without_an_assistant_is_an_error() -> None:
    renderer = chat(TURNS)
    with pytest.raises(DataError):
        renderer.completion(Prompt("p", [turn("user", "hi")]), [turn("user", "more")])


def test_what_a_template_refuses_is_a_data_error() -> None:
    renderer = chat("{{ raise_exception('roles must alternate') }}")
    with refused("template-refuses"):
        renderer.prompt([turn("user", "hi")])


def test_an_answer_that_the_template_does_not_end_gets_eos() -> None:
    renderer = chat(ENDLESS)
    completion = renderer.conversation([turn("user", "hi"), turn("assistant", "yo")])[1]
    assert trained(renderer, completion).startswith("yo")
    assert trained(renderer, completion).endswith("<eos>")


# ------------------------------------------------------------------------------- answers that begin with line breaks


def merging(template: str = CHATML) -> Renderer:
    """A renderer whose tokenizer has a token for several line breaks in a row, and takes the longest there is."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<eos>", "<unk>", *(chr(i) for i in range(32, 127)), "\n", "\n\n", "\n\n\n", "\n\n\n\n"]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+|[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = template
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END]})
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END)}))


MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize("template", [CHATML, MARKED], ids=["by prefix", "by marks"])
@pytest.mark.parametrize("breaks", [1, 2, 3])
def test_line_breaks_that_open_an_answer_are_its_own_tokens(breaks: int, template: str) -> None:
    """The model is asked with the template's line break alone, so it would sample the answer's behind it."""
    renderer = merging(template)
    asked = [turn("user", "hi\n")]
    answer = "\n" * breaks + "yo"
    prompt, completion = renderer.conversation([*asked, turn("assistant", answer)])
    assert prompt.tokens == renderer.prompt(asked)
    assert renderer.tokenizer.convert_ids_to_tokens(list(completion.tokens)) == ["\n" * breaks, "y", "o", END]
    assert all(completion.has_action)
    assert renderer.completion(Prompt("p", asked), [turn("assistant", answer)]).tokens == completion.tokens


@pytest.mark.parametrize("template", [CHATML, MARKED], ids=["by prefix", "by marks"])
def test_every_turn_that_opens_with_line_breaks_is_trained(template: str) -> None:
    renderer = merging(template)
    turns = [turn("user", "a"), turn("assistant", "\nb"), turn("user", "c"), turn("assistant", "\n\nd")]
    _, completion = renderer.conversation(turns)
    tokens = renderer.tokenizer.convert_ids_to_tokens(list(completion.tokens))
    assert [t for t, a in zip(tokens, completion.has_action, strict=True) if a] == ["\n", "b", END, "\n\n", "d", END]
    assert "".join(tokens) == f"\nb{END}\n{framed('user', 'c')}{START}assistant\n\n\nd{END}"


def test_an_answer_of_line_breaks_alone_is_one() -> None:
    renderer = merging()
    _, completion = renderer.conversation([turn("user", "a"), turn("assistant", "\n")])
    assert renderer.tokenizer.convert_ids_to_tokens(list(completion.tokens)) == ["\n", END]


# ------------------------------------------------------------------------------------------ tools, marks, thinking

CALLS = (
    "{% if m['tool_calls'] %}{% for c in m['tool_calls'] %}"
    "{{ '<tool_call>' + c['function']['name'] + (c['function']['arguments'] | tojson) + '</tool_call>' }}"
    "{% endfor %}{% endif %}"
)
TOOLS = "{% if tools %}{{ '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
OPENING = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
SAID = "{{ m['content'] or '' }}" + CALLS


def tool_template(before: str = "", after: str = "", close: str = "{{ '<|im_end|>' }}") -> str:
    """ChatML with tools; `before`, `after` stand around what the assistant says, `close` ends its turn inside them."""
    assistant = before + SAID + close + after + ("" if close else "{{ '<|im_end|>' }}")
    return (
        TOOLS + "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
        f"{assistant}{{% else %}}{{{{ m['content'] + '<|im_end|>' }}}}{{% endif %}}{{{{ '\n' }}}}{{% endfor %}}"
        + OPENING
    )


MARK = ("{% generation %}", "{% endgeneration %}")
TEMPLATES = {
    "without marks": tool_template(),
    "marked with the end of turn": tool_template(*MARK),
    "marked without the end of turn": tool_template(*MARK, close=""),
    "marked with the line break": tool_template(*MARK, close="{{ '<|im_end|>\n' }}"),
}
"""Kind -> template. All render the same, the last but for a line break more after the assistant's turns."""
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "rome"}}}
LONG = [
    turn("system", "be kind"),
    turn("user", "hi"),
    turn("assistant", "yo"),
    turn("user", "weather?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    turn("tool", "sunny"),
    turn("assistant", "it is sunny"),
]


def printable(template: str) -> Renderer:
    """A renderer whose tokens can write JSON."""
    import string

    tokenizer = character_tokenizer(string.printable, chat_template=template)
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END]})
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END)}))


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("tools", [None, [WEATHER]], ids=["no tools", "tools"])
def test_every_turn_of_the_assistant_is_trained_calls_included(kind: str, tools: Any) -> None:
    renderer = printable(TEMPLATES[kind])
    prompt, completion = renderer.conversation(LONG, tools)
    call = '<tool_call>weather{"city": "rome"}</tool_call>'
    assert trained(renderer, completion).replace("~", "") == f"yo{END}{call}{END}it is sunny{END}"
    assert ("weather" in said(renderer, prompt.tokens)) == bool(tools)
    assert completion.text == "it is sunny"


@pytest.mark.parametrize("kind", ["marked with the end of turn", "marked without the end of turn"])
@pytest.mark.parametrize("messages", [LONG, LONG[1:3], LONG[:5], [*LONG, LONG[1], turn("assistant", f"a{END}b")]])
def test_marks_and_prefixes_train_the_same_tokens(kind: str, messages: Any) -> None:
    plain, marked = printable(TEMPLATES["without marks"]), printable(TEMPLATES[kind])
    assert marked.conversation(messages, [WEATHER]) == plain.conversation(messages, [WEATHER])
    split = next(i for i, m in enumerate(messages) if m["role"] == "assistant")
    prompt = Prompt("p", messages[:split], columns={"tools": [WEATHER]})
    assert marked.completion(prompt, messages[split:]) == plain.completion(prompt, messages[split:])


def test_an_assistants_turn_inside_the_prompt_is_not_trained_where_it_is_marked() -> None:
    renderer = printable(TEMPLATES["marked with the end of turn"])
    prompt = renderer.with_tokens(Prompt("p", LONG[:4]))
    completion = renderer.completion(prompt, [turn("assistant", "ask me later")])
    assert trained(renderer, completion) == f"ask me later{END}"
    assert said(renderer, prompt.tokens).count("yo") == 1


def test_a_template_whose_marks_hold_nothing_trains_nothing() -> None:
    empty = tool_template().replace(OPENING, "{% generation %}{% endgeneration %}" + OPENING)
    with refused("nothing-to-train-on", kind=DataError, said="leave out what the assistant says"):
        printable(empty).conversation(LONG)


def test_a_template_that_marks_the_users_words_is_refused() -> None:
    everything = (
        "{% for m in messages %}{% generation %}{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}{% endgeneration %}"
    )
    with refused("nothing-to-train-on", kind=DataError, said="what the assistant does not say"):
        asked = [{"role": "user", "content": "the question"}, {"role": "assistant", "content": "yo"}]
        printable(everything + "{% endfor %}").conversation(asked)


def test_tools_reach_the_template_from_the_prompts_column() -> None:
    renderer = printable(TEMPLATES["without marks"])
    filled = renderer.with_tokens(Prompt("p", LONG[:2], columns={"tools": [WEATHER]}))
    assert said(renderer, filled.tokens).startswith(f'{START}system\n[{{"type": "function"')
    assert renderer.with_tokens(Prompt("p", "hi", columns={"tools": "hammer"})).tokens == renderer.prompt("hi")


THINKING = (
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.index0 < ns.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% elif m['role'] == 'assistant' and '</think>' not in m['content'] and loop.last %}"
    "{{ '<think></think>' + m['content'] }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}" + OPENING
)
"""Drops the thinking before the last question and opens an answer without any with an empty one, as Qwen3's does."""


def test_a_thinking_models_answer_is_trained_with_its_thinking() -> None:
    renderer = printable(THINKING)
    for content, wanted in (("<think>hm</think>yo", "<think>hm</think>yo"), ("yo", "<think></think>yo")):
        prompt, completion = renderer.conversation([turn("user", "hi"), turn("assistant", content)])
        assert trained(renderer, completion) == wanted + END
        assert prompt.tokens == renderer.prompt([turn("user", "hi")])


@pytest.mark.parametrize("first", ["<think>hm</think>yo", "yo"])
def test_of_a_thinking_models_conversation_only_the_turn_as_it_was_said_is_trained(first: str) -> None:
    renderer = printable(THINKING)
    messages = [
        turn("user", "hi"),
        turn("assistant", first),
        turn("user", "so?"),
        turn("assistant", "<think>x</think>no"),
    ]
    prompt, completion = renderer.conversation(messages)
    assert trained(renderer, completion).replace("~", "") == f"<think>x</think>no{END}"
    whole = f"{framed('user', 'hi')}{framed('assistant', 'yo')}{framed('user', 'so?')}"
    assert said(renderer, prompt.tokens + completion.tokens) == f"{whole}{START}assistant\n<think>x</think>no{END}"


def test_calls_between_one_question_and_its_answer_keep_their_thinking() -> None:
    renderer = printable(THINKING)
    messages = [turn("user", "hi"), turn("assistant", "<think>a</think>call"), turn("tool", "1"),
                turn("assistant", "<think>b</think>done")]  # fmt: skip
    completion = renderer.conversation(messages)[1]
    assert trained(renderer, completion).replace("~", "") == f"<think>a</think>call{END}<think>b</think>done{END}"
