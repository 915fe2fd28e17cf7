"""What damages, cheats or outgrows readers, by kind: pieces to put into any text, and whole documents."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

DEEP, DEEPER = 1_000, 100_000
"""Brackets in each other."""

PIECES: dict[str, tuple[str, ...]] = {
    "NUL and control characters": ("\x00", "a\x00b", "\x1b[2J\x1b]0;owned\x07", "\x07", "\r", "\x08\x7f", "\x9b31m"),
    "bidi controls and invisible characters": (
        "\u202eexe.txt",
        "\u2066a\u2069",
        "\u200b",
        "\u00ad",
        "\ufeff",
        "\u061c",
    ),
    "separators that are no line feed": ("a\u2028b", "a\u2029b", "\x85", "\x0b", "\x0c", "\x1c", "\r\n"),
    "lone surrogates": ("\\ud800", '"\\ud800"', '"\\udfff\\ud800"', "\ud800"),
    "brackets": (
        "[" * DEEP,
        "{" * DEEP,
        "(" * DEEP,
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        "[",
        "}",
        "]]",
    ),
    "huge numbers": ("9" * 5000, "1e999", "-1e999", "1e-999", "1e309", "10e400000", "0." + "0" * 5000 + "1", "9" * 400),
    "numbers that are none": (
        "NaN",
        "Infinity",
        "-Infinity",
        ".nan",
        ".inf",
        "-.inf",
        "1_000",
        "0x1f",
        "1e",
        "--1",
        "٣",
    ),
    "dates, times and words that YAML reads": ("2024-01-01", "1:30", "yes", "no", "null", "~", "on", "010", "true"),
    "tags": (
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system",
        "!!binary aGk=",
        "!!set {a}",
        "!x y",
        "!<tag:x> 1",
    ),
    "anchors and aliases": (
        "&a [*a]",
        "*nobody",
        "&a {b: *a}",
        "<<: *a",
        "{<<: [1, 2]}",
        "{<<: {<<: {a: 1}}}",
        "&a &b 1",
    ),
    "duplicate keys": ("{a: 1, a: 2}", '{"a": 1, "a": 2}', '{"prompt": "a", "prompt": "b"}', "{1: a, '1': b, 1.0: c}"),
    "keys that are no text": ("{1: a}", "{null: a}", "{[1]: a}", "? {a: b}\n: c", "{true: a}", '{"": 1}'),
    "markup of terminals and pages": (
        "[bold red]x[/]",
        "[/INST]",
        "[link=file:///etc/passwd]x[/link]",
        "<script>alert(1)</script>",
        "&lt;",
    ),
    "expressions of templates and shells": (
        "{{ 7*7 }}",
        "{% raw %}",
        "{{ ''.__class__.__mro__ }}",
        "$(id)",
        "`id`",
        "${x:-$(id)}",
        "%s%n",
        "{0.__class__}",
    ),
    "formulas of spreadsheets": ("=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3"),
    "paths": (
        "../../../../etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "a/\x00/b",
        "~nobody/x",
        "x" * 5000,
        "CON",
        "file:///etc/passwd",
    ),
    "quotes": ('"', "'", "'''", '"""', "```", "`", "\\", "\\\\", '\\"', "\\u12", "\\x4"),
    "long lines": ("a" * 100_000, "a " * 50_000, "\\" * 50_000, "-" * 100_000, "#" * 50_000, "{" + "a," * 30_000 + "}"),
    "letters that are not alike": ("İ", "ß", "ﬁ", "１２", "\U000f1234", "e\u0301", "👩‍👩‍👧", "\U0010ffff"),
}
"""Kind -> pieces of text."""

YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{p: {{<<: *{a}}}, q: {{<<: *{a}}}, <<: [*{a}, *{a}, *{a}]}}\n"
    for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
)

DOCUMENTS: dict[str, tuple[str, ...]] = {
    "nothing": ("", " ", "\n" * 10_000, "\ufeff", "\ufeff\ufeff", "null", "0", '""', "[]", "{}"),
    "brackets": (
        "[" * DEEPER, "{" * DEEPER, "[" * DEEPER + "]" * DEEPER, '{"a":' * DEEPER + "1" + "}" * DEEPER, "(" * DEEPER,
        "- " * DEEP + "a", "[{" * DEEP, "a: " + "[" * DEEPER, "x=" + "[" * DEEPER, "\\boxed{" * DEEP + "1" + "}" * DEEP,
        "\\frac{" * DEEP, "{% if a %}" * DEEP, "-" * DEEPER + "1", "not " * DEEP + "a",
    ),
    "alias bombs": (YAML_BOMB, MERGE_BOMB, "a: &a\n  b: *a\n", "&a [*a, *a]", "- &a {}\n" + "- *a\n" * 10_000),
    "huge numbers": (
        "9" * 1_000_000, "a: " + "9" * 1_000_000, '{"prompt": ' + "9" * 1_000_000 + "}", "x=" + "9" * 1_000_000,
        "\\boxed{" + "9" * 1_000_000 + "}", "0x" + "f" * 1_000_000, "1e" + "9" * 1_000, "\\boxed{9^{9^{9^{9}}}}",
        "\\boxed{10^{10^{10}}}", "\\boxed{99999!}", "\\boxed{2^{-99999999}}", "\\boxed{1e999999999}", "." + "9" * 1_000_000,
    ),
    "very long lines": ("a" * 5_000_000, '{"prompt": "' + "a" * 20_000_000 + '"}', "a: " + "b " * 500_000, "a," * 1_000_000),
    "very many lines": ("{}\n" * 10_000, "a\n" * 10_000, "- a\n" * 10_000, "a: 1\n" * 2_000, "k=v\n" * 10_000),
    "byte order marks": ('{"prompt": "a"}\n\ufeff{"prompt": "b"}\n', "a: 1\n\ufeffb: 2\n", "\ufeffmethod: grpo\n"),
}  # fmt: skip
"""Kind -> whole texts."""


def _tar_of(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        entry = tarfile.TarInfo("../../x")
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zeros(count: int, member: int = 1 << 24) -> bytes:
    """`count` NUL bytes as gzip, in members, so that making them takes no such memory."""
    return gzip.compress(bytes(member)) * (count // member)


BINARIES: dict[str, tuple[bytes, ...]] = {
    "binary and broken encodings": (
        bytes(range(256)) * 8, b"\xff\xfe" + "{}".encode("utf-16-le"), "é".encode("latin-1"), b"\xc3\x28", b"\xed\xa0\x80",
        b"\x7fELF" + bytes(64), b"PK\x03\x04" + bytes(64), b"\x80\x04\x95" + bytes(32), b"PAR1" + bytes(32) + b"PAR1",
        b"\x89PNG\r\n\x1a\n", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", bytes(100_000),
    ),
    "archives within archives": (gzip.compress(gzip.compress(b"{}")), _tar_of(b"{}")),
}  # fmt: skip
"""Kind -> whole files."""

BOMBS = (
    zeros(4 << 30),
    gzip.compress(b'{"prompt": "' + b"a" * (1 << 26), 9),
    bz2.compress(bytes(1 << 26)),
    lzma.compress(bytes(1 << 26), preset=0),
)
"""Compressed files that grow a thousandfold and more."""
