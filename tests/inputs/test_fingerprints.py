"""Fingerprints: which files are part of what, and what happened to rows, in words."""

import json
from pathlib import Path

import pytest

from postlude.data import Prompt
from postlude.inputs.code import modules_of
from postlude.inputs.made_of import imported_from_elsewhere, of_code
from postlude.inputs.models import of_model, of_tokenizer
from postlude.inputs.prints import of_file, of_text
from postlude.inputs.rows import Rows, difference


def write(place: Path, text: str = "") -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def test_a_hash_is_that_of_sha256sum(tmp_path: Path) -> None:
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert of_text("abc") == of_file(write(tmp_path / "f", "abc")) == {"bytes": 3, "sha256": abc}


def test_code_is_a_file_with_all_that_it_imports_beside_it_or_below(tmp_path: Path) -> None:
    """By import and from, in functions, relatively, through another module, by a name in a text; and nothing else."""
    write(tmp_path / "score.py", "import json, helper\nfrom pack import part\ndef f():\n    from pack.deep import x\n")
    write(tmp_path / "helper.py", "import importlib\nm = importlib.import_module('named')\nimport torch, above\n")
    write(tmp_path / "named.py", "import score\n")
    write(tmp_path / "pack" / "__init__.py")
    write(tmp_path / "pack" / "part.py", "from . import sibling\nfrom .deep.most import y\nfrom ..unrelated import z\n")
    write(tmp_path / "pack" / "sibling.py")
    write(tmp_path / "pack" / "unused.py")
    write(tmp_path / "pack" / "deep" / "__init__.py")
    write(tmp_path / "pack" / "deep" / "most.py", "this is no Python")
    write(tmp_path / "unrelated.py")
    write(tmp_path / "unused.py")
    write(tmp_path.parent / "above.py")
    assert [*modules_of(tmp_path / "score.py")] == [
        "helper.py", "named.py", "pack/__init__.py", "pack/deep/__init__.py", "pack/deep/most.py", "pack/part.py",
        "pack/sibling.py", "score.py", "unrelated.py",
    ]  # fmt: skip
    assert [*modules_of(tmp_path / "pack" / "sibling.py", "pack.sibling")] == ["pack/sibling.py"]
    assert "helper.py" in modules_of(tmp_path / "score.py", "score")


def test_a_link_has_the_name_that_it_was_written_as(tmp_path: Path) -> None:
    """The same text behind a link is the same file, whatever it is called at its other end."""
    write(tmp_path / "real" / "one.py", "import helper\n")
    write(tmp_path / "real" / "helper.py")
    (tmp_path / "score.py").symlink_to(tmp_path / "real" / "one.py")
    assert [*modules_of(tmp_path / "score.py")] == ["helper.py", "score.py"]


def test_what_is_imported_from_elsewhere_is_what_a_reward_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that comes earlier on the path hides the file beside the reward."""
    write(tmp_path / "rew" / "mine.py", "import hidden_helper, open_helper\nfrom hidden_pack.part import x\n")
    write(tmp_path / "rew" / "hidden_helper.py", "beside = 1\n")
    write(tmp_path / "rew" / "open_helper.py")
    for folder in ("rew", "first"):
        write(tmp_path / folder / "hidden_pack" / "__init__.py")
        write(tmp_path / folder / "hidden_pack" / "part.py", f"x = {folder!r}\n")
    other = write(tmp_path / "first" / "hidden_helper.py", "elsewhere = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "rew")
    use = f"{tmp_path}/rew/mine.py:score"
    package = ["hidden_pack/__init__.py", "hidden_pack/part.py"]
    assert [*of_code(use)] == ["hidden_helper.py", *package, "mine.py", "open_helper.py"]
    monkeypatch.syspath_prepend(tmp_path / "first")
    prints = of_code(use)
    elsewhere = ["hidden_helper elsewhere: hidden_helper.py", *(f"hidden_pack elsewhere: {one}" for one in package)]
    assert [*prints] == ["mine.py", "open_helper.py", *elsewhere]
    assert prints["hidden_helper elsewhere: hidden_helper.py"] == of_file(other)
    note, _ = imported_from_elsewhere([use])
    assert f"imports 'hidden_helper' from {str(other)!r}, and not what lies beside it" in note


def test_of_an_installed_module_only_its_package_is_looked_at() -> None:
    import yaml

    assert yaml.__file__
    names = [*modules_of(Path(yaml.__file__), "yaml")]
    assert "yaml/loader.py" in names and all(name.startswith("yaml/") for name in names)


def rows(*ids: str) -> Rows:
    return Rows("data", "data", 0, [Prompt(one, one, place=f"d.jsonl line {i}") for i, one in enumerate(ids, 1)])


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("abcd", "abxd", "1 of 4 rows differs (first d.jsonl line 3)"),
        ("abcd", "xbyd", "2 of 4 rows differ (first d.jsonl line 1)"),
        ("abcd", "abcdef", "2 were added (first d.jsonl line 5)"),
        ("abcd", "xbcde", "1 of 4 rows differs, 1 was added (first d.jsonl line 1)"),
        ("abcd", "abd", "1 was taken out (first row 3 of those it began with)"),
        ("abcd", "acbd", "its 4 rows stand in another order (first d.jsonl line 2)"),
        ("abcd", "xy", "2 of 4 rows differ, 2 were taken out (first d.jsonl line 1)"),
    ],
)
def test_what_happened_to_rows(before: str, now: str, said: str) -> None:
    assert difference([*before], rows(*now)) == said


def test_a_model_is_its_weights_and_configs_and_those_of_its_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name in ("model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "config.json"):
        write(base / name, name)
    write(base / "tokenizer.json", "t")
    write(base / "tokenizer_config.json", '{"chat_template": "x", "a": 1}')
    write(tmp_path / "a" / "adapter_config.json", json.dumps({"r": 8, "base_model_name_or_path": str(base)}))
    write(tmp_path / "a" / "adapter_model.safetensors", "w")
    found = of_model(str(tmp_path / "a"))
    assert sorted(found) == [
        "adapter_config.json", "adapter_model.safetensors", "base/config.json", "base/model-1.safetensors",
        "base/model-2.safetensors", "base/model.safetensors.index.json",
    ]  # fmt: skip
    assert found["base/model-1.safetensors"] == of_text("model-1.safetensors")
    base.rename(tmp_path / "moved")
    write(
        tmp_path / "a" / "adapter_config.json",
        json.dumps({"base_model_name_or_path": str(tmp_path / "moved"), "r": 8}),
    )
    assert of_model(str(tmp_path / "a")) == found
    tokenizer = of_tokenizer(str(tmp_path / "moved"))
    assert sorted(tokenizer) == ["tokenizer.json", "tokenizer_config.json"]
    write(tmp_path / "moved" / "tokenizer_config.json", '{"a": 1, "chat_template": "another"}')
    assert of_tokenizer(str(tmp_path / "moved")) == tokenizer
