"""What is fuzzed: each reader of what others wrote, as a command or the API uses it, and what it may raise."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from postlude.errors import PostludeError

Read = Callable[[bytes, Path], object]
SEALED = "checkpoints/step-000002"
VERIFIED = (f"{SEALED}/trainer/state.json", f"{SEALED}/trainer/optimizer.json", "rollouts/SHA256SUMS", "rejected.txt")
"""Files of a sealed run that its manifest holds the hashes of."""
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Reader:
    """A reader, and the form of what it reads."""

    name: str
    read: Read
    """(content, an empty folder)."""
    form: str
    """Of its inputs, as `inputs` makes them."""
    refusals: tuple[type[Exception], ...] = (PostludeError,)
    """What it may raise: each with a sentence."""


def warm() -> None:
    """Import what readers import, so that no input pays for it."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    _model()
    _tokenizer()
    import pyarrow.parquet  # noqa: F401

    import postlude.audit.cases
    import postlude.feedback.convert
    import postlude.recipe.importing
    import postlude.rewards.rewards  # noqa: F401


# ---------------------------------------------------------------------------------------------------------- data


def _data(ending: str) -> Read:
    def read(content: bytes, folder: Path) -> None:
        from postlude.sources.reading import read as rows

        file = folder / f"rows{ending}"
        file.write_bytes(content)
        table = rows(str(file))
        problems: list[PostludeError] = []
        for look in (_as_prompts, _as_answers, _as_compared, _as_pairs, _as_cases):
            try:
                look(_copy(table))
            except PostludeError as error:
                problems.append(error)
        if len(problems) == 5:
            raise problems[0]

    return read


def _copy(table: Any) -> Any:
    return replace(table, rows=[*table.rows], problems=[*table.problems], notes=[*table.notes])


def _as_prompts(table: Any) -> None:
    from postlude.sources import file

    tuple(_rendered(file.prompts(table), table))
    table.require_clean("stop")


def _rendered(prompts: Any, table: Any) -> Any:
    from postlude.sources.unused import render

    return render(prompts, table, _renderer())


def _as_answers(table: Any) -> None:
    from postlude.sources import file

    file.groups(table, _renderer(), 1024, 100_000)
    table.require_clean("stop")


def _as_compared(table: Any) -> None:
    from postlude.sources.compared import Limits, compared
    from postlude.sources.file import Reading

    compared(table, _renderer(), Limits(1024, 100_000, "\n"), ("pair", "rated", "binary", "steps"), Reading())
    table.require_clean("stop")


def _as_pairs(table: Any) -> None:
    from postlude.feedback.convert import Choices, convert

    result = convert(table, Choices("pairs"))
    json.dumps(result.rows)
    table.require_clean("stop")


def _as_cases(table: Any) -> None:
    from postlude.audit.cases import cases_of

    cases_of(table)


# ------------------------------------------------------------------------------------------------------- recipes


def recipe(content: bytes, folder: Path) -> None:
    """A recipe file, resolved, and written as config.yaml is."""
    from postlude.plain_yaml import dump, load
    from postlude.recipe import documents, resolve

    file = folder / "recipe.yaml"
    file.write_bytes(content)
    load(dump(asdict(resolve(documents.read(file)))))


def setting(content: bytes, folder: Path) -> None:
    """Assignments of the command line on top of a method, one on each line."""
    from postlude.recipe import documents, resolve
    from postlude.recipe.documents import Document

    document = Document({"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact"})
    documents.override(document, _text(content).split("\n"))
    resolve(document)


def yaml_value(content: bytes, folder: Path) -> None:
    from postlude.plain_yaml import load

    load(_text(content))


def imported(content: bytes, folder: Path) -> None:
    """A configuration of TRL or verl as a recipe, and that recipe."""
    from postlude.plain_yaml import load
    from postlude.recipe import import_file

    for name in ("grpo.yaml", "run.sh"):
        file = folder / name
        file.write_bytes(content)
        load(import_file(file).text)


# ---------------------------------------------------------------------------------------------------------- runs


def _run_file(name: str) -> Read:
    """One file of a run's folder replaced, and everything that looks at runs looking."""

    def read(content: bytes, folder: Path) -> None:
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(Path(__file__).parent / "run", run)
        (run / "checkpoints").mkdir(exist_ok=True)
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(content)
        _look(run)

    return read


def _look(run: Path) -> None:
    from typer.testing import CliRunner

    from postlude import runs
    from postlude.cli.app import app
    from postlude.runs import live
    from postlude.runs.checkpoints import latest_model, unfinished

    unfinished(run)
    history = runs.read(run)
    for look in (
        lambda: [c.figure for c in history.columns.values()],
        lambda: (history.notes, history.start, history.end, history.steps, history.finished),
        lambda: (history.answers, history.timings, history.recipe, history.manifest),
        lambda: history.rollouts.all(),
        lambda: latest_model(str(run)),
        lambda: runs.status(run),
        lambda: live.take(run),
    ):
        look()
    result = CliRunner().invoke(app, ["status", str(run)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception


def _resumed(name: str) -> Read:
    """One file of a run's folder or of its checkpoint replaced, and the run taken up again."""

    def read(content: bytes, folder: Path) -> None:
        from postlude.runs.folder import Run

        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(Path(__file__).parent / "run", run)
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(content)
        opened = Run.open(run, resume=True)
        try:
            opened.restore()
        finally:
            opened.close()

    return read


@cache
def sealed_run() -> Path:
    """A run's folder with a checkpoint that is sealed, rows that were skipped and a list of inputs, made once."""
    import atexit
    import hashlib
    import tempfile

    from postlude.runs.checkpoints import sum_line
    from postlude.runs.sealed import seal

    run = Path(tempfile.mkdtemp()) / "run"
    atexit.register(shutil.rmtree, run.parent, ignore_errors=True)
    shutil.copytree(Path(__file__).parent / "run", run)
    (run / "inputs").mkdir()
    (run / "inputs" / "data.txt").write_text(hashlib.sha256(b"row").hexdigest() + "\n")
    (run / "rejected.txt").write_text("rows.jsonl:3: no prompt\n")
    rollouts = sorted((run / "rollouts").glob("*.jsonl"))
    sums = [sum_line(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in rollouts]
    (run / "rollouts" / "SHA256SUMS").write_text("".join(sums))
    checkpoint = run / SEALED
    (checkpoint / "trainer" / "optimizer.json").write_text(json.dumps({"step": 2, "groups": [0.1]}))
    frame = {"step": 2, "planned": True, "parent": None, "inputs": {}, "versions": {}, "threads": 1, "device": "cpu"}
    seal(checkpoint, run, frame)
    return run


def _sealed(name: str) -> Read:
    """One file of a sealed run replaced: the run read, and taken up again. Nothing may pass unsaid."""

    def read(content: bytes, folder: Path) -> None:
        from postlude import runs
        from postlude.runs.events import Event, Said
        from postlude.runs.folder import Run

        run = folder / "sealed"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(sealed_run(), run)
        same = (run / name).read_bytes() == content
        (run / name).write_bytes(content)
        runs.read(run)
        lines: list[Event] = []
        opened = Run.open(run, resume=True)
        opened.listeners.append(lambda event: lines.append(event) if isinstance(event, Said) else None)
        try:
            opened.restore()
            opened.rewind()
        finally:
            opened.close()
        if name in VERIFIED and not same and not lines and (run / name).read_bytes() != before(name):
            raise AssertionError(f"nothing is said of another {name}")

    return read


def before(name: str) -> bytes:
    """A file of the sealed run as it was."""
    return (sealed_run() / name).read_bytes()


# -------------------------------------------------------------------------------------------- answers and replies


def maths(content: bytes, folder: Path) -> None:
    """A response against a gold, both ways round."""
    from postlude.maths.verify import Verifier

    text = _text(content)
    verifier = Verifier()
    for gold, response in (("1/2", text), (text, "\\boxed{1/2}"), (text, f"\\boxed{{{text}}}")):
        result = verifier.verify(gold, response)
        if result.verdict == "error" and "Error" in result.trace and "WorkerError" not in result.trace:
            raise AssertionError(result.trace[-600:])


def program(content: bytes, folder: Path) -> None:
    """The code in an answer, and tests of code."""
    from postlude.code.columns import cases_of
    from postlude.code.program import program_of

    text = _text(content)
    program_of(text)
    program_of(text, "optional")
    for entry in (None, "f"):
        cases_of(text, entry)


def verdict(content: bytes, folder: Path) -> None:
    """A judge's reply, and a list that a table keeps as text."""
    from postlude.judge.verdicts import read_better, read_ranking, read_score

    text = _text(content)
    refused: list[Exception] = []
    for look in (lambda: read_score(text, 1, 5), lambda: read_better(text), lambda: read_ranking(text, 3)):
        try:
            look()
        except ValueError as error:
            refused.append(error)
    if len(refused) == 3:
        raise refused[0]


def cell(content: bytes, folder: Path) -> None:
    """A list that a table keeps as text."""
    from postlude.sources.cells import conversation, literal

    text = _text(content)
    with suppress(PostludeError):
        conversation(text, "messages")
    literal(text)


def json_answer(content: bytes, folder: Path) -> None:
    """An answer against a schema, and a schema."""
    from postlude.rewards.json_schema import json_schema

    json_schema({"type": "object"})(completions=[_text(content)])
    (folder / "schema.json").write_bytes(content)
    json_schema("schema.json")(completions=["{}"])


def reward_values(content: bytes, folder: Path) -> None:
    """What a reward function gives back and logs."""
    from tests.scoring import group, reward, score

    value = _python_value(_text(content))

    def fn(completions: Any, log_metric: Any, log_extra: Any, log_note: Any) -> Any:
        log_metric("x", value)
        log_note(value)
        log_extra("y", value if isinstance(value, list) and len(value) == 2 else [value, value])
        return value if isinstance(value, list) else [value, 1.0]

    scored = score([group(["a", "b"])], reward(fn))
    json.dumps([c.reward for g in scored.groups for c in g.completions], allow_nan=False)


class _Odd:
    """A value that cannot be looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __float__(self) -> float:
        raise RuntimeError("no")


def _python_value(text: str) -> Any:
    import numpy as np
    import torch

    special: dict[str, Any] = {
        "odd": _Odd(), "array": np.array([1.0, np.nan]), "objects": np.array([None, "x"], dtype=object),
        "tensor": torch.ones(2, 2), "huge": 10**400, "complex": 1j, "bytes": b"1", "set": {1.0, 2.0},
        "nested": [[1.0], ["x"]], "mapping": {1: 2}, "generator": (x for x in (1, 2)), "type": int,
    }  # fmt: skip
    if text in special:
        return special[text]
    try:
        return ast.literal_eval(text[:100_000])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


# -------------------------------------------------------------------------------------------------------- models


@cache
def _model() -> Path:
    """A tiny model's folder, made once in a process."""
    import atexit
    import tempfile

    from postlude.models.tiny import save_tiny_model

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_tiny_model(folder, layers=1, width=32, heads=2)
    return folder


def _model_file(name: str) -> Read:
    """One file of a model's folder replaced, and the folder opened as far as it goes without weights."""

    def read(content: bytes, folder: Path) -> None:
        from postlude.models.load import inspect, inspect_files
        from postlude.models.spec import ModelSpec

        model = folder / "model"
        shutil.rmtree(model, ignore_errors=True)
        model.mkdir()
        for file in _model().iterdir():
            os.link(file, model / file.name)
        (model / name).unlink(missing_ok=True)
        if name.endswith("index.json"):
            (model / "model.safetensors").unlink()
        (model / name).write_bytes(content)
        inspect(ModelSpec(str(model)))
        inspect_files(str(model))

    return read


def chat_template(content: bytes, folder: Path) -> None:
    """A template as a tokenizer brings it: what it makes of turns, and of a conversation."""
    from postlude.models.chat import Renderer

    tokenizer = _tokenizer()
    tokenizer.chat_template = _text(content)
    try:
        renderer = Renderer(tokenizer, frozenset({1}))
        assert renderer.turns is not None
        messages = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
        renderer.prompt(messages[:1])
        renderer.conversation(messages)
    finally:
        tokenizer.chat_template = CHAT


@cache
def _tokenizer() -> Any:
    from postlude.models.tiny import character_tokenizer

    return character_tokenizer(chat_template=CHAT)


@cache
def _renderer() -> Any:
    from postlude.models.chat import Renderer

    renderer = Renderer(_tokenizer(), frozenset({1}))
    assert renderer.turns is not None
    return renderer


# --------------------------------------------------------------------------------------------------- other files


def principles(content: bytes, folder: Path) -> None:
    from postlude.judge.principles import read_principles

    (folder / "principles.yaml").write_bytes(content)
    read_principles("principles.yaml")


def judge_template(content: bytes, folder: Path) -> None:
    """A question to a judge as a user writes it."""
    from postlude.judge.templates import Row, Template

    (folder / "t.jinja").write_bytes(content)
    template = Template.of("t.jinja", "score")
    template.check(["prompt", "answer", "rubric"])
    assert template.columns is not None
    template.render(prompt="q", answer="a", rubric="r", row=Row({"a": 1}))


def maths_cases(content: bytes, folder: Path) -> None:
    from contextlib import redirect_stderr, redirect_stdout

    from postlude.maths.__main__ import main

    (folder / "cases.jsonl").write_bytes(content)
    with redirect_stderr(io.StringIO()) as said, redirect_stdout(io.StringIO()):
        if main(["cases.jsonl"]) == 2:
            raise ValueError(said.getvalue())


def options(content: bytes, folder: Path) -> None:
    """Options that are YAML: --columns and --reward-args."""
    from postlude.cli.data import named_columns

    named_columns(_text(content))


def cache_file(content: bytes, folder: Path) -> None:
    """Verdicts that were paid for."""
    from postlude.cache import Cache

    for file in folder.glob("cache.db*"):
        file.unlink()
    (folder / "cache.db").write_bytes(content)
    kept = Cache(folder / "cache.db")
    kept.get("a")
    kept.put("a", 1)
    kept.total("x")


def _text(content: bytes) -> str:
    """As a terminal or a model hands text over: whatever the bytes were."""
    return content.decode("utf-8", "surrogateescape")


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("data: JSON lines", _data(".jsonl"), "rows"),
        Reader("data: JSON", _data(".json"), "rows"),
        Reader("data: CSV", _data(".csv"), "table"),
        Reader("data: TSV", _data(".tsv"), "table"),
        Reader("data: Parquet", _data(".parquet"), "parquet"),
        Reader("data: gzip", _data(".jsonl.gz"), "gzip"),
        Reader("data: bzip2", _data(".csv.bz2"), "bzip2"),
        Reader("data: xz", _data(".jsonl.xz"), "xz"),
        Reader("data: zstd", _data(".jsonl.zst"), "zstd"),
        Reader("data: a list in a cell", cell, "cell", (ValueError,)),
        Reader("recipe: YAML", recipe, "recipe"),
        Reader("recipe: values", yaml_value, "yaml", (ValueError,)),
        Reader("recipe: KEY=VALUE", setting, "settings"),
        Reader("recipe: TRL and verl", imported, "foreign"),
        Reader("recipe: --columns", options, "yaml"),
        Reader("run: events.jsonl", _run_file("events.jsonl"), "run/events.jsonl"),
        Reader("run: live.json", _run_file("live.json"), "run/live.json"),
        Reader("run: control.json", _run_file("control.json"), "run/control.json"),
        Reader("run: eval.jsonl", _run_file("eval.jsonl"), "run/eval.jsonl"),
        Reader("run: timings.jsonl", _run_file("timings.jsonl"), "run/timings.jsonl"),
        Reader("run: rollouts", _run_file("rollouts/step-000001.jsonl"), "run/rollouts/step-000001.jsonl"),
        Reader("run: config.yaml", _run_file("config.yaml"), "run/config.yaml"),
        Reader("run: manifest.json", _run_file("manifest.json"), "run/manifest.json"),
        Reader("resume: events.jsonl", _resumed("events.jsonl"), "run/events.jsonl"),
        Reader("resume: eval.jsonl", _resumed("eval.jsonl"), "run/eval.jsonl"),
        Reader("resume: an earlier state.json", _resumed(f"{SEALED}/trainer/state.json"), f"run/{SEALED}/trainer/state.json"),
        *(
            Reader(f"resume: {name.removeprefix(SEALED + '/')}", _sealed(name), f"sealed/{name}")
            for name in (*VERIFIED, f"{SEALED}/trainer/manifest.json", "inputs/data.txt")
        ),
        Reader("answer: maths", maths, "maths"),
        Reader("answer: code and its tests", program, "code", (ValueError,)),
        Reader("answer: JSON and its schema", json_answer, "json"),
        Reader("answer: a judge's reply", verdict, "verdict", (ValueError,)),
        Reader("reward: what it returns", reward_values, "values"),
        Reader("model: config.json", _model_file("config.json"), "model/config.json"),
        Reader("model: tokenizer.json", _model_file("tokenizer.json"), "model/tokenizer.json"),
        Reader("model: tokenizer_config.json", _model_file("tokenizer_config.json"), "model/tokenizer_config.json"),
        Reader("model: generation_config.json", _model_file("generation_config.json"), "model/generation_config.json"),
        Reader("model: adapter_config.json", _model_file("adapter_config.json"), "model/adapter_config.json"),
        Reader("model: safetensors header", _model_file("model.safetensors"), "model/model.safetensors"),
        Reader("model: index of shards", _model_file("model.safetensors.index.json"), "model/model.safetensors.index.json"),
        Reader("model: chat template", chat_template, "chat"),
        Reader("file: principles", principles, "principles"),
        Reader("file: a judge's template", judge_template, "template"),
        Reader("file: cases of maths", maths_cases, "cases", (ValueError,)),
        Reader("file: cache of verdicts", cache_file, "cache"),
    )
}  # fmt: skip
