"""The process of one rank: what a `Supervisor` starts, and asks for one thing after another.

Between the driver and this process everything travels as bytes that nobody in between reads.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from postlude.engines.ranks.crew import Blueprint, Place
from postlude.engines.ranks.messages import packed, unpacked
from postlude.errors import EngineError, PostludeError, reason
from postlude.exhausted import out_of_memory
from postlude.frames import in_words, of_users
from postlude.objects import load_object

LOST = ("gloo/", "NCCL", "Connection reset by peer", "Connection closed by peer", "Broken pipe")
"""What an exception says whose cause is another rank: a type of its own is not raised by all of torch."""


@dataclass(frozen=True)
class Seat:
    """Which rank this is, and what makes one: `module:name`, called as `name(blueprint, place)`."""

    rank: int
    size: int
    kind: str


@dataclass(frozen=True)
class Done:
    """What a method has returned."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """What a method has raised."""

    error: PostludeError
    ours: bool
    """Whether a rank raised it on purpose: it goes on as it is."""
    lost: bool = False
    """Whether the cause is likely that another rank could not be reached."""


class Child:
    """A rank, once `begin` was called; until then the place where one will be."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._listening: socket.socket | None = None
        self._rank: Any = None

    def listen(self, shared: str, apart: None) -> int:
        """The port of an address at which the ranks will meet. Nobody else can get it: it is open from here on."""
        self._listening = socket.create_server((shared, 0), backlog=1024)
        return self._listening.getsockname()[1]

    def begin(self, shared: tuple[Blueprint, str, int, float], apart: None) -> None:
        """Build the rank, once all have met at host and port; `shared` ends with the seconds they may take for that."""
        from postlude.models.load import device_of

        blueprint, host, port, seconds = shared
        rank, size = self._seat.rank, self._seat.size
        kind = load_object(self._seat.kind, "a rank")
        self._join(device_of(blueprint.held).type, host, port, timedelta(seconds=seconds))
        self._rank = kind(blueprint, Place(rank, size, f"tcp://{host}:{port}", seconds))

    def _join(self, device: str, host: str, port: int, seconds: timedelta) -> None:
        import torch.distributed as dist

        from postlude.engines.ranks.mesh import BACKENDS

        master = self._listening is not None
        store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            host,
            port,
            self._seat.size,
            is_master=master,
            timeout=seconds,
            master_listen_fd=self._listening.detach() if self._listening is not None else None,
        )
        dist.init_process_group(
            BACKENDS[device], store=store, rank=self._seat.rank, world_size=self._seat.size, timeout=seconds
        )

    def ask(self, method: str, shared: Any, apart: Any) -> Any:
        """Of this place, or of the rank."""
        if method in ("listen", "begin"):
            return getattr(self, method)(shared, apart)
        return getattr(self._rank, method)(shared, apart)


def answer(ask: Callable[[], Any], rank: int) -> Done | Raised:
    """What comes of it; its traceback goes to the log of this process."""
    try:
        return Done(ask())
    except PostludeError as error:
        return Raised(error, ours=True)
    except Exception as error:  # whatever torch, a file of the user's or we ourselves do wrong: the driver says it
        traceback.print_exc()
        code = "out-of-memory" if out_of_memory(error) else "rank-raised"
        lines = in_words(of_users(traceback.extract_tb(error.__traceback__)))
        place = f", at {lines[-1]}" if lines else ""
        sentence = EngineError(f"trainer rank {rank} raised {reason(error)}{place}", code=code)
        return Raised(sentence, ours=False, lost=_is_of_another(error))


def _is_of_another(error: BaseException) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError | ConnectionError) or any(text in str(error) for text in LOST)


def _as_bytes(result: Done | Raised, rank: int) -> bytes:
    try:
        return packed(result)
    except Exception as error:  # whatever an object's own way to be written raises
        sentence = f"trainer rank {rank} gave what cannot be sent: {reason(error)}"
        return packed(Raised(EngineError(sentence, code="rank-raised"), ours=False))


def serve(connection: Connection, seat: Seat) -> None:
    """Answer until the other end is closed. A message is a method's name, what is shared, and what is for this rank
    alone."""
    child = Child(seat)
    while True:
        try:
            name, shared, apart = connection.recv_bytes().decode(), connection.recv_bytes(), connection.recv_bytes()
        except EOFError:
            return
        ask = partial(child.ask, name, unpacked(shared), unpacked(apart))
        connection.send_bytes(_as_bytes(answer(ask, seat.rank), seat.rank))
        del ask, shared, apart  # before the next is waited for: a batch is large


def _end_with(alive: int) -> None:
    """End this process at once where the one that started it is no more: its end of a pipe closes then."""
    while os.read(alive, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def main(words: list[str]) -> None:
    """CONNECTION ALIVE RANK SIZE KIND: numbers of descriptors, and a `Seat`."""
    connection, alive, rank, size, kind = words
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the driver decides
    threading.Thread(target=_end_with, args=(int(alive),), daemon=True).start()
    print(f"trainer rank {rank} of {size}: process {os.getpid()} on host {socket.gethostname()}", flush=True)
    serve(Connection(int(connection)), Seat(int(rank), int(size), kind))
