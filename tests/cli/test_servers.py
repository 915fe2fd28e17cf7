"""vLLM servers on the command line: tried out, looked at by `check`, and answering for `sample` and `eval`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from postlude import scratch
from postlude.cli import main
from postlude.cli.app import app
from postlude.cli.engine_view import show
from postlude.cli.opening import policy_of
from postlude.cli.options import SamplingOptions
from postlude.engines.protocol import Request
from postlude.engines.servers.command import Launch
from postlude.engines.servers.frozen import FrozenModel, FrozenServers
from postlude.engines.settings import Sampling, Servers
from postlude.errors import PostludeError
from postlude.models.load import inspect
from postlude.models.spec import ModelSpec
from postlude.preflight.trial import Agreement, ServerTried, Tried
from postlude.process import Interrupted
from postlude.terminal import Screen
from tests import underway
from tests.bare_server import Bare
from tests.fake_vllm import FakeServer, Fault, interpreter
from tests.refusals import refused

runner = CliRunner()


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[FakeServer]:
    with FakeServer(model_folder) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}+{i}=", "answer": str(2 * i)}) + "\n" for i in range(4)))
    return path


def recipe(model: Path, data: Path, *more: str) -> list[str]:
    return ["grpo", f"model={model}", f"data={data}", "reward=exact", "sampling.max_tokens=5", "group_size=2", *more]


def urls(*servers: FakeServer) -> str:
    return f"engine.servers.urls=[{', '.join(server.url for server in servers)}]"


def run(*words: Any) -> Result:
    return runner.invoke(app, [str(word) for word in words])


def left_behind(where: Path) -> list[str]:
    return sorted(place.name for place in where.iterdir() if place.name != "prompts.jsonl")


# ------------------------------------------------------------------------------------------------- engine check


def test_a_server_that_runs_is_compared_before_and_after_a_publication(
    model_folder: Path, data: Path, server: FakeServer
) -> None:
    result = run("engine", "check", *recipe(model_folder, data, urls(server)), "--json")
    assert result.exit_code == 0, result.output
    seen = json.loads(result.stdout)
    (one,) = seen["servers"]
    assert one["vllm"] == "0.32.0" and one["started"] is None and one["memory"] is None
    assert 0 < one["before"]["largest"] < 1e-4 and 0 < one["after"]["largest"] < 1e-4
    assert (seen["way"], seen["chosen"], seen["answers"]) == ("files", True, 8)
    assert seen["version"] > 1000 and seen["commit"] > 2 * seen["version"] and seen["tokens"] <= 40
    assert left_behind(data.parent) == []
    assert server.calls.count("/update_weight_version") >= 2


TRIED = Tried(
    model="Qwen/Qwen3-0.6B",
    method="grpo",
    dtype="float32",
    device="cpu",
    servers=[
        ServerTried(
            f"server {i} (http://127.0.0.1:41233)", "0.32.0", 55.2,
            Agreement(1.1e-6, 2e-7, 16), Agreement(9e-7, 1e-7, 16), 4_120_000_000,
        )
        for i in (1, 2)
    ],
    way="files",
    chosen=True,
    write=0.51,
    publish=1.42,
    handshake=0.31,
    version=538_000_000,
    commit=1_614_000_000,
    trainer=2_100_000_000,
    limit=1e-3,
    answers=64,
    tokens=8192,
    seconds=12.4,
    notes=["engine.servers.python: vllm 0.33.0 was never tested here; 0.32.0 was."],
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    show(TRIED, "recipe.yaml", Screen(width=width))
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert all(len(line) <= width for line in lines[2:-1])
    for text in ("55 s", "4.12 GB", "1.1e-06", "538 MB a version, 1.61 GB a checkpoint", "5.16 answers and 661 tokens"):
        assert text in said
    assert "ready" in lines[-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"raw": True}, "it gives those of temperature 1"),
        ({"quantised": True}, "a quantised or rounded copy"),
        ({"tied_head": True}, "whose output layer is its embedding"),
        ({"name": "other"}, "serves other, and no 'policy'"),
        ({"max_model_len": 8}, "takes sequences of 8 tokens"),
        ({"scale_out": False}, "--enable-scale-out"),
        ({"dev": False}, "VLLM_SERVER_DEV_MODE=1"),
    ],
)
def test_a_server_that_is_not_right_is_refused_with_what_to_do(
    model_folder: Path, data: Path, options: dict[str, Any], said: str
) -> None:
    with FakeServer(model_folder, **options) as wrong:
        result = run("engine", "check", *recipe(model_folder, data, urls(wrong)))
    assert isinstance(result.exception, PostludeError) and result.exception.exit_code == 2
    assert said in str(result.exception)
    assert left_behind(data.parent) == []


def test_a_server_that_takes_new_weights_without_a_word_and_keeps_the_old_ones_is_found(
    model_folder: Path, data: Path
) -> None:
    with FakeServer(model_folder) as wrong:
        wrong.at.always["/collective_rpc"] = Fault(skip=True)
        result = run("engine", "check", *recipe(model_folder, data, urls(wrong)))
    assert "still samples from version 0" in str(result.exception)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_one_that_cannot_start_is_told_with_its_log_which_stays(
    model_folder: Path, data: Path, tmp_path: Path, temporary: Path
) -> None:
    python = interpreter(tmp_path / "env", start="dies")
    words = recipe(model_folder, data, f"engine.servers={{count: 1, python: {python}}}")
    result = run("engine", "check", *words)
    assert isinstance(result.exception, PostludeError)
    text = str(result.exception)
    assert "before it was healthy" in text and "It was started with: " in text
    log = Path(text.partition("The end of its log (")[2].partition(")")[0])
    assert log.is_file() and [place.name for place in log.parent.parent.iterdir()] == ["servers"]


@pytest.mark.parametrize("command", ["engine check", "sample"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_leaves_neither_servers_nor_folders(
    model_folder: Path, data: Path, tmp_path: Path, temporary: Path, command: str, signum: int
) -> None:
    bare = Bare(tmp_path / "env", "mute")
    python = f"engine.servers={{count: 1, python: {bare.python}}}"
    words = {
        "engine check": ["engine", "check", *recipe(model_folder, data, python)],
        "sample": ["sample", model_folder, "-p", "1+1=", "--servers", 1, "--servers-python", bare.python],
    }

    over = threading.Event()

    def stop() -> None:
        if underway.eventually(lambda: bool(bare.starts) or over.is_set()) and not over.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signum)

    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)]
    stopping = threading.Thread(target=stop)
    stopping.start()
    try:
        result = run(*words[command])
        over.set()
        stopping.join()
        assert result.exit_code == 130 and bare.left() == [] and bare.starts
        assert not [*tmp_path.glob("postlude-e*"), *tmp_path.glob("postlude-servers*")]
        assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)] == handlers
    finally:
        bare.end()


def test_what_a_killed_process_left_goes_and_what_others_use_or_people_want_stays(temporary: Path) -> None:
    for name in ("gone", "wanted"):
        (temporary / f"ours-{name}").mkdir()
    (temporary / "ours-gone" / scratch.MARK).touch()
    (temporary / "ours-link").symlink_to("elsewhere-ours")
    (temporary / "elsewhere-ours").mkdir()
    (temporary / "elsewhere-ours" / scratch.MARK).touch()
    first, second = scratch.Scratch("ours-"), scratch.Scratch("ours-")
    assert first.place.is_dir() and not (temporary / "ours-gone").exists() and (temporary / "ours-wanted").is_dir()
    assert (temporary / "elsewhere-ours").is_dir()
    (first.place / "log").touch()
    first.keep("log")
    second.drop()
    scratch.Scratch("ours-").drop()
    assert [place.name for place in first.place.iterdir()] == ["log"] and not second.place.exists()


def test_the_exit_code_names_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def app() -> None:
        try:
            raise Interrupted(signal.SIGTERM)
        except KeyboardInterrupt:
            sys.exit(130)  # as typer does

    monkeypatch.setattr("postlude.cli.app.app", app)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 143


def test_nothing_to_try_is_said(model_folder: Path, data: Path) -> None:
    with refused("missing-key", "engine.servers"):
        raise run("engine", "check", *recipe(model_folder, data)).exception or AssertionError
    written = data.parent / "written.jsonl"
    written.write_text(json.dumps({"prompt": "1", "completion": "2"}) + "\n")
    words = ["sft", f"model={model_folder}", f"data={written}", "engine.servers.urls=[http://127.0.0.1:9]"]
    with refused("no-effect", "engine.servers"):
        raise run("engine", "check", *words).exception or AssertionError


# -------------------------------------------------------------------------------------------------------- check


def test_check_says_what_would_be_started_and_starts_nothing(model_folder: Path, data: Path, tmp_path: Path) -> None:
    python = interpreter(tmp_path / "env", start="dies")
    servers = f"engine.servers={{count: 2, python: {python}}}"
    result = run("check", *recipe(model_folder, data, servers, "model.lora.rank=4"), "--quick", "--json")
    assert result.exit_code == 0, result.output
    (section,) = [one for one in json.loads(result.stdout)["sections"] if one["name"] == "servers"]
    assert section["summary"] == "2 servers started here"
    assert section["figures"]["publish"] == "lora" and section["figures"]["vllm"] == "0.32.0"
    assert section["figures"]["longest"] == 5 + len("0+0=")
    assert section["figures"]["commit_bytes"] == 3 * section["figures"]["version_bytes"]
    assert "an adapter is trained" in section["table"]["publish"] and "127.0.0.1 alone" in section["table"]["reached"]


def servers_section(*words: Any) -> dict[str, Any]:
    result = run("check", *words, "--quick", "--json")
    (section,) = [one for one in json.loads(result.stdout)["sections"] if one["name"] == "servers"]
    return section


def test_check_asks_servers_of_others_what_they_are(model_folder: Path, data: Path, server: FakeServer) -> None:
    section = servers_section(*recipe(model_folder, data, urls(server)))
    assert section["summary"] == "1 server of others, 1 ready" and not section["findings"]
    assert section["table"][server.url] == "vLLM 0.32.0, serves policy"
    with FakeServer(model_folder, name="other") as other:
        both = f"engine.servers.urls=[{server.url}, {other.url}, 'http://127.0.0.1:9']"
        section = servers_section(*recipe(model_folder, data, both))
    assert section["summary"] == "3 servers of others, 1 ready"
    refused, absent = section["findings"]
    assert (refused["level"], refused["code"]) == ("broken", "server-refused") and "no 'policy'" in refused["text"]
    assert (absent["level"], absent["code"]) == ("warning", "server-unreachable") and "900 s" in absent["mend"]


def test_check_warns_of_more_servers_than_there_is_room_for(model_folder: Path, data: Path, tmp_path: Path) -> None:
    python = interpreter(tmp_path / "env", start="dies")
    section = servers_section(*recipe(model_folder, data, f"engine.servers={{count: 1000, python: {python}}}"))
    (finding,) = section["findings"]
    assert (finding["level"], finding["code"]) == ("warning", "out-of-memory")
    assert section["figures"]["least_bytes"] > 1000 * 2_500_000_000
    assert "each takes at least 2.5 GB on a CPU" in finding["text"]


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("engine.servers={count: 1, python: no/python}", "no-such-file", "does not exist. Make one: make vllm-env"),
        ("engine.servers={count: 1, python: PYTHON}", "missing-package", "cannot import vllm .No module named 'vllm'"),
        ("engine.servers.urls=[http://8.8.8.8:8000]", "out-of-range", "8.8.8.8 is a public address"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_loads(
    model_folder: Path, data: Path, setting: str, code: str, said: str
) -> None:
    words = recipe(model_folder, data, setting.replace("PYTHON", sys.executable), "sampling.temperature=3")
    result = run("check", *words, "--json")
    assert result.exit_code == 2
    (section,) = json.loads(result.stdout)["sections"]
    texts = [one["text"] for one in section["findings"]]
    assert any(re.search(said, text) for text in texts), texts
    assert code in [one["code"] for one in section["findings"]]
    assert any("vLLM samples at temperature 0 or from" in text for text in texts), "everything wrong at once"


# --------------------------------------------------------------------------------------------- sample and eval


def test_answers_of_servers_that_are_gone_after_are_those_of_the_loaded_model(
    model_folder: Path, data: Path, tmp_path: Path, temporary: Path
) -> None:
    python = interpreter(tmp_path / "env")
    served = data.parent / "served.yaml"
    served.write_text(
        f"model: {model_folder}\nengine: {{servers: {{count: 1, python: {python}}}}}\n"
        "sampling: {max_tokens: 5, temperature: 0}\n"
    )
    words = ("--data", data, "--reward", "exact", "--out")
    assert run("eval", model_folder, "--temperature", 0, "--max-tokens", 5, *words, "here.json").exit_code == 0
    result = run("eval", served, *words, "there.json")
    assert result.exit_code == 0, result.output
    here, there = (json.loads(Path(name).read_text()) for name in ("here.json", "there.json"))
    assert there["served"] == {"servers": 1, "vllm": "0.32.0"} and "served" not in here
    assert there["answers"] == here["answers"] and len(there["answers"]) == 4
    assert not [*temporary.glob("postlude-*")], "neither servers nor their logs are left"


def test_servers_that_do_not_start_are_told_and_their_log_stays(
    model_folder: Path, tmp_path: Path, temporary: Path
) -> None:
    python = interpreter(tmp_path / "env", start="dies")
    result = run("sample", model_folder, "-p", "1+1=", "--servers", 1, "--servers-python", python)
    assert isinstance(result.exception, PostludeError) and "It was started with: " in str(result.exception)
    (logs,) = tmp_path.glob("postlude-servers-*")
    assert str(logs) in str(result.exception) and (logs / "server-1.log").is_file()


def test_a_method_that_samples_nothing_trains_without_them(model_folder: Path, data: Path) -> None:
    written = data.parent / "written.jsonl"
    written.write_text(json.dumps({"prompt": "1+1=", "completion": "2"}) + "\n")
    nobody = "engine.servers.urls=[http://127.0.0.1:9]"
    words = ["sft", f"model={model_folder}", f"data={written}", "steps=1", "output=run", nobody]
    result = run("train", *words)
    assert result.exit_code == 0, result.output
    assert "samples no answers: no server is started" in result.output
    assert not Path("run/published.jsonl").exists()


def test_who_answers_is_one(model_folder: Path, tmp_path: Path) -> None:
    served = tmp_path / "served.yaml"
    served.write_text("model: m\nengine: {servers: {count: 1, python: p}}\n")
    policy = policy_of(str(served), SamplingOptions(servers=3, servers_python="other"))
    assert policy.engine.servers == Servers(3, python="other") and policy.served is None
    policy = policy_of("m", SamplingOptions(servers=2))
    assert policy.engine.servers == Servers(2, python=".venv-vllm/bin/python")
    with refused("contradiction", said="sampler and engine.servers both say who answers"):
        policy_of(str(served), SamplingOptions(url="http://localhost:8000/v1"))
    with refused("missing-option", said="say how many: --servers 1"):
        policy_of("m", SamplingOptions(servers_python="p"))
    served.write_text("model: m\nengine: {servers: {urls: ['http://10.0.0.5:8000']}}\n")
    with refused("contradiction", "engine.servers.urls", said="has none to give"):
        policy_of(str(served), SamplingOptions())


def test_servers_whose_start_is_interrupted_are_gone_once_they_are_closed(model_folder: Path, tmp_path: Path) -> None:
    bare = Bare(tmp_path / "env", "mute")
    launch = Launch(bare.python, "float32", 64)
    facts = inspect(ModelSpec(str(model_folder)))
    settings = Servers(count=1, python=str(bare.python))
    servers = FrozenServers(FrozenModel.at(str(model_folder), 64), settings, launch, facts, lambda text: None)

    async def asked() -> None:
        async for _ in servers.sample([Request((5, 6), 0)], Sampling(max_tokens=4)):
            raise AssertionError("nobody answers")

    async def interrupted() -> None:
        asking = asyncio.create_task(asked())
        while not bare.starts:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    try:
        asyncio.run(interrupted())
        servers.close()
        assert bare.left() == []
    finally:
        bare.end()
