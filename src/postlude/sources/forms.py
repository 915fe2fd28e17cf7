"""The formats people keep rows in, as one table: a new one is a line in `FORMS` or `COMPARED`.

A line says which columns make a row one, and how it becomes `prompt`, `completion`, `messages`, `text` or compared
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from postlude.errors import DataError
from postlude.shapes import is_number
from postlude.sources.messages import holds_prompt, said
from postlude.sources.table import Kind

Values = Mapping[str, Any]
Want = Literal["prompts", "answers", "compared"]

ANSWERS = ("answer", "solution", "ground_truth", "target")
"""Columns taken as `Prompt.answer`, in this order."""
COMPLETIONS = ("completion", "response", "output")
"""Columns taken as the written answer to a prompt."""
CANONICAL = (
    "prompt", "completion", "messages", "text", "answer", "tools", "system",
    "chosen", "rejected", "completions", "ranks", "scores", "label", "labels", "margin", "probability",
)  # fmt: skip
PINS: Mapping[str, Kind] = {"prompt": "prompt", "completion": "prompt", "messages": "messages", "text": "text"}
"""Canonical columns that decide, once they are named in data.columns, which kind of row this is."""
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.",
)
"""The opening of Alpaca's own prompt, without and with an input."""


@dataclass(frozen=True)
class Reading:
    """How the columns of a file are to be read."""

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """Canonical name -> column of the file; goes before everything that is recognised by itself."""
    chat: bool = False
    """Text prompts and answers become a user's and an assistant's message."""
    key: str = "data.columns"
    """Where `columns` stands in the recipe, for messages."""
    own_key: str = "data.columns"
    """Where columns of this file alone can be named."""

    @property
    def kind(self) -> Kind | None:
        """The kind of rows that `columns` asks for."""
        return next((PINS[name] for name in self.columns if name in PINS), None)


# ----------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Form:
    """One way to write rows down."""

    name: str
    kind: Kind
    needs: tuple[str, ...]
    """A row with these columns is of this form."""
    also: tuple[str, ...] = ()
    """Columns that are read with it where they are there."""
    convert: Callable[[Values, bool], dict[str, Any]] = lambda row, chat: {}
    """(row, whether chat is wanted) -> canonical columns to put into it."""
    when: Callable[[Values], bool] = lambda row: True
    """What else must hold of a row with the columns it needs."""
    gives_prompt: bool = False
    """Whether `convert` takes the prompt from a column that another form takes it from otherwise."""

    def fits(self, row: Values) -> bool:
        return all(name in row for name in self.needs) and self.when(row)

    def covers(self, other: Form) -> bool:
        """Whether a row of this form would fit `other` only by the way."""
        return {*other.needs} < {*self.needs, *self.also} and self.needs != other.needs

    @property
    def canonical(self) -> bool:
        return self.kind in self.needs


def given_answer(row: Values) -> Any:
    """What a row gives as the right answer, under whichever name; None where nothing is."""
    answers = [row[name] for name in ANSWERS if row.get(name) is not None]
    return next((one for one in answers if not is_missing(one)), answers[0] if answers else None)


def is_missing(answer: Any) -> bool:
    """Whether nothing is given as the right answer: null, or no more than white space."""
    return answer is None or (isinstance(answer, str) and not answer.strip())


def _is_verl(row: Values) -> bool:
    return isinstance(row["reward_model"], dict) and "ground_truth" in row["reward_model"]


def _verl(row: Values, chat: bool) -> dict[str, Any]:
    return {"answer": row["reward_model"]["ground_truth"]} if is_missing(row.get("answer")) else {}


def _alpaca(row: Values, chat: bool) -> dict[str, Any]:
    if row.get("history"):
        raise DataError('"history" is not read with "instruction"; write the row as "messages"', code="ambiguous-rows")
    instruction, extra, system = row["instruction"], row.get("input"), row.get("system")
    if not isinstance(instruction, str) or not instruction.strip():
        return {"prompt": instruction}
    if chat:
        return {"prompt": f"{instruction}\n\n{extra}" if extra else instruction}
    context = f"\n\n### Input:\n{extra}" if extra else ""
    return {"prompt": f"{system or ALPACA[bool(extra)]}\n\n### Instruction:\n{instruction}{context}\n\n### Response:\n"}


def _same(name: str) -> Callable[[Values, bool], dict[str, Any]]:
    return lambda row, chat: {"prompt": row[name]}


FORMS = (
    Form("prompt", "prompt", ("prompt",)),
    Form("messages", "messages", ("messages",), ("system",)),
    Form("text", "text", ("text",)),
    Form("verl", "prompt", ("prompt", "reward_model"), convert=_verl, when=_is_verl),
    Form("Alpaca", "prompt", ("instruction",), ("input", "output", "system", "history"), _alpaca),
    Form("ShareGPT", "messages", ("conversations",), ("system",), lambda row, chat: {"messages": row["conversations"]}),
    Form("OpenRLHF", "prompt", ("input",), ("output",), _same("input")),
    Form("OpenRLHF", "prompt", ("context_messages",), convert=_same("context_messages")),
    Form("question", "prompt", ("question",), convert=_same("question")),
    Form("query", "prompt", ("query",), convert=_same("query")),
    Form("problem", "prompt", ("problem",), convert=_same("problem")),
)


def prompt_beside(row: Values, chat: bool) -> tuple[str, Any] | None:
    """(columns, prompt) of compared answers whose prompt has another name; None where they hold it themselves.

    Raises DataError where it may stand in several columns.
    """
    answers = [row[n] for n in ("chosen", "rejected", "completions", "completion") if n in row]
    if "prompt" in row or not answers or any(map(holds_prompt, answers)):
        return None
    if any(form.gives_prompt and form.fits(row) for form in COMPARED):
        return None
    unanswered = next((n for n in ("conversations", "messages") if _asks(row.get(n))), None)
    if unanswered:
        return unanswered, row[unanswered]
    fitting = [f for f in FORMS if f.kind == "prompt" and not f.canonical and f.fits(row)]
    fitting = [f for f in fitting if not any(other.covers(f) for other in fitting)]
    if len(fitting) > 1:
        names = " or ".join(f.needs[0] for f in fitting)
        raise DataError(
            f"the prompt may stand in {names}; data.columns={{prompt: {fitting[0].needs[0]}}} says which",
            code="ambiguous-rows",
        )
    if not fitting:
        return None
    form = fitting[0]
    frame = ", in Alpaca's own frame" if form.name == "Alpaca" and not chat else ""
    read = [*form.needs, *(n for n in form.also if n in row and n not in COMPLETIONS)]
    return ", ".join(read) + frame, form.convert(row, chat)["prompt"]


def _asks(turns: Any) -> bool:
    """Whether these are messages that wait for an answer."""
    last = turns[-1] if isinstance(turns, list) and turns else None
    return isinstance(last, dict) and last.get("role", last.get("from")) in ("user", "human", "tool", "observation")


def _helpsteer(row: Values, chat: bool) -> dict[str, Any]:
    """NVIDIA's strength of preference: negative where the first answer is better."""
    name = next(n for n in ("preference_strength", "overall_preference") if n in row)
    strength = row[name]
    if not is_number(strength):
        raise DataError(f'"{name}" must be a number, found {strength!r}', code="wrong-field")
    if strength == 0:
        raise DataError(f'"{name}" is 0: neither answer is preferred', code="no-preference")
    prompt = row.get("prompt", row.get("context"))
    answers = [row[n] for n in ("response_1", "response_2", "response1", "response2") if n in row]
    if isinstance(prompt, list):  # HelpSteer3 answers messages with text
        answers = [said(answer) for answer in answers]
    first, second = answers
    pair = (first, second) if strength < 0 else (second, first)
    return {"prompt": prompt, "chosen": pair[0], "rejected": pair[1]}


def _nemo(row: Values, chat: bool) -> dict[str, Any]:
    """NeMo's list of {rank, completion}; a completion there is a list of messages."""
    items = row["completions"]
    if not all("rank" in item and "completion" in item for item in items):
        raise DataError('"completions" must hold objects with "rank" and "completion"', code="wrong-field")
    return {
        "prompt": row["context"],
        "completions": [item["completion"] for item in items],
        "ranks": [item["rank"] for item in items],
    }


def _objects(column: str, *keys: str) -> Callable[[Values], bool]:
    """Whether a column holds a list of objects, one of which has these keys."""

    def holds(row: Values) -> bool:
        items = row[column]
        objects = isinstance(items, list) and bool(items) and all(isinstance(item, dict) for item in items)
        return objects and (not keys or any(all(key in item for key in keys) for item in items))

    return holds


def _of_each(row: Values, column: str, answer: str, number: str) -> tuple[list[Any], list[Any]]:
    """Answers and numbers of a list of objects. Raises DataError where one lacks either."""
    items = row[column]
    if not all(item.get(answer) is not None and item.get(number) is not None for item in items):
        raise DataError(f'"{column}" must hold objects with "{answer}" and "{number}"', code="wrong-field")
    return [item[answer] for item in items], [item[number] for item in items]


def _nectar(row: Values, chat: bool) -> dict[str, Any]:
    answers, ranks = _of_each(row, "answers", "answer", "rank")
    return {"prompt": row["prompt"], "completions": answers, "ranks": ranks}


FINE = "fine-grained_score"
"""UltraFeedback's mean of four ratings: some of its `overall_score` are known to be ten times too large."""


def _ultrafeedback(row: Values, chat: bool) -> dict[str, Any]:
    score = FINE if any(FINE in item for item in row["completions"]) else "overall_score"
    answers, scores = _of_each(row, "completions", "response", score)
    return {"prompt": row["instruction"], "completions": answers, "scores": [_as_number(x, score) for x in scores]}


def _as_number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f'"{name}" must be a number, found {value!r}', code="wrong-field") from error


def _shp(row: Values, chat: bool) -> dict[str, Any]:
    """Stanford's human preferences: `labels` is 1 where answer A has the higher score."""
    if row["labels"] not in (0, 1) or isinstance(row["labels"], bool):
        raise DataError(f'"labels" must be 0 or 1 (A is better), found {row["labels"]!r}', code="wrong-field")
    pair = (row["human_ref_A"], row["human_ref_B"])
    chosen, rejected = pair if row["labels"] == 1 else (pair[1], pair[0])
    return {"prompt": row["history"], "chosen": chosen, "rejected": rejected}


def _openai(row: Values, chat: bool) -> dict[str, Any]:
    """OpenAI's files for preference fine-tuning."""
    asked = row["input"]
    tools = {"tools": asked["tools"]} if asked.get("tools") else {}
    pair = {"chosen": row["preferred_output"], "rejected": row["non_preferred_output"]}
    return {"prompt": asked["messages"], **pair, **tools}


def _arena(row: Values, chat: bool) -> dict[str, Any]:
    """LMSYS's conversations of two models, whole."""
    pair = (row["conversation_a"], row["conversation_b"])
    if row["winner"] not in ("model_a", "model_b"):
        raise DataError(f'"winner" is {row["winner"]!r}: neither answer is preferred', code="no-preference")
    chosen, rejected = pair if row["winner"] == "model_a" else (pair[1], pair[0])
    return {"chosen": chosen, "rejected": rejected}


COMPARED = (
    Form("pairs", "pair", ("chosen", "rejected"), ("prompt", "margin", "probability")),
    Form("HelpSteer", "pair", ("response_1", "response_2", "preference_strength"), ("prompt",), _helpsteer),
    Form("HelpSteer", "pair", ("response1", "response2", "overall_preference"), ("context",), _helpsteer),
    Form("ranked", "rated", ("prompt", "completions", "ranks"), when=lambda row: "scores" not in row),
    Form("rated", "rated", ("prompt", "completions", "scores")),
    Form("NeMo", "rated", ("context", "completions"), convert=_nemo, when=_objects("completions")),
    Form("Nectar", "rated", ("prompt", "answers"), convert=_nectar, when=_objects("answers", "answer", "rank")),
    Form(
        f"UltraFeedback, by {FINE}", "rated", ("instruction", "completions"), convert=_ultrafeedback, gives_prompt=True,
        when=_objects("completions", "response", FINE),
    ),
    Form(
        "UltraFeedback, by overall_score", "rated", ("instruction", "completions"), convert=_ultrafeedback,
        gives_prompt=True, when=lambda row: _objects("completions", "response", "overall_score")(row)
        and not any(FINE in item for item in row["completions"]),
    ),
    Form("SHP", "pair", ("history", "human_ref_A", "human_ref_B", "labels"), convert=_shp),
    Form(
        "OpenAI preferences", "pair", ("input", "preferred_output", "non_preferred_output"), convert=_openai,
        when=lambda row: isinstance(row["input"], dict) and isinstance(row["input"].get("messages"), list),
    ),
    Form("Chatbot Arena", "pair", ("conversation_a", "conversation_b", "winner"), convert=_arena),
    Form("labelled", "binary", ("prompt", "completion", "label")),
    Form("labelled steps", "steps", ("prompt", "completions", "labels")),
)  # fmt: skip
"""The forms of compared and judged answers."""

CONVERSATIONS = {
    *(name for form in (*FORMS, *COMPARED) for name in form.needs),
    *COMPLETIONS,
    *ANSWERS,
}
"""Columns that may hold messages."""
