"""Messages as everybody writes them, as messages of `role` and `content`; text as messages; what goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postlude import plain_json
from postlude.errors import DataError

Values = Mapping[str, Any]

SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "function_call": "assistant", "system": "system", "tool": "tool", "observation": "tool",
    "function_response": "tool",
}  # fmt: skip
"""ShareGPT's `from` -> role."""
ALIASES = {"function": "tool", "ipython": "tool"}
"""Roles that say the same."""
SYSTEM = ("system", "system_prompt")
"""Columns that hold the words of a system message."""
SPEAKS = {"user": "\n\nHuman:", "assistant": "\n\nAssistant:"}
"""How conversations written as text (Anthropic's HH) name who speaks."""
ANSWERED = ("completion", "chosen", "rejected")


def to_chat(values: dict[str, Any]) -> None:
    """Text becomes messages; what is empty or no text stays, to be found by the checks."""
    prompt = values.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        values["prompt"] = [{"role": "user", "content": prompt}]
    for name in ANSWERED:
        values |= {name: said(values[name])} if name in values else {}
    if "completions" in values and "labels" not in values and isinstance(values["completions"], list):
        values["completions"] = [said(one) for one in values["completions"]]


def add_system(values: dict[str, Any]) -> bool:
    """Put a system column before the messages; whether they have another system message, which then stays."""
    words = next((values[n] for n in SYSTEM if isinstance(values.get(n), str) and values[n].strip()), None)
    if words is None:
        return False
    starts = [n for n in ("messages", "prompt") if values.get(n) is not None] or ["chosen", "rejected"]
    differs = False
    for name in starts:
        turns = values.get(name)
        if not isinstance(turns, list) or not turns or not isinstance(turns[0], dict):
            continue
        if turns[0].get("role") in ("system", "developer"):
            differs = differs or str(turns[0].get("content")).strip() != words.strip()
        else:
            values[name] = [{"role": "system", "content": words}, *turns]
    return differs


def take_out_prompt(values: dict[str, Any]) -> None:
    """Answers that are whole conversations, the prompt before them, lose it; a prompt of text becomes their messages.

    Raises DataError where such an answer begins with another prompt.
    """
    for name in ANSWERED:
        if values.get("prompt") is not None and name in values:
            values["prompt"], values[name] = _without_prompt(values["prompt"], values[name], name)
    answers = values.get("completions")
    if values.get("prompt") is not None and isinstance(answers, list) and "labels" not in values:
        answers = values["completions"] = [*answers]
        for i, answer in enumerate(answers):
            values["prompt"], answers[i] = _without_prompt(values["prompt"], answer, f"completions {i + 1}")


def _without_prompt(prompt: Any, answer: Any, name: str) -> tuple[Any, Any]:
    if not _is_whole(answer) or not isinstance(prompt, str | list):
        return prompt, answer
    if isinstance(prompt, list) and not (prompt and all(isinstance(m, dict) for m in prompt)):
        return prompt, answer  # to be found by the checks
    if isinstance(prompt, str):
        ends = [
            i + 1 for i, m in enumerate(answer[:-1]) if m["role"] == "user" and answer[i + 1]["role"] == "assistant"
        ]
        end = next((e for e in ends if _same_words(answer[e - 1], prompt)), 0)
    else:
        bare = [m for m in prompt if m.get("role") != "system"]
        skipped = sum(m["role"] == "system" for m in answer[:1])
        end = skipped + len(bare) if _all_same(answer[skipped : skipped + len(bare)], bare) else 0
    if not end:
        raise DataError(
            f'"{name}" is a whole conversation, but it does not begin with "prompt"; leave the prompt out of the row, '
            "or out of the answer",
            code="bad-messages",
        )
    own_system = isinstance(prompt, list) and prompt[0].get("role") == "system"
    return (prompt if own_system else answer[:end]), answer[end:]


def _is_whole(answer: Any) -> bool:
    """Whether an answer is a list of messages that begins before the assistant's turn."""
    return (
        isinstance(answer, list)
        and bool(answer)
        and all(isinstance(m, dict) and "role" in m for m in answer)
        and answer[0]["role"] in ("system", "developer", "user")
        and any(m["role"] == "assistant" for m in answer)
    )


def holds_prompt(answer: Any) -> bool:
    """Whether an answer begins with what it answers: a whole conversation, or one written as text with its speakers."""
    if isinstance(answer, str):
        return SPEAKS["assistant"] in answer
    return _is_whole([message(m) for m in answer]) if isinstance(answer, list) else False


def _same_words(message: Values, text: str) -> bool:
    return isinstance(message.get("content"), str) and message["content"].strip() == text.strip()


def _all_same(turns: list[Any], prompt: list[Any]) -> bool:
    return len(turns) == len(prompt) and all(
        a["role"] == b.get("role") and _same_words(a, str(b.get("content"))) for a, b in zip(turns, prompt, strict=True)
    )


def said(answer: Any) -> Any:
    """Text as the assistant's message; what is empty or no text stays."""
    if isinstance(answer, str) and answer.strip():
        return [{"role": "assistant", "content": answer}]
    return answer


def is_chat(values: Values) -> bool:
    return any(isinstance(values.get(name), list) for name in ("prompt", "messages", "chosen"))


def tools_of(values: Values) -> dict[str, Any]:
    """The `tools` column as a list of JSON schemas, which many data sets keep as JSON text; or OpenAI's `functions`."""
    tools = _from_json(values.get("tools"), "tools")
    functions = _from_json(values.get("functions"), "functions")
    if not tools and isinstance(functions, list):
        tools = [{"type": "function", "function": one} for one in functions]
    if tools is None or tools == []:
        return {"tools": None} if "tools" in values else {}
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError('"tools" must be a list of objects, one JSON schema for each tool', code="wrong-field")
    return {"tools": tools}


def _from_json(value: Any, name: str) -> Any:
    """The value that a column keeps as JSON text; None where it is empty."""
    if not isinstance(value, str):
        return value
    try:
        return plain_json.loads(value) if value.strip() else None
    except ValueError as error:
        raise DataError(f'"{name}" is not JSON: {error}', code="not-json") from error


def listed(value: Any) -> Any:
    """A single message, as some write an answer, as a list of it; every other value as it is."""
    one = isinstance(value, dict) and ("role" in value or "from" in value)
    return [value] if one else value


def message(item: Any) -> Any:
    """One message as `role` and `content`, whoever wrote it; what is not one stays, to be found by the checks."""
    if not isinstance(item, dict):
        return item
    result: dict[str, Any] = {k: v for k, v in item.items() if v is not None or k in ("role", "content")}
    if "from" in result and "role" not in result:
        result = _speech(result)
    role = result.get("role")
    if isinstance(role, str):
        result["role"] = ALIASES.get(role, role)
    if result.get("content") is None and isinstance(result.get("value"), str):
        result["content"] = result.pop("value")
    if isinstance(result.get("function_call"), dict) and "tool_calls" not in result:
        result["tool_calls"] = [result.pop("function_call")]
    content, calls = result.get("content"), result.get("tool_calls")
    if isinstance(content, list):
        result["content"] = _joined(content)
    if isinstance(calls, list):
        result["tool_calls"] = [_call(call) for call in calls]
    return result


def _speech(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn of ShareGPT as a message."""
    speaker, value = turn.pop("from"), turn.pop("value", None)
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise DataError(
            f'"conversations" has a turn from {speaker!r}; known: {", ".join(sorted(SPEAKERS))}', code="bad-messages"
        )
    if speaker != "function_call":
        return {"role": SPEAKERS[speaker], "content": value, **turn}
    try:
        calls = plain_json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(f'"conversations" has a function_call that is not JSON: {error}', code="not-json") from error
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and "name" in call for call in calls):
        raise DataError('"conversations" has a function_call without "name" and "arguments"', code="bad-messages")
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": call} for call in calls],
    }


def _joined(parts: list[Any]) -> Any:
    """OpenAI's list of text parts as one text; other parts stay, to be found by the checks."""
    kinds = ("text", "input_text", "output_text")
    if parts and all(isinstance(p, dict) and p.get("type") in kinds and isinstance(p.get("text"), str) for p in parts):
        return "".join(p["text"] for p in parts)
    return parts


def _call(call: Any) -> Any:
    """A tool call as `function` with `name` and `arguments`, an object.

    Some write these two flat, and OpenAI writes arguments as JSON text, which templates would quote again.
    """
    if not isinstance(call, dict):
        return call
    if "function" not in call and isinstance(call.get("name"), str):
        arguments = next((call[n] for n in ("arguments", "parameters", "input") if n in call), None)
        others = {k: v for k, v in call.items() if k not in ("name", "arguments", "parameters", "input", "type")}
        call = {**others, "type": "function", "function": {"name": call["name"], "arguments": arguments}}
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    return {**call, "function": {**function, "arguments": _arguments(function.get("arguments"))}}


def _arguments(arguments: Any) -> Any:
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        parsed = plain_json.loads(arguments)
    except ValueError:
        return arguments
    return parsed if isinstance(parsed, dict) else arguments
