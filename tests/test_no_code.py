"""No code from data, checkpoints or models: nothing in the source could run it, and hostile folders run nothing."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postlude.errors import PostludeError
from postlude.models.load import inspect, inspect_files
from postlude.models.spec import ModelSpec
from postlude.models.trial import endless
from tests.underway import in_little_time

PACKAGE = Path(__file__).parent.parent / "src" / "postlude"
NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "joblib", "marshal"}
"""Modules that turn bytes into objects."""
CALLS = {"eval", "exec", "compile", "__import__"}
INSIDE = PACKAGE / "sandbox" / "inside"
"""Runs in the sandbox, where running programs is the point."""
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if INSIDE not in path.parents]


def dangers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"import {n.name}" for n in names if n.name.partition(".")[0] in NEVER)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in NEVER:
                yield f"from {module}"
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                yield f"{name}()"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "unsafe_load" | "full_load")):
                yield "yaml.load()"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords):
                if not any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in keywords):
                    yield "torch.load() without weights_only"
            case ast.keyword(arg="trust_remote_code" | "allow_pickle", value=ast.Constant(value=True)):
                yield f"{node.arg}=True"
            case ast.Call(func=ast.Attribute(attr="from_pretrained"), keywords=keywords) if _of_code(node):
                if not any(k.arg == "trust_remote_code" for k in keywords):
                    yield f"{ast.unparse(node)[:60]} without trust_remote_code=False"
            case _:
                pass


def _of_code(call: ast.Call) -> bool:
    """Classes of transformers that would import a file of the model's, where a caller lets them."""
    assert isinstance(call.func, ast.Attribute)
    return ast.unparse(call.func.value).startswith("Auto")


def test_nothing_turns_bytes_into_code() -> None:
    assert not [f"{path.relative_to(PACKAGE)}: {d}" for path in FILES for d in dangers(ast.parse(path.read_text()))]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "eval('1')", "yaml.load(x)", "torch.load(p)",
        "f(trust_remote_code=True)",
        "numpy.load(p, allow_pickle=True)", "AutoModel.from_pretrained(p)",
    ],
)  # fmt: skip
def test_the_test_has_teeth(source: str) -> None:
    assert [*dangers(ast.parse(source))]


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.place, "owned"))


def _hostile(kind: str, folder: Path, canary: Path) -> None:
    code = f"from pathlib import Path\nPath({str(canary)!r}).write_text('owned')\n"
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    if kind == "code of a model":
        (folder / "evil.py").write_text(code)
        config |= {"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}, "model_type": "evil"}
    if kind == "code of a tokenizer":
        (folder / "evil.py").write_text(code)
        tokenizer |= {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "EvilTokenizer"}
        (folder / "tokenizer.json").unlink()
    if kind == "pickled weights":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(canary)))
    if kind == "a template without end":
        loop = "{% for a in range(9999) %}"
        (folder / "chat_template.jinja").write_text(loop * 4 + "{% endfor %}" * 4)
    if kind == "a template of all memory":
        (folder / "chat_template.jinja").write_text("{{ 'x' * 10**10 }}")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    "kind",
    [
        "code of a model",
        "code of a tokenizer",
        "pickled weights",
        "a template without end",
        "a template of all memory",
    ],
)
def test_a_hostile_model_is_refused_and_runs_nothing(kind: str, model_folder: Path, tmp_path: Path) -> None:
    """Within the five seconds of processor time that any reader has."""
    folder, canary = tmp_path / "model", tmp_path / "canary"
    shutil.copytree(model_folder, folder)
    _hostile(kind, folder, canary)
    with in_little_time(), pytest.raises(PostludeError) as error:
        inspect(ModelSpec(str(folder)))
        inspect_files(str(folder))
    assert str(error.value).startswith(("model: ", str(folder)))
    assert not canary.exists()


@pytest.mark.parametrize(
    "reach", ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__ }}"]
)
def test_a_template_reaches_nothing(reach: str, tokenizer: Any) -> None:
    """Jinja's sandbox: what it would reach is refused or empty."""
    from jinja2.exceptions import TemplateError

    assert endless(reach) is None
    tokenizer.chat_template = reach
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False)
    except TemplateError:
        return
    finally:
        tokenizer.chat_template = None
    assert "class" not in text and "os" not in text


def test_templates_of_the_world_end() -> None:
    from tests.models import templates

    texts = [value for name, value in vars(templates).items() if isinstance(value, str) and "{%" in value]
    assert texts and not [text for text in texts if endless(text)]
