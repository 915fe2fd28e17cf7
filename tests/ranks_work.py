"""What a process of a test's crew does."""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection

import torch

from postlude.engines.ranks.crew import Place
from postlude.engines.ranks.rank import Rank


def work(pipe: Connection, place: Place, kind: type[Rank]) -> None:
    """Answer calls until the other end is closed."""
    torch.set_num_threads(1)
    rank: Rank | None = None
    while True:
        try:
            serial, method, shared, mine = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            if method == "build":
                rank, result = None, None
                rank = kind(shared, place)
            else:
                result = getattr(rank, method)(shared, mine)
            answer = pickle.dumps((serial, True, result))
        except Exception as error:  # whatever it is, it is for the one who called
            answer = pickle.dumps((serial, False, error))
        pipe.send_bytes(answer)
