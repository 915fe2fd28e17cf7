"""An interpreter, as `engine.servers.python` names one, in which `import vllm` gives the fake."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def interpreter(folder: Path, **options: object) -> Path:
    """A script in `folder` that runs this Python with the fake's package first; `options` are fields of `Options`."""
    path = folder / "python"
    places = ":".join(str(place) for place in (HERE / "site", ROOT, ROOT / "src"))
    said = {"PYTHONPATH": places, "FAKE_VLLM": json.dumps(options), "OMP_NUM_THREADS": "1"}
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in said.items())
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec env {words} {shlex.quote(sys.executable)} "$@"\n')
    path.chmod(0o755)
    return path
