"""What one server of ours is started with: vLLM's command line, and its environment exactly. Starts nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from postlude.errors import ConfigError

HOST = "127.0.0.1"
"""The endpoints that replace weights ask for no password: nobody outside this machine reaches them."""
NAME = "policy"
"""What requests name the model."""
LEAST_BATCH = 4096
"""On a CPU, tokens of prompts that are computed at a time."""
PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",
    "CUDA_HOME", "CUDA_PATH", "CUDA_DEVICE_ORDER", "CC", "CXX",
    "NCCL_DEBUG", "NCCL_SOCKET_IFNAME", "NCCL_IB_DISABLE", "NCCL_IB_HCA", "NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE",
)  # fmt: skip
"""Variables that a server has from us, and no other: no key or token is among them, nor what steers Python or Ray."""
ALWAYS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": HOST,
    "VLLM_SERVER_DEV_MODE": "1",  # the endpoints that pause, reload, label and sleep
    "VLLM_LOGGING_COLOR": "0",
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
}
OURS = {
    "--model": "model.path says which",
    "--tokenizer": "model.path says which",
    "--revision": "a folder is served",
    "--tokenizer-revision": "a folder is served",
    "--code-revision": "code that comes with a model is never run",
    "--trust-remote-code": "code that comes with a model is never run",
    "--hf-token": "nothing is downloaded",
    "--hf-overrides": "the model is the one that is trained",
    "--hf-config-path": "the model is the one that is trained",
    "--model-class-overrides": "the model is the one that is trained",
    "--quantization": "its log-probs would be those of another model",
    "--quantization-config": "its log-probs would be those of another model",
    "--allow-deprecated-quantization": "its log-probs would be those of another model",
    "--kv-cache-dtype": "keys and values are of engine.dtype (auto); rounded ones give the log-probs of another model",
    "--mamba-cache-dtype": "a state is of engine.dtype (auto); a rounded one gives the log-probs of another model",
    "--mamba-ssm-cache-dtype": "a state is of engine.dtype (auto); a rounded one gives the log-probs of another model",
    "--lora-dtype": "engine.dtype says which",
    "--kv-transfer-config": "keys and values of older weights would come back from there",
    "--kv-offloading": "keys and values of older weights would come back from there",
    "--speculative-config": "a draft model is not trained with the policy, and its log-probs are not compared",
    "--spec-": "a draft model is not trained with the policy, and its log-probs are not compared",
    "--watermark": "answers would not be sampled from the policy",
    "--runner": "it is asked for answers",
    "--convert": "it is asked for answers",
    "--worker-cls": "weights are handed to vLLM's own workers",
    "--load-format": "safetensors alone are read, never a pickle",
    "--served-model-name": "requests name the version that they are for",
    "--dtype": "engine.dtype says which",
    "--max-model-len": "the longest prompt and sampling.max_tokens say how many",
    "--seed": "every request has its own",
    "--generation-config": "every setting of sampling is sent with each request",
    "--override-generation-config": "every setting of sampling is sent with each request",
    "--logits-processors": "its log-probs would not be the policy's",
    "--logprobs-mode": "only the log-probs of what was sampled from can be trained on",
    "--max-logprobs": "the log-prob of every sampled token is asked for",
    "--return-tokens-as-token-ids": "ids are asked for by themselves",
    "--enable-scale-out": "versions come from that endpoint, so it is always there",
    "--tokens-only": "weights could not be published to it",
    "--skip-tokenizer-init": "strings that end an answer are looked for in its text",
    "--tensor-parallel-size": "engine.servers.gpus says how many",
    "--pipeline-parallel-size": "engine.servers.gpus says how many GPUs, which share every layer",
    "--data-parallel": "engine.servers.count says how many",
    "--api-server-count": "engine.servers.count says how many",
    "--device-ids": "engine.servers.gpus and CUDA_VISIBLE_DEVICES say which",
    "--nnodes": "servers on other machines are engine.servers.urls",
    "--headless": "it is asked over HTTP",
    "--distributed-executor-backend": "Ray is not used",
    "--enable-lora": "model.lora says whether",
    "--max-lora-rank": "model.lora.rank says which",
    "--max-loras": "the versions that answers under way need are loaded, and no more",
    "--max-cpu-loras": "the versions that answers under way need are loaded, and no more",
    "--lora-modules": "a version is loaded when it is published",
    "--weight-transfer-config": "engine.publish says how weights come",
    "--worker-extension-cls": "engine.publish says how weights come",
    "--enable-sleep-mode": "engine.servers.colocate says whether",
    "--host": "a server that takes weights is reached from this machine alone",
    "--grpc-port": "a server that takes weights is reached from this machine alone",
    "--allowed-origins": "a server that takes weights is reached from this machine alone",
    "--port": "a free one is taken",
    "--uds": "a free port of this machine is taken",
    "--api-key": "a server that is started here is reached from this machine alone",
    "--ssl": "a server that is started here is reached from this machine alone",
    "--root-path": "its endpoints are at the root",
    "--middleware": "its answers must be vLLM's own",
    "--config": "it could set any of what the run sets; write the options out",
    "--disable-uvicorn-access-log": "every look at its health would be a line of the log",
}
"""Options of vLLM that a recipe's `args` must not hold, or which begin like that -> why."""
FAMILIES = ("--data-parallel", "--ssl", "--kv-cache-dtype", "--kv-offloading", "--spec-", "--watermark")
"""Beginnings of options of which none may be there."""
SHORT = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel",
    "-asc": "--api-server-count",
    "-q": "--quantization",
    "-n": "--nnodes",
}


@dataclass(frozen=True)
class Launch:
    """What every server of a run is started with."""

    python: Path
    """The interpreter that has vllm. Not followed where it is a link: that is how it knows its environment."""
    dtype: str
    """Of weights and activations: `float32`, `bfloat16`."""
    max_length: int
    """Tokens of the longest prompt and answer together."""
    seed: int = 0
    lora_rank: int | None = None
    """None where whole weights are published."""
    loras: int = 3
    """Adapters that are loaded at once: the newest, and those that answers under way were begun with."""
    transfer: str | None = None
    """The backend by which weights are streamed (`nccl`, or the name of a plugin); None where they never are."""
    plugins: Path | None = None
    """A folder that is put on the server's PYTHONPATH for plugins of ours; needed by no other way to publish."""
    most: float | None = None
    """Share of a GPU's memory that it may take; None is vLLM's own choice."""
    sleeps: bool = False
    """Whether it gives its GPU back while the trainer works."""
    gpus: int = 1
    devices: tuple[str, ...] = ()
    """Of all servers together, as CUDA_VISIBLE_DEVICES names them: `gpus` for each. Empty on a CPU."""
    cache_gib: int = 1
    """On a CPU, room for keys and values."""
    threads: int = 1
    """On a CPU."""
    start_timeout: float = 900.0
    """Seconds."""
    args: tuple[str, ...] = ()
    """More of vLLM's command line."""

    def devices_of(self, index: int) -> tuple[str, ...]:
        """The GPUs of one server, the first of which is number 0."""
        return self.devices[index * self.gpus : (index + 1) * self.gpus]


def command_line(launch: Launch, model: Path, port: int) -> list[str]:
    """How vLLM is started on the weights in a folder."""
    words = [str(launch.python), "-m", "vllm.entrypoints.openai.api_server"]
    words += ["--model", str(model.absolute()), "--served-model-name", NAME]
    words += ["--host", HOST, "--port", str(port), "--disable-uvicorn-access-log"]
    words += ["--dtype", launch.dtype, "--max-model-len", str(launch.max_length), "--seed", str(launch.seed)]
    words += ["--load-format", "safetensors", "--generation-config", "vllm"]
    words += ["--logprobs-mode", "processed_logprobs", "--enable-scale-out"]
    if launch.devices:
        words += ["--tensor-parallel-size", str(launch.gpus)]
        words += ["--enable-sleep-mode"] if launch.sleeps else []
        words += [] if launch.most is None else ["--gpu-memory-utilization", f"{launch.most:.2f}"]
    else:
        words += ["--enforce-eager"]  # no compiler is needed, and a start takes no minutes
        # a prompt that is computed in two pieces ends vLLM 0.32 on a CPU where its request has a seed, as ours have
        words += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(LEAST_BATCH, launch.max_length))]
    if launch.lora_rank is not None:
        words += ["--enable-lora", "--max-lora-rank", str(launch.lora_rank), "--max-loras", str(launch.loras)]
    if launch.transfer is not None:
        words += ["--weight-transfer-config", json.dumps({"backend": launch.transfer})]
    return [*words, *launch.args]


def environment(launch: Launch, devices: Sequence[str], outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """All that a server sees of the environment."""
    inner = {name: outer[name] for name in PASSED if name in outer} | ALWAYS
    inner["PATH"] = os.pathsep.join([str(launch.python.parent), inner.get("PATH", os.defpath)])
    inner["VLLM_ENGINE_READY_TIMEOUT_S"] = str(max(1, round(launch.start_timeout)))
    inner["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    if launch.lora_rank is not None:
        inner["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if launch.plugins is not None:
        inner["PYTHONPATH"] = str(launch.plugins.absolute())
    if not devices:
        inner["VLLM_CPU_KVCACHE_SPACE"] = str(launch.cache_gib)
        inner["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        inner["OMP_NUM_THREADS"] = str(launch.threads)
    return inner


def decided(word: str) -> str | None:
    """Why a word of the user's `args` is not for them to say, however its option is spelt; None where it is."""
    option = _option(word)
    return next((why for name, why in OURS.items() if option and name.startswith(option)), None)


def _option(word: str) -> str:
    """The option that a word begins, as vLLM reads it: without a value, with hyphens, without `no-`."""
    if not word.startswith("-") or word.strip("-")[:1].isdigit():
        return ""
    name = word.partition("=")[0].partition(".")[0].replace("_", "-").rstrip("+")
    if not name.startswith("--"):
        return next((long for short, long in SHORT.items() if name.startswith(short)), "")
    name = "--" + name[5:] if name.startswith("--no-") else name
    return next((family for family in FAMILIES if name.startswith(family)), name)


def threads_of(count: int) -> int:
    """CPU threads of each server, where trainer and servers share the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (count + 1))


def share_devices(count: int, gpus: int, visible: Sequence[str], colocate: bool, trainers: int = 1) -> tuple[str, ...]:
    """The GPUs of `count` servers. The first are the trainers', and the servers' as well where they share it.

    Raises ConfigError where there are too few; nothing has been started by then.
    """
    first, wanted = (0 if colocate else trainers), count * gpus
    if first + wanted > len(visible):
        theirs = "the trainer" if trainers == 1 else "trainers"
        share = "the trainer shares theirs" if colocate else f"{trainers} for {theirs}"
        raise ConfigError(
            f"engine.servers wants {count}x{gpus} GPUs, {share}; this process sees {len(visible)}. Lower "
            "engine.servers.count or gpus, or widen CUDA_VISIBLE_DEVICES.",
            code="no-such-device",
            key="engine.servers",
        )
    return tuple(visible[first : first + wanted])
