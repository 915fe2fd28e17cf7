"""What users ask of vLLM servers that sample for a run."""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.practice import SYMPTOM
from postlude.facts.topic import Topic

PAGE = "docs/scale.md"
SERVERS = (
    Topic(
        "vllm servers",
        "who answers instead of this process",
        CONCEPT,
        "With engine.servers vLLM servers sample for a run, on this machine or on others, and get the trained weights "
        "after every step; the trainer stays in this process, or in those of engine.trainers. Nothing else of a recipe "
        "changes. After each publication their log-probs are compared with the trainer's: a server that kept the old "
        "weights, or rounds otherwise, is refused.",
        use="1. `make vllm-env`, once. 2. engine.servers={count: 1, python: .venv-vllm/bin/python}, or {urls: [...]} "
        "of servers that run already. 3. `postlude engine check RECIPE` starts them, compares, publishes once, ends. "
        "Worth it for long answers and many of them at once.",
        bad_at="A start takes about a minute, whatever the model. Small models, and CPUs that trainer and server "
        "share, are faster without. A run with servers cannot be repeated to the last bit.",
        source=PAGE,
        place="engines/servers/engine.py:ServedEngine",
        see=("engine.servers", "engine.publish", "server does not come up", "servers disagree with the trainer"),
        words=("vllm", "vllm server", "inference server", "rollout server", "external sampler", "sglang", "handshake"),
        shows=("postlude engine check RECIPE",),
    ),
    Topic(
        "server does not come up",
        "a vLLM server ends, or is not healthy in time",
        SYMPTOM,
        "The run ends with the end of the server's log, the log's path (RUN/servers/) and the command line; nothing is "
        "left running. While it starts the terminal and `postlude status` say for how long, of how long at "
        "most, and what its log says last.",
        use="1. Read the first error in its log. 2. `postlude engine check RECIPE` tries it without a run. 3. An "
        "interpreter without vllm, or an old one: `make vllm-env`. 4. Too little memory: fewer servers "
        "(engine.servers.count), or engine.servers.args with --gpu-memory-utilization. 5. Healthy, but too late: "
        "raise engine.servers.start_timeout. 6. An option of engine.servers.args: take it out.",
        source=PAGE,
        place="engines/servers/fleet.py:Fleet",
        see=("server-unreachable", "server-refused", "engine.servers.start_timeout", "engine.servers.args"),
        words=(
            "server does not start", "vllm does not start", "server hangs at the start", "server not healthy",
            "server is stuck", "vllm server fails",
        ),
        shows=("postlude engine check RECIPE", "postlude status RUN"),
    ),
    Topic(
        "servers disagree with the trainer",
        "server and trainer do not agree about the same tokens",
        SYMPTOM,
        "In float32 they may be 0.001 nats apart, in 16 bits 0.5 in a token and 0.05 in the mean: vLLM's rounding is "
        "not the trainer's. More than that is another distribution, which a ratio would take for learning: "
        "the log-probs of temperature 1 (no --logprobs-mode processed_logprobs), a quantised or rounded copy, sampling "
        "settings of the model's own (no --generation-config vllm), or weights that were never taken.",
        use="The refusal says which it is and what to do: the table of docs/scale.md has all. Within the limits, "
        "and growing: `postlude doctor RUN` (handshake-grows). In 16 bits objective.correction takes the rest out, or "
        "engine.dtype=float32.",
        source=PAGE,
        place="engines/servers/handshake.py:Handshake",
        see=("sampler-differs", "handshake-grows", "handshake/error", "mismatch/max", "objective.correction"),
        words=(
            "server log-probs differ", "log-probs of servers differ", "log-probs of the server differ",
            "why do log-probs of the server differ", "logprobs of server differ", "logprobs of the server differ",
            "vllm logprobs mismatch", "train inference mismatch",
        ),
        shows=("postlude engine check RECIPE", "postlude doctor RUN"),
    ),
)  # fmt: skip
