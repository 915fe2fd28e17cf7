"""Verdicts as labelled answers: rows that `kto` and a reward model of thumbs train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from postlude.review.answers import shown
from postlude.review.report import report
from postlude.runs.history import History


def labelled(history: History) -> tuple[list[Mapping[str, Any]], dict[str, int]]:
    """A row for every answer that is good or bad, {prompt, completion, label} with what was said under `review`; and
    why the other verdicts made none. Verdicts of several queues on one answer make one row."""
    whole = report(history)
    rows: dict[object, Mapping[str, Any]] = {}
    left: Counter[str] = Counter({"of answers that the run no longer has": whole.lost} if whole.lost else {})
    for answer, judged in whole.pairs:
        if judged.verdict == "skip":
            left["skipped"] += 1
            continue
        if answer.place in rows:
            left["of an answer that another queue showed too"] += 1
            continue
        said = shown(history, answer)
        completion: Any = said.text
        if not isinstance(said.prompt, str):  # rows are all text or all messages
            completion = [{"role": "assistant", "content": said.text}]
        about = {"step": answer.place.step, "reason": judged.reason, "notes": [*judged.notes], "by": judged.by}
        about |= {"queue": judged.queue, "reward": answer.reward, "stop": said.stop}
        rows[answer.place] = {
            "prompt": said.prompt, "completion": completion, "label": judged.is_good, "review": about,
        }  # fmt: skip
    return [*rows.values()], dict(left)
