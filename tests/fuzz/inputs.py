"""Inputs for readers: real ones from this repository, those ones damaged, and made ones of the form a reader expects."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.hostile import BINARIES, BOMBS, DOCUMENTS, PIECES

ROOT = Path(__file__).parents[2]
RUN = Path(__file__).parent / "run"
Draw = Callable[[st.SearchStrategy[Any]], Any]
ALL_PIECES = tuple(piece for pieces in PIECES.values() for piece in pieces)
COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda raw: gzip.compress(raw, 1),
    "bzip2": lambda raw: bz2.compress(raw, 1),
    "xz": lambda raw: lzma.compress(raw, preset=0),
    "zstd": lambda raw: _zstd(raw),
}


def _zstd(raw: bytes) -> bytes:
    import pyarrow

    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, "zstd") as file:
        file.write(raw)
    return out.getvalue().to_pybytes()


# --------------------------------------------------------------------------------------------------------- seeds

ROWS = (
    {"prompt": "1+1=", "answer": "2"},
    {"prompt": [{"role": "user", "content": "1+1"}], "completion": "2"},
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.5},
    {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
     "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]},
    {"prompt": "q", "completions": ["a", "b", "c"], "scores": [1, 0.5, 0]},
    {"prompt": "q", "completions": ["a", "b"], "ranks": [1, 2]},
    {"prompt": "q", "completion": "a", "label": True},
    {"prompt": "q", "completions": ["a\n", "b"], "labels": [True, False]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"text": "some text"},
    {"context": "q", "response_1": "a", "response_2": "b", "preference_strength": 2},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": None,
      "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "tool", "content": "r"},
      {"role": "assistant", "content": "a"}], "tools": "[{\"type\": \"function\"}]", "chat_template_kwargs": {"x": 1}},
    {"prompt": "q", "reward_model": {"ground_truth": "2", "style": "rule"}, "extra_info": {"index": 1}},
    {"instruction": "i", "input": "x", "output": "o", "system": "s"},
    {"question": "q", "answer": "so\n#### 4", "images": ["i.png"], "documents": [{"title": "t"}]},
)  # fmt: skip
"""One of each kind of row."""
COLUMNS = tuple(dict.fromkeys(name for row in ROWS for name in row))
SPECIAL = (
    "odd",
    "array",
    "objects",
    "tensor",
    "huge",
    "complex",
    "bytes",
    "set",
    "nested",
    "mapping",
    "generator",
    "type",
)
"""Values that no text writes down: `readers.reward_values` makes them of these words."""
TEMPLATES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% for i in range(10**9) %}{% endfor %}", "{% for i in range(10**9) %}x{% endfor %}", "{{ 'x' * 10**10 }}",
    "{{ range(10**8) | list | length }}", "{{ 9**9**9 }}", "{{ (10**7) ** (10**7) }}", "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}", "{% extends 'x' %}", "{{ messages.append(1) }}", "{{ messages[0].update({'role': 3}) }}",
    "{{ raise_exception('no') }}", "{{ raise_exception(messages) }}", "{{ messages[99].content }}", "{{ 1/0 }}", "{{ [] | first }}",
    "{{ undefined.x.y }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 'a'.format(**{}) }}",
    "{{ '{0.__class__}'.format(messages) }}", "{{ '%s' % messages }}", "{{ '%1000000000d' % 1 }}", "{{ 'a'.center(10**10) }}",
    "{{ 'x' | center(10**10) }}", "{{ lipsum(n=10000000) }}", "{% for a in range(3000) %}{% for b in range(3000) %}{% for c in range(3000) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% set x = ['a'] %}{% for i in range(40) %}{% set _ = x.extend(x) %}{% endfor %}", "{{ 'a' | replace('', 'b' * 10**9) }}",
    "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{{ messages | tojson(indent=10**9) }}", "{{ ('a' * 10**5) | wordwrap(1) | length }}", "{{ strftime_now('%' * 100000) }}",
    "{{ strftime_now(5) }}", "{{ messages | map(attribute='__class__') | list }}", "{{ self.__init__ }}", "{% if a %}", "{{", "{% generation %}",
    "{% generation %}{% for m in messages %}{{ m.content }}{% endfor %}{% endgeneration %}", "{{ 'a' * 50000000 }}", "\x00{{ 1 }}", "{{ 1 }}\ud800",
)  # fmt: skip
"""Templates that reach out, never end, or take all memory there is."""


@cache
def seeds(form: str) -> tuple[bytes, ...]:
    """Real inputs of a form."""
    if form.startswith("run/"):
        return ((RUN / form.removeprefix("run/")).read_bytes(),)
    if form.startswith("sealed/"):
        from tests.fuzz.readers import before

        return (before(form.removeprefix("sealed/")),)
    if form.startswith("model/"):
        return tuple(_model_seeds(form.removeprefix("model/")))
    if form in COMPRESSED:
        return tuple(COMPRESSED[form](raw) for raw in seeds("table" if form == "bzip2" else "rows"))
    return tuple(text.encode() for text in _texts(form))


def _texts(form: str) -> Iterator[str]:
    fixtures = ROOT / "tests" / "fixtures"
    if form in ("rows", "json", "verdict"):
        yield from (json.dumps(row) for row in ROWS)
        yield "\n".join(json.dumps(row) for row in ROWS[:1] * 3)
        yield json.dumps([*ROWS[:2]])
    if form == "verdict":
        yield from (
            '{"score": 3, "reason": "r"}',
            '<think>x</think>```json\n{"better": 1}\n```',
            '{"ranking": [1, [2, 3]]}',
        )
    if form == "table":
        yield from (
            "prompt,answer\n1+1=,2\n",
            'prompt\tcompletion\nq\t"a\nb"\n',
            'prompt,chosen,rejected\nq,a,b\n"q, r",b,a\n',
        )
        yield "messages\n\"[{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}]\"\n"
    if form == "cell":
        yield from (
            "[{'role': 'user', 'content': 'q'}]",
            "array([1., 2.], dtype=float32)",
            '[{"role": "user", "content": "q"}]',
            "['a' 'b']",
        )
    if form in ("recipe", "yaml"):
        for file in sorted([*ROOT.glob("recipes/**/*.yaml"), *ROOT.glob("src/postlude/recipes/**/*.yaml")]):
            yield file.read_text()
        for page in sorted(ROOT.glob("docs/*.md")):
            yield from re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)[:12]
    if form == "settings":
        yield from (
            "steps=3\nschedule.lr=1e-6",
            "reward=[exact, {use: format, pattern: a}]",
            "shaping.0.factor=2",
            "data={mix: [a, b]}",
        )
        yield from (
            "sampling.stop=['a']\nobjective.kl.coef=0.1",
            "model.lora.rank=8\nmodel.lora.targets=[q_proj]",
            "--lr 1e-6",
            "learning_rate=1e-6",
        )
    if form == "foreign":
        yield from (file.read_text() for file in sorted(fixtures.glob("trl-*")) + sorted(fixtures.glob("verl-*")))
    if form == "maths":
        for line in (fixtures / "math_cases.jsonl").read_text().strip().split("\n")[:150:3]:
            yield json.loads(line)["response"]
    if form == "code":
        yield from (
            "```python\ndef f(x):\n    return x\n```",
            "assert f(1) == 2\nassert f([1, 2]) == {'a': 1}",
            "def check(candidate):\n    assert candidate(1) == 2",
        )
        yield from (
            '[{"stdin": "1", "stdout": "2"}]',
            '{"inputs": ["1"], "outputs": ["2"]}',
            '[{"call": "f", "args": [1], "expected": 2}]',
        )
    if form == "values":
        yield from ("[1.0, 0.0]", "[True, None]", "['a', 1]", "[[1.0], [2.0]]", "1.0", "None", *SPECIAL)
    if form in ("template", "chat"):
        yield from (file.read_text() for file in sorted(ROOT.glob("src/postlude/**/*.jinja")))
        yield from (
            "{{ prompt }} {{ answer }} {{ row.a }} {{ fenced('x', answer) }}",
            "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}",
        )
    if form == "principles":
        yield from (
            (ROOT / "examples" / "principles.yaml").read_text(),
            "- Be brief.\n- {id: a, principle: Be kind., critique: c}\n",
        )
    if form == "cases":
        yield (fixtures / "math_cases.jsonl").read_text()[:600]
    if form == "cache":
        yield "SQLite format 3\x00"


def _model_seeds(name: str) -> Iterator[bytes]:
    from tests.fuzz.readers import _model

    if name == "adapter_config.json":
        yield json.dumps(
            {
                "base_model_name_or_path": "x/y",
                "peft_type": "LORA",
                "r": 4,
                "lora_alpha": 8,
                "target_modules": ["q_proj"],
            }
        ).encode()
    elif name.endswith("index.json"):
        yield json.dumps({"metadata": {"total_size": 1}, "weight_map": {"a": "model-1.safetensors"}}).encode()
    else:
        raw = (_model() / name).read_bytes()
        yield raw if name != "model.safetensors" else raw[: 8 + int.from_bytes(raw[:8], "little")] + bytes(64)


def _parquet_seed() -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "q", "answer": "a", "n": 1.5, "l": [1, 2]}] * 5), out)
    return out.getvalue()


# ---------------------------------------------------------------------------------------------- named documents


def named(form: str) -> Iterator[tuple[str, bytes]]:
    """(kind, input): what is tried of every reader, whatever else chance finds."""
    compress = COMPRESSED.get(form)
    for kind, texts in DOCUMENTS.items():
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            yield kind, compress(raw) if compress else raw
    for kind, files in BINARIES.items():
        yield from ((kind, content) for content in files)
    if compress:
        yield from (("compressed bombs", bomb) for bomb in BOMBS)
        yield "compressed bombs", compress(bytes(1 << 26))
    if form == "chat":
        yield from (("hostile templates", text.encode("utf-8", "surrogatepass")) for text in TEMPLATES)
    if form == "model/config.json":
        yield from (("code in models", json.dumps(value).encode()) for value in AUTO_MAPS)
    if form == "model/model.safetensors":
        yield from (("damaged headers", content) for content in _headers())
    if form != "parquet":
        yield from _with_pieces(form)


def _with_pieces(form: str) -> Iterator[tuple[str, bytes]]:
    """Each piece in one place of a real input, the places and inputs taken in turn."""
    compress = COMPRESSED.get(form)
    real = seeds("table" if form == "bzip2" else "rows") if compress else seeds(form)
    turn = 0
    for kind, pieces in PIECES.items():
        for piece in pieces:
            places = [*_placed(real[turn % len(real)], piece.encode("utf-8", "surrogatepass"))]
            content = places[turn % len(places)]
            turn += 1
            yield kind, compress(content) if compress else content


AUTO_MAPS = (
    {"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}, "model_type": "evil"},
    {"auto_map": {"AutoTokenizer": ["evil.T", None]}, "model_type": "qwen3", "tokenizer_class": "EvilTokenizer"},
)


def _headers() -> Iterator[bytes]:
    def of(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
        return (len(header) if length is None else length).to_bytes(8, "little") + header + data

    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    yield from (
        of(b"", 2**62),
        of(b"", 2**64 - 1),
        of(b"{}"),
        of(b"[]"),
        of(b"null"),
        of(b"{" * 100_000),
        of(b"9" * 10_000),
    )
    for change in (
        {"shape": [-1]}, {"shape": [2**62, 2**62]}, {"shape": "x"}, {"shape": None}, {"shape": [1.5]}, {"shape": [[1]]}, {"shape": {"a": 1}},
        {"data_offsets": [4, 0]}, {"data_offsets": [0, 2**70]}, {"data_offsets": ["0", "4"]}, {"data_offsets": [0]}, {"data_offsets": [0, 4.0]},
        {"data_offsets": [-4, 4]}, {"dtype": "X"}, {"dtype": 3}, {"dtype": None}, {"dtype": ["F32"]},
    ):  # fmt: skip
        yield of(json.dumps({"model.norm.weight": tensor | change}).encode(), data=bytes(4))
    yield of(json.dumps({"a": [1], "b": 3}).encode(), data=bytes(4))
    yield of(json.dumps({"\x1b[2J": tensor}).encode(), data=bytes(4))


_SLOT = re.compile(rb'(?<=: )[^\s,{}\[\]]+|(?<==)\S+|"[^"\n]{0,40}"|\b\d+(?:\.\d+)?\b|\b[a-z_]{3,}\b')


def _placed(seed: bytes, piece: bytes) -> Iterator[bytes]:
    """The piece in place of the first value, of one in the middle, inside a word, and behind all."""
    slots = list(_SLOT.finditer(seed[:4000]))
    for slot in slots[:1] + slots[len(slots) // 2 :][:1]:
        yield seed[: slot.start()] + piece + seed[slot.end() :]
        yield seed[: slot.start() + 1] + piece + seed[slot.start() + 1 :]
    yield seed + piece


# ---------------------------------------------------------------------------------------------------- by chance

_text = st.one_of(st.sampled_from(ALL_PIECES[:-12]), st.text(max_size=12))
_scalar = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _text, st.sampled_from([10**400, -1, 0, 1e308, 2**63])
)
_json = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text | st.sampled_from(COLUMNS), inner, max_size=3),
    max_leaves=8,
)
_message = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", "developer", "x", ""]) | _scalar,
        "content": _text | _json,
        "tool_calls": _json,
        "from": st.sampled_from(["human", "gpt", "function_call"]) | _scalar,
        "value": _text,
        "name": _scalar,
    },
)
_value = st.one_of(
    _json, _text, st.lists(_message, max_size=3), st.lists(_text, max_size=3), st.lists(_scalar, max_size=3)
)
_row = st.dictionaries(st.sampled_from(COLUMNS) | _text, _value, max_size=5)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@st.composite
def _mutated(draw: Draw, form: str) -> bytes:
    """A real input with up to five changes: pieces put in, parts cut out, doubled, moved or flipped."""
    content = bytearray(draw(st.sampled_from(seeds(form))))
    for _ in range(draw(st.integers(1, 5))):
        slots = [m.span() for m in _SLOT.finditer(content[:20_000])]
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(1, 40))
        piece = draw(st.sampled_from(ALL_PIECES)).encode("utf-8", "surrogatepass")
        how = draw(st.sampled_from(("slot", "slot", "slot", "insert", "cut", "double", "flip", "end", "swap")))
        if how == "slot" and slots:
            start, end = draw(st.sampled_from(slots))
            content[start:end] = piece
        elif how == "insert":
            content[place:place] = piece
        elif how == "cut":
            del content[place : place + length]
        elif how == "double":
            content[place:place] = content[place : place + length]
        elif how == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "end":
            del content[place:]
        elif how == "swap" and len(slots) > 1:
            a, b = draw(st.sampled_from(slots)), draw(st.sampled_from(slots))
            content[a[0] : a[1]] = content[b[0] : b[1]]
    return bytes(content)


def _made(form: str) -> st.SearchStrategy[bytes] | None:
    """Inputs of a form that are well formed, with values that may be anything; None where damage says it all."""
    if form in ("rows", "cases") or form.endswith(".jsonl"):
        rows = st.lists(_row | st.sampled_from(ROWS), max_size=4).map(lambda rows: "\n".join(map(_dumped, rows)))
        return _encoded(rows | _row.map(lambda row: _dumped([row])))
    if form in ("json", "verdict") or form.endswith(".json"):
        return _encoded(_json.map(_dumped) | _changed(form) if form.endswith(".json") else _json.map(_dumped))
    if form in ("recipe", "foreign"):
        return _encoded(_recipe().map(_dumped))
    if form == "settings":
        line = st.tuples(st.sampled_from(_keys()), _json.map(_dumped) | _text).map(lambda pair: f"{pair[0]}={pair[1]}")
        return _encoded(st.lists(line, min_size=1, max_size=4).map("\n".join))
    if form == "table":
        cells = st.lists(st.lists(_text | _value.map(str), min_size=2, max_size=2), max_size=4)
        names = st.lists(st.sampled_from(COLUMNS), min_size=2, max_size=2, unique=True)
        return _encoded(
            st.tuples(names, cells).map(lambda pair: "\n".join(",".join(row) for row in [pair[0], *pair[1]]))
        )
    if form in ("values", "cell"):
        return _encoded(_json.map(repr) | st.sampled_from(SPECIAL))
    if form in WORDS:
        return _encoded(st.lists(_text | st.sampled_from(WORDS[form]), max_size=8).map(" ".join))
    if form in COMPRESSED:
        inner = _made("table" if form == "bzip2" else "rows")
        assert inner is not None
        return inner.map(COMPRESSED[form])
    return None


WORDS: Mapping[str, Sequence[str]] = {
    "maths": ("\\boxed{", "}", "\\frac{", "{", "^", "_", "\\sqrt", "!", "(", ")", "[", "]", ",", "=", "<", "\\cup", "\\infty", "1",
              "x", "\\text{", "####", "the answer is", "$", "\\begin{pmatrix}", "\\\\", "&", "\\end{pmatrix}", "°", "%", "/", "e", "i"),
    "code": ("```python", "```", "assert", "f(", ")", "==", "def check(candidate):\n   ", "[", "]", "lambda: 0", "import os", "\n", "1", "{", "}"),
    "template": ("{{", "}}", "{%", "%}", "{#", "for", "m", "in", "messages", "endfor", "if", "endif", "set", "=", "|", "tojson", "**", "range(", ")", "~"),
    "chat": ("{{", "}}", "{%", "%}", "for", "m", "in", "messages", "endfor", "m.role", "m['content']", "loop.last", "|", "trim", "add_generation_prompt", "if", "endif", "+"),
    "yaml": ("a:", "-", "&a", "*a", "<<:", "!!", "[", "]", "{", "}", "\n", "  ", "|", ">", "'", '"', "#", "---", "...", "? ", "%YAML 1.1"),
    "principles": ("-", "id:", "principle:", "critique:", "\n", "  ", "{", "}", "Be brief."),
}  # fmt: skip


def _encoded(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return texts.map(lambda text: text.encode("utf-8", "surrogatepass"))


@cache
def _keys() -> tuple[str, ...]:
    """Every key that a recipe may have, with those of the methods' own settings."""
    from postlude.recipe import flat
    from postlude.recipe.resolution import method_settings
    from tests.fuzz.settings import keys_of_schema

    own = [path for name in ("grpo", "ppo", "dpo") for path, _ in flat(method_settings(name))]
    return tuple(dict.fromkeys([*keys_of_schema(), *own, "reward", "data", "model", "learning_rate", "kl_coef"]))


@st.composite
def _recipe(draw: Draw) -> dict[str, Any]:
    values: dict[str, Any] = {
        "method": draw(st.sampled_from(["grpo", "ppo", "dpo", "sft", "kto"])),
        "model": "m",
        "data": "d",
    }
    for key in draw(st.lists(st.sampled_from(_keys()), max_size=5)):
        place: Any = values
        *parents, last = key.split(".")
        for name in parents:
            inner = place.get(name)
            place[name] = inner if isinstance(inner, dict) else {}
            place = place[name]
        place[last] = draw(_json)
    return values


@st.composite
def _changed(draw: Draw, form: str) -> str:
    """A real JSON file with some of its values replaced."""
    value = json.loads(draw(st.sampled_from(seeds(form))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = value
        while True:
            if isinstance(place, list):
                keys: list[Any] = [*range(len(place))]
            else:
                keys = [*place] if isinstance(place, dict) else []
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
                place[key] = draw(_json)
                break
            place = place[key]
    return _dumped(value)


def by_chance(form: str) -> st.SearchStrategy[bytes]:
    """Damaged real inputs, and made ones."""
    if form == "parquet":
        content = _parquet_seed()
        flips = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=8)
        return flips.map(lambda changes: _flipped(content, changes)) | st.binary(max_size=200)
    made = _made(form)
    return _mutated(form) if made is None else st.one_of(_mutated(form), made)


def _flipped(content: bytes, changes: Sequence[tuple[int, int]]) -> bytes:
    result = bytearray(content)
    for place, value in changes:
        result[place] = value
    return bytes(result)
