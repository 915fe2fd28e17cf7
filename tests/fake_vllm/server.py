"""The endpoints, and the server that holds them: in a thread of this process, or as one of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postlude.engines.protocol import Request
from postlude.engines.settings import Sampling
from tests.fake_vllm.http import Call, Listener
from tests.fake_vllm.options import CHANGES, Fault, Options

if TYPE_CHECKING:
    from tests.fake_vllm.engine import Engine, Job

Reply = tuple[int, Any]
MISSING: Reply = 404, {"detail": "Not Found"}
GENERATE = "/inference/v1/generate"


class Refused(Exception):
    """What the server answers with another status."""

    def __init__(self, status: int, text: str) -> None:
        self.reply = status, {"error": {"message": text, "type": "Refused", "param": None, "code": status}}


class Endpoints:
    """One vLLM server's state: what it serves under which label, what is under way, whether it is held."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder, self.options = folder, options
        self.label = "default"
        self.jobs: list[Job] = []
        self.paused = False
        self.sleeping: set[str] = set()
        """Of `weights` and `kv_cache`: what it has no memory for. Nothing is answered while there is any."""
        self.woken: list[tuple[str, ...]] = []
        """Tags of each `/wake_up`."""
        self.level = 0
        self.adapters: dict[str, str] = {}
        self.receive: Callable[[Any], Iterable[tuple[str, Any]]] | None = None
        """From the info of `/update_weights` to the tensors that come in; None takes none."""
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        """By path: what the next calls do instead, one each."""
        self.always: dict[str, Fault] = {}
        """By path, or `*`: what all others do instead."""
        self.calls: list[tuple[str, Any]] = []
        """(path, body) of every call, in the order they came."""
        self.answered = self.busiest = 0
        self.die: Callable[[], None] = lambda: os._exit(9)
        self._engine: Engine | None = None
        self._turn: asyncio.Lock | None = None
        self._work: asyncio.Task[None] | None = None
        self._routes: dict[tuple[str, str], Callable[[Call, Fault], Awaitable[Reply]]] = {
            ("GET", "/health"): self._nothing,
            ("GET", "/version"): self._version,
            ("GET", "/v1/models"): self._models,
        }
        if options.scale_out:
            self._routes["POST", GENERATE] = self._generate
        if options.runtime_lora:
            self._routes["POST", "/v1/load_lora_adapter"] = self._load_adapter
            self._routes["POST", "/v1/unload_lora_adapter"] = self._unload_adapter
        if options.dev:
            self._routes |= {("GET", path): call for path, call in self._read.items()}
            self._routes |= {("POST", path): call for path, call in self._changes.items()}

    @property
    def asleep(self) -> bool:
        return bool(self.sleeping)

    @property
    def _read(self) -> dict[str, Callable[[Call, Fault], Awaitable[Reply]]]:
        return {"/weight_info": self._weight_info, "/is_sleeping": self._is_sleeping, "/is_paused": self._is_paused}

    @property
    def _changes(self) -> dict[str, Callable[[Call, Fault], Awaitable[Reply]]]:
        return {
            "/pause": self._pause, "/resume": self._resume, "/collective_rpc": self._rpc,
            "/update_weight_version": self._label, "/sleep": self._sleep, "/wake_up": self._wake,
            "/init_weight_transfer_engine": self._nothing, "/start_weight_update": self._nothing,
            "/update_weights": self._update, "/finish_weight_update": self._finish_update,
        }  # fmt: skip

    def choose(self, call: Call) -> Fault:
        """What this call does instead."""
        if call.path.startswith("/fake/"):
            return Fault()
        self.calls.append((call.path, call.body))
        waiting = self.faults[call.path]
        fault = waiting.popleft() if waiting else self.always.get(call.path, self.always.get("*", Fault()))
        if fault.die:
            self.die()
            return Fault(drop=True)
        return fault

    async def handle(self, call: Call, fault: Fault) -> Reply:
        route = self._routes.get((call.method, call.path))
        if call.path == "/fake/faults":
            return self._told(call.body)
        if call.path == "/fake/calls":
            return 200, {"calls": self.calls}
        if route is None:
            return MISSING
        if fault.skip:
            return 200, {"status": "skipped"}
        try:
            return await route(call, fault)
        except Refused as refused:
            return refused.reply
        except FileNotFoundError as error:
            return 500, {"error": {"message": str(error), "type": "InternalServerError", "code": 500}}

    def _told(self, body: dict[str, Any]) -> Reply:
        """`{"path", "times": 1, "fault": {...}}`: without `times` from now on. `change` is a name of CHANGES."""
        said = dict(body["fault"])
        if "change" in said:
            said["change"] = CHANGES[said["change"]]
        if "body" in said:
            said["body"] = said["body"].encode()
        if "times" in body:
            self.faults[body["path"]] += [Fault(**said)] * body["times"]
        else:
            self.always[body["path"]] = Fault(**said)
        return 200, {}

    # --------------------------------------------------------------------------------------------- the engine

    def load(self) -> None:
        """Read the model."""
        from tests.fake_vllm.engine import Engine

        self._engine = Engine(self.folder, self.options)

    async def _loaded(self) -> Engine:
        """The engine, read at its first use: a process that nobody asks for an answer starts without torch."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            if self._engine is None:
                await asyncio.to_thread(self.load)
        assert self._engine is not None
        return self._engine

    async def _alone(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """In a thread, and nothing else in the engine meanwhile."""
        await self._loaded()
        assert self._turn is not None
        async with self._turn:
            return await asyncio.to_thread(work, *arguments)

    def _go_on(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.ensure_future(self._answer_all())

    async def _answer_all(self) -> None:
        engine = await self._loaded()
        while self.jobs and not self.paused and not self.asleep:
            key = lambda job: (job.model, job.sampling, len(job.tokens), len(job.request.prompt) if job.tokens else 0)
            batch = [job for job in self.jobs if key(job) == key(self.jobs[0])]
            try:
                await self._alone(engine.answer, batch, self.label)
            except Exception as error:  # whoever asked hears of it, as of a crash of the real engine
                for job in batch:
                    self._end(job, error)
            for job in batch:
                if job.finish is not None:
                    self._end(job)
                elif job in self.jobs:  # behind the others
                    self.jobs.remove(job)
                    self.jobs.append(job)

    def _end(self, job: Job, error: Exception | None = None) -> None:
        if job in self.jobs:
            self.jobs.remove(job)
        if not job.done.done():
            if error is not None:
                job.done.set_exception(error)
            else:
                job.done.set_result(None)

    # ------------------------------------------------------------------------------------------------ answers

    async def _generate(self, call: Call, fault: Fault) -> Reply:
        from tests.fake_vllm.engine import Job

        body = call.body
        if body["model"] not in (self.options.name, *self.adapters):
            raise Refused(404, f"The model `{body['model']}` does not exist.")
        await self._loaded()
        job = Job(self._request(body), self._sampling(body), body["model"], asyncio.get_running_loop().create_future())
        self.jobs.append(job)
        self.busiest = max(self.busiest, len(self.jobs))
        self._go_on()
        try:
            await job.done
        except asyncio.CancelledError:
            self._end(job)
            raise
        except Exception as error:
            raise Refused(500, f"{type(error).__name__}: {error}") from error
        self.answered += 1
        return 200, self._reply(job)

    def _request(self, body: dict[str, Any]) -> Request:
        prompt = tuple(body["token_ids"])
        if not prompt or len(prompt) >= self.options.max_model_len:
            raise Refused(400, f"The decoder prompt (length {len(prompt)}) is longer than the maximum model length")
        return Request(prompt, body["sampling_params"]["seed"])

    def _sampling(self, body: dict[str, Any]) -> Sampling:
        p = body["sampling_params"]
        if not 0 <= p["temperature"] <= 2:
            raise Refused(400, f"temperature must be in [0, 2], got {p['temperature']}.")
        plain = {"n": 1, "min_p": 0, "presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1}
        if any(p[name] != value for name, value in plain.items()):
            raise Refused(400, "the fake has none of that")
        return Sampling(p["temperature"], p["top_p"], max(p["top_k"], 0), p["max_tokens"], tuple(p["stop"]))

    def _reply(self, job: Job) -> dict[str, Any]:
        rows = [
            {"token_id": t, "logprob": x, "rank": 1, "top_logprobs": [{"token_id": t, "logprob": x, "rank": 1}]}
            for t, x in zip(job.tokens, job.logprobs, strict=True)
        ]
        starts = [i for i, label in enumerate(job.labels) if i == 0 or label != job.labels[i - 1]]
        spans = [
            {"version": job.labels[start], "start": start, "end": end}
            for start, end in zip(starts, [*starts[1:], len(job.labels)], strict=True)
        ]
        choice = {
            "index": 0, "finish_reason": job.finish or "abort", "stop_reason": None, "token_ids": job.tokens,
            "logprobs": {"content": rows}, "weight_versions": spans,
        }  # fmt: skip
        sent, sampled = len(job.request.prompt), len(job.tokens)
        usage = {"prompt_tokens": sent, "completion_tokens": sampled, "total_tokens": sent + sampled}
        return {"request_id": "1", "model": job.model, "choices": [choice], "usage": usage}

    # --------------------------------------------------------------------------------- weights, adapters, sleep

    async def _nothing(self, call: Call, fault: Fault) -> Reply:
        return 200, None if call.path == "/health" else {"message": "done"}

    async def _version(self, call: Call, fault: Fault) -> Reply:
        return 200, {"version": self.options.version}

    async def _models(self, call: Call, fault: Fault) -> Reply:
        base = {"id": self.options.name, "root": str(self.folder), "parent": None}
        rows = [{**base, "max_model_len": self.options.max_model_len}]
        rows += [{"id": name, "root": path, "parent": self.options.name} for name, path in self.adapters.items()]
        return 200, {"object": "list", "data": rows}

    async def _weight_info(self, call: Call, fault: Fault) -> Reply:
        return 200, {"weight_version": self.label}

    async def _pause(self, call: Call, fault: Fault) -> Reply:
        if call.query.get("mode") != ["keep"] or "clear_cache" in call.query:
            raise Refused(400, "only mode=keep, without clear_cache, leaves answers as they are")
        self.paused = True
        if self._work is not None:
            await self._work  # the pass under way
        return 200, {"status": "paused"}

    async def _resume(self, call: Call, fault: Fault) -> Reply:
        self.paused = False
        self._go_on()
        return 200, {"status": "resumed"}

    async def _is_paused(self, call: Call, fault: Fault) -> Reply:
        return 200, {"is_paused": self.paused}

    async def _rpc(self, call: Call, fault: Fault) -> Reply:
        if call.body["method"] != "reload_weights":
            raise Refused(500, f"no method {call.body['method']}")
        engine = await self._loaded()
        await self._alone(engine.reload, Path(call.body["kwargs"]["weights_path"]))
        return 200, {"results": [None]}

    async def _label(self, call: Call, fault: Fault) -> Reply:
        self.label = call.body["new_version"]
        return 200, {"success": True, "new_version": self.label}

    async def _update(self, call: Call, fault: Fault) -> Reply:
        if self.receive is not None:
            engine, receive, info = await self._loaded(), self.receive, call.body["update_info"]
            await self._alone(lambda: engine.take(receive(info)))
        return 200, {"message": "Weights updated"}

    async def _finish_update(self, call: Call, fault: Fault) -> Reply:
        if call.body.get("weight_version") is not None:
            self.label = call.body["weight_version"]
        return 200, {"message": "Weight update finished"}

    async def _load_adapter(self, call: Call, fault: Fault) -> Reply:
        name, path = call.body["lora_name"], call.body["lora_path"]
        if not self.options.enable_lora:
            raise Refused(500, "LoRA is not enabled. Use --enable-lora to enable LoRA.")
        if name in self.adapters:
            raise Refused(400, f"The lora adapter '{name}' has already been loaded.")
        if not (Path(path) / "adapter_config.json").is_file():
            raise Refused(404, f"Loading lora {name} failed: No adapter found for {path}")
        engine = await self._loaded()
        await self._alone(engine.load_adapter, name, Path(path))
        self.adapters[name] = path
        return 200, {"message": f"Success: LoRA adapter '{name}' added successfully."}

    async def _unload_adapter(self, call: Call, fault: Fault) -> Reply:
        name = call.body["lora_name"]
        if self.adapters.pop(name, None) is None:
            raise Refused(404, f"The lora adapter '{name}' cannot be found.")
        (await self._loaded()).adapters.pop(name)
        return 200, {"message": f"Success: LoRA adapter '{name}' removed successfully."}

    async def _sleep(self, call: Call, fault: Fault) -> Reply:
        self.sleeping, self.level = {"weights", "kv_cache"}, int(call.query.get("level", ["1"])[0])
        if self._work is not None:
            await self._work
        for job in list(self.jobs):
            self._end(job)
        if self.level == 2 and self._engine is not None:
            await self._alone(self._engine.drop)
        return 200, {"status": "sleeping", "level": self.level}

    async def _wake(self, call: Call, fault: Fault) -> Reply:
        tags = call.query.get("tags", ["weights", "kv_cache"])
        self.woken.append(tuple(call.query.get("tags", ())))
        self.sleeping -= set(tags)
        if not self.sleeping:
            self.paused = False
            self._go_on()
        return 200, {"status": "sleeping" if self.sleeping else "awake"}

    async def _is_sleeping(self, call: Call, fault: Fault) -> Reply:
        return 200, {"is_sleeping": self.paused or self.asleep}


class FakeServer:
    """`Endpoints` in a thread of this process; `**options` are fields of `Options`."""

    listener: Listener

    def __init__(self, folder: Path, **options: Any) -> None:
        assert set(options) <= {field.name for field in fields(Options)}
        self.folder, self.options = folder, Options(**options)
        self.port = 0

    def __enter__(self) -> FakeServer:
        self.at = Endpoints(self.folder, self.options)
        self.at.load()  # here: two models that are loaded in two threads disturb each other
        self.loop, up = asyncio.new_event_loop(), threading.Event()

        def serve() -> None:
            asyncio.set_event_loop(self.loop)
            self.listener = Listener(self.at.handle, self.at.choose)
            self.at.die = self.listener.close
            self.port = self.loop.run_until_complete(self.listener.open("127.0.0.1", self.port))
            up.set()
            self.loop.run_forever()
            self.listener.close()
            under_way = asyncio.all_tasks(self.loop)
            for task in under_way:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*under_way, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

        self.thread = threading.Thread(target=serve, daemon=True)
        self.thread.start()
        up.wait()
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *reason: object) -> None:
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def restart(self) -> None:
        """End it and start it again at the same address, with the weights and the label of a start."""
        self.__exit__()
        self.__enter__()

    @property
    def calls(self) -> list[str]:
        """Paths, in the order they came."""
        return [path for path, _ in self.at.calls]

    def bodies(self, path: str = GENERATE) -> list[Any]:
        """Of every call of a path."""
        return [body for called, body in self.at.calls if called == path]

    def next(self, path: str, *faults: Fault) -> None:
        """What the next calls of a path do instead."""
        self.at.faults[path] += faults
