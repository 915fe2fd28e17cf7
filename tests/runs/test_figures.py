"""The table of figures holds what the library logs, and nothing else."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postlude.algorithms import ALGORITHMS
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.rewards.resolve import BUILT_IN
from postlude.rewards.spec import RewardSpec
from postlude.runs import read
from postlude.runs.figures import BARE, PREFIXES, entry_of, is_chosen, lookup
from tests.cases import likes_dots
from tests.judging import ChatServer

SOURCE = Path(__file__).parents[2] / "src" / "postlude"
LETTERS = "abcd"
RARE = {"corrupt_tokens", "masked_infinite_live", "refused_answers", "requeued", "handshake/error", "ranks/imbalance"}
"""Only where a number breaks down, servers sample or several ranks train: held to the source by their text alone."""


# ------------------------------------------------------------------------------------------------- the runs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and rows of every kind."""
    folder, rng = tmp_path_factory.mktemp("figures"), random.Random(0)
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    rows: dict[str, list[dict[str, Any]]] = {n: [] for n in ("prompts", "sft", "pairs", "soft", "ranked", "labels")}
    rows |= {n: [] for n in ("steps", "text", "claims")}
    for a in LETTERS:
        for b in LETTERS:
            asked = {"prompt": f"{a}{b}>"}
            good, bad, worst = (f"#{x}" for x in rng.sample(LETTERS, 3))
            rows["prompts"].append(
                {**asked, "answer": good[1], "tests": ["assert f() == 1"], "hidden_tests": ["assert f()"]}
            )
            rows["sft"].append({**asked, "completion": good})
            rows["pairs"].append({**asked, "chosen": good, "rejected": bad})
            rows["soft"].append({**asked, "chosen": good, "rejected": bad, "probability": 0.8})
            rows["ranked"].append({**asked, "completions": [good, bad, worst], "ranks": [1, 2, 3]})
            rows["labels"].append({**asked, "completion": good, "label": a < b})
            rows["steps"].append({**asked, "completions": [good, bad], "labels": [True, a < b]})
            rows["text"].append({"text": f"{a}{b}{good}"})
            rows["claims"].append({"prompt": f"is {a}{b} {a}? ", "answer": b, "claim": a})
    for name, lines in rows.items():
        for part, some in (("", lines[:12]), ("-held", lines[12:])):
            (folder / f"{name}{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in some))
    (folder / "mine.py").write_text(MINE)
    return folder


KINDS = {
    "reward_model_soft": "soft", "reward_model_listwise": "ranked", "kto": "labels", "reward_model_binary": "labels",
    "reward_model_process": "steps", "sft": "sft",
}  # fmt: skip


EASY = {"use": "regex", "args": {"pattern": "[a-m]$"}}
"""Right about half of the time."""
MINE = """
def steps(completions, steps, log_metric):
    log_metric("sure", 1.0)
    return [[float(len(part)) for part in parts] for parts in steps]

def sometimes(completions):
    return [1.0 if c[:1] < "h" else None for c in completions]

def seldom(completions):
    return [1.0 if c[:1] < "s" else None if c[:1] > "w" else 0.0 for c in completions]

def plain(completions, log_metric):
    log_metric("cached", 2.0)
    return [len(c) / 3 for c in completions]
"""


def one_step(place: Path, method: str, **settings: Any) -> set[str]:
    """The names that a run of one step logs, its measurements included, but for those that its rewards chose."""
    entry = ALGORITHMS[method]
    online = entry.source == "rollout"
    data = place / KINDS.get(method, "prompts" if online else "pairs")
    values: dict[str, Any] = {
        "method": method,
        "model": {"path": str(place / "model"), "dtype": "float64"},
        "data": {"path": f"{data}.jsonl", "eval": f"{data}-held.jsonl", "step_separator": "#"},
        "output": str(place / "run"),
        "steps": 1,
        "prompts_per_step": 4,
        "evaluate": {"every": 0, "prompts": 2, "samples": 4},
        "checkpoint_every": 0,
    }
    if online:
        reward = {"use": str(place / "mine.py:steps"), "steps": "#"} if method == "grpo_process" else {**EASY}
        values |= {"reward": [reward], "sampling": {"max_tokens": 3}}
    if entry.pretrain:
        values["pretrain"] = {"path": str(place / "text.jsonl"), "eval": str(place / "text-held.jsonl"), "rows": 4}
    values |= settings
    n = 1
    while (place / f"run-{n}").exists():
        n += 1
    values["output"] = str(place / f"run-{n}")
    names = set(read(launch(Document(values)).folder).names)
    rewards = [RewardSpec(**{k: v for k, v in one.items() if k in ("use", "name")}) for one in values.get("reward", [])]
    return {n for n in names if not is_chosen(n, [r.label for r in rewards if r.use not in BUILT_IN])}


# ------------------------------------------------------------------------------------------- both directions


@pytest.mark.parametrize("method", ALGORITHMS)
def test_every_method_logs_what_the_table_knows(place: Path, method: str) -> None:
    assert not [name for name in one_step(place, method) if lookup(name) is None]


def everything(place: Path) -> Iterator[set[str]]:
    """What a few runs log that together have every setting which adds figures."""
    rewards = [
        {"use": "format", "gate": 1, "args": {"pattern": r"[\s\S]*"}},
        {**EASY, "normalise": "group"},
        {"use": f"{place}/mine.py:plain", "weight": 0.5, "cache": True, "errors": 0.5},
        {"use": "maths", "weight": 0},
        {"use": "code", "weight": 0, "args": {"sandbox": "unsafe-none"}},
    ]
    mix = {"mix": [{"path": f"{place}/prompts.jsonl", "name": n} for n in ("one", "two")], "eval": None}
    regularised = {"kl": {"estimator": "k3", "coef": 0.01}, "entropy": 0.01, "correction": {"mode": "token_mask"}}
    refreshed = {"path": f"{place}/model", "dtype": "float64", "reference": {"every": 1}}
    yield one_step(place, "grpo", reward=rewards, updates=2, objective=regularised, model=refreshed, group_size=8)
    yield one_step(
        place, "grpo", data=mix, kl_control={"kind": "doubling"}, updates=2, objective=regularised, max_lag=1
    )
    yield one_step(place, "grpo", **of_truth(place))
    yield one_step(place, "drpo", updates=2, group_size=8)
    between = {"use": f"{place}/mine.py:plain"}
    yield one_step(place, "drpo", group_size=8, reward=[between])
    yield one_step(place, "ppo_ptx", updates=2)
    yield one_step(place, "grpo_process")
    for method in ("dapo", "hapo", "rft", "online_dpo"):
        yield one_step(place, method)
    claims = {"path": f"{place}/claims.jsonl", "eval": f"{place}/claims-held.jsonl"}
    yield one_step(place, "grpo", data=claims, sampling={"max_tokens": 10})
    for method in ("sft", "reward_model_listwise", "reward_model_process"):
        yield one_step(place, method)
    for method in ("dpo", "kto"):
        yield one_step(place, method, objective={"nll": 0.1})
    yield from judged(place)


def of_truth(place: Path) -> dict[str, Any]:
    """Settings under which two metrics, of which one often gives no score, measure a held-out set."""
    metrics = [EASY, {"use": f"{place}/mine.py:sometimes"}]
    return {
        "evaluate": {"prompts": 4, "samples": 4, "metrics": metrics},
        "reward": [{"use": f"{place}/mine.py:seldom"}],
    }


def judged(place: Path) -> Iterator[set[str]]:
    """Under a judge in both of its modes, and under two reward models."""
    scorers = []
    for seed in (0, 1):
        files = {"path": f"{place}/pairs.jsonl"}
        settings = {"model": {"path": f"{place}/model"}, "data": files, "steps": 1, "seed": seed}
        output = str(place / f"scorer-{seed}")
        launch(Document({"method": "reward_model", "output": output, "prompts_per_step": 4, **settings}))
        scorers.append(output)
    yield one_step(place, "grpo", reward=[{"use": "model", "args": {"path": scorers}}])
    for mode in ("score", "pairs"):
        with ChatServer(likes_dots) as server:
            asked = {"url": server.url, "model": "j", "mode": mode, "pause": 0.001, "price": [1.0, 2.0]}
            yield one_step(
                place, "grpo", reward=[{"use": "judge", "args": asked}], group_size=2, data=f"{place}/prompts.jsonl"
            )


def test_every_entry_of_the_table_is_logged_and_the_other_way_round(place: Path) -> None:
    logged = set[str]().union(*everything(place))
    assert not [name for name in logged if lookup(name) is None]
    resolved = {bare(name) for name in logged}
    assert BARE.keys() - RARE - resolved == set()
    for prefix in (p for p in PREFIXES if p.name != "held_out/"):  # the objective's, whichever it is: seen without it
        once = {"greedy/best_of_{k}", "greedy/pass@{k}"} if prefix.name == "greedy/" else set[str]()  # one answer each
        entries = {prefix.name + name for name in prefix.figures}
        assert {name for name in entries - resolved if not name.startswith(tuple(once))} == set()


def bare(name: str) -> str:
    """The entry that a logged name is of, its places as they stand in the table, its prefix before it."""
    prefix, table = next(((p.name, p.figures) for p in PREFIXES if name.startswith(p.name)), ("", BARE))
    return prefix + entry_of(table, name.removeprefix(prefix))


# --------------------------------------------------------------------------------------------- by the text alone

LOGGING = (
    "objectives",
    "engines/local/trainer.py",
    "rollouts",
    "rewards",
    "evaluate.py",
    "truth",
    "sources/order.py",
    "lag.py",
    "engines/servers",
    "engines/ranks",
)
SUMS = ("token/", "pair/", "sequence/", "update/")
"""What a sum is divided by when it is reported; not part of the figure's name."""
COUNTS = {"count", "trained", "mismatch/w", "mismatch/w2"}
"""Sums that others are made of."""


def keys(tree: ast.AST) -> Iterator[str]:
    """Keys of mappings that hold a slash; what is filled in stands as x."""
    for node in ast.walk(tree):
        found = node.keys if isinstance(node, ast.Dict) else [node.key] if isinstance(node, ast.DictComp) else []
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            found = [node.slice]
        for key in found:
            parts = key.values if isinstance(key, ast.JoinedStr) else [key]
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "x" for p in parts)
            if "/" in text:
                yield text


def test_the_names_in_the_source_are_in_the_table() -> None:
    files = [f for name in LOGGING for f in ([SOURCE / name] if name.endswith(".py") else (SOURCE / name).glob("*.py"))]
    written = {name for file in files for name in keys(ast.parse(file.read_text()))}
    assert len(written) > 50
    for name in written:
        figure = next((name.removeprefix(s) for s in SUMS if name.startswith(s)), name).replace(
            "best_of_x", "best_of_2"
        )
        if name.startswith("/"):  # behind truth/SET/METRIC
            figure = f"truth/x/y{name.replace('@x', '@2')}"
        whole = {figure, f"sampled/{figure}"}
        open_ended = "x" in re.split("/", figure) and not figure.startswith(("reward/", "gate/", "data/", "epoch/"))
        assert open_ended or figure in COUNTS or any(lookup(n) for n in whole), name
    assert all(f'"{name}"' in "".join(f.read_text() for f in files) for name in RARE)


def test_entries_are_filled_in_and_told_apart() -> None:
    def line(name: str) -> tuple[str, str]:
        figure = lookup(name)
        assert figure is not None
        return figure.label, figure.better

    assert line("reward/mean") == ("reward", "up") and line("reward/mine") == ("mine", "up")
    assert line("reward/mine/errors") == ("mine, failed", "down")
    assert line("loss/policy") == ("loss", "neither") and line("held_out/loss/policy") == ("held-out loss", "down")
    assert line("pretrain/held_out/loss/policy") == ("held-out text loss", "down")
    assert line("sampled/pass@16")[0] == "held-out sampled pass@16" and lookup("sampled/pass@x") is None
    assert line("truth/easy/exact") == ("easy: exact", "up") and line("truth/easy/reward") == ("easy: reward", "up")
    assert line("truth/held_out/reward/low")[0] == "held_out: reward, at least"
    assert line("truth/easy/exact/divergence/low") == ("easy: reward away from exact, at least", "neither")
    assert lookup("sampled/lr") is None and lookup("mine/length") is None
    assert is_chosen("mine/length", ["mine"]) and is_chosen("logged/reward/mean", []) and not is_chosen("lr", ["l"])
