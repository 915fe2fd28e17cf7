"""vLLM's endpoints, in the one place that knows them: what is sent, what comes back, and how long it may take.

Those that change weights are development endpoints, which may differ from release to release: written for 0.32.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from postlude.engines.answers import Unsound
from postlude.engines.http import RETRIED, SEEDS, short
from postlude.engines.protocol import Request
from postlude.engines.servers.deadline import QUICK, within
from postlude.engines.servers.replies import Answer, parsed, read
from postlude.engines.settings import Sampling
from postlude.waits import waiting


def _library() -> Any:
    """The HTTP client, which comes with transformers by way of huggingface_hub: before its version 2 under another
    name."""
    try:
        return import_module("httpx2")
    except ImportError:
        return import_module("httpx")


httpx = _library()
SLOW = 600.0
"""Seconds for a call that moves weights, or waits for the pass under way."""
LANE = 32
"""Connections of one client: with more it looks through all of them again and again, which cost 2 ms for each of 512
answers."""
IDLE = 2.0
"""Seconds that an idle connection is kept: the server closes it after 5, and a request must not meet that."""
MOST = 4 << 20
"""Bytes of a reply that holds no answer."""
PER_TOKEN = 1024
"""Bytes of a reply for each token of an answer, of which about 135 are used."""
BIG = 64 << 10
"""Bytes from which a reply is read in a thread: about 500 tokens, a millisecond."""

DEV = "VLLM_SERVER_DEV_MODE=1 in its environment"
RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment, and --enable-lora"
SCALE_OUT = "--enable-scale-out"


@dataclass
class ServerFailure(Exception):
    """Why a server did not do what it was asked."""

    kind: Literal["connection", "timeout", "status", "answer"]
    """No connection, or a broken one; no reply in time; a status other than 200; a reply that cannot be used."""
    text: str
    """A short one, without the server's name."""
    status: int | None = None

    def __post_init__(self) -> None:
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.text

    @property
    def refuses(self) -> bool:
        """Whether the server is well and holds the request itself for wrong: another try comes to the same."""
        status = self.status or 0
        return self.kind == "status" and 400 <= status < 500 and status not in RETRIED | {404}


@dataclass(frozen=True)
class Listed:
    """A name that requests may use."""

    name: str
    root: str
    """The folder or hub id of its weights."""
    parent: str | None
    """The base model's name, of an adapter."""
    max_length: int | None
    """Tokens of prompt and answer together; None of an adapter."""


def adapter_name(version: int) -> str:
    """What requests name to be answered by the adapter of this version."""
    return f"v{version}"


def adapter_version(name: str) -> int | None:
    """The inverse; None of another name, such as the base model's."""
    digits = name.removeprefix("v")
    return int(digits) if name != digits and digits.isascii() and digits.isdigit() else None


class VllmServer:
    """One vLLM server, asked over HTTP. Every call has a limit of time and raises ServerFailure.

    Connections belong to the event loop that opened them, and no proxy of the environment stands between.
    """

    def __init__(self, url: str, timeout: float = SLOW, concurrency: int = 256, run: str = "") -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        """Such as http://127.0.0.1:8000."""
        self.timeout = timeout
        """Seconds for one answer."""
        self.concurrency = concurrency
        """Answers under way at most, by the count of who asks: so many have a connection each."""
        self.run = run
        """Whose labels and adapters these are: it follows their numbers on the server, where another run may have given
        the same ones to weights of its own. Here they are numbers again, and those of others are none."""
        self._lanes: list[_Lane] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # ----------------------------------------------------------------------------------------------- reading

    async def health(self) -> None:
        """Raises where its engine is dead or silent."""
        await self._send("GET", "/health")

    async def version(self) -> str:
        """Of vLLM, such as 0.32.0."""
        return _text(await self._json("GET", "/version"), "version")

    async def models(self) -> list[Listed]:
        """Every name it serves: the base model's, and those of adapters."""
        reply = await self._json("GET", "/v1/models")
        rows = reply.get("data")
        if not isinstance(rows, list):
            raise ServerFailure("answer", f"a list of models without data (it has {', '.join(sorted(reply))})")
        listed = [_listed(row) for row in cast("list[Any]", rows)]
        return [replace(one, name=self._unmarked(one.name)) for one in listed]

    async def weight_version(self) -> str:
        """The label of its weights: `default` where nobody has set one."""
        return self._unmarked(_text(await self._json("GET", "/weight_info", opens=DEV), "weight_version"))

    async def generate(
        self, model: str, request: Request, sampling: Sampling, stop_ids: frozenset[int] = frozenset()
    ) -> Answer:
        """An answer from the weights that `model` names. Cancelled, it ends on the server as well."""
        body = {
            "model": model if adapter_version(model) is None else self._marked(model),
            "token_ids": list(request.prompt),
            "sampling_params": sampling_params(request, sampling, stop_ids),
        }
        most = MOST + PER_TOKEN * sampling.max_tokens
        what = f"an answer of up to {sampling.max_tokens} tokens"
        raw = await self._send(
            "POST", "/inference/v1/generate", body, timeout=self.timeout, most=most, opens=SCALE_OUT, what=what
        )
        try:
            if len(raw) < BIG:
                answer = read(raw, request.prompt, sampling)
            else:
                answer = await asyncio.to_thread(read, raw, request.prompt, sampling)
        except Unsound as unsound:
            raise ServerFailure("answer", str(unsound)) from None
        return replace(answer, spans=tuple(replace(one, version=self._unmarked(one.version)) for one in answer.spans))

    def _marked(self, name: object) -> str:
        return f"{name}.{self.run}" if self.run else str(name)

    def _unmarked(self, name: str) -> str:
        """The inverse; a number that somebody else gave is said to be one of theirs."""
        if not self.run or name.endswith(f".{self.run}"):
            return name.removesuffix(f".{self.run}") if self.run else name
        return f"{name} of another run" if name.isdigit() or adapter_version(name) is not None else name

    # ------------------------------------------------------------------------------------------------ weights

    async def pause(self) -> None:
        """Freeze answers where they are; they go on after `resume`, their keys and values computed anew."""
        # clear_cache stays at its default: without it old keys would stand under new weights
        await self._admin("/pause", query={"mode": "keep"})

    async def resume(self) -> None:
        """Go on with what `pause` froze."""
        await self._admin("/resume")

    async def reload(self, folder: Path) -> None:
        """Read the weights of a Hugging Face folder. The label stays, and missing tensors are no error to it."""
        place = {"weights_path": str(folder.absolute())}
        await self._admin("/collective_rpc", {"method": "reload_weights", "kwargs": place}, "its weights")

    async def label(self, version: int) -> None:
        """Name the weights as they are now: spans of answers carry it from here on."""
        await self._admin("/update_weight_version", {"new_version": self._marked(version)})

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Serve an adapter under a name of its own."""
        body = {"lora_name": self._marked(name), "lora_path": str(folder.absolute())}
        await self._admin("/v1/load_lora_adapter", body, "an adapter", opens=RUNTIME_LORA)

    async def unload_adapter(self, name: str) -> None:
        """Forget it."""
        await self._admin("/v1/unload_lora_adapter", {"lora_name": self._marked(name)}, opens=RUNTIME_LORA)

    async def init_transfer(self, info: Mapping[str, Any]) -> None:
        """Join a group that weights are sent in; another one is left."""
        await self._admin("/init_weight_transfer_engine", {"init_info": dict(info)}, "joining a group")

    async def start_update(self) -> None:
        """Get ready for tensors."""
        await self._admin("/start_weight_update")

    async def update(self, info: Mapping[str, Any]) -> None:
        """Receive the tensors that this describes: returns once they are there."""
        await self._admin("/update_weights", {"update_info": dict(info)}, "its weights")

    async def finish_update(self, version: int) -> None:
        """All tensors are there; the label is set with them."""
        await self._admin("/finish_weight_update", {"weight_version": self._marked(version)})

    # ------------------------------------------------------------------------------------------------- memory

    async def sleep(self, level: int) -> None:
        """Give memory back: 1 keeps the weights in host memory, 2 drops them. Answers under way are aborted, and a
        request that comes now is not answered until somebody wakes it."""
        await self._admin("/sleep", query={"level": str(level)})

    async def wake(self, tags: Sequence[str] = ()) -> None:
        """Take memory again: of `weights`, of `kv_cache`, or of all."""
        await self._admin("/wake_up", query=[("tags", tag) for tag in tags])

    async def is_sleeping(self) -> bool:
        """Whether it is."""
        asleep = (await self._json("GET", "/is_sleeping", opens=DEV)).get("is_sleeping")
        if not isinstance(asleep, bool):
            raise ServerFailure("answer", "a reply without is_sleeping")
        return asleep

    async def close(self) -> None:
        """Close the connections; another call opens new ones."""
        lanes, self._lanes = self._lanes, []
        if self._loop is asyncio.get_running_loop():
            await asyncio.gather(*(lane.client.aclose() for lane in lanes))

    # ------------------------------------------------------------------------------------------------- asking

    async def _admin(
        self,
        path: str,
        body: Any = None,
        what: str = "",
        query: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        opens: str = DEV,
    ) -> None:
        await self._send("POST", path, body, timeout=SLOW, opens=opens, what=what or path, query=query)

    async def _json(self, method: str, path: str, opens: str = "") -> dict[str, Any]:
        raw = await self._send(method, path, opens=opens)
        try:
            reply = parsed(raw)
        except Unsound as unsound:
            raise ServerFailure("answer", f"{path}: {unsound}") from None
        if not isinstance(reply, dict):
            raise ServerFailure("answer", f"{path}: no JSON object: {short(repr(reply)[:2000])}")
        return cast("dict[str, Any]", reply)

    async def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        timeout: float | None = None,
        most: int = MOST,
        opens: str = "",
        what: str = "",
        query: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """The bytes of a reply of status 200, at most so many, within QUICK seconds where none are said. `opens` says
        how a server is started that has `path`."""
        lane, timeout = self._emptiest(), QUICK if timeout is None else timeout
        try:
            who, health = f"the server {self.url}", path == "/health"
            with lane, waiting(who, what or path, "asked", moves=not health, link="for", limit=timeout):
                call = lane.client.stream(method, path, json=body, params=query or None)
                async with within(timeout), call as response:
                    raw = await _at_most(response, most)
        except TimeoutError:
            raise ServerFailure("timeout", f"{path}: no reply within {timeout:g} s") from None
        except httpx.DecodingError as error:
            raise ServerFailure("answer", f"{path}: {short(str(error))}") from None
        except httpx.TransportError as error:
            reason = short(f"{type(error).__name__} {error}").rstrip()
            raise ServerFailure("connection", f"{path}: no connection, or a broken one: {reason}") from None
        if response.status_code == 200:
            return raw
        raise ServerFailure("status", _refusal(path, response.status_code, raw, opens), response.status_code)

    def _emptiest(self) -> _Lane:
        loop = asyncio.get_running_loop()
        if self._loop is not loop or not self._lanes:
            count = -(-self.concurrency // LANE) + 1  # and room for calls beside the answers
            self._loop, self._lanes = loop, [_Lane(_client(self.url)) for _ in range(count)]
        return min(self._lanes, key=lambda lane: lane.under_way)


@dataclass
class _Lane:
    """A client with connections of its own. Within, it has one call more under way."""

    client: Any
    under_way: int = 0

    def __enter__(self) -> None:
        self.under_way += 1

    def __exit__(self, *error: object) -> None:
        self.under_way -= 1


def _client(url: str) -> Any:
    return httpx.AsyncClient(
        base_url=url,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=LANE, keepalive_expiry=IDLE),
        timeout=httpx.Timeout(None, connect=QUICK),  # the whole call has its limit in `_send`
        trust_env=False,
        verify=_certificates() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        headers={"Accept-Encoding": "identity"},
    )


@cache
def _certificates() -> ssl.SSLContext:
    """The machine's, which take a while to read."""
    return ssl.create_default_context()


def sampling_params(request: Request, sampling: Sampling, stop_ids: frozenset[int]) -> dict[str, Any]:
    """Every setting is said: servers take what is left out from the model's own defaults."""
    return {
        "n": 1,
        "max_tokens": sampling.max_tokens,
        "min_tokens": 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "seed": request.seed % SEEDS,
        "stop": list(sampling.stop),
        "stop_token_ids": sorted(stop_ids),
        "ignore_eos": False,
        "logprobs": 0,  # of the sampled token alone
        "detokenize": bool(sampling.stop),
        "skip_special_tokens": False,  # else a stop string of special tokens is never seen
        "spaces_between_special_tokens": False,
        "include_stop_str_in_output": True,
    }


async def _at_most(response: Any, most: int) -> bytes:
    """The body, whatever length it claims to have. Raises ServerFailure where it is longer."""
    pieces, size = list[bytes](), 0
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise ServerFailure("answer", f"a reply of more than {most:,} bytes")
    return b"".join(pieces)


def _refusal(path: str, status: int, raw: bytes, opens: str) -> str:
    said = _said(raw)
    reason = f"{path}: status {status}: {said}"
    if status == 404 and opens and said == "Not Found":  # of the path; of a model or an adapter more is said
        return f"{reason}. Start the server with {opens}"
    if status == 401:
        return f"{reason.rstrip('.')}. Start the server without --api-key, where only this machine reaches it"
    return reason


def _said(raw: bytes) -> str:
    """What a server says of an error, in one short line."""
    text = raw[:20_000].decode(errors="replace")
    if text.lstrip().startswith("<"):
        return "a page of HTML"
    with suppress(Unsound):
        value: Any = parsed(raw)
        for key in ("error", "message", "detail"):
            if isinstance(value, dict):
                value = cast("dict[str, Any]", value).get(key, cast("Any", value))
        text = value if isinstance(value, str) else str(value)[:20_000]
    return short(text) or "without a word"


def _text(reply: Mapping[str, Any], key: str) -> str:
    value = reply.get(key)
    if not isinstance(value, str):
        raise ServerFailure("answer", f"a reply without {key} (it has {', '.join(sorted(reply)) or 'nothing'})")
    return value


def _listed(row: Any) -> Listed:
    entry = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    name, root, parent, length = (entry.get(key) for key in ("id", "root", "parent", "max_model_len"))
    if not isinstance(name, str):
        raise ServerFailure("answer", f"a model without a name: {short(str(entry)[:2000])}")
    return Listed(name, str(root or ""), str(parent) if parent else None, length if type(length) is int else None)
