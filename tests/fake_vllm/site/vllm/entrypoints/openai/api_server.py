"""`python -m vllm.entrypoints.openai.api_server`: the flags that postlude gives, and the environment it sets."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from tests.fake_vllm.http import Listener
from tests.fake_vllm.options import Options
from tests.fake_vllm.server import Endpoints


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("api_server")
    for name in ("model", "served-model-name", "host", "dtype", "logprobs-mode", "max-lora-rank", "max-loras"):
        parser.add_argument(f"--{name}")
    for name in ("port", "max-model-len", "max-num-seqs", "tensor-parallel-size", "seed"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("enforce-eager", "enable-scale-out", "enable-lora", "enable-sleep-mode"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--weight-transfer-config")
    return parser.parse_known_args()[0]


def _options(said: argparse.Namespace) -> Options:
    named = {"name": said.served_model_name or said.model, "max_model_len": said.max_model_len or 1024}
    return Options(
        **named,
        processed=said.logprobs_mode == "processed_logprobs",
        scale_out=said.enable_scale_out,
        enable_lora=said.enable_lora,
        dev=os.environ.get("VLLM_SERVER_DEV_MODE") == "1",
        runtime_lora=os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") in ("1", "True", "true"),
        **json.loads(os.environ.get("FAKE_VLLM", "{}")),
    )


async def _serve(folder: Path, options: Options, host: str, port: int) -> None:
    endpoints = Endpoints(folder, options)
    listener = Listener(endpoints.handle, endpoints.choose)
    await listener.open(host, port)
    print(f"INFO: Started server process [{os.getpid()}] on {host}:{port}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    said = _arguments()
    options, folder = _options(said), Path(said.model or "")
    print(f"INFO: vLLM API server version {options.version}", flush=True)
    if options.start == "dies" or not (folder / "config.json").is_file():
        sys.exit(f"ValueError: Invalid repository ID or local directory specified: {str(folder)!r}")
    if options.start == "silent":
        asyncio.run(asyncio.Event().wait())
    asyncio.run(_serve(folder, options, said.host or "0.0.0.0", said.port or 8000))


if __name__ == "__main__":
    main()
