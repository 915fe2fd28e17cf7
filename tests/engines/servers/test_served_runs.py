"""Whole runs whose answers come from a server: a version for every token, and after a kill anywhere the run it would
have been."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
import urllib.request
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.engines.local.free import Free
from postlude.engines.servers import engine, fleet
from postlude.engines.servers.fleet import Patience
from postlude.engines.servers.shelf import Shelf
from postlude.errors import ConfigError, EngineError, TrainingError
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.preflight import each_draw
from postlude.recipe.documents import Document
from postlude.runs import History, lookup, read
from postlude.runs.events import Checkpoint, Eval, Event, Phase, Publish, Step
from postlude.runs.folder import Run
from postlude.watch.live import LiveView
from tests.fake_vllm.options import Fault
from tests.fake_vllm.server import GENERATE, FakeServer
from tests.learning import write

RELOAD = "/collective_rpc"
STEPS, AT = 5, 3
"""Of a run; the step in which it is killed."""
Place = tuple[Path, FakeServer]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    """A model, prompts, and a server of that model."""
    folder = tmp_path_factory.mktemp("served")
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    write(folder / "prompts.jsonl", [{"prompt": f"{a}{b}>", "answer": a} for a in "abcd" for b in "efgh"])
    write(folder / "eval.jsonl", [{"prompt": f"{a}z>", "answer": a} for a in "ab"])
    with FakeServer(folder / "model") as server:
        yield folder, server


def train(place: Place, name: str, resume: bool = False, listeners: Any = (), **values: Any) -> Run:
    folder, server = place
    base: dict[str, Any] = {
        "method": "grpo",
        "model": {"path": str(folder / "model")},
        "data": {"path": str(folder / "prompts.jsonl"), "eval": str(folder / "eval.jsonl")},
        "reward": [{"use": "regex", "args": {"pattern": "[a-m]$"}}],
        "output": str(folder / name),
        "steps": STEPS,
        "prompts_per_step": 2,
        "group_size": 4,
        "sampling": {"max_tokens": 4},
        "schedule": {"lr": 1e-3},
        "evaluate": {"every": AT, "prompts": 2},
        "checkpoints": {"every": AT, "keep": 1},
    }
    held = {"token_budget": 512, "head_chunk": 64, "servers": {"urls": [server.url]}, **values.pop("engine", {})}
    model = {**base["model"], **({"reference": values.pop("reference")} if "reference" in values else {})}
    run = launch(Document({**base, "model": model, **values, "engine": held}), resume, listeners)
    run.close()
    return run


PLAIN: Mapping[str, Any] = {"objective": {"correction": None}}
"""Nothing that is learnt depends on the last digits of a server's log-probs, which other answers beside them change."""
KINDS: Mapping[str, Mapping[str, Any]] = {
    "lag 0": PLAIN,
    "lag 1": {"max_lag": 1, "objective": {"correction": {"mode": "token_truncate"}}},
    "a commit every 2 steps": {**PLAIN, "engine": {"commit_every": 2}},
    "a new reference": {**PLAIN, "reference": {"every": AT}, "evaluate": {"every": 0, "prompts": 2}},
}
Moment = Callable[[Event], bool]
MOMENTS: Mapping[str, Moment] = {
    "trained": lambda event: isinstance(event, Step),
    "committing": lambda event: isinstance(event, Phase) and event.phase == "save",
    "published": lambda event: isinstance(event, Publish),
    "evaluated": lambda event: isinstance(event, Eval),
    "checkpoint told": lambda event: isinstance(event, Checkpoint),
}
"""At which, in a step, the folder of a run is as a kill would leave it."""


@pytest.fixture(scope="module")
def whole(place: Place) -> Callable[[str], Path]:
    """A run of a kind that nobody disturbs, with copies of its folder from the moments of step AT beside it."""
    there: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in there:
            there[kind] = _watched(place, kind)
        return there[kind]

    return run


def _watched(place: Place, kind: str) -> Path:
    folder = place[0] / kind.replace(" ", "-")

    def copy(event: Event) -> None:
        for name, is_now in MOMENTS.items():
            target = folder.with_name(f"{folder.name} {name} {event.step}")
            if event.step in (AT, STEPS) and is_now(event) and not target.exists():
                shutil.copytree(folder, target, symlinks=True)

    with folder.with_name(f"{folder.name}.txt").open("w") as seen:
        view = LiveView(Console(file=seen, width=250))
        train(place, folder.name, listeners=[copy, view], **KINDS[kind])
    shutil.copytree(folder, folder.with_name(f"{folder.name} whole"), symlinks=True)
    return folder


# --------------------------------------------------------------------------------------------------- what holds


def consumed(history: History) -> dict[int, list[Any]]:
    """Step -> what was sampled in it, in order, but for the numbers of versions."""
    names = ("prompt_id", "tokens", "trained", "reward")
    return {step: [[row[name] for name in names] for row in rows] for step, rows in history.rollouts.items()}


def events_of(history: History) -> list[tuple[str, int]]:
    """The events, but for publications: of them a run that goes on has others."""
    return [(str(row["kind"]), int(row["step"])) for row in history.events if row["kind"] != "publish"]


def require_known(history: History, lag: int = 0, exactly: bool = True) -> None:
    """Every trained token is of a published version that is at most so many steps old; no number was given twice."""
    numbers = [json.loads(line)["version"] for line in (history.folder / "published.jsonl").read_text().splitlines()]
    assert numbers == sorted(set(numbers)) and len(history.published) == len(numbers)
    for step, rows in history.rollouts.items():
        for row in rows:
            ages = [
                step - 1 - history.published[version] for version, _ in row.get("spans") or [[row["policy_version"], 0]]
            ]
            assert all(0 <= age <= lag for age in ages)
            if exactly:
                assert {*ages} == {min(lag, step - 1)}


def require_same(ours: Path, theirs: Path, lag: int = 0) -> None:
    """A run that was killed is the run it would have been: it consumed, trained and kept the same."""
    one, other = read(ours), read(theirs)
    assert consumed(one) == consumed(other) and [*one.rollouts] == [*range(1, STEPS + 1)]
    assert events_of(one) == events_of(other) and one.finished
    assert [path.name for path in one.checkpoints] == [path.name for path in other.checkpoints]
    if not lag:
        weights = "model/model.safetensors"
        assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()
    require_known(one, lag)
    assert one.published[one.of("publish")[-1]["version"]] == STEPS


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a new reference"])
def test_a_run_publishes_what_it_has_saved_and_knows_every_token(whole: Callable[[str], Path], kind: str) -> None:
    folder = whole(kind).with_name(f"{whole(kind).name} whole")
    history, lag = read(folder), int(kind == "lag 1")
    require_known(history, lag)
    assert [*history.published.values()] == [*range(STEPS + 1)] == [row["version"] for row in history.of("publish")]
    assert [path.name for path in history.checkpoints] == [f"step-{STEPS:06d}"], "nothing piles up"
    assert history["lag/max"].values == tuple(float(min(lag, step)) for step in range(STEPS))
    assert history["lag/mean"].values == history["lag/max"].values
    assert max(history["handshake/error"].values) < 1e-4 and max(history["mismatch/max"].values) < 0.1 * (lag or 0.01)
    assert sum(history["requeued"].values) == sum(history["refused_answers"].values) == 0
    assert not [name for name in history.names if lookup(name) is None]
    parts = {"draw", "train", "wait", "commit", "publish", "write", "send", "handshake", "total"}
    assert [row["step"] for row in history.timings] == [*range(1, STEPS + 1)]
    assert all(parts <= row.keys() for row in history.timings)
    commits = [row["commit"] > 0 for row in history.timings]
    assert commits == [kind != "a commit every 2 steps" or step % 2 == 0 for step in range(1, STEPS + 1)]


def test_the_first_lines_name_the_topology_and_every_step_says_what_it_took(whole: Callable[[str], Path]) -> None:
    folder = whole("lag 1")
    first, *rest = folder.with_name(f"{folder.name}.txt").read_text().split("step 1/5")
    topology = "1 trainer in this process; 1 server, vllm 0.32.0, publish: files"
    assert topology in first.splitlines() and read(folder).manifest["engine"]["topology"] == topology
    step = rest[0].splitlines()
    assert "lag" not in step[0] and "lag 1.000  largest lag 1.000" in rest[0].partition("step 2/5")[2]
    assert re.match(
        r"  seconds: training \d+\.\d\d s, waited \d+\.\d\d s, committing .*, publishing \d+\.\d\d s$", step[1]
    )


# --------------------------------------------------------------------------------------------------------- kills


def uncommitted(run: Path) -> None:
    """Killed behind the commit, before the ledger knew of the version."""
    entered(run)
    lines = (run / "published.jsonl").read_text().splitlines(keepends=True)
    (run / "published.jsonl").write_text("".join(lines[:-1]))


def torn(run: Path) -> None:
    entered(run)
    text = (run / "published.jsonl").read_text()
    (run / "published.jsonl").write_text(text[:-9])


def entered(run: Path) -> None:
    """Killed behind the ledger's line, before any server had the weights."""
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    assert '"publish"' in lines[-1]
    (run / "events.jsonl").write_text("".join(lines[:-1]))


def half_saved(run: Path) -> None:
    (run / f"checkpoints/.step-{AT:06d}/trainer").mkdir(parents=True)


def nothing(run: Path) -> None:
    pass


KILLS: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "behind the update": ("trained", nothing),
    "in the commit": ("committing", half_saved),
    "behind the commit": ("published", uncommitted),
    "in the ledger": ("published", torn),
    "behind the ledger": ("published", entered),
    "behind the publication": ("published", nothing),
    "behind the evaluation": ("evaluated", nothing),
    "in the planned checkpoint": ("checkpoint told", nothing),
}
CASES = [("lag 0", name, AT) for name in KILLS]
CASES += [("lag 0", name, STEPS) for name in ("behind the publication", "in the planned checkpoint")]
CASES += [("lag 1", name, AT) for name in ("behind the update", "behind the commit", "behind the evaluation")]
CASES += [("a commit every 2 steps", "behind the publication", AT), ("a new reference", "behind the publication", AT)]


@pytest.mark.parametrize(("kind", "killed", "at"), CASES)
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(
    place: Place, whole: Callable[[str], Path], kind: str, killed: str, at: int
) -> None:
    folder, (moment, harm) = whole(kind), KILLS[killed]
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name(f"{folder.name} {moment} {at}"), folder, symlinks=True)
    harm(folder)
    before = read(folder).published if killed != "in the ledger" else {}
    train(place, folder.name, resume=True, **KINDS[kind])
    require_same(folder, folder.with_name(f"{folder.name} whole"), int(kind == "lag 1"))
    after = read(folder).published
    assert {version: after[version] for version in before} == before, "the ledger is never cut back"


# ------------------------------------------------------------------------------------------------- other methods


def test_pairs_of_an_adapter_are_learnt_from_a_servers_answers(place: Place) -> None:
    place[1].restart()  # on the model that the adapter stands on
    run = train(place, "pairs", method="online_dpo", steps=2, model={"path": f"{place[0]}/model", "lora": {"rank": 8}})
    history = read(run.folder)
    require_known(history)
    assert history.finished and history.manifest["engine"]["publish"] == "lora"


def test_the_trainer_moves_on_once_a_server_has_what_it_published(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only one fails as it is given a version. Had the trainer moved on, nothing could be said of it."""
    server = place[1]
    monkeypatch.setattr(fleet, "PATIENCE", Patience(look=0.05, again=0.05, nobody=10.0))

    def refuse(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            server.next(RELOAD, Fault(status=500))

    run = train(place, "only", listeners=[refuse], steps=4, **KINDS["lag 1"])
    history = read(run.folder)
    require_known(history, 1)
    assert history.finished and [*history.rollouts] == [1, 2, 3, 4]
    assert any("It is left out, and tried again" in note for note in history.notes), "who reads the run sees it"
    assert any("is ready again" in note for note in history.notes)


def test_servers_that_fail_leave_the_finished_steps_saved(place: Place) -> None:
    server = place[1]

    def break_down(event: Event) -> None:
        if isinstance(event, Publish) and event.step == 2:
            server.at.always[GENERATE] = Fault(status=400, body=b'{"error": {"message": "no"}}')

    try:
        with pytest.raises(TrainingError, match=r"The weights after step 2 are saved\. Once it is mended, go on with"):
            train(place, "broken", listeners=[break_down], steps=3, evaluate={"every": 0})
    finally:
        server.at.always.clear()
    run = train(place, "broken", resume=True, steps=3, evaluate={"every": 0})
    history = read(run.folder)
    require_known(history)
    assert [*history.rollouts] == [1, 2, 3] and history.finished


def otherwise(reply: dict[str, Any]) -> None:
    """Log-probs of other weights, in answers that are shorter than those of a handshake."""
    rows = reply["choices"][0]["logprobs"]["content"]
    for row in rows if len(rows) <= 4 else ():
        row["logprob"] -= 0.05


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([Fault(change=otherwise)] * 8, "Nothing of this draw was trained on"),
        (
            [Fault()] * 7 + [Fault(change=otherwise)],
            "Nothing (of this draw was trained on|that this step learnt is saved)",
        ),
    ],
    ids=["all answers", "one of eight"],
)
def test_answers_that_are_of_other_weights_than_those_of_the_handshake_end_the_run(
    place: Place, faults: list[Fault], said: str, request: pytest.FixtureRequest
) -> None:
    server, name = place[1], request.node.callspec.id.replace(" ", "-")

    def turn(event: Event) -> None:
        if isinstance(event, Phase) and event.phase == "sample" and event.step == 1:
            server.next(GENERATE, *faults)

    values: Any = {"steps": 3, "evaluate": {"every": 0}}
    try:
        with pytest.raises(TrainingError, match=rf"step 2: sampler and trainer .*{said}.*\n.*{server.url}.* --resume"):
            train(place, name, listeners=[turn], **values)
    finally:
        server.at.faults.clear()
    assert [*read(place[0] / name).rollouts] == [1]
    history = read(train(place, name, resume=True, **values).folder)
    require_known(history)
    assert [*history.rollouts] == [1, 2, 3] and history.finished


def test_a_ledger_that_is_gone_is_missed(place: Place) -> None:
    values: Any = {"evaluate": {"every": 0}}
    run = train(place, "unbooked", steps=1, **values)
    (run.folder / "published.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"published\.jsonl cannot be read: it is not there, .*Put it back as it was"):
        train(place, "unbooked", resume=True, steps=2, **values)


# ------------------------------------------------------------------------------------------ answers one step behind

BEHIND: Mapping[str, Any] = {**KINDS["lag 1"], "evaluate": {"every": 0}, "schedule": {"lr": 1e-2}}


def test_answers_of_the_start_weights_are_refused_though_every_handshake_is_right(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, server = place
    body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder / "model")}}

    def go_back(event: Event) -> None:
        if isinstance(event, Publish) and event.step:
            asked = urllib.request.Request(server.url + RELOAD, json.dumps(body).encode())
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked).close()

    said = (
        r"step 3: sampler and trainer .* Nothing of this draw was trained on\.\n.*name version 1, which was read again"
    )
    with pytest.raises(TrainingError, match=said) as caught:
        train(place, "start-weights", listeners=[go_back], **BEHIND)
    assert caught.value.code == "sampler-differs"
    assert [*read(folder / "start-weights").rollouts] == [1, 2]


def test_the_first_two_draws_that_are_behind_are_compared_and_then_every_tenth(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(each_draw, "EVERY", 3)
    versions: list[int] = []
    shelf_read = Shelf.read

    def read_version(shelf: Shelf, version: int) -> Any:
        versions.append(version)
        return shelf_read(shelf, version)

    monkeypatch.setattr(Shelf, "read", read_version)
    history = read(train(place, "behind", steps=7, **BEHIND).folder)
    assert versions == [0, 1, 4] and history.finished
    assert not [note for note in history.notes if "compared" in note]
    require_known(history, 1)


def test_where_memory_has_no_room_for_what_answers_came_from_a_note_says_so_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(each_draw, "EVERY", 1)
    monkeypatch.setattr(engine, "free", lambda device: Free(10, "the machine's memory"))
    history = read(train(place, "no-room", steps=4, **BEHIND).folder)
    (note,) = [note for note in history.notes if "cannot be read" in note]
    assert re.search(
        r"version 0 cannot be read .* no room for the model beside \(1e-05 MB free, .* needed\)\. These", note
    )
    assert history.finished


def test_answers_of_top_p_are_said_not_to_be_compared(place: Place) -> None:
    values: Any = {"sampling": {"max_tokens": 4, "top_p": 0.9}, "evaluate": {"every": 0}, **PLAIN}
    history = read(train(place, "top-p", steps=2, **values).folder)
    assert len([note for note in history.notes if "are not compared with the trainer in this run" in note]) == 1


# ------------------------------------------------------------------------------------------------ without servers


@pytest.mark.parametrize("kind", ["lag 0", "lag 1"])
def test_servers_that_are_turned_off_and_on_leave_every_number_one_set_of_weights(
    place: Place, whole: Callable[[str], Path], kind: str
) -> None:
    """From the commit of step AT, which holds the version of the step before."""
    folder, lag = whole(kind), int(kind == "lag 1")
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name(f"{folder.name} published {AT}"), folder, symlinks=True)
    before = read(folder).published
    values = {**KINDS[kind], "evaluate": {"every": 0}}
    train(place, folder.name, resume=True, **{**values, "engine": {"servers": None}, "steps": STEPS})
    history = read(folder)
    assert history.finished and [*history.rollouts] == [*range(1, STEPS + 1)]
    versions = {step: {row["policy_version"] for row in rows} for step, rows in history.rollouts.items()}
    newest = max(before)
    fresh = {step: {newest + step - AT - lag} if step > AT + lag else {step - 1 - lag} for step in (AT + 1, AT + 2)}
    assert {step: versions[step] for step in fresh} == fresh
    train(place, folder.name, resume=True, **{**values, "steps": STEPS + 2})
    history = read(folder)
    assert history.finished and [*history.rollouts] == [*range(1, STEPS + 3)]
    require_known(history, lag, exactly=False)


# ---------------------------------------------------------------------------------------- asked to end while it waits


def ask(signum: int, when: Callable[[Event], bool] = lambda event: True) -> Callable[[Event], None]:
    """A listener that has the run asked to end, once."""
    asked: list[Event] = []

    def listen(event: Event) -> None:
        if not asked and when(event):
            asked.append(event)
            signal.raise_signal(signum)

    return listen


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_for_servers_before_its_first_step_stops_at_once(place: Place, signum: int) -> None:
    run = train(place, "nobody", listeners=[ask(signum)], engine={"servers": {"urls": ["http://127.0.0.1:9"]}})
    assert run.stop and run.signal == signum and run.step == 0
    assert not run.folder.exists()


def test_a_run_that_waits_for_servers_in_a_draw_stops_at_once_and_is_saved(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = place[1]
    monkeypatch.setattr(fleet, "PATIENCE", Patience(look=0.05, again=0.05))

    def break_down(event: Event) -> None:
        if isinstance(event, Phase) and event.phase == "sample" and event.step == 1:
            server.at.always["/health"] = server.at.always[GENERATE] = Fault(status=500)
            threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()

    values: Any = {"steps": 3, "evaluate": {"every": 0}}
    try:
        run = train(place, "alone", listeners=[break_down], **values)
    finally:
        server.at.always.clear()
    assert run.stop and run.step == 1 and [path.name for path in run.checkpoints] == ["step-000001"]
    assert (read(run.folder).end or {})["reason"] == "interrupted"
    history = read(train(place, "alone", resume=True, **values).folder)
    require_known(history)
    assert history.finished and [*history.rollouts] == [1, 2, 3]


def test_of_servers_that_never_come_up_no_weights_are_left(place: Place) -> None:
    values = {"servers": {"urls": ["http://127.0.0.1:9"], "start_timeout": 0.2}}
    with pytest.raises(EngineError, match="was not healthy within 0 s"):
        train(place, "refused", engine=values)
    folder = place[0] / "refused"
    assert (read(folder).end or {})["code"] == "server-unreachable" and not (folder / "served").exists()
    result = CliRunner().invoke(app, ["doctor", str(folder)])
    assert re.search(r"postlude doctor \S+\s+never started\s", result.output), result.output
