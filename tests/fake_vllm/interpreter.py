"""An interpreter, as `engine.servers.python` names one, in which `import vllm` gives the fake."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from tests.fake_vllm.options import Options

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def interpreter(folder: Path, **options: object) -> Path:
    """A script in `folder` that runs this Python with the fake's package first; `options` are fields of `Options`."""
    path, version = folder / "python", options.get("version", Options.version)
    package = folder / f"vllm-{version}.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    places = ":".join(str(place) for place in (HERE / "site", folder, ROOT, ROOT / "src"))
    said = {"PYTHONPATH": places, "FAKE_VLLM": json.dumps(options), "OMP_NUM_THREADS": "1"}
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in said.items())
    path.write_text(f'#!/bin/sh\nexec env {words} {shlex.quote(sys.executable)} "$@"\n')
    path.chmod(0o755)
    return path
