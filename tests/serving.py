"""A real HTTP server on loopback with a tiny model behind it, that can be told to misbehave."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from postlude.data import Completion
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Request, Sampler
from postlude.engines.settings import Local, Optimizer, Sampling
from postlude.models.load import Facts, inspect
from postlude.models.spec import ModelSpec
from tests.steps import Step
from tests.underway import UnderWay

NAME = "tiny"
PROPER = Step()
__all__ = ["NAME", "Server", "Step"]


class Server:
    """`with Server(folder) as server:` serves the model of a folder under `server.url`.

    `form`: vllm (token_ids), names (token_id:N), llama (logprobs.content) or plain (no ids). `script` holds the
    next steps; `always` is done to every further request for a completion.
    """

    def __init__(self, folder: Path, form: str = "vllm", script: tuple[Step, ...] = (), always: Step = PROPER) -> None:
        spec = ModelSpec(str(folder))
        self.facts: Facts = inspect(spec)
        self.local: Sampler = LocalEngine.start(
            spec, self.facts, Optimizer(), Local(token_budget=1024), keep_reference=False
        ).sampler
        self.form, self.script, self.always = form, [*script], always
        self.names = [NAME]
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.under_way = UnderWay()
        self.lock = threading.Lock()

    def __enter__(self) -> Server:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.keys.append(self.headers.get("Authorization"))
                found = self.path == "/v1/models"
                rows = {"object": "list", "data": [{"id": n, "object": "model"} for n in outer.names]}
                outer.send(self, Step(200 if found else 404), rows if found else {"detail": "Not Found"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.seen.append(body)
                    outer.times.append(time.monotonic())
                    step = outer.script.pop(0) if outer.script else outer.always
                with outer.under_way.one(step.until, step.together, step.delay):
                    reply = outer.reply(body) if step.status == 200 and step.body is None else {"error": "unwell"}
                    step.change(reply)
                with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up, as some tests want
                    outer.send(self, step, reply)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            request_queue_size = 128  # the default of 5 resets connections that come at once

        self.http = Listener(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = False  # closing waits for every handler: the model must not run on into another test
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        return self

    def __exit__(self, *reason: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def send(self, handler: BaseHTTPRequestHandler, step: Step, reply: Any) -> None:
        body = json.dumps(reply).encode() if step.body is None else step.body
        handler.send_response(step.status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **step.headers,
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        for i in range(len(body) if step.drip else 0):
            time.sleep(step.drip)
            handler.wfile.write(body[i : i + 1])
            handler.wfile.flush()
        if not step.drip:
            handler.wfile.write(body)

    def answer(self, body: dict[str, Any]) -> Completion:
        """What the model says: the local sampler, one request at a time."""
        top_k = max(body["top_k"], 0)
        sampling = Sampling(body["temperature"], body["top_p"], top_k, body["max_tokens"], tuple(body["stop"]))

        async def first() -> Completion:
            wanted = [Request(tuple(body["prompt"]), body["seed"])]
            (found,) = [c async for _, c in self.local.sample(wanted, sampling)]
            return found

        with self.lock:
            return asyncio.run(first())

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.answer(body)
        assert answer.logprobs is not None
        ids, values = list(answer.tokens), list(answer.logprobs)
        texts = [self.facts.tokenizer.decode([t]) for t in ids]
        choice: dict[str, Any] = {"index": 0, "text": answer.text}
        choice["finish_reason"] = "length" if answer.stop == "length" else "stop"
        choice["logprobs"] = {"tokens": texts, "token_logprobs": values, "text_offset": [0] * len(ids)}
        if self.form == "vllm":
            choice |= {"token_ids": ids, "prompt_token_ids": body["prompt"]}
        if self.form == "names":
            choice["logprobs"]["tokens"] = [f"token_id:{t}" for t in ids]
        if self.form == "llama":
            rows = zip(ids, texts, values, strict=True)
            choice["logprobs"] = {"content": [{"id": t, "token": s, "logprob": x} for t, s, x in rows]}
        return {"id": "1", "object": "text_completion", "choices": [choice], "usage": {"completion_tokens": len(ids)}}
