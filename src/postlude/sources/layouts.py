"""Layouts of public data sets that cannot be read as they are, since they leave a choice: what it is, and a script.

Each script reads IN and writes OUT.jsonl in a format that is read; whoever runs it makes the choice that it spells out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]

_EACH = "import json\nwith open('IN') as rows, open('OUT.jsonl', 'w') as out:\n    for row in map(json.loads, rows):\n"


@dataclass(frozen=True)
class Layout:
    """One layout."""

    name: str
    needs: tuple[str, ...]
    """A row with these columns is of it."""
    choice: str
    """What the rows leave open, as a sentence."""
    script: str
    when: Callable[[Values], bool] = lambda row: True

    def fits(self, row: Values) -> bool:
        return all(name in row for name in self.needs) and self.when(row)


def _write(row: str, condition: str = "") -> str:
    """A script that writes one row for each, where a condition holds of it."""
    if condition:
        return f"{_EACH}        if {condition}:\n            print(json.dumps({row}), file=out)"
    return f"{_EACH}        print(json.dumps({row}), file=out)"


LAYOUTS = (
    Layout(
        "PRM800K",
        ("question", "label"),
        "steps are rated -1, 0 and 1, and whether 0 counts as right is yours to say (here it does)",
        _EACH + "        steps = [s['completions'][s['chosen_completion'] or 0] for s in row['label']['steps']]\n"
        "        texts, rated = [' '.join(s['text'].split()) for s in steps], [s['rating'] for s in steps]\n"
        "        labels = [None if r is None else r >= 0 for r in rated]\n"
        "        row = {'prompt': row['question']['problem'], 'completions': texts, 'labels': labels}\n"
        "        print(json.dumps(row), file=out)",
        lambda row: isinstance(row["label"], dict) and "steps" in row["label"],
    ),
    Layout(
        "Math-Shepherd",
        ("input", "label"),
        "steps and their labels stand within one text, marked by a character",
        _EACH + "        prompt, steps = row['label'].split('Step 1:', 1)\n"
        "        steps = [s.strip() for s in ('Step 1:' + steps).splitlines() if s.strip()]\n"
        "        print(json.dumps({'prompt': prompt.strip(), 'completions': [s[:-1].strip() for s in steps], "
        "'labels': [s.endswith('+') for s in steps]}), file=out)",
        lambda row: isinstance(row["input"], str) and "\u043a\u0438" in row["input"],
    ),
    Layout(
        "WebGPT comparisons",
        ("question", "answer_0", "answer_1", "score_0", "score_1"),
        "equal scores prefer neither answer (here such rows are left out)",
        _write(
            "{'prompt': row['question']['full_text'], 'completions': [row['answer_0'], row['answer_1']], "
            "'scores': [row['score_0'], row['score_1']]}",
            "row['score_0'] != row['score_1']",
        ),
    ),
    Layout(
        "PKU-SafeRLHF",
        ("prompt", "response_0", "response_1", "better_response_id", "safer_response_id"),
        "one answer may be the better and the other the safer (here the better one is chosen)",
        _write(
            "{'prompt': row['prompt'], 'chosen': row[f\"response_{row['better_response_id']}\"], "
            "'rejected': row[f\"response_{1 - row['better_response_id']}\"]}"
        ),
    ),
    Layout(
        "HelpSteer2",
        ("prompt", "response", "helpfulness", "correctness"),
        "each row rates one answer in five ways, from 0 to 4 (here helpfulness of 3 or more is good)",
        _write("{'prompt': row['prompt'], 'completion': row['response'], 'label': row['helpfulness'] >= 3}"),
    ),
)


def layout_of(row: Values) -> Layout | None:
    """The layout that a row is in, of those that leave a choice."""
    return next((layout for layout in LAYOUTS if layout.fits(row)), None)


def way_out(row: Values) -> str:
    """What is said of such a row where it cannot be read: nothing, or the choice and the script, from a new line on."""
    layout = layout_of(row)
    if layout is None:
        return ""
    return (
        f"\nThis is the layout of {layout.name}: {layout.choice}. This makes rows of it that are read:\n{layout.script}"
    )
