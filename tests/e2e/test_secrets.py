"""No key of a service is in anything that commands write or print, whatever a server or a user's function repeats."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app, console_error
from postlude.errors import PostludeError
from postlude.runs import read
from tests.cases import likes_dots
from tests.judging import Bad, ChatServer
from tests.serving import Server, Step

OF_SAMPLER, OF_JUDGE, IN_URL = "planted-for-sampler-4711", "planted-for-judge-0815", "planted-in-url-2342"
SPY = """
import os
from contextlib import suppress
from pathlib import Path

def tells(completions, log_extra, log_metric, log_note):
    key = os.environ["JUDGE_AUTH"]
    log_extra("seen", [{key: [f"asked with {key}"]} for _ in completions])
    log_metric(f"asked with {key}", 1.0)
    log_note(f"asked with {key}")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if f"PPid:\\t{os.getpid()}\\n" in (process / "status").read_text():
                assert key.encode() not in (process / "cmdline").read_bytes()
    return [float(len(c)) for c in completions]

def raises(completions):
    raise ValueError("asked with " + os.environ["JUDGE_AUTH"])
"""
OF_JUDGES = "{key: JUDGE_AUTH, pause: 0.001, retries: 1, breaker: 2}"
Call = Callable[..., str]


@pytest.fixture
def call(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command: (its words, whether it succeeds) -> all that it prints. Fails where a key is found anywhere."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "OPENAI_API_KEY": OF_SAMPLER,
        "JUDGE_AUTH": OF_JUDGE,
        "COLUMNS": "500",
        "NO_COLOR": "1",
    }.items():
        monkeypatch.setenv(name, value)
    Path("spy.py").write_text(SPY)
    Path("rows.jsonl").write_text("".join(json.dumps({"prompt": f"{i}=", "answer": "1"}) + "\n" for i in range(4)))
    Path("lists.jsonl").write_text(json.dumps({"prompt": "q", "completions": ["x", "x..", "y."]}) + "\n")

    def run(*words: Any, fails: bool = False) -> str:
        runner = CliRunner()
        result = runner.invoke(app, [*map(str, words)])
        text = result.output
        if isinstance(result.exception, PostludeError):
            with runner.isolation() as streams:
                console_error(result.exception)
                text += b"".join(s.getvalue() for s in streams[:2] if s is not None).decode()
            if "spy.py:raises" not in words[-1]:  # a user's own exception is told in Python as it was raised
                text += "".join(traceback.format_exception(result.exception))
        assert bool(result.exit_code) == fails, text
        written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        for secret in (OF_SAMPLER, OF_JUDGE, IN_URL):
            assert secret not in text and not [path for path, raw in written.items() if secret.encode() in raw]
        return text

    return run


def train(call: Call, model: Path, output: str, reward: str, fails: bool = True) -> str:
    settings = ["steps=1", "prompts_per_step=2", "group_size=2", "sampling.max_tokens=4", f"output={output}"]
    return call("train", "grpo", f"model={model}", "data=rows.jsonl", *settings, f"reward={reward}", fails=fails)


def judged(url: str) -> str:
    args = f"{{url: '{url}', model: j, canary_limit: null, {OF_JUDGES[1:]}"
    return f"[{{use: 'spy.py:tells'}}, {{use: judge, args: {args}}}]"


def label(call: Call, url: str, fails: bool = True) -> str:
    words = ("label", "lists.jsonl", "out.jsonl", "--force", "--judge", "j", "--url", url, "--judge-args", OF_JUDGES)
    return call(*words, "--read", "reply", fails=fails)


def evaluate(call: Call, model: Path, url: str, fails: bool = True) -> str:
    Path("r.yaml").write_text(f"model: {model}\nsampler: {{url: '{url}', retries: 0}}\n")
    words = ("--data", "rows.jsonl", "--reward", "spy.py:tells", "--max-tokens", 4, "--out", "e.json")
    return call("eval", "r.yaml", *words, fails=fails)


def refusal(key: str) -> bytes:
    return json.dumps({"error": {"message": f"refused, with Authorization: {key}"}}).encode()


def test_what_goes_well(call: Call, model_folder: Path) -> None:
    with ChatServer(likes_dots, script=(Bad(500, body=refusal(OF_JUDGE)),)) as judge, Server(model_folder) as server:
        said = train(call, model_folder, "run", judged(judge.url), fails=False)
        label(call, judge.url, fails=False)
        evaluate(call, model_folder, server.url, fails=False)
        assert {*judge.keys} == {f"Bearer {OF_JUDGE}"} and {*server.keys} == {f"Bearer {OF_SAMPLER}"}
    assert "asked with ***" in said and "asked with ***" in read("run").notes
    assert read("run").rollouts[1][0]["seen"] == {"***": ["asked with ***"]}


def test_what_fails(call: Call, model_folder: Path) -> None:
    nobody = "http://127.0.0.1:9/v1"
    repeating = json.dumps({"choices": [{"message": {"content": f'{{"score": 3, "reason": "{OF_JUDGE}"}}'}}]}).encode()
    refused, raw = Bad(401, body=refusal(OF_JUDGE)), Bad(500, body=f"you sent {OF_JUDGE}".encode())
    for bad, said in (
        (refused, "status 401: refused, with Authorization: ***"),
        (raw, "status 500: you sent ***"),
        (Bad(body=repeating), "the answer repeats the key of JUDGE_AUTH"),
    ):
        with ChatServer(always=bad) as judge:
            assert said in label(call, judge.url)
    with ChatServer(always=refused) as judge:
        assert "status 401: refused, with Authorization: ***" in train(call, model_folder, "b", judged(judge.url))
    assert "ValueError at spy.py line 18: asked with ***" in train(call, model_folder, "d", "spy.py:raises")
    assert "no connection" in label(call, nobody) and "no connection" in evaluate(call, model_folder, nobody)
    with Server(model_folder) as server:
        for always in (Step(401, body=refusal(OF_SAMPLER)), Step(500, body=f"you sent {OF_SAMPLER}".encode())):
            server.always = always
            assert f"status {always.status}" in evaluate(call, model_folder, server.url)


@pytest.mark.parametrize(
    "url", [f"http://me:{IN_URL}@h/v1", f"http://h/v1?api_key={IN_URL}", f"me:{IN_URL}@h/v1", f"http:/me:{IN_URL}@h/v1"]
)
def test_a_url_with_a_key_is_refused_wherever_it_is_given(call: Call, model_folder: Path, url: str) -> None:
    said = label(call, url) + call(
        "eval", model_folder, "--data", "rows.jsonl", "--reward", "exact", "--url", url, fails=True
    )
    assert said.count("url must") >= 2 and not [*Path().glob("*.sqlite*")]
