"""What users ask of several trainers: processes that train one model together."""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.practice import SYMPTOM
from postlude.facts.topic import Topic

PAGE = "docs/scale.md"
RANKS = (
    Topic(
        "several GPUs",
        "training on more than one device, or host",
        CONCEPT,
        "engine.trainers: N trains one model with N processes (ranks), one GPU each where there are GPUs. Each holds "
        "1/N of the weights, gradients and moments, and works on its share of every update. What they compute is what "
        "one process computes, but for rounding: the same answers are drawn, weights are set over the whole update "
        "before it is shared out, and gradients are summed. Nothing else of a recipe changes.",
        use="1. `pip install 'postlude[ray]'`. 2. engine=ray on one host (as many ranks as GPUs, at least 2), or "
        "engine.trainers=N. 3. A cluster: start Ray on its hosts, and engine.address=auto. 4. `postlude check RECIPE` "
        "says who gets what, `postlude plan RECIPE --gpus 1,8,64` what it costs, `postlude engine check RECIPE` tries "
        "it. vLLM servers may sample on further GPUs (engine.servers).",
        bad_at="Models that fit one GPU and train fast there: what ranks send each other costs more than they gain. "
        "No figure was taken on GPUs yet. Not here: tensor, pipeline and context parallelism, so that one layer and "
        "one sequence have to fit a GPU.",
        source=PAGE,
        place="engines/ranks/trainer.py:RankTrainer",
        see=("trainer rank", "FSDP", "commit", "what a run costs", "a trainer rank is lost", "vllm servers", "memory"),
        words=(
            "several gpus", "multiple gpus", "multi gpu", "multi-gpu", "two gpus", "ddp", "data parallel",
            "tensor parallel", "context parallel", "pipeline parallel", "megatron", "distributed", "multi node",
            "nodes", "cluster", "ray", "slurm", "kubernetes", "accelerate", "torchrun", "scale",
        ),
        shows=("postlude check RECIPE engine=ray", "postlude plan RECIPE --gpus 1,8,64"),
    ),
    Topic(
        "what a run costs",
        "GPUs, seconds and GPU hours, before there are any",
        CONCEPT,
        "`postlude plan` takes a recipe and numbers of GPUs: how they are best shared out between ranks that train and "
        "servers that sample, what each holds, the seconds of a step by part, GPU hours, what saturates first, and the "
        "settings that would change that, each with the seconds that the same arithmetic gives.",
        formula="a step = sampling + the longest answer\n"
        "       + passes without a gradient + forward and backward + links + optimiser\n"
        "       + publish + commit + driver\n"
        "max_lag=1: the longer of the first two lines",
        healthy="Published steps of dense models took 1.1 to 1.4 times the plan; of a mixture of experts more than "
        "twice as long.",
        use="Compare plans with plans: two ways to share GPUs out, two lengths of answers, LoRA and all weights. Give "
        "--mean-answer: half of the longest is assumed otherwise. --show has every formula and every source.",
        bad_at="Rewards, evaluations and disks that are slower than assumed are not in it. Nothing was measured on "
        "several GPUs here.",
        source=PAGE,
        place="sizing/cost.py:cost",
        see=("several GPUs", "vllm servers", "commit", "memory"),
        words=(
            "plan", "gpu hours", "cost", "costs", "how many gpus", "how long does a step take", "what saturates",
            "bottleneck", "straggler", "longest answer", "long tail", "throughput", "mfu", "tokens per second",
        ),
        shows=("postlude plan RECIPE --gpus 1,8,64", "postlude plan 7B --gpus 8"),
    ),
    Topic(
        "trainer rank",
        "one of the processes that train a model together",
        CONCEPT,
        "A process with a number from 0 on. The driver, which is the process that was started, samples or asks "
        "servers, scores, weighs an update as a whole and shares its answers out by cost; ranks do the passes and "
        "step together. A rank that has less to do makes passes that count nothing, since every pass is one of all "
        "ranks. A rank that dies is made good; what one raises ends the run with a sentence, as in one process.",
        source=PAGE,
        place="engines/ranks/rank.py:Rank",
        see=("several GPUs", "FSDP", "ranks/imbalance", "a trainer rank is lost", "engine.trainers"),
        words=("rank", "ranks", "world size", "local rank", "driver", "ray actor", "process group"),
        shows=("postlude check RECIPE engine.trainers=2",),
    ),
    Topic(
        "FSDP",
        "weights, gradients and moments in shards",
        CONCEPT,
        "Fully sharded data parallel, in torch's second form (FSDP2): each rank holds a shard, 1/N of every tensor. "
        "Before a layer is run its weights are gathered from all ranks, and let go after; gradients are summed over "
        "the ranks and each keeps its shard of them. DeepSpeed calls it ZeRO-3.",
        formula="of a rank, AdamW in float32:  16 bytes x parameters / N  +  two layers  +  activations of its share",
        use="Nothing to do: engine.trainers above 1 is that. In bfloat16 the shards are float32 (the master), and "
        "gradients are summed in float32.",
        source="docs/scale.md; arXiv 2304.11277 (FSDP), arXiv 1910.02054 (ZeRO)",
        place="engines/ranks/mesh.py:Mesh.shard",
        see=("several GPUs", "trainer rank", "gather", "memory"),
        words=("fsdp2", "shard", "shards", "sharded", "sharding", "fully_shard", "deepspeed", "zero3", "zero-3"),
        shows=("postlude memory MODEL --gpus 8",),
    ),
    Topic(
        "gather",
        "shards made whole again",
        CONCEPT,
        "A checkpoint and the weights for whoever samples are whole tensors: all ranks send their shards of a tensor "
        "to rank 0, which writes it and goes on with the next, so that no rank holds the model twice. Under LoRA the "
        "adapter alone travels. The file lies in the run folder, which every host must see.",
        use="Where it takes much of a step (seconds/gather, `postlude doctor RUN`: dear-commits): larger steps, or an "
        "adapter.",
        source=PAGE,
        place="engines/ranks/rank.py:Rank.gather",
        see=("FSDP", "commit", "seconds/gather"),
        words=("gathering", "all-gather", "full_tensor", "consolidate"),
    ),
    Topic(
        "commit",
        "a checkpoint that a step leaves on the way",
        CONCEPT,
        "With servers or several trainers a step's state is saved every engine.commit_every steps, before its weights "
        "are published: weights, optimiser, and which prompts were used. Only the newest commit stays; checkpoints "
        "of checkpoints.every stay beside it. It is the most that is made again where this process is killed.",
        use="engine.commit_every: 1 is the default with servers (no server has weights that are not on the disk), 10 "
        "with several trainers alone.",
        source=PAGE,
        place="runs/folder.py:Run.commit",
        see=("journal", "engine.commit_every", "seconds/commit", "a trainer rank is lost"),
        words=("commits", "commit every", "published", "lost work"),
        shows=("postlude doctor RUN",),
    ),
    Topic(
        "journal",
        "what came after the newest commit, for ranks that are started again",
        CONCEPT,
        "The driver keeps every update since the newest commit with a serial number, and the commit says which was "
        "the last before it. Where a rank is lost all ranks are started from that commit, go through the updates "
        "after it once more, and then make the one that failed: on the same number of ranks to the same last bit. "
        "Nothing is trained twice and nothing is left out, whatever engine.commit_every is.",
        source=PAGE,
        place="engines/ranks/journal.py:Journal",
        see=("commit", "a trainer rank is lost"),
        words=("replay", "replayed", "serial number", "exactly once"),
    ),
    Topic(
        "a trainer rank is lost",
        "one of several trainers died, or was silent for too long",
        SYMPTOM,
        "All ranks are started again from the newest commit, the updates after it are made again, then the one that "
        "failed; the terminal says which rank, in what, and what is known of its end. Steps and figures are those of a "
        "run that lost none. The same rank lost twice in the same work, or more than engine.restarts times without a "
        "finished step, ends the run with a sentence; the checkpoint is intact.",
        use="1. Read what was said: signal 9 is mostly memory that ran out on the host. 2. Lower "
        "engine.token_budget, take more ranks, engine.gradient_checkpointing=true, or model.lora. 3. Silent rather "
        "than dead: raise engine.timeout where one update may take that long. 4. `postlude train RUN --resume` goes "
        "on, on any number of ranks.",
        source="docs/scale.md; docs/reliability.md",
        place="engines/ranks/supervision.py:Supervision",
        see=("engine.restarts", "engine.timeout", "journal", "commit", "seconds/restart", "ranks-restart"),
        words=(
            "rank died", "rank lost", "rank killed", "trainer died", "trainer killed", "actor died", "ray actor died",
            "oom killed", "sigkill", "nccl timeout", "collective timeout", "gloo timeout", "host lost", "node lost",
        ),
        shows=("postlude engine check RECIPE --kill", "postlude doctor RUN"),
    ),
)  # fmt: skip
