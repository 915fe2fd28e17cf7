"""Columns as people name them, and values as people write them: the ones that `sources.forms` does not know.

A file with such columns is advised on all the same; where renaming is enough the recipe names the columns
(`data.columns`), else the rows are written anew beside the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from postlude.advice.wording import folded, roles_of
from postlude.code.columns import HIDDEN, VISIBLE

NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": (
        "prompt", "question", "query", "problem", "instruction", "input", "user", "user_prompt", "user_message", "ask",
        "request", "task", "message", "context", "task_description", "description", "x",
    ),
    "completion": (
        "completion", "response", "output", "reply", "assistant", "model_answer", "model_output", "model_response",
        "assistant_response", "bot_response", "generation", "generated", "answer_text", "y",
    ),
    "chosen": (
        "chosen", "preferred", "better", "winner", "winning", "win", "accepted", "chosen_response", "response_chosen",
        "preferred_response", "better_response", "good_response", "positive", "best", "good", "y_w",
    ),
    "rejected": (
        "rejected", "dispreferred", "worse", "loser", "losing", "lose", "declined", "rejected_response",
        "response_rejected", "dispreferred_response", "worse_response", "bad_response", "negative", "worst", "bad",
        "y_l", "unpreferred",
    ),
    "first": ("response_a", "answer_a", "completion_a", "output_a", "a", "response_1", "answer_1", "output_1",
              "answer1", "response1", "response_0", "answer_0", "option_a", "model_a_response"),
    "second": ("response_b", "answer_b", "completion_b", "output_b", "b", "response_2", "answer_2", "output_2",
               "answer2", "response2", "response_1", "answer_1", "option_b", "model_b_response"),
    "preference": ("preference", "winner", "preferred", "choice", "better", "label", "vote", "verdict", "best"),
    "completions": ("completions", "responses", "answers", "candidates", "outputs", "options", "samples",
                    "generations"),
    "ranked": ("ranked_responses", "ranked_completions", "ranked_answers", "ranked_outputs", "ranked", "ranking",
               "best_to_worst"),
    "ranks": ("ranks", "ranking", "rank", "order"),
    "scores": ("scores", "ratings", "rewards", "score", "rating", "grades", "stars"),
    "label": (
        "label", "thumb", "thumbs", "thumbs_up", "feedback", "liked", "like", "upvote", "upvoted", "vote", "is_good",
        "good", "helpful", "verdict", "accepted", "accept", "rating", "score", "stars", "reaction", "signal",
        "approved",
    ),
    "steps": ("steps", "solution_steps", "completions", "reasoning_steps", "step_texts"),
    "labels": ("labels", "step_labels", "step_ratings", "ratings", "correct", "step_correct", "is_correct"),
    "answer": (
        "answer", "solution", "ground_truth", "target", "gold", "final_answer", "expected", "expected_answer",
        "correct_answer", "answer_key", "reference", "reference_answer", "gold_answer", "result", "expected_output",
        "label",
        "truth",
    ),
    "tests": (*VISIBLE, "unit_tests", "asserts", "checks"),
    "text": ("text", "content", "document", "body", "passage"),
}  # fmt: skip
"""What it is here -> columns it may stand in, the likeliest first."""
VAGUE = {"answer", "response", "reply", "output", "completion", "text", "message", "content", "full", "raw", "model"}
"""Words of longer names that say nothing of which answer, or what, a column holds."""
SOLUTIONS = ("code", "canonical_solution", "solution", "reference_solution", "solution_code", "program", "completion")
"""Columns of a written program beside tests."""
TEST_COLUMNS = (*VISIBLE, *HIDDEN)
UP = {"true", "yes", "y", "1", "1.0", "+1", "up", "good", "👍", "like", "liked", "positive", "pos", "thumbs_up",
      "thumbs up", "thumbsup", "thumb_up", "upvote", "helpful", "accept", "accepted", "approve", "approved", "correct",
      "right", "ok", "great", "satisfied", "✅", "✔", "❤", "😀", "😃", "🙂", "😊", "😍", "ja", "gut", "oui", "bon",
      "si",
      "bien", "bueno", "buono", "sim", "bom", "да", "хорошо", "はい", "良い",
      "良", "○", "好", "是", "좋아요", "예"}  # fmt: skip
DOWN = {"false", "no", "n", "0", "0.0", "-1", "-1.0", "down", "bad", "👎", "dislike", "disliked", "negative", "neg",
        "thumbs_down", "thumbs down", "thumbsdown", "thumb_down", "downvote", "unhelpful", "reject", "rejected",
        "incorrect", "wrong", "not ok", "poor", "unsatisfied", "dissatisfied", "❌", "✖", "💔", "😞", "🙁", "😠", "😡",
        "nein", "schlecht", "non", "mauvais", "mal", "malo", "cattivo", "nao", "ruim", "нет", "плохо", "いいえ",
        "悪い", "悪",
        "×", "差", "不好", "否", "싫어요", "아니요"}  # fmt: skip
NEUTRAL = {"", "neutral", "none", "null", "nan", "n/a", "na", "-", "unsure", "unknown", "skip", "skipped", "tie",
           "unrated",
           "no rating", "not rated", "no feedback", "中立", "neutre", "weder noch"}  # fmt: skip
SIGNED = {"-1", "0", "1", "+1"}
FLAGS = {"true", "false", "yes", "no", "y", "n", "1", "0", "1.0", "0.0", "ja", "nein", "oui", "non", "si", "да", "нет",
         "はい", "いいえ", "是", "否"}  # fmt: skip
"""Values that say yes or no of anything, and so are no judgement by themselves."""
FIRST = {"a", "1", "first", "0", "response_a", "answer_a", "model_a", "response_1", "answer_1", "response_0", "left"}
SECOND = {"b", "2", "second", "response_b", "answer_b", "model_b", "response_2", "answer_2", "right"}
TIE = {"tie", "equal", "both", "neither", "same", "draw", "none", ""}


def plain(column: str) -> str:
    """A column's name without what makes no difference."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)
    return re.sub(r"[\W_]+", "_", folded(apart)).strip("_")


def bare(column: str) -> str:
    """A column's name without the words that say no more than that it holds text: `answer_chosen` is `chosen`."""
    words = plain(column).split("_")
    return "_".join(word for word in words if word not in VAGUE) if len(words) > 1 else ""


def is_known(column: str) -> bool:
    """Whether some name here can stand for a column."""
    return any({plain(column), bare(column)} & {*names} for names in NAMES.values()) or bool(roles_of(column))


def column_of(name: str, columns: Sequence[str], but: Sequence[str | None] = ()) -> str | None:
    """The column that holds what is called `name` here, of those there are: by its whole name, else by the words of it,
    where these fit one column only; None where none does."""
    free = [column for column in reversed(columns) if column not in but]
    known = {bare(column): column for column in free} | {plain(column): column for column in free}
    whole = next((known[one] for one in NAMES[name] if one in known), None)
    if whole is not None:
        return whole
    some = [column for column in free if name in roles_of(column)]
    return some[0] if len(some) == 1 else None


def word(value: Any) -> str:
    """A short value as it is compared, without the colour of a hand."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return re.sub("[\ufe0f\U0001f3fb-\U0001f3ff]", "", str(value)).strip().casefold()


def thumb(value: Any) -> bool | None:
    """Up, down, or neither."""
    said = word(value)
    if said in UP or said in DOWN:
        return said in UP
    return True if folded(said) in UP else False if folded(said) in DOWN else None


def number(value: Any) -> float | None:
    """A number, however it is written."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(str(value).strip())
    except ValueError:
        return None
