"""The forty kinds of bad data, in every form of file: what `postlude data check` says of each, by code and place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import os
import shutil
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


def test_what_is_no_file_is_one_sentence(place: Path) -> None:
    (place / "folder").mkdir()
    (place / "folder" / "b.jsonl").touch()
    (place / "folder" / "a.csv.gz").touch()
    (place / "folder" / "notes.txt").touch()
    os.symlink("loop.jsonl", "loop.jsonl")
    os.mkfifo("pipe.jsonl")
    kinds = {
        "folder": "is a folder. Name one of its files, or several (data=[A, B]): a.csv.gz, b.jsonl.",
        "loop.jsonl": "Too many levels of symbolic links",
        "pipe.jsonl": "is a pipe, a device or a socket",
        "/dev/zero": "is a pipe, a device or a socket",
        "-": "standard input",
        "https://example.com/a.jsonl": "nothing is fetched",
        "s3://bucket/a.jsonl": "nothing is fetched",
        "nothere.jsonl": "does not exist",
        "nul\0.jsonl": "null byte",
        "x" * 5000: "File name too long",
    }
    for name, part in kinds.items():
        code, said = show(name)
        assert code == 2 and part in said and "\n" not in said.strip(), (name, said)


def test_a_line_that_is_too_long_is_a_bad_row_and_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("bounded", "reading", "arrays"):
        monkeypatch.setattr(f"postlude.sources.{module}.MAX_RECORD", 1000)
    long = b'{"prompt": "' + b"a" * (3 << 20) + b'"}'
    Path("d.jsonl").write_bytes(LINE + long + b"\n" + LINE)
    Path("d.json").write_bytes(b"[" + LINE + b"," + long + b"," + LINE + b"]")
    for name, where in (("d.jsonl", "d.jsonl:2"), ("d.json", "d.json:2 item 2")):
        said = look(name, "--for", "grpo")
        assert [(p["code"], p["place"]) for p in said["problems"]] == [("too-long", where)]
        assert (said["read"], said["used"]) == (3, 2)


def test_problems_are_collected_per_reason_with_what_they_are_about() -> None:
    rows = [{"prompt": f"{i}="} for i in range(3)]
    bad = [b'{"prompt": null, "n": %d}\n' % i for i in range(25)] + [b"{broken\x1b[31m \xe2\x80\xae\n"] * 3
    Path("d.jsonl").write_bytes(b"".join(json.dumps(r).encode() + b"\n" for r in rows) + b"".join(bad) + b"\n \n")
    code, said = show("d.jsonl", "--for", "grpo")
    lines = said.splitlines()
    assert code == 2 and len(lines) == 3 + 1 + 3 + 1
    assert lines[0] == 'd.jsonl:4: "prompt" is null: {"prompt": null, "n": 0}'
    assert lines[3] == "... and 22 more rows like this one."
    assert lines[4] == (
        "d.jsonl:29: not JSON at column 2: Expecting property name enclosed in double quotes: {broken\\x1b[31m \\u202e"
    )
    values = look("d.jsonl", "--for", "grpo")
    assert (values["read"], values["used"], values["blank"]) == (31, 3, 2)
    assert values["rejected"] == {"missing-field": 25, "not-json": 3}


def test_a_column_that_is_nearly_one_that_is_read_is_refused() -> None:
    for change, code in (({"anwser": "2"}, "missing-column"), ({"answer_": "2"}, "missing-column")):
        said = look(save("d.jsonl", [{"prompt": "1+1=", **change}]), "--for", "grpo")
        assert [p["code"] for p in said["problems"]] == [code], said
    code, said = show(save("p.jsonl", [{"prompt": "a", "chosenn": "b", "rejected": "c"}]), "--for", "dpo")
    assert code == 2 and "Is 'chosenn' meant to be \"chosen\"?" in said
    said = look(save("k.jsonl", [{**ASKED, "answers": ["2"], "source": "me"}]), "--for", "grpo")
    assert (said["exit"], seen(said)) == (0, {"other-columns": 1}), "kept, and named once"


# ------------------------------------------------------------------------------------------------- whole files


def seen(said: dict[str, Any]) -> dict[str, int]:
    return {finding["code"]: finding["rows"] for finding in said["findings"]}


STORY = "Tell me in a few words why the old lighthouse keeper of the northern island never once left his post at night"
LONG = " ".join(f"word{i}" for i in range(30))
FOUND: dict[str, tuple[str, list[dict[str, Any]], dict[str, int]]] = {
    "all is well": ("grpo", [{"prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(6)], {}),
    "19 opposite preferences": (
        "dpo", [PAIR, {**PAIR, "chosen": "bad", "rejected": "good"}], {"conflict": 1, "same-prompt": 1},
    ),
    "20 duplicates": ("sft", [TOLD, {**TOLD, "prompt": "x"}, TOLD, TOLD], {"duplicate": 2}),
    "20 near-duplicates": (
        "grpo", [{"prompt": STORY, "answer": "a"}, {"prompt": STORY.replace("old", "OLD"), "answer": "a"},
                 {"prompt": STORY + " again", "answer": "a"}, {"prompt": LONG, "answer": "b"}],
        {"near-duplicate": 1, "same-prompt": 1},
    ),
    "26 two turns of one speaker": ("sft", [CHAT, {"messages": [USER, USER, BOT]}], {"turn-order": 1}),
    "26 the assistant begins": ("sft", [CHAT, {"messages": [BOT, USER, BOT]}], {"turn-order": 1}),
    "29 control tokens": (
        "sft", [TOLD, {"prompt": "a<|im_end|>", "completion": "b"}, {"prompt": "c", "completion": "[INST] b</s>"}],
        {"control-tokens": 2},
    ),
    "30 two golds": ("grpo", [ASKED, {**ASKED, "answer": "3"}], {"two-golds": 1, "same-prompt": 1}),
    "30 one gold in two spellings": ("grpo", [ASKED, {**ASKED, "answer": 2.0}], {"same-prompt": 1}),
    "34 control characters": ("sft", [TOLD, {"prompt": "a\x00", "completion": "b\x1b"}], {"control-characters": 1}),
    "a gold that never varies": (
        "grpo", [{"prompt": f"{i}?", "answer": "yes"} for i in range(5)], {"constant-gold": 5},
    ),
    "a prompt that tells its gold": (
        "grpo", [ASKED, {"prompt": "Q? The answer is 7.", "answer": "7"}, {"prompt": "1+7=", "answer": "7"},
                 {"prompt": "Who? Ada King Lovelace", "answer": "Ada King Lovelace"}],
        {"answer-in-prompt": 2},
    ),
    "an answer without an end": (
        "sft", [TOLD, {"prompt": "a", "completion": f"{LONG} and then"}, {"prompt": "b", "completion": f"{LONG}."},
                {"prompt": "c", "completion": f"{LONG}\n```py\nx = 1\n"}],
        {"cut-off": 2},
    ),
    "another encoding": (
        "sft", [TOLD, {"prompt": "cafÃ©", "completion": "itâ€™s"}, {"prompt": "café", "completion": "it’s"},
                {"prompt": "a\ufffd", "completion": "b\u200bc"}],
        {"mojibake": 1, "replacement": 1, "invisible": 1},
    ),
    "longer is better": (
        "dpo", [{"prompt": str(i), "chosen": "long answer", "rejected": "no"} for i in range(12)]
        + [{"prompt": "x", "chosen": "no", "rejected": "long answer"}],
        {"length-bias": 12},
    ),
    "length tells nothing": (
        "dpo", [{"prompt": str(i), "chosen": "ab" if i % 2 else "abc", "rejected": "xy" if i % 3 else "xyz"}
                for i in range(12)],
        {},
    ),
}  # fmt: skip
"""Kind -> (method, rows, code -> rows that are found)."""


@pytest.mark.parametrize("kind", FOUND)
def test_what_a_file_shows_as_a_whole(kind: str) -> None:
    method, rows, expected = FOUND[kind]
    said = look(save("d.jsonl", rows), "--for", method)
    assert seen(said) == expected, said["findings"]
    assert (said["exit"], said["used"]) == (0, len(rows)), "none of these makes a row bad"


def test_length_bias_is_told_with_its_figures() -> None:
    rows = FOUND["longer is better"][1]
    (finding,) = look(save("d.jsonl", rows), "--for", "dpo")["findings"]
    assert finding["figures"]["share_longer"] == pytest.approx(12 / 13)
    assert finding["figures"]["low"] == pytest.approx(0.66686, abs=1e-4), "Wilson's interval of 12 of 13"
    assert (finding["figures"]["median_chosen"], finding["figures"]["median_rejected"]) == (11, 2)


def test_leaks_between_files_are_counted() -> None:
    save("t.jsonl", [{"prompt": STORY, "answer": "a"}, ASKED, {"prompt": "other", "answer": "b"}])
    save("e.jsonl", [{"prompt": f" {STORY.upper()}", "answer": "a"}, {"prompt": STORY + " now", "answer": "c"},
                     {"prompt": "new", "answer": "d"}])  # fmt: skip
    said = look("t.jsonl", "--for", "grpo", "--eval", "e.jsonl")
    assert seen(said) == {"leak": 1, "near-leak": 1}
    assert "e.jsonl:1 as t.jsonl:1" in said["findings"][0]["text"]
    Path("e.jsonl").write_text(Path("e.jsonl").read_text() + "{broken\n")
    said = look("t.jsonl", "--for", "grpo", "--eval", "e.jsonl")
    assert said["notes"][-1].startswith("e.jsonl: 1 bad row of 4 not compared") and said["exit"] == 0


def test_a_prompt_under_another_system_message_is_a_leak_too() -> None:
    def under(*system: str, asks: str = "What is 2 + 3?") -> dict[str, Any]:
        turns = [{"role": "system", "content": words} for words in system]
        return {"prompt": [*turns, {"role": "user", "content": asks}], "answer": "5"}

    save("t.jsonl", [under(), under("Be short.", asks="What is 4 + 4?"), under("Be short.", asks="What is 1 + 1?")])
    save(
        "e.jsonl", [under("Compute."), under("Be long.", asks="what is  4 + 4?"), under("Be short.", asks="Be short.")]
    )
    said = look("t.jsonl", "--for", "grpo", "--eval", "e.jsonl")
    assert seen(said) == {"system-leak": 2}
    assert "e.jsonl:1 as t.jsonl:1; e.jsonl:2 as t.jsonl:2" in said["findings"][0]["text"]


def test_golds_are_read_by_the_reward_that_will_compare_them() -> None:
    golds = ["2", "\\frac{1}{0}", "", "red fox", "1 or 2, it depends on what was said before and on who said it then"]
    name = save("d.jsonl", [{"prompt": f"{i}?", "answer": gold} for i, gold in enumerate(golds)])
    said = look(name, "--reward", "maths")
    assert [(p["code"], p["place"]) for p in said["problems"]] == [
        ("unreadable-gold", "d.jsonl:2"), ("unreadable-gold", "d.jsonl:3"), ("unreadable-gold", "d.jsonl:5"),
    ]  # fmt: skip
    assert seen(said) == {"unreadable-gold": 3, "text-only-gold": 1}
    assert said["findings"][1]["text"].endswith("compared as text: it is words (1 row: 4; first 'red fox')")
    assert said["findings"][1]["by_reason"] == {"it is words": ["d.jsonl:4"]}
    assert {*said["findings"][0]["by_reason"]} >= {"it is empty", "more than 8 words, with neither \\boxed nor ####"}
    assert look(save("n.jsonl", [{"prompt": "a"}]), "--reward", "maths")["problems"][0]["code"] == "missing-column"
    with pytest.raises(PostludeError, match="would have no effect"):
        runner.invoke(app, ["data", "check", name, "--for", "dpo", "--reward", "exact"], catch_exceptions=False)


def test_programs_are_held_to_their_own_tests() -> None:
    """In the sandbox, where there is one; without, that is said and nothing runs."""
    good = {"prompt": "write f", "tests": ["assert f(1) == 2"], "solution": "def f(x):\n    return x + 1"}
    fails, broken, none = {"tests": ["assert f(1) == 3"]}, {"tests": ["assert f(1 == 2"]}, {"tests": None}
    said = look(save("d.jsonl", [good, {**good, **fails}, {**good, **broken}, {**good, **none}]), "--reward", "code")
    codes = {p["place"]: p["code"] for p in said["problems"]}
    if codes == {"": "sandbox-unavailable"}:
        pytest.skip("no sandbox here")
    assert codes == {
        "d.jsonl:2": "unreadable-gold", "d.jsonl:3": "unreadable-gold", "d.jsonl:4": "missing-field",
    }  # fmt: skip


def test_a_run_refuses_what_the_check_refuses(model_folder: Path) -> None:
    """The same rows through `train`'s own check, with a model: code and place of every kind of plain text."""
    from postlude.check import check
    from postlude.recipe.documents import Document

    plain = {kind: case for kind, case in ROWS.items() if not any(map(is_chat, (case[1], case[2])))}
    assert len(plain) > 20
    for kind, (method, good, change, code, _) in plain.items():
        bad = {k: v for k, v in {**good, **change}.items() if v is not ...}
        values = {"method": method, "model": str(model_folder), "data": save("d.jsonl", [good, bad, good])}
        extra = {"reward": "exact", "sampling": {"max_tokens": 4}} if method == "grpo" else {}
        with pytest.raises(PostludeError) as error:
            check(Document({**values, **extra}))
        places = [(p.code, p.place) for p in error.value.problems if p.place]
        assert places == [(code, "d.jsonl:2")], (kind, error.value.problems)


def is_chat(row: dict[str, Any]) -> bool:
    return any(isinstance(v, list) and all(isinstance(one, dict) for one in v) for v in row.values())


def test_a_prompt_that_fills_the_context_leaves_no_room_for_an_answer(model_folder: Path) -> None:
    shutil.copytree(model_folder, "short")
    config = json.loads(Path("short/config.json").read_text())
    Path("short/config.json").write_text(json.dumps({**config, "max_position_embeddings": 256}))
    rows = [{"prompt": "1+" * n + "=", "answer": "1"} for n in (1, 127, 128)]  # 3, 255 and 257 tokens
    said = look(save("d.jsonl", rows), "--for", "grpo", "--model", "short")
    assert [(p["code"], p["place"]) for p in said["problems"]] == [("too-long", "d.jsonl:3")]
    assert said["tokens"] == [3, 255]
    rows = [{"prompt": "1", "completion": "1" * n} for n in (3, 300)]
    said = look(save("s.jsonl", rows), "--for", "sft", "--model", "short")
    assert [(p["code"], p["place"]) for p in said["problems"]] == [("too-long", "s.jsonl:2")], "never truncated"


def test_without_a_method_it_is_said_what_a_file_is_good_for() -> None:
    def uses(*rows: dict[str, Any]) -> list[str]:
        return [use["as"] for use in look(save("d.jsonl", [*rows]))["uses"] if use["rows"]]

    assert uses(ASKED) == ["prompts"]
    assert uses(TOLD) == ["demonstrations", "prompts"]
    assert uses(CHAT) == ["demonstrations"]
    assert uses({"text": "a"}) == ["demonstrations"]
    assert uses(PAIR) == ["pairs", "prompts"]
    assert uses(RANKED) == ["ranked or rated lists", "prompts"]
    assert uses(THUMB) == ["answers with a thumb up or down", "demonstrations", "prompts"]
    assert uses(STEPS) == ["labelled steps", "prompts"]
    code, said = show(save("d.jsonl", [PAIR, PAIR, {**PAIR, "rejected": "good"}, {**PAIR, "chosen": None}]))
    assert code == 2 and "d.jsonl: 4 rows read, 2 good, 2 bad" in said, "a pair with a fault is none the less a pair"


# ------------------------------------------------------------------------------------------------------------- mending


@pytest.mark.parametrize("form", FORMS)
def test_a_mended_file_is_clean_and_every_row_is_counted(form: str) -> None:
    other = {"prompt": "other", "chosen": "x", "rejected": "y"}
    rows = [
        PAIR,
        {**PAIR, "rejected": "good"},
        PAIR,
        other,
        {**other, "chosen": "y", "rejected": "x"},
        {**PAIR, "prompt": "p"},
    ]
    name, out = save(f"d.{form}", rows), f"out.{form.replace('bz2', 'gz')}"
    before = Path(name).read_bytes()
    done = runner.invoke(app, ["data", "check", name, "--for", "dpo", "--fix", out, "--json"], catch_exceptions=False)
    fixed = json.loads(done.stdout)["fixed"]
    assert (done.exit_code, fixed["read"], fixed["used"]) == (2, 6, 2)
    assert fixed["rejected"] == {"no-preference": 1, "duplicate": 1, "conflict": 2}
    again = look(out, "--for", "dpo")
    assert (again["exit"], again["read"], again["used"]) == (0, 2, 2)
    assert not {"duplicate", "conflict"} & {*seen(again)}
    left = [json.loads(line) for line in Path(f"{out}.rejected.jsonl").read_text().splitlines()]
    assert [(one["code"], number_of(one["place"])) for one in left] == [
        ("no-preference", 2), ("conflict", 5), ("conflict", 4), ("duplicate", 3),
    ]  # fmt: skip
    assert left[0]["row"]["rejected"] == "good" and left[0]["reason"].startswith('"chosen" and "rejected" are the same')
    assert Path(name).read_bytes() == before
    assert {p.name for p in Path().iterdir()} == {name, out, f"{out}.rejected.jsonl"}


def test_what_can_be_mended_is_named_and_counted() -> None:
    chat = json.dumps([USER])
    Path("d.jsonl").write_bytes(
        b'\xef\xbb\xbf{"prompt": "1+1=", "answer": 2.0}\r\n\r\n'
        + json.dumps({"prompt": "2+2=", "answer": "4", "x": 1.5}).encode()
        + b"\r\n"
    )
    said = look("d.jsonl", "--for", "grpo", "--fix", "out.jsonl")
    assert said["fixed"]["mends"] == {
        "whole numbers written as 42.0 in answers": 1, "byte order marks left out": 1, "line ends of Windows": 2,
        "blank lines left out": 1,
    }  # fmt: skip
    assert Path("out.jsonl").read_bytes() == (
        b'{"prompt": "1+1=", "answer": 2}\n{"prompt": "2+2=", "answer": "4", "x": 1.5}\n'
    )
    Path("c.jsonl").write_text(json.dumps({"prompt": chat, "answer": "a"}) + "\n")
    assert look("c.jsonl", "--for", "grpo", "--fix", "c2.jsonl")["fixed"]["mends"] == {
        "lists and messages that stood as text": 1
    }
    assert json.loads(Path("c2.jsonl").read_text()) == {"prompt": [USER], "answer": "a"}


def test_nothing_is_written_over(place: Path) -> None:
    save("d.jsonl", [ASKED])
    (place / "out.jsonl").write_text("mine")
    os.symlink("nowhere", "link.jsonl")
    for out, part in {
        "d.jsonl": "is FILE itself", "./d.jsonl": "is FILE itself", "out.jsonl": "exists already",
        "link.jsonl": "exists already", "out.csv": "must end with .jsonl", "no/out.jsonl": "does not exist",
    }.items():  # fmt: skip
        code, said = show("d.jsonl", "--for", "grpo", "--fix", out)
        assert code == 2 and part in said, (out, said)
    assert (place / "out.jsonl").read_text() == "mine"
    save("bad.jsonl", [{"prompt": ""}])
    code, said = show("bad.jsonl", "--for", "grpo", "--fix", "none.jsonl")
    assert code == 2 and "no good row of 1 is left" in said and not Path("none.jsonl").exists()


def test_rows_that_are_malformed_where_nobody_expects_it_are_bad_rows() -> None:
    """Found by trying rows at random: a conversation that is text, a prompt of lists beside whole conversations."""
    said = look(save("a.jsonl", [{"conversations": "say hi"}] * 2), "--chat")
    assert said["exit"] == 2 or said["used"] == 2
    rows = [{**WHOLE, "prompt": [USER]}, {**WHOLE, "prompt": [["say hi"]]}]
    said = look(save("b.jsonl", rows), "--for", "dpo", "--chat")
    assert [(p["code"], p["place"]) for p in said["problems"]] == [("bad-messages", "b.jsonl:2")]


WHOLE = {"chosen": [USER, BOT], "rejected": [USER, {"role": "assistant", "content": "no"}]}
