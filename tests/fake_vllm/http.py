"""HTTP/1.1 on asyncio's streams: keep-alive, one request at a time on a connection, and notice of who hangs up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_vllm.options import Fault


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


Handler = Callable[[Call, Fault], Awaitable[tuple[int, Any]]]


class Listener:
    """Serves `handle` on loopback; `choose` says what a call does instead."""

    def __init__(self, handle: Handler, choose: Callable[[Call], Fault]) -> None:
        self.handle, self.choose = handle, choose
        self.writers: set[asyncio.StreamWriter] = set()
        self.hung_up = 0
        """Requests whose client left before the reply."""

    async def open(self, host: str, port: int) -> int:
        self.server = await asyncio.start_server(self._talk, host, port, backlog=1024, limit=1 << 24)
        return int(self.server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """At once, whatever is under way."""
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while (call := await _request(reader)) is not None:
                if not await self._answer(call, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled: the server ends
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _answer(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        fault = self.choose(call)
        if fault.drop:
            return False
        work = asyncio.ensure_future(self._work(call, fault))
        gone = asyncio.ensure_future(reader.read(1))  # nobody sends a second request before the reply
        await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.hung_up += 1
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            return False
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        await _reply(writer, *work.result(), fault)
        return not fault.cut

    async def _work(self, call: Call, fault: Fault) -> tuple[int, bytes]:
        await asyncio.sleep(fault.delay)
        if fault.hang:
            await asyncio.Event().wait()
        if fault.status != 200 or fault.body is not None:
            unwell = {"error": {"message": "told to fail", "code": fault.status}}
            return fault.status, json.dumps(unwell).encode() if fault.body is None else fault.body
        status, reply = await self.handle(call, fault)
        if status == 200 and isinstance(reply, dict):
            fault.change(reply)
        return status, b"" if reply is None else json.dumps(reply).encode()


async def _request(reader: asyncio.StreamReader) -> Call | None:
    line = await reader.readline()
    if not line:
        return None
    method, target, _ = line.decode().split()
    length = 0
    while (header := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode().partition(":")
        length = int(value) if name.lower() == "content-length" else length
    raw = await reader.readexactly(length)
    parts = urlsplit(target)
    return Call(method, parts.path, parse_qs(parts.query), json.loads(raw) if raw else None)


async def _reply(writer: asyncio.StreamWriter, status: int, body: bytes, fault: Fault) -> None:
    headers = {"content-type": "application/json", "content-length": str(len(body)), **fault.headers}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    for i in range(len(body) if fault.drip else 0):
        await asyncio.sleep(fault.drip)
        writer.write(body[i : i + 1])
        await writer.drain()
    if not fault.drip:
        writer.write(body[: len(body) // 2] if fault.cut else body)
    await writer.drain()
