"""The suite's numeric part under every instruction set that this processor has: `make test-processors`.

torch picks its kernels by the processor; ATEN_CPU_CAPABILITY makes it pick those of a smaller one, which round in
another way.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from postlude.runs import read

KINDS = ("default", "avx2", "avx512")
NUMERIC = ("tests/golden", "tests/objectives", "tests/engines", "tests/models", "tests/e2e", "tests/test_streams.py")


def available() -> list[str]:
    """What ATEN_CPU_CAPABILITY may be here: asking for more than the processor has would crash."""
    code = "import torch; print(torch.backends.cpu.get_cpu_capability().lower())"
    free = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
    own = subprocess.run(
        [sys.executable, "-c", code], env=free, capture_output=True, text=True, check=True
    ).stdout.strip()
    return [*KINDS[: KINDS.index(own) + 1]] if own in KINDS else [own]


def sampled(folder: Path, kind: str | None, threads: int, cases: list[str]) -> dict[str, str]:
    """Hashes of all that the runs of these cases sample, from a process of its own: see `main`."""
    env = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        **({"ATEN_CPU_CAPABILITY": kind} if kind else {}),
    }
    words = [sys.executable, "-m", "tests.processors", str(folder), str(threads), *cases]
    done = subprocess.run(words, env=env, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def _digest(run: Path) -> str:
    """Of the ids of every token that a run sampled to train on, and of every answer it was measured by."""
    digest, history = hashlib.sha256(), read(run)
    for row in [*history.rollouts.all(), *history.answers]:
        digest.update(json.dumps([row["completion"], row.get("tokens")]).encode())
    return digest.hexdigest()


def main(folder: Path, threads: int, cases: list[str]) -> dict[str, str]:
    """Learn some cases, or without any a few steps only, in a new world; the hash of what each run sampled."""
    from tests import learning
    from tests.cases import CASES

    learning.COMMON["threads"] = threads
    if not cases:
        learning.make_world(folder, steps=12)
        learning.run(folder, "grpo", "sft/model", steps=4)
    else:
        learning.add_judged(learning.make_world(folder))
    for case in CASES:
        if case.name in cases:
            case.learn(folder, 0)
    return {str(path.parent.relative_to(folder)): _digest(path.parent) for path in sorted(folder.rglob("events.jsonl"))}


def suite(words: list[str]) -> int:
    """The numeric part under each kind, then the comparison between them; 0 where all is well."""
    failed = 0
    for kind in available():
        print(f"ATEN_CPU_CAPABILITY={kind}", flush=True)
        command = [sys.executable, "-m", "pytest", *(words or ("-n", "2")), *NUMERIC]
        failed |= subprocess.run(command, env={**os.environ, "ATEN_CPU_CAPABILITY": kind}).returncode
    command = [sys.executable, "-m", "pytest", "-m", "slow", "tests/e2e/test_processors.py"]
    return failed | subprocess.run(command).returncode


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2].isdigit():
        print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
    else:
        sys.exit(suite(sys.argv[1:]))
