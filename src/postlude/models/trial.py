"""Whether a chat template comes to an end, and with how much memory: tried in a process of its own.

A template is a program that comes with a model. What it can reach is jinja's sandbox; how long it runs nothing limits,
so that it runs first where a limit can be set. Beside the standard library this file imports jinja alone: run as a
script, it is that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

SECONDS = 3
"""Of processor time, for a few conversations of two to four short messages."""
MEMORY = 1 << 30
"""Bytes of addresses beside those of Python itself."""
LENGTH = 1_000_000
"""Characters of such a conversation."""
LONGEST = 200_000
"""Characters of a template: those of models have thousands."""
PATIENCE = 60
"""Seconds on the clock, on a machine that does other things too."""
_ROLES = (["user"], ["user", "assistant", "user", "assistant"], ["system", "user", "assistant"])


@lru_cache(maxsize=256)
def endless(template: str) -> str | None:
    """Why a template must not be used here, in words; None where it ends as templates do, with an error or without."""
    if len(template) > LONGEST:
        return f"it has {len(template):,} characters, more than {LONGEST:,}"
    job = json.dumps({"template": template, "path": sys.path})
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", __file__], input=job, text=True, capture_output=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"it does not come to an end within {PATIENCE} seconds"
    if ended.returncode < 0:
        return f"it does not come to an end within {SECONDS} seconds of processor time"
    return _SAID.get(ended.stdout.strip())


_SAID = {
    "memory": f"it takes more than {MEMORY >> 30} GiB of memory for a conversation of a few words",
    "length": f"it makes more than {LENGTH:,} characters of a conversation of a few words",
}


def _environment() -> Any:
    """As transformers renders templates; its mark of the assistant's words has no effect on the time they take."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012  # jinja reads the attribute of the class

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: object) -> None:
        raise TemplateError(str(message))

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **how: json.dumps(value, **{"ensure_ascii": False, **how})
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: form
    return environment


def _try(template: str) -> str:
    """`length` where it writes without bound, else nothing."""
    compiled = _environment().from_string(template)
    for roles in _ROLES:
        messages = [{"role": role, "content": f"word {i}"} for i, role in enumerate(roles)]
        for asked in (False, True):
            try:
                text = compiled.render(messages=messages, tools=None, documents=None, add_generation_prompt=asked)
            except MemoryError:
                raise
            except Exception:  # whatever a template does with such a conversation is told where it is used
                continue
            if len(text) > LENGTH:
                return "length"
    return ""


def main() -> None:
    """The process: a template on standard input; on standard output a word of `_SAID`, or nothing."""
    import resource

    job = json.load(sys.stdin)
    sys.path[:] = job["path"]
    _environment()
    with suppress(OSError, ValueError):  # only Linux knows the one, and not every system can set the other
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    try:
        print(_try(job["template"]))
    except MemoryError:
        print("memory")
    except Exception:  # no template at all is told by whoever opens the model
        return


if __name__ == "__main__":
    main()
