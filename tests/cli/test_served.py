"""`postlude sample` and `postlude eval` with a server that answers, and why training refuses one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.cli.opening import policy_of
from postlude.cli.options import SamplingOptions
from postlude.errors import ConfigError, EngineError
from postlude.recipe import documents
from postlude.recipe.resolution import resolve
from tests.refusals import refused
from tests.serving import Server

runner = CliRunner()


@pytest.fixture
def server(model_folder: Path) -> Iterator[Server]:
    with Server(model_folder) as server:
        yield server


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    path = tmp_path / "held.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}=", "answer": "1"}) + "\n" for i in range(3)))
    return path


def call(*words: Any) -> str:
    found = runner.invoke(app, list(map(str, words)), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def recipe(place: Path, model: Path, url: str, more: str = "") -> Path:
    path = place / "served.yaml"
    path.write_text(f"model: {model}\nsampler: {{url: '{url}', concurrency: 2}}\nsampling: {{max_tokens: 5}}\n{more}")
    return path


def test_sample_over_http_prints_what_the_loaded_model_would(model_folder: Path, server: Server) -> None:
    words = ("sample", model_folder, "-p", "12+", "-n", 3, "--temperature", 0, "--max-tokens", 5, "--json")
    assert call(*words, "--url", server.url, "--served-model", "tiny") == call(*words)
    assert len(server.seen) == 3


def test_eval_over_http_says_who_answered(model_folder: Path, server: Server, held_out: Path, tmp_path: Path) -> None:
    words = ("eval", model_folder, "--data", held_out, "--reward", "exact", "-n", 2, "--max-tokens", 5, "--out")
    call(*words, tmp_path / "there.json", "--url", server.url)
    there = json.loads((tmp_path / "there.json").read_text())
    assert there["served"] == {"url": server.url, "model": "tiny"}
    assert len(there["answers"]) == 6 == len(server.seen)


def test_a_recipe_can_name_model_server_and_sampling(
    model_folder: Path, server: Server, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = recipe(tmp_path, model_folder, server.url)
    path.write_text(path.read_text().replace("max_tokens: 5", "max_tokens: 5, temperature: 0.5, top_p: 0.9"))
    call("eval", path, "--data", held_out, "--reward", "exact", "--top-p", 0.8)
    result = json.loads(Path("eval-served-held.json").read_text())
    assert result["temperature"] == 0.5 and result["model"] == str(model_folder)
    first = server.seen[0]
    assert (first["max_tokens"], first["temperature"], first["top_p"]) == (5, 0.5, 0.8)


def test_a_recipe_without_a_server_is_sampled_here(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "grpo.yaml"
    path.write_text(f"method: grpo\nmodel: {model_folder}\ndata: nowhere.jsonl\nsampling: {{max_tokens: 3}}\n")
    row = json.loads(call("sample", path, "-p", "1", "--json"))
    assert row["tokens"] <= 3


def test_flags_go_over_the_recipe(tmp_path: Path) -> None:
    path = recipe(tmp_path, Path("m"), "http://one/v1")
    found = policy_of(str(path), SamplingOptions(stop=["#"], url="http://two/v1", served_model="name"))
    assert found.served and (found.served.url, found.served.model, found.served.concurrency) == (
        "http://two/v1",
        "name",
        2,
    )
    assert (found.sampling.max_tokens, found.sampling.stop) == (5, ("#",))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("samplr: {}\n", "served.yaml line 4: unknown key 'samplr'; did you mean 'sampler'?"),
        ("sampler: {urk: 1}\n", "served.yaml line 4: sampler is given twice"),
    ],
)
def test_mistakes_in_the_recipe_name_the_line(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        policy_of(str(recipe(tmp_path, Path("m"), "http://one/v1", more)), SamplingOptions())
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (
            "{url: 'localhost:8000'}",
            "line 2: sampler: url must look like http://localhost:8000/v1, got 'localhost:8000'.",
        ),
        ("{model: m}", "'sampler.url' is missing"),
        ("{url: 'http://h/v1', timout: 3}", "did you mean 'sampler.timeout'?"),
    ],
)
def test_mistakes_in_the_section_are_sentences(tmp_path: Path, sampler: str, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"model: m\nsampler: {sampler}\n")
    with pytest.raises(ConfigError) as error:
        policy_of(str(path), SamplingOptions())
    assert said in str(error.value)


def test_flags_that_do_not_fit_are_errors() -> None:
    with pytest.raises(ConfigError, match="give its --url too"):
        policy_of("model", SamplingOptions(served_model="name"))
    with pytest.raises(ConfigError, match="--url: url must look like"):
        policy_of("model", SamplingOptions(url="localhost"))


@pytest.mark.parametrize("method", ["grpo", "rft", "sft"])
def test_training_refuses_a_server_and_says_why(method: str) -> None:
    values = {"method": method, "model": "m", "data": "d.jsonl", "sampler": {"url": "http://localhost:8000/v1"}}
    if method != "sft":
        values["reward"] = "exact"
    with pytest.raises(ConfigError) as error:
        resolve(documents.Document(values))
    said = str(error.value)
    assert said.startswith(f"sampler is a server, and {method} trains: the weights served at http://localhost:8000/v1")
    assert "postlude sample, postlude eval" in said and "\n" not in said


def test_the_server_is_looked_for_before_anything_is_asked(model_folder: Path, server: Server) -> None:
    with refused("server-answer", said="no model 'other' here", kind=EngineError):
        call("sample", model_folder, "-p", "1", "--url", server.url, "--served-model", "other")
    assert server.seen == []


def test_without_the_client_library_the_extra_is_named(
    model_folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)  # what Python does where a package is not installed
    with refused("missing-package", said=r"pip install 'postlude\[openai\]'"):
        call("sample", model_folder, "-p", "1", "--url", server.url)
