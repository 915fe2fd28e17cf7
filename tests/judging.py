"""A real OpenAI-compatible chat server on loopback, that says what a test wants and can be told to misbehave."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.underway import UnderWay

Messages = list[dict[str, str]]


def between(text: str, label: str) -> str:
    """What stands between the marks of a label in a judge's question."""
    found = re.search(rf"\[{label} (\w+)\]\n(.*)\n\[end of {label} \1\]", text, re.DOTALL)
    assert found, text
    return found[2]


@dataclass(frozen=True)
class Bad:
    """What the server does instead of answering properly, once."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    until: threading.Event | None = None
    """It is answered only once this is set."""
    together: int = 0
    """It is answered only once so many requests were under way together."""
    delay: float = 0.0
    """Seconds that it is under way then, at least."""
    drip: float = 0.0
    """Seconds between single bytes of the body."""


class ChatServer:
    """`with ChatServer(reply) as server:` answers at `server.url` with what `reply` makes of the messages.

    `top` gives the log-probs of first tokens; `script` holds what the next requests meet instead, `always` what every
    one after them does.
    """

    def __init__(
        self,
        reply: Callable[[Messages], str] = lambda messages: "yes",
        top: Callable[[Messages], Mapping[str, float]] | None = None,
        script: tuple[Bad | None, ...] = (),
        always: Bad | None = None,
        finish: str = "stop",
    ) -> None:
        self.finish = finish
        self.reply, self.top, self.script, self.always = reply, top, [*script], always
        self.seen: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: list[str | None] = []
        self.names = ["judge-1"]
        self.under_way = UnderWay()
        self.lock = threading.Lock()

    @property
    def questions(self) -> list[str]:
        """The last message of each request for a reply."""
        return [body["messages"][-1]["content"] for body in self.seen]

    def __enter__(self) -> ChatServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                rows = {"object": "list", "data": [{"id": n, "object": "model"} for n in outer.names]}
                outer.send(self, json.dumps(rows).encode(), Bad())

            def do_POST(self) -> None:
                outer.post(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128  # of connections that come at once, those beyond 5 would wait for a second

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def post(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        with self.lock:
            self.seen.append(body)
            self.times.append(time.monotonic())
            self.keys.append(handler.headers.get("Authorization"))
            bad = (self.script.pop(0) if self.script else self.always) or Bad()
        with self.under_way.one(bad.until, bad.together, bad.delay):
            said = bad.body if bad.body is not None else json.dumps(self.answer(body)).encode()
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has given up
            self.send(handler, said, bad)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.reply(body["messages"])
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": self.finish,
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs") and self.top:
            listed = [{"token": t, "logprob": p, "bytes": None} for t, p in self.top(body["messages"]).items()]
            entry = {
                "token": listed[0]["token"],
                "logprob": listed[0]["logprob"],
                "bytes": None,
                "top_logprobs": listed,
            }
            choice["logprobs"] = {"content": [entry], "refusal": None}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        head = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        return {**head, "choices": [choice], "usage": usage}

    def send(self, handler: BaseHTTPRequestHandler, said: bytes, bad: Bad) -> None:
        handler.send_response(bad.status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(said)))
        for name, value in bad.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if not bad.drip:
            handler.wfile.write(said)
        for i in range(len(said) if bad.drip else 0):
            handler.wfile.write(said[i : i + 1])
            handler.wfile.flush()
            time.sleep(bad.drip)
