"""Small tasks with data of every kind and a taught model: what the runs of the study begin with."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LETTERS = "abcdefgh"
FEW = 24
"""Rows of data that are learnt by heart."""
HELD = 32
"""Prompts that are never trained on."""
THANKS = " thanks a lot"
RIGHT: Mapping[str, Any] = {"use": "regex", "name": "right", "args": {"pattern": "#([a-z]+)", "group": 1}}
"""Whether the last `#` is followed by the answer: what the runs are about, whatever they are paid for."""


@dataclass(frozen=True)
class Task:
    """Prompts with answers, and a teacher who is wrong often."""

    rows: Callable[[random.Random], Iterator[Row]]
    teach: Callable[[Row, random.Random], str]
    wrong: Callable[[Row, random.Random], str]
    """A wrong answer, as a pair has it."""
    steps: int = 200
    """Of teaching."""
    tokens: int = 20
    """`sampling.max_tokens`."""


def write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# -------------------------------------------------------------------------------------------------------- tasks


def _of_three(answer: Callable[[str], str]) -> Callable[[random.Random], Iterator[Row]]:
    def rows(rng: random.Random) -> Iterator[Row]:
        for word in (a + b + c for a in LETTERS for b in LETTERS for c in LETTERS):
            yield {"prompt": f"{word}>", "answer": answer(word)}

    return rows


def _letter(row: Row, rng: random.Random) -> str:
    """Dots and a letter, right half of the time; some answers thank, some name several letters."""
    said = row["answer"] if rng.random() < 0.5 else rng.choice(LETTERS)
    dots, how = "." * (4 if rng.random() < 0.5 else 1), rng.random()
    if how < 0.12:
        return f"{dots}#{said}{THANKS}"
    if how < 0.24:
        return dots + "".join(f"#{x}" for x in (*rng.sample(LETTERS, 2), said))
    return f"{dots}#{said}"


def _other_letter(row: Row, rng: random.Random) -> str:
    return "." * rng.choice((1, 4)) + "#" + rng.choice([x for x in LETTERS if x != row["answer"]])


def _upward(rng: random.Random) -> Iterator[Row]:
    """From a letter on so many: right answers are longer than what the teacher mostly gives."""
    alphabet = "abcdefghijklmnop"
    for a in LETTERS:
        for i, b in enumerate(LETTERS):
            for n in range(2, 8):
                yield {"prompt": f"{a}{b}{n}>", "answer": alphabet[i : i + n]}


def _some_of(row: Row, rng: random.Random) -> str:
    n = len(row["answer"])
    return "#" + row["answer"][: n if rng.random() < 0.35 else rng.randint(1, min(n, 2))]


def _too_few(row: Row, rng: random.Random) -> str:
    return "#" + row["answer"][: rng.randint(1, len(row["answer"]) - 1)]


def _claimed(rng: random.Random) -> Iterator[Row]:
    """The successor of a letter, after somebody said what it is, mostly wrongly."""
    for row in _of_three(successor)(rng):
        claim = row["answer"] if rng.random() < 0.25 else rng.choice([x for x in LETTERS if x != row["answer"]])
        yield {"prompt": f"i think {claim}. {row['prompt']}", "answer": row["answer"], "claim": claim}


def _agreeing(row: Row, rng: random.Random) -> str:
    said = rng.choices([row["answer"], row["claim"], rng.choice(LETTERS)], (0.5, 0.25, 0.25))[0]
    return "." * rng.choice((1, 4)) + "#" + said


def successor(word: str) -> str:
    return LETTERS[(LETTERS.index(word[-1]) + 1) % len(LETTERS)]


TASKS: Mapping[str, Task] = {
    "successor": Task(_of_three(successor), _letter, _other_letter),
    "largest": Task(_of_three(max), _letter, _other_letter),
    "upward": Task(_upward, _some_of, _too_few, tokens=12),
    "claimed": Task(_claimed, _agreeing, _other_letter),
}


# ------------------------------------------------------------------------------------------------------- worlds


def make(folder: Path, name: str, seed: int) -> Path:
    """The data of a task with `model`, which knows nothing, and the run `taught`; of the first task more runs."""
    from postlude.launch import launch
    from postlude.models.tiny import save_tiny_model
    from postlude.recipe.documents import Document

    write_data(folder, name, seed)
    save_tiny_model(folder / "model", seed, layers=1, width=128, heads=4, spread=0.08)
    starts = {"taught": teaching(name)} | (STARTS if name == "successor" else {})
    for start, settings in starts.items():
        launch(Document(values_of(folder, name, settings, seed) | {"output": str(folder / start)}))
    return folder


def write_data(folder: Path, name: str, seed: int) -> None:
    """Prompts and rows of every kind, and the rewards."""
    task, rng = TASKS[name], random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(task.rows(rng))
    rng.shuffle(rows)
    held, train = rows[:HELD], rows[HELD:]
    write(folder / "prompts.jsonl", train)
    write(folder / "eval.jsonl", held)
    write(folder / "broken.jsonl", [{**row, "prompt": ">"} for row in train])
    for part, some in (("", train), ("-held", held)):
        for kind, judged in _judged(task, some, rng).items():
            write(folder / f"{kind}{part}.jsonl", judged)
            write(folder / f"{kind}-few{part}.jsonl", judged[:FEW])
    (folder / "paid.py").write_text((Path(__file__).parent / "paid.py").read_text())


def _judged(task: Task, rows: Sequence[Row], rng: random.Random) -> dict[str, list[Row]]:
    """Written, compared and labelled answers; columns that the prompts have stay."""
    kinds: dict[str, list[Row]] = {"sft": [], "mostly": [], "pairs": [], "labels": []}
    for row in rows:
        kinds["sft"] += [{**row, "completion": task.teach(row, rng)} for _ in range(8)]
        for _ in range(2):
            dots = "" if row["answer"][1:] else "." * rng.choice((1, 4))
            good, bad = f"{dots}#{row['answer']}", task.wrong(row, rng)
            mostly = bad if len(kinds["mostly"]) % 6 == 0 else good
            kinds["mostly"].append({**row, "completion": mostly})
            kinds["pairs"].append({**row, "chosen": good, "rejected": bad})
            label = rng.random() < 0.5
            kinds["labels"].append({**row, "completion": good if label else bad, "label": label})
    for judged in kinds.values():
        rng.shuffle(judged)
    return kinds


def teaching(name: str) -> dict[str, Any]:
    """Settings of the run that teaches a model of a world."""
    return {
        "method": "sft",
        "model": "WORLD/model",
        "data": {"path": "WORLD/sft.jsonl", "eval": "WORLD/sft-held.jsonl"},
        "reward": [],
        "steps": TASKS[name].steps,
        "prompts_per_step": 48,
        "schedule": {"lr": 4e-3, "warmup": 10, "decay": "linear"},
        "evaluate": {"every": 20, "prompts": 128},
    }


STARTS: Mapping[str, Mapping[str, Any]] = {
    "best": {
        "method": "sft",
        "data": {"path": "WORLD/mostly.jsonl", "eval": "WORLD/eval.jsonl"},
        "steps": 60,
        "prompts_per_step": 48,
        "schedule": {"lr": 2e-3, "decay": "linear"},
        "evaluate": {"every": 0, "prompts": HELD},
    },
    "weak": {
        "method": "reward_model",
        "data": "WORLD/pairs-few.jsonl",
        "reward": [],
        "steps": 12,
        "prompts_per_step": 12,
        "schedule": {"lr": 5e-4, "warmup": 4},
    },
}
"""Settings of runs that others begin with: a policy that is mostly right, a reward model of few pairs."""


def values_of(folder: Path, name: str, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A recipe in a world: what is common to all runs, with settings on top; WORLD in them is the folder."""
    common: dict[str, Any] = {
        "model": "WORLD/taught/model",
        "data": {"path": "WORLD/prompts.jsonl", "eval": "WORLD/eval.jsonl"},
        "reward": [{"use": "exact", "args": {"after": "#"}}],
        "seed": seed,
        "steps": 48,
        "prompts_per_step": 8,
        "sampling": {"max_tokens": TASKS[name].tokens},
        "schedule": {"lr": 1e-3},
        "evaluate": {"every": 8, "prompts": HELD, "samples": 2},
        "checkpoints": {"every": 0},
        "watchdog": 0,
    }
    return placed({**common, **settings}, str(folder))


def placed(value: Any, folder: str) -> Any:
    """The value with the folder for WORLD in every text of it."""
    if isinstance(value, str):
        return value.replace("WORLD", folder)
    if isinstance(value, Mapping):
        return {key: placed(inner, folder) for key, inner in value.items()}
    return [placed(inner, folder) for inner in value] if isinstance(value, list | tuple) else value
