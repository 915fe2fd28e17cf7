"""A plugin of vLLM: weights come over gloo, where there is no NCCL. Read by a server's interpreter, never by ours."""

from vllm.distributed.weight_transfer import WeightTransferEngineFactory

BACKEND = "postlude-gloo"


def register() -> None:
    """What vLLM calls in each of its processes, in some of them more than once."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, "postlude_gloo.receiving", "GlooEngine")
