"""What a server is started with: the command line and the environment, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from postlude.engines.gpus import visible_devices
from postlude.engines.servers.command import (
    Launch,
    command_line,
    decided,
    environment,
    share_devices,
    threads_of,
)
from postlude.errors import ConfigError

LAUNCH = Launch(Path("/env/bin/python"), "float32", 1024, seed=7)
HEAD = (
    "/env/bin/python -m vllm.entrypoints.openai.api_server --model /run/served/v0 --served-model-name policy "
    "--host 127.0.0.1 --port 4000 --disable-uvicorn-access-log --dtype {dtype} --max-model-len 1024 --seed 7 "
    "--load-format safetensors --generation-config vllm --logprobs-mode processed_logprobs --enable-scale-out"
)


def line(**changes: object) -> str:
    launch = Launch(**{**vars(LAUNCH), **changes})  # type: ignore[arg-type]
    return " ".join(command_line(launch, Path("/run/served/v0"), 4000))


def test_the_command_line_on_a_cpu() -> None:
    cpu = HEAD.format(dtype="float32") + " --enforce-eager --no-enable-chunked-prefill --max-num-batched-tokens 4096"
    assert line() == cpu
    assert line(gpus=2, sleeps=True) == cpu, "which sleep mode is refused on"
    assert line(lora_rank=16, args=("--max-num-seqs", "8")) == (
        cpu + " --enable-lora --max-lora-rank 16 --max-loras 3 --max-num-seqs 8"
    )
    assert line(transfer="gloo").endswith('--weight-transfer-config {"backend": "gloo"}')


def test_prompts_are_computed_whole_on_a_cpu() -> None:
    """vLLM 0.32 ends there over a seeded request whose prompt is computed in pieces: more tokens than a batch takes."""
    assert "--no-enable-chunked-prefill --max-num-batched-tokens 9000" in line(max_length=9000)


def test_the_command_line_on_gpus() -> None:
    gpu = HEAD.format(dtype="bfloat16") + " --tensor-parallel-size 2"
    assert line(dtype="bfloat16", gpus=2, devices=("0", "1")) == gpu
    assert line(dtype="bfloat16", gpus=2, devices=("0", "1"), sleeps=True) == gpu + " --enable-sleep-mode"


def test_a_relative_folder_becomes_absolute_since_the_server_works_elsewhere() -> None:
    assert command_line(LAUNCH, Path("runs/v1"), 1)[4] == str(Path.cwd() / "runs/v1")


OUTER = {
    "PATH": "/usr/bin", "HOME": "/home/a", "LANG": "C", "HF_HOME": "/cache", "LD_LIBRARY_PATH": "/lib",
    "PYTHONPATH": "/ours", "PYTHONHOME": "/x", "RAY_ADDRESS": "auto", "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    "OMP_NUM_THREADS": "9", "OPENAI_API_KEY": "k", "HF_TOKEN": "t", "VLLM_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s",
    "HTTP_PROXY": "http://p", "VLLM_ALLOW_INSECURE_SERIALIZATION": "1", "LD_PRELOAD": "/evil.so", "VLLM_PORT": "1",
    "MASTER_ADDR": "x", "RANK": "1",
}  # fmt: skip
ALWAYS = {
    "PATH": "/env/bin:/usr/bin", "HOME": "/home/a", "LANG": "C", "HF_HOME": "/cache", "LD_LIBRARY_PATH": "/lib",
    "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1", "VLLM_SERVER_DEV_MODE": "1", "VLLM_LOGGING_COLOR": "0", "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1", "VLLM_ENGINE_READY_TIMEOUT_S": "900",
}  # fmt: skip
CPU = {
    "CUDA_VISIBLE_DEVICES": "",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


def test_the_environment_is_these_variables_and_no_other() -> None:
    assert environment(LAUNCH, (), OUTER) == ALWAYS | CPU
    assert environment(LAUNCH, ("2", "3"), OUTER) == ALWAYS | {"CUDA_VISIBLE_DEVICES": "2,3"}
    plugins = Launch(Path("/env/bin/python"), "float32", 1024, lora_rank=8, plugins=Path("/plugins"), threads=3)
    assert environment(plugins, (), OUTER) == ALWAYS | CPU | {
        "OMP_NUM_THREADS": "3",
        "PYTHONPATH": "/plugins",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    }


@pytest.mark.parametrize(
    "word",
    [
        "--model", "--host=0.0.0.0", "--served_model_name", "--dtype", "--no-enable-scale-out", "--logprobs-mode",
        "--logprobs", "--tensor-parallel-size=2", "-tp", "-tp=2", "-dp2", "--data-parallel-size-local", "--config",
        "--quantization", "-q", "--trust-remote-code", "--api-key", "--ssl-keyfile", "--generation-config", "--seed",
        "--weight-transfer-config.backend", "--hf-overrides", "--enable_sleep_mode", "--max-model", "--load-format=pt",
        "--kv-cache-dtype=fp8", "--kv_cache_dtype_skip_layers", "--speculative-config", "--spec", "--spec-model=d",
        "--mamba-cache-dtype", "--lora-dtype", "--kv-transfer-config", "--kv-offloading-size", "--watermark-config.x",
        "--no-watermark", "--runner=pooling", "--convert", "--worker-cls",
    ],
)  # fmt: skip
def test_what_is_decided_elsewhere_is_seen_however_it_is_spelt(word: str) -> None:
    assert decided(word)


@pytest.mark.parametrize(
    "word",
    ["--max-num-seqs", "64", "--gpu-memory-utilization=0.5", "-1", "--model-impl", "-O3", "-0.5", "policy", "",
     "--compilation-config.mode", "--enable-prefix-caching", "--no-enable-prefix-caching", "--max_num_batched_tokens"],
)  # fmt: skip
def test_other_options_and_values_pass(word: str) -> None:
    assert decided(word) is None


def test_every_option_that_we_give_is_ours_alone() -> None:
    gpu = Launch(Path("p"), "bfloat16", 1, lora_rank=8, transfer="nccl", sleeps=True, devices=("0",))
    words = {*command_line(LAUNCH, Path("m"), 1), *command_line(gpu, Path("m"), 1)}
    left = {word for word in words if word.startswith("--") and not decided(word)}
    assert left == {"--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens"}


def test_gpus_are_shared_out_behind_the_trainers() -> None:
    assert share_devices(2, 1, ["0", "1", "2"], colocate=False) == ("1", "2")
    assert share_devices(1, 2, ["4", "5"], colocate=True) == ("4", "5")
    devices = share_devices(2, 2, [*"abcde"], colocate=False)
    launch = Launch(Path("p"), "bfloat16", 1, gpus=2, devices=devices)
    assert [launch.devices_of(index) for index in range(2)] == [("b", "c"), ("d", "e")]
    assert LAUNCH.devices_of(1) == ()


def test_too_few_gpus_is_a_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        share_devices(2, 2, ["0", "1", "2", "3"], colocate=False)
    assert str(caught.value) == (
        "engine.servers wants 2x2 GPUs, 1 for the trainer; this process sees 4. Lower engine.servers.count or gpus, or "
        "widen CUDA_VISIBLE_DEVICES."
    )


def test_gpus_have_the_names_of_this_process() -> None:
    assert visible_devices(2, {}) == ["0", "1"]
    assert visible_devices(2, {"CUDA_VISIBLE_DEVICES": "3, GPU-4f"}) == ["3", "GPU-4f"]


def test_threads_are_shared_with_the_trainer() -> None:
    assert threads_of(10_000) == 1
    assert threads_of(1) >= threads_of(2) >= 1


def test_the_command_of_the_documents_has_what_our_own_servers_have() -> None:
    text = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()
    block = text.partition("VLLM_SERVER_DEV_MODE=1 VLLM_HOST_IP")[2].partition("```")[0]
    ours = {*line(lora_rank=16).split()} | {f"{k}={v}" for k, v in environment(LAUNCH, ()).items() if "VLLM_CPU" in k}
    left_out = {"--disable-uvicorn-access-log", "--seed"}  # each request has its own
    options = {word for word in ours if word.startswith(("--", "VLLM_"))}
    assert options - left_out <= {*block.replace(",", " ").split()}
