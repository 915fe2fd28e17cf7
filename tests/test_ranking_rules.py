"""What a recipe may say of several trainers: the word for them, contradictions, what nothing reads, who idles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from postlude.engines.gpus import gpus_here
from postlude.errors import ConfigError
from postlude.recipe import Recipe, frozen, override, ranking, resolve_with_problems, unread
from postlude.recipe.documents import Document, from_text
from postlude.recipe.resumed import differences
from tests.refusals import Wrong

RECIPE = "method: grpo\nmodel: m\ndata: d.jsonl\nreward: exact\n"
SERVERS = "servers: {count: 2, python: python}"


def document(text: str = "", *settings: str) -> Document:
    made = from_text(RECIPE + text, "r.yaml")
    override(made, settings)
    return made


def resolved(made: Document) -> Recipe:
    recipe, wrong = resolve_with_problems(made)
    assert recipe is not None and not wrong, wrong
    return recipe


@pytest.mark.parametrize(
    ("text", "settings", "trainers", "origin"),
    [
        ("engine: ray", (), 4, "r.yaml line 5"),
        ("engine: {dtype: bfloat16}", ("engine=ray",), 4, "command line"),
        ("engine: {trainers: 3}", ("engine=ray",), 4, "command line"),
        ("engine: ray", ("engine.dtype=bfloat16",), 4, "r.yaml line 5"),
        ("", ("engine.dtype=bfloat16", "engine=ray"), 4, "command line"),
        ("engine: ray", ("engine.trainers=3",), 3, "command line"),
        ("engine: {trainers: gpus, device: cpu}", (), 2, "r.yaml line 5"),
        (f"engine: {{trainers: gpus, {SERVERS}}}", (), 2, "r.yaml line 5"),
        ("engine: {trainers: gpus, servers: {count: 1, gpus: 3, python: python}}", (), 2, "r.yaml line 5"),
        ("engine: {trainers: 4}", ("engine=local",), 1, "command line"),
        ("", (), 1, "default"),
    ],
)
def test_ray_is_as_many_trainers_as_there_are_gpus(
    monkeypatch: pytest.MonkeyPatch, text: str, settings: tuple[str, ...], trainers: int, origin: str
) -> None:
    monkeypatch.setattr(ranking, "gpus_here", lambda: 4)
    made = document(text, *settings)
    recipe = resolved(made)
    assert recipe.engine.trainers == trainers and made.source("engine.trainers") == origin
    assert recipe.engine.dtype == ("bfloat16" if "bfloat16" in f"{text}{settings}" else "float32")


@pytest.mark.parametrize(
    ("gpus", "text", "said"),
    [
        (4, "engine: ray", "engine.trainers is 4: one for each GPU here"),
        (4, f"engine: {{trainers: gpus, {SERVERS}}}", "engine.trainers is 2: one for each GPU here that servers leave"),
        (1, "engine: ray", "engine.trainers is 2: the least that engine: ray stands for, since this machine has 1 GPU"),
        (0, "engine: ray", "engine.trainers is 2: .*, on the CPU, since this machine shows no GPU$"),
        (0, "engine: {trainers: gpus, address: 'h:6379'}", "of the cluster at h:6379 are not counted: give engine.tr"),
    ],
)
def test_what_was_chosen_is_told_with_its_reason_and_once(
    monkeypatch: pytest.MonkeyPatch, gpus: int, text: str, said: str
) -> None:
    monkeypatch.setattr(ranking, "gpus_here", lambda: gpus)
    made = document(text)
    resolved(made)
    resolved(made)
    (note,) = made.notes
    assert Wrong("", said=said).fits(ranking.Problem("", note)), note


def test_a_policy_that_is_not_trained_reads_the_same_recipe() -> None:
    assert frozen(document("engine: ray")).engine.trainers >= 2
    with pytest.raises(ConfigError, match=r"vLLM servers that sample are engine\.servers"):
        frozen(document("engine: vllm"))


@pytest.mark.parametrize(
    ("text", "settings", "code", "key", "said"),
    [
        ("engine: vllm", (), "not-a-choice", "engine", "takes keys, or a word: ray .* or local"),
        ("engine: {trainers: all}", (), "wrong-type", "engine.trainers", "a whole number"),
        (
            "engine: {trainers: 2, servers: {count: 1, python: python, colocate: true}}",
            (),
            "contradiction",
            "engine.servers.colocate",
            "take turns on the same GPU, and engine.trainers is 2",
        ),
        (
            f"engine: {{trainers: 2, publish: stream, {SERVERS}}}",
            (),
            "contradiction",
            "engine.publish",
            "Take auto or files",
        ),
    ],
)
def test_what_contradicts_is_refused(text: str, settings: tuple[str, ...], code: str, key: str, said: str) -> None:
    wrong = resolve_with_problems(document(text, *settings))[1]
    assert Wrong(code, key, at="line 5", said=said).is_among(wrong), wrong


def test_a_word_and_a_number_on_the_command_line_contradict() -> None:
    with pytest.raises(ConfigError, match=r"engine is .ray., and engine\.trainers sets a part of it"):
        document("", "engine=ray", "engine.trainers=2")


@pytest.mark.parametrize(
    ("engine", "keys", "why"),
    [
        ("{address: auto, timeout: 5, restarts: 1}", "engine.address, engine.restarts, engine.timeout", "this process"),
        ("{commit_every: 5}", "engine.commit_every", "neither engine.servers nor several engine.trainers"),
        ("{address: local, timeout: 600, restarts: 3}", "", ""),
        ("{trainers: 2, address: auto, timeout: 5, restarts: 1, commit_every: 5, threads: 1}", "", ""),
    ],
)
def test_what_one_trainer_has_no_use_for_is_told(engine: str, keys: str, why: str) -> None:
    made = document(f"engine: {engine}")
    recipe = resolved(made)
    lines = unread(recipe, recipe.algorithm, made)
    assert [line.partition(":")[0] for line in lines] == ([keys] if keys else []) and all(why in line for line in lines)


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("grpo", ("prompts_per_step=1", "group_size=4"), ""),
        (
            "grpo",
            ("prompts_per_step=1", "group_size=4", "updates=2"),
            "has 2 answers to share out: that leaves 2 ranks",
        ),
        ("online_dpo", ("prompts_per_step=3", "group_size=4"), "has 3 whole groups to share out: that leaves 1 rank "),
        ("dpo", ("prompts_per_step=3",), "has 3 rows to share out: that leaves 1 rank with nothing"),
        ("sft", ("prompts_per_step=16", "updates=4"), ""),
    ],
)
def test_ranks_without_a_share_are_told(
    monkeypatch: pytest.MonkeyPatch, method: str, settings: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(ranking, "cores", lambda: 4)
    text = "" if method in ("grpo", "online_dpo") else "reward: []\n"
    made = from_text(RECIPE.replace("reward: exact\n", text or "reward: exact\n"), "r.yaml")
    override(made, (f"method={method}", "engine.trainers=4", *settings))
    lines = ranking.notes(resolved(made))
    assert len(lines) == bool(said) and all(said in line for line in lines), lines


@pytest.mark.parametrize(
    ("settings", "gpus", "is_told"),
    [((), 0, True), (("engine.device=cpu",), 8, True), ((), 8, False), (("engine.address=auto",), 0, False)],
)
def test_more_ranks_than_cores_are_told(
    monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], gpus: int, is_told: bool
) -> None:
    monkeypatch.setattr(ranking, "cores", lambda: 2)
    monkeypatch.setattr(ranking, "gpus_here", lambda: gpus)
    lines = ranking.notes(resolved(document("", "engine.trainers=3", *settings)))
    told = "engine.trainers is 3, and this machine has 2 cores: ranks take turns on them, and each step is slower than"
    assert [line.startswith(told) for line in lines] == [True] * is_told


@pytest.mark.parametrize("address", ["foo", "ray://host:10001", "host:0", "host:99999", ":6379"])
def test_an_address_of_no_cluster_is_refused_where_the_recipe_is_read(address: str) -> None:
    wrong = resolve_with_problems(document("", "engine.trainers=2", f"engine.address={address}"))[1]
    assert any("such as 10.0.0.5:6379" in problem for problem in wrong), wrong


def test_a_run_goes_on_with_another_number() -> None:
    before: dict[str, Any] = {"engine": {"trainers": 2, "timeout": 600.0, "kind": "local"}}
    after: dict[str, Any] = {"engine": {"trainers": 3, "timeout": 60.0, "kind": "local"}}
    changes = differences(before, after)
    assert changes.free == ["engine.timeout 600.0 -> 60.0", "engine.trainers 2 -> 3"]
    assert not changes.never and not changes.asked


@pytest.mark.parametrize(
    ("there", "visible", "count"),
    [
        ((), None, 0),
        (("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"), None, 2),
        (("nvidia0", "nvidia1"), "", 0),
        (("nvidia0", "nvidia1"), "1", 1),
        (("nvidia0", "nvidia1"), "0,7,1", 1),
        (("nvidia0", "nvidia1"), "GPU-8932f937,-1", 1),
        (("nvidia0",), "0,0", 1),
    ],
)
def test_gpus_are_counted_as_cuda_counts_them(
    tmp_path: Path, there: tuple[str, ...], visible: str | None, count: int
) -> None:
    for name in there:
        (tmp_path / name).touch()
    assert gpus_here({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, tmp_path) == count
