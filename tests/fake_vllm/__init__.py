"""A server on loopback that speaks vLLM's endpoints with our own tiny engine behind it, and can fail each of them.

`with FakeServer(folder) as server:` in a thread of this process; `interpreter(folder)` for one of its own.
"""

from tests.fake_vllm.interpreter import interpreter
from tests.fake_vllm.options import CHANGES, Fault, Options
from tests.fake_vllm.server import FakeServer

__all__ = ["CHANGES", "FakeServer", "Fault", "Options", "interpreter"]
