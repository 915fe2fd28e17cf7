"""Files of every kind give the same rows as JSON lines, and say what is wrong with them by file and line."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from postlude.errors import DataError
from postlude.sources import file as rows
from tests.refusals import refused

VALUES = [
    {"prompt": "1+1=", "answer": "2", "level": "3"},
    {"prompt": 'say "hi",\nthen go', "answer": None, "level": "é"},
]


def lines(*values: Any) -> bytes:
    return "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values).encode()


def table(folder: Path, content: bytes, name: str) -> rows.Table:
    (folder / name).write_bytes(content)
    return rows.read(str(folder / name))


def separated(delimiter: str = ",", values: Any = VALUES) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(values[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(values)
    return out.getvalue().encode()


def parquet(folder: Path, values: Any = VALUES, name: str = "data.parquet") -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(arrow.Table.from_pylist(values) if isinstance(values, list) else values, folder / name)
    return folder / name


def zstd(raw: bytes) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    return arrow.compress(raw, codec="zstd", asbytes=True)


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


# ---------------------------------------------------------------------------------------------- the same rows


@pytest.mark.parametrize("packing", ["", *PACK])
@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.tsv", "data.CSV"])
def test_every_kind_of_file_gives_the_same_prompts(tmp_path: Path, name: str, packing: str) -> None:
    expected = rows.prompts(table(tmp_path, lines(*VALUES), "plain.jsonl"))
    raw = lines(*VALUES) if name == "data.jsonl" else separated("\t" if name == "data.tsv" else ",")
    read = table(tmp_path, PACK[packing](raw) if packing else raw, name + packing)
    assert rows.prompts(read) == expected
    assert (read.read, read.problems) == (2, [])


def test_parquet_gives_the_same_prompts(tmp_path: Path) -> None:
    expected = rows.prompts(table(tmp_path, lines(*VALUES), "plain.jsonl"))
    read = rows.read(str(parquet(tmp_path)))
    assert rows.prompts(read) == expected
    assert read.read == 2


def test_a_packed_array_reads_like_its_lines(tmp_path: Path) -> None:
    read = table(tmp_path, gzip.compress(json.dumps(VALUES).encode()), "data.json.gz")
    assert rows.prompts(read) == rows.prompts(table(tmp_path, lines(*VALUES), "plain.jsonl"))


# ------------------------------------------------------------------------------------------------------- packed


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("damage", ["cut off", "of another kind"])
def test_a_broken_archive_names_the_file_and_the_packing(tmp_path: Path, packing: str, damage: str) -> None:
    whole = PACK[packing](lines(*VALUES) * 50)
    with pytest.raises(DataError) as error:
        table(tmp_path, whole[: len(whole) // 2] if damage == "cut off" else lines(*VALUES), "d.jsonl" + packing)
    assert f"d.jsonl{packing}: cannot be unpacked as {packing}" in str(error.value)


def test_an_archive_that_does_not_say_so_is_recognised(tmp_path: Path) -> None:
    read = table(tmp_path, gzip.compress(lines(*VALUES)), "data.jsonl")
    assert read.notes == [f"{read.path}: packed as .gz, which its name does not say"] and read.read == 2
    with refused("not-utf8", said=r"looks like UTF-16"):
        table(tmp_path, lines(*VALUES).decode().encode("utf-16"), "data.jsonl")


def test_what_is_in_an_archive_is_checked_like_a_plain_file(tmp_path: Path) -> None:
    read = table(tmp_path, gzip.compress(b'{"prompt": "a"}\n{"prompt":\n{"prompt": "b"}\n'), "data.jsonl.gz")
    assert read.problems[0].startswith(f"{read.path}:2: not JSON")
    with refused("not-utf8", said="not UTF-8"):
        table(tmp_path, gzip.compress(b'{"prompt": "\xe9"}'), "other.jsonl.gz")
    with refused("unsupported-file"):
        table(tmp_path, gzip.compress(b"x"), "data.parquet.gz")


@pytest.mark.parametrize("name", ["data.parquet", "data.jsonl.zst"])
def test_without_pyarrow_the_error_names_the_package(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refused("missing-package", said=r"needs pyarrow: pip install 'postlude\[datasets\]'"):
        table(tmp_path, b"", name)


# ---------------------------------------------------------------------------------------------------------- CSV


def test_cells_are_text_and_an_empty_one_is_null(tmp_path: Path) -> None:
    read = table(tmp_path, b'prompt,answer,n\n007,,1.50\n" a ","",true\n', "data.csv")
    assert [dict(r.values) for r in read.rows] == [
        {"prompt": "007", "answer": None, "n": "1.50"},
        {"prompt": " a ", "answer": None, "n": "true"},
    ]


def test_csv_rows_are_rejected_by_the_line_they_begin_on(tmp_path: Path) -> None:
    text = b'prompt,answer\na,1\n"two\nlines",2\nb\nc,3,4\n\n"d"x,5\n,6\ne,"7\nf,8\n'
    read = table(tmp_path, text, "data.csv")
    assert [p.text for p in rows.prompts(read)] == ["a", "two\nlines"]
    said = {int(p.removeprefix(f"{read.path}:").split(":")[0]): p for p in read.problems}
    assert list(said) == [5, 6, 8, 10, 9]
    assert "1 cells, but the header names 2 columns" in said[5]
    assert "3 cells" in said[6]
    assert "not CSV" in said[8]
    assert '"prompt" is null' in said[9]
    assert "a quote is opened here and never closed" in said[10]
    assert (read.read, read.blank) == (7, 1)
    assert read.read == len(read.rows) + len(read.problems)


HEADERS = {
    "a name twice": (b"prompt,answer,prompt\na,b,c\n", ":1: the header names column 'prompt' twice"),
    "no name": (b",prompt\n0,a\n", r":1: column 1 of the header has no name.*index=False"),
    "semicolons": (b"prompt;answer\na;b\n", "separated by ';'"),
    "a quote": (b'prompt,"answer\na,b\n', ":1: the header is not CSV"),
}
"""Kind -> (file, what is said)."""


@pytest.mark.parametrize("kind", HEADERS)
def test_a_wrong_header_is_an_error_of_the_file(tmp_path: Path, kind: str) -> None:
    content, said = HEADERS[kind]
    with pytest.raises(DataError, match=said):
        table(tmp_path, content, "data.csv")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"prompt,answer\n", b"\xef\xbb\xbfprompt\n\n"])
def test_a_csv_file_without_rows_is_an_error(tmp_path: Path, content: bytes) -> None:
    with refused("no-rows", said="0 rows"):
        rows.prompts(table(tmp_path, content, "data.csv"))


def test_a_byte_order_mark_and_spaces_are_not_part_of_a_csv_name(tmp_path: Path) -> None:
    read = table(tmp_path, b"\xef\xbb\xbfprompt, answer\r\na,b\r\n", "data.csv")
    assert [dict(r.values) for r in read.rows] == [{"prompt": "a", "answer": "b"}]


def test_long_cells_are_read_whole(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    read = table(tmp_path, b"prompt\n" + b"a" * 200_000 + b"\n", "data.csv")
    assert len(read.rows[0].values["prompt"]) == 200_000
    assert csv.field_size_limit() == limit


def test_a_csv_file_in_another_encoding_names_the_byte(tmp_path: Path) -> None:
    with refused("not-utf8", said=r"not UTF-8 \(byte 7\)"):
        table(tmp_path, b"prompt\n\xe9\n", "data.csv")


# ------------------------------------------------------------------------------------------------------ Parquet


def test_parquet_values_are_plain_python(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    columns = {
        "prompt": pa.array(["a"]).dictionary_encode(),
        "numbers": pa.array([[1.5, None]]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "extra_info": pa.array([{"index": 3, "split": None}]),
        "when": pa.array([datetime(2024, 1, 1)]),
        "raw": pa.array([b"\x00"]),
    }
    read = rows.read(str(parquet(tmp_path, pa.table(columns))))
    assert dict(read.rows[0].values) == {
        "prompt": "a",
        "numbers": [1.5, None],
        "map": {"k": 1},
        "extra_info": {"index": 3, "split": None},
        "when": datetime(2024, 1, 1),
        "raw": b"\x00",
    }
    assert type(read.rows[0].values["numbers"]) is list


def test_keys_that_arrow_adds_to_messages_are_dropped_again(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    other = {"function": {"name": "g", "arguments": {"y": 2}}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [call, other]},
        {"role": "tool", "content": "1", "name": "f"},
    ]
    read = rows.read(str(parquet(tmp_path, [{"prompt": messages, "tests": [{"given": None, "wanted": "2"}]}])))
    (found,) = rows.prompts(read)
    assert found.messages == messages
    assert found.columns == {"tests": [{"given": None, "wanted": "2"}]}, "other columns stay as they are"


def test_a_saved_data_set_has_its_messages_cleaned_too(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    messages = [{"role": "system", "content": "s", "name": "n"}, {"role": "user", "content": "hi"}]
    saved = datasets.Dataset.from_list([{"prompt": messages, "n": [1, 2]}]).with_format("numpy")
    saved.save_to_disk(str(tmp_path / "saved"))
    (found,) = rows.prompts(rows.read(str(tmp_path / "saved")))
    assert found.messages == messages
    assert found.columns == {"n": [1, 2]} and type(found.columns["n"]) is list


def test_parquet_rows_are_rejected_by_their_number(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc")]
    )
    read = rows.read(str(parquet(tmp_path, pa.table({"prompt": broken, "n": [1, 2, 3]}))))
    assert [p.text for p in rows.prompts(read)] == ["a", "c"]
    assert read.problems == [f"{read.path} row 2: a text is not UTF-8 (byte 0)"]
    read = rows.read(str(parquet(tmp_path, [{"prompt": "a"}, {"prompt": None}])))
    assert len(rows.prompts(read)) == 1
    assert read.problems == [f'{read.path} row 2: "prompt" is null']
    assert read.read == 2


@pytest.mark.parametrize("content", [b"", b"PAR1", b'{"prompt": "a"}\n', b"PAR1" + b"\0" * 64 + b"PAR1"])
def test_a_file_that_is_not_parquet_says_so(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow")
    with refused("damaged-file"):
        table(tmp_path, content, "data.parquet")


def test_parquet_that_was_damaged_inside_says_so(tmp_path: Path) -> None:
    place = parquet(tmp_path, [{"prompt": f"row {i}"} for i in range(500)])
    raw = bytearray(place.read_bytes())
    raw[4:60] = b"\xff" * 56
    with refused("damaged-file"):
        table(tmp_path, bytes(raw), "data.parquet")


def test_a_parquet_column_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    with refused("bad-header", said="column 'prompt' stands in it twice"):
        rows.read(str(parquet(tmp_path, twice)))


def test_a_parquet_file_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pa.table({"prompt": ["a" * 100_000] * 300}), tmp_path / "d.parquet", compression="zstd")
    assert len(rows.read(str(tmp_path / "d.parquet")).rows) == 300, "30 MB of one text are no harm"
    monkeypatch.setattr("postlude.sources.tabular.MOST_BYTES", 1 << 20)
    with refused("damaged-file", said="more than 200 times the bytes of the file"):
        rows.read(str(tmp_path / "d.parquet"))


def test_a_row_of_parquet_that_is_too_large_is_a_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = parquet(tmp_path, [{"prompt": "a"}, {"prompt": "b" * 5000}, {"prompt": "c"}])
    monkeypatch.setattr("postlude.sources.tabular.MAX_RECORD", 1000)
    read = rows.read(str(place))
    assert [row.values["prompt"] for row in read.rows] == ["a", "c"] and read.read == 3
    assert [(p.code, p.place) for p in read.problems] == [("too-long", f"{place} row 2")]


@pytest.mark.parametrize("kind", ["bytes", "a time", "a list of numbers", "categories of numbers"])
def test_a_column_of_another_type_names_the_type(tmp_path: Path, kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    columns = {
        "bytes": pa.array([b"a", b"b"]),
        "a time": pa.array([datetime(2024, 1, 1)] * 2),
        "a list of numbers": pa.array([[1], [2]]),
        "categories of numbers": pa.array([1, 2]).dictionary_encode(),
    }
    names = {"bytes": "bytes", "a time": "datetime", "categories of numbers": "int"}
    read = rows.read(str(parquet(tmp_path, pa.table({"prompt": columns[kind]}))))
    assert rows.prompts(read) == [] and len(read.problems) == 2
    assert {p.code for p in read.problems} <= {"wrong-field", "bad-messages"}
    assert names.get(kind, "message 1 must be an object") in read.problems[0]
