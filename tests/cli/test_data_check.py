"""The forty kinds of bad data, in every form of file: what `postlude data check` says of each, by code and place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import PostludeError

runner = CliRunner()
FORMS = ("jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "csv.bz2")
USER, BOT = {"role": "user", "content": "say hi"}, {"role": "assistant", "content": "hi"}
PAIR = {"prompt": "say a word", "chosen": "good", "rejected": "bad"}
TOLD = {"prompt": "say a word", "completion": "good"}
ASKED = {"prompt": "1+1=", "answer": "2"}
THUMB = {"prompt": "say a word", "completion": "good", "label": True}
RANKED = {"prompt": "say a word", "completions": ["good", "bad"], "ranks": [1, 2]}
STEPS = {"prompt": "say a word", "completions": ["one", "two"], "labels": [True, False]}
CHAT = {"messages": [USER, BOT]}
CHAT_PAIR = {"prompt": [USER], "chosen": [BOT], "rejected": [{"role": "assistant", "content": "no"}]}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def look(*words: str) -> dict[str, Any]:
    """What `data check --json` prints, with the exit code."""
    done = runner.invoke(app, ["data", "check", *words, "--json"], catch_exceptions=False)
    return {**json.loads(done.stdout), "exit": done.exit_code}


def show(*words: str) -> tuple[int, str]:
    """Exit code and all that people see."""
    done = runner.invoke(app, ["data", "check", *words])
    if isinstance(done.exception, PostludeError):
        return done.exception.exit_code, "\n".join(done.exception.problems)
    return done.exit_code, done.output


def save(name: str, rows: list[dict[str, Any]]) -> str:
    """Rows in the form that a name asks for; in cells lists stand as JSON."""
    if name.endswith(".parquet"):
        arrow = pytest.importorskip("pyarrow")
        from pyarrow.parquet import write_table

        write_table(arrow.Table.from_pylist(rows), name)
        return name
    if ".json" in name:
        lines = [json.dumps(row) for row in rows]
        raw = ("[" + ",\n".join(lines) + "]" if name.endswith(".json") else "\n".join(lines) + "\n").encode()
    else:
        out = io.StringIO()
        writer = csv.DictWriter(
            out, [*dict.fromkeys(k for row in rows for k in row)], delimiter="\t" if "tsv" in name else ","
        )
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in r.items()} for r in rows)
        raw = out.getvalue().encode()
    packed = {"gz": gzip.compress, "bz2": bz2.compress}.get(name.rpartition(".")[2], lambda raw: raw)(raw)
    Path(name).write_bytes(packed)
    return name


def number_of(place: str) -> int:
    """Which row of its file a place names, from 1: lines of cells count the header."""
    last = int(place.replace(":", " ").split()[-1])
    return last - 1 if ".csv" in place or ".tsv" in place else last


# ---------------------------------------------------------------------------------------- one bad row among good ones

CELLS, TYPED = FORMS, ("jsonl", "json", "parquet", "jsonl.gz")
JSON = ("jsonl", "json", "jsonl.gz")
ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, tuple[str, ...]]] = {
    "11 a field is missing": ("dpo", PAIR, {"rejected": ...}, "missing-field", JSON),
    "11 the prompt is missing": ("sft", TOLD, {"prompt": ...}, "missing-field", JSON),
    "11 an answer is missing": ("kto", THUMB, {"completion": ...}, "missing-field", JSON),
    "12 a field is null": ("dpo", PAIR, {"prompt": None}, "missing-field", CELLS),
    "12 an answer is null": ("sft", TOLD, {"completion": None}, "missing-field", CELLS),
    "12 a label is null": ("kto", THUMB, {"label": None}, "wrong-field", CELLS),
    "13 a number for text": ("sft", TOLD, {"completion": 42}, "wrong-field", JSON),
    "13 a truth for text": ("grpo", ASKED, {"prompt": True}, "wrong-field", JSON),
    "13 an object for text": ("dpo", PAIR, {"chosen": {"text": "good"}}, "wrong-field", JSON),
    "14 an empty prompt": ("grpo", ASKED, {"prompt": ""}, "empty-field", TYPED),
    "14 an empty prompt of messages": ("grpo", {"prompt": [USER]}, {"prompt": []}, "empty-field", TYPED),
    "14 a user who says nothing": ("sft", CHAT, {"messages": [{**USER, "content": ""}, BOT]}, "empty-field", CELLS),
    "15 an empty chosen": ("dpo", PAIR, {"chosen": ""}, "empty-field", TYPED),
    "15 an empty completion": ("sft", TOLD, {"completion": ""}, "empty-field", TYPED),
    "15 an empty answer in a list": ("dpo", RANKED, {"completions": ["good", ""]}, "empty-field", CELLS),
    "16 white space only": ("sft", TOLD, {"completion": " \n\t\u00a0"}, "empty-field", CELLS),
    "16 zero width only": ("sft", TOLD, {"completion": "\u200b\u2060\u00ad"}, "empty-field", CELLS),
    "16 zero width in a message": (
        "sft", CHAT, {"messages": [USER, {**BOT, "content": "\u200b\ufeff"}]}, "empty-field", CELLS,
    ),
    "17 chosen is rejected": ("dpo", PAIR, {"rejected": "good"}, "no-preference", CELLS),
    "17 equal ranks": ("dpo", RANKED, {"ranks": [1, 1]}, "no-preference", CELLS),
    "17 chosen is rejected, as messages": ("dpo", CHAT_PAIR, {"rejected": [BOT]}, "no-preference", CELLS),
    "18 but for white space": ("dpo", PAIR, {"rejected": " good\n"}, "no-preference", CELLS),
    "18 but for white space, as messages": (
        "dpo", CHAT_PAIR, {"rejected": [{**BOT, "content": "hi "}]}, "no-preference", CELLS,
    ),
    "25 an unknown role": ("sft", CHAT, {"messages": [{**USER, "role": "alien"}, BOT]}, "bad-messages", CELLS),
    "25 no role": ("sft", CHAT, {"messages": [USER, {"content": "hi"}]}, "bad-messages", JSON),
    "25 an unknown speaker": (
        "sft", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [{"from": "alien", "value": "q"}, {"from": "gpt", "value": "a"}]}, "bad-messages", CELLS,
    ),
    "27 the assistant ends a prompt": ("grpo", {"prompt": [USER]}, {"prompt": [USER, BOT]}, "bad-messages", CELLS),
    "27 the user ends an answer": ("dpo", CHAT_PAIR, {"rejected": [BOT, USER]}, "bad-messages", CELLS),
    "27 the user ends a conversation": ("sft", CHAT, {"messages": [USER]}, "bad-messages", CELLS),
    "28 an empty list of messages": ("sft", CHAT, {"messages": []}, "empty-field", TYPED),
    "28 content is null": ("sft", CHAT, {"messages": [USER, {**BOT, "content": None}]}, "bad-messages", CELLS),
    "28 parts that are no text": (
        "sft", CHAT, {"messages": [{**USER, "content": [{"type": "image_url"}]}, BOT]}, "bad-messages", JSON,
    ),
    "33 half a character": ("sft", TOLD, {"completion": "a\ud800"}, "unencodable-text", JSON),
    "33 half a character in a message": (
        "sft", CHAT, {"messages": [USER, {**BOT, "content": "\udc00"}]}, "unencodable-text", JSON,
    ),
    "39 labels that are no list": ("reward_model_process", STEPS, {"labels": "yes"}, "wrong-field", JSON),
    "39 ranks that are text": ("dpo", RANKED, {"ranks": ["a", "b"]}, "wrong-field", JSON),
}  # fmt: skip
"""Kind -> (method, good row, what makes it bad (`...`: is not there), code, forms that can hold it)."""


@pytest.mark.parametrize("kind", ROWS)
def test_a_bad_row_is_named_in_every_form(kind: str) -> None:
    method, good, change, code, forms = ROWS[kind]
    bad = {k: v for k, v in {**good, **change}.items() if v is not ...}
    for form in forms:
        name = save(f"d.{form}", [good, bad, good])
        said = look(name, "--for", method)
        places = [(p["code"], number_of(p["place"])) for p in said["problems"]]
        assert places == [(code, 2)], (form, said)
        assert (said["exit"], said["read"], said["used"], said["rejected"]) == (2, 3, 2, {code: 1}), form


# -------------------------------------------------------------------------------------------- files as they are written

LINE = b'{"prompt": "1+1=", "answer": "2"}\n'
RAW: dict[str, tuple[str, bytes, list[tuple[str, str]], int]] = {
    "1 a broken line": ("d.jsonl", LINE + b'{"prompt": }\n' + LINE, [("not-json", "d.jsonl:2")], 2),
    "1 no quotes": ("d.jsonl", LINE + b"{prompt: 1}\n" + LINE, [("not-json", "d.jsonl:2")], 2),
    "1 a broken item of an array": (
        "d.json", b'[{"prompt": "a"},\n{"prompt" "b"},\n{"prompt": "c"}]', [("not-json", "d.json:2 item 2")], 2,
    ),
    "2 cut off": ("d.jsonl", LINE + b'{"prompt": "2+', [("not-json", "d.jsonl:2")], 1),
    "2 an array that is cut off": ("d.json", b'[{"prompt": "a"},{"prompt": "b', [("not-json", "d.json:1 item 2")], 1),
    "2 an array without its end": ("d.json", b'[{"prompt": "a"},{"prompt": "b"}', [("not-json", "d.json:1 item 2")], 1),
    "3 a byte order mark": ("d.jsonl", b"\xef\xbb\xbf" + LINE, [], 1),
    "3 marks of files put together": ("d.jsonl", (b"\xef\xbb\xbf" + LINE) * 2, [], 2),
    "3 a mark before an array": ("d.json", b"\xef\xbb\xbf[" + LINE + b"]", [], 1),
    "4 Latin-1": ("d.jsonl", LINE + '{"prompt": "é"}'.encode("latin-1"), [("not-utf8", "")], 0),
    "4 UTF-16": ("d.jsonl", LINE.decode().encode("utf-16"), [("not-utf8", "")], 0),
    "4 UTF-16 without a mark": ("d.csv", "prompt\né\n".encode("utf-16-le"), [("not-utf8", "")], 0),
    "4 UTF-16 of plain letters": ("d.csv", "prompt\na\n".encode("utf-16-le"), [("not-utf8", "")], 0),
    "4 UTF-16 in lines": ("d.jsonl", LINE.decode().encode("utf-16-be"), [("not-utf8", "")], 0),
    "5 lines of Windows, blank lines": ("d.jsonl", b"\r\n" + LINE.replace(b"\n", b"\r\n") * 2 + b"  \r\n\r\n", [], 2),
    "6 an array": ("d.json", b"[" + LINE + b"," + LINE + b"]", [], 2),
    "6 an array in a file of lines": ("d.jsonl", b"\n [" + LINE + b"," + LINE + b"]", [], 2),
    "6 an object over lines": ("d.json", b'{\n"prompt": "a"\n}\n', [("not-json", f"d.json:{n}") for n in (1, 2, 3)], 0),
    "6 something after the array": ("d.json", b"[" + LINE + b"]" + LINE, [("not-json", "")], 0),
    "7 a key twice": ("d.jsonl", LINE + b'{"prompt": "a", "prompt": "b"}\n', [("not-json", "d.jsonl:2")], 1),
    "7 a key twice within": ("d.jsonl", LINE + b'{"prompt": "a", "x": {"": 1, "": 2}}', [("not-json", "d.jsonl:2")], 1),
    "8 NaN": ("d.jsonl", LINE + b'{"prompt": "a", "answer": NaN}\n', [("not-json", "d.jsonl:2")], 1),
    "8 endless": ("d.jsonl", LINE + b'{"prompt": "a", "answer": [-Infinity]}\n', [("not-json", "d.jsonl:2")], 1),
    "8 a number beyond all": ("d.jsonl", LINE + b'{"prompt": "a", "answer": 1e999}\n', [("not-json", "d.jsonl:2")], 1),
    "9 several kinds of rows": (
        "d.jsonl", b'{"prompt": "a", "completion": "b"}\n{"messages": []}\n', [("mixed-rows", "")], 0,
    ),
    "33 half a prompt": ("d.jsonl", LINE + b'{"prompt": "\\ud800"}', [("unencodable-text", "d.jsonl:2")], 1),
    "34 NUL in a text": ("d.jsonl", LINE + b'{"prompt": "a\\u0000\\u001b[31m"}\n', [], 2),
    "34 a bare control": ("d.jsonl", LINE + b'{"prompt": "a\x01"}\n', [("not-json", "d.jsonl:2")], 1),
    "35 nested without end": ("d.jsonl", LINE + b"[" * 100_000 + b"\n", [("not-json", "d.jsonl:2")], 1),
    "35 nested deeply": (
        "d.jsonl", LINE + b'{"prompt": "a", "x": ' + b"[" * 500 + b"]" * 500 + b"}\n", [("not-json", "d.jsonl:2")], 1,
    ),
    "36 an empty file": ("d.jsonl", b"", [("no-rows", "")], 0),
    "36 a header only": ("d.csv", b"prompt,answer\n", [("no-rows", "")], 0),
    "36 an empty array": ("d.json", b"[]", [("no-rows", "")], 0),
    "37 ragged": ("d.csv", b"prompt,answer\na,1\nb\nc,3\nd,4,5\n", [("not-csv", "d.csv:3"), ("not-csv", "d.csv:5")], 2),
    "37 line ends within": ("d.csv", b'prompt,answer\n"a\nb",1\n,2\n"c\r\nd",3\n', [("missing-field", "d.csv:4")], 2),
    "37 semicolons": ("d.csv", b"prompt;answer\na;1\n", [("bad-header", "")], 0),
    "37 an open quote": ("d.csv", b'prompt,answer\na,1\nb,"2\nc,3\n', [("not-csv", "d.csv:3")], 1),
    "38 text that looks like numbers": ("d.csv", b"prompt,answer\n007,1e5\n1_000,0x1\n", [], 2),
    "39 not Parquet": ("d.parquet", b"PAR1 and nothing else", [("damaged-file", "")], 0),
    "40 not gzip": ("d.jsonl.gz", LINE, [("damaged-file", "")], 0),
    "40 half a gzip": ("d.jsonl.gz", gzip.compress(LINE * 99)[:-20], [("damaged-file", "")], 0),
    "40 gzip that does not say so": ("d.jsonl", gzip.compress(LINE), [], 1),
    "40 a bomb": ("d.jsonl.gz", gzip.compress(bytes(40 << 20)), [("damaged-file", "")], 0),
    "40 a pickle": ("d.jsonl", b"\x80\x04\x95", [("not-utf8", "")], 0),
    "40 another kind": ("d.xlsx", b"PK\x03\x04", [("unsupported-file", "")], 0),
}  # fmt: skip
"""Kind -> (name, bytes, code and place of each problem, rows used)."""


@pytest.mark.parametrize("kind", RAW)
def test_a_file_is_read_or_refused_with_its_place(kind: str) -> None:
    name, raw, problems, used = RAW[kind]
    Path(name).write_bytes(raw)
    said = look(name, "--for", "grpo" if not kind.startswith("9") else "sft")
    assert [(p["code"], p["place"]) for p in said["problems"] if p["code"] != "bad-rows"] == problems, said
    assert said["exit"] == (2 if problems else 0)
    assert said.get("used", 0) == used
    if "read" in said:
        assert said["read"] == said["used"] + sum(said["rejected"].values())
