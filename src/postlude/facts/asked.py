"""What users ask that no other table answers: words of theirs for topics, and what is not here, with what there is."""

from __future__ import annotations

from collections.abc import Mapping

from postlude.facts.basics import CONCEPT
from postlude.facts.practice import CHOICE, SYMPTOM
from postlude.facts.topic import Topic

ABSENT = "not here"

ASKED = (
    Topic(
        "outputs are gibberish",
        "answers that are no language",
        SYMPTOM,
        "From the first step on it is not the training: a chat template that is missing or is not the model's, a base "
        "model that is asked as if it could chat, or damaged weights. If it comes in the course of a run the policy "
        "has gone far from where it began: a rate that is too high, too weak a hold on the KL, or sampling from a "
        "distribution that went flat.",
        use="1. `postlude sample MODEL` on the model before training. 2. `postlude check RECIPE`: sections template, "
        "tokens and step_0. 3. `postlude doctor RUN`: kl-explosion, entropy-rise, repetition, template-marks, "
        "impossible-tokens. 4. If the KL rose before: go on from an earlier checkpoint with schedule.lr by 3 lower. "
        "If the reward is high all the same, it pays for gibberish: see high reward, bad outputs.",
        source="docs/doctor.md; docs/checks.md",
        see=(
            "kl-explosion",
            "entropy-rise",
            "repetition",
            "template-marks",
            "impossible-tokens",
            "template",
            "high reward, bad outputs",
        ),
        words=("gibberish", "garbage", "nonsense", "random tokens", "model outputs gibberish", "outputs are garbage"),
        shows=("postlude sample MODEL", "postlude check RECIPE", "postlude doctor RUN"),
    ),
    Topic(
        "reference model",
        "the model that the policy is held to",
        CONCEPT,
        "A frozen copy of the model that training starts from, usually the fine-tuned one. A KL term or DPO's "
        "log-ratio compares the policy with it, so that the policy gains reward without losing what it could. It is "
        "not the old policy, the snapshot per draw that the ratio divides by: the notes call both by one name "
        "(corrected error 0.1).",
        formula="h = log pi(y|x) - log pi_ref(y|x)",
        use="Nothing has to be given: it is the run's start. model.reference names another, or refreshes it every so "
        "many steps. Under LoRA it costs no memory: it is the model with the adapter off.",
        bad_at="With all weights trained it is a second copy of the weights. orpo and simpo do without; so does any "
        "method whose KL coefficient is 0.",
        source="docs/specification.md, sections 3.7 and 14 (0.1, 3.6)",
        place="engines/local/reference.py:Reference",
        see=("kl penalty", "model.reference", "kl_ref/k3", "probability ratio", "beta", "error 0.1", "error 3.6"),
        words=("reference policy", "ref model", "frozen copy", "pi_ref"),
        shows=("postlude memory MODEL --method dpo",),
    ),
    Topic(
        "rollout",
        "answers that the policy samples to learn from",
        CONCEPT,
        "One draw: prompts are taken from the data, the policy as it is answers each of them some times, the reward "
        "scores the answers. Updates are then made on these answers, and the next draw is of the changed policy. "
        "Step by step, as the notes count an update: take prompts; sample answers; score them; keep the log-probs "
        "they were sampled with; ask the critic, where there is one; make advantages; the ratio and the clipped loss; "
        "value loss, entropy and KL, where the method has them; a step of the optimiser, after which the policy of "
        "the next draw is the new one.",
        use="prompts_per_step prompts with group_size answers each; sampling says how they are sampled. They are kept "
        "in RUN/rollouts.",
        source="docs/specification.md, section 0",
        place="rollouts/rollout.py:RolloutSource",
        see=("prompts_per_step", "group_size", "sampling", "online and offline", "off-policy"),
        words=("draw", "rollouts", "generation phase"),
        shows=("postlude sample MODEL --data PROMPTS.jsonl -n 4",),
    ),
    Topic(
        "how much data",
        "how many prompts, pairs or answers are needed",
        CHOICE,
        "No number holds for all tasks: what counts is how many distinct rows there are, whether they agree, and, for "
        "rewards, how many prompts the model solves sometimes but not always. `postlude advise` counts these in your "
        "file. It does not advise to train below 8 distinct prompts or 20 distinct pairs, thumbs or written answers, "
        "and warns below 200.",
        use="Give it your rows: `postlude advise DATA --model MODEL`. Then put 50 rows or more aside as data.eval: "
        "without them overfitting is not seen.",
        bad_at="Those limits are chosen, not measured: they say when nothing general can be learned, not when much "
        "will be.",
        source="docs/advise.md",
        place="advice/stops.py:FEWEST",
        see=("choose a method", "data check", "signal", "data.eval", "overfitting", "zero-signal groups"),
        words=(
            "how many prompts do i need",
            "how many examples",
            "how many pairs",
            "how many rows",
            "how much data do i need",
            "many prompts need",
            "dataset size",
            "data size",
            "too little data",
            "enough data",
        ),
        shows=("postlude advise DATA --model MODEL", "postlude data check FILE"),
    ),
    Topic(
        "quantised training",
        "QLoRA, 4 and 8 bits",
        ABSENT,
        "postlude does not train on quantised weights: no QLoRA, no bitsandbytes, GPTQ, AWQ or GGUF. A quantised "
        "folder is refused with the sentence which model to give instead.",
        use="What there is: LoRA (model.lora.rank) over weights in bfloat16 (engine.dtype), with gradient "
        "checkpointing and a small engine.token_budget; a smaller model; a method with neither reference nor critic. "
        "`postlude memory` says what each saves.",
        source="docs/engine.md",
        place="models/fit.py:unfit",
        see=("lora for rl", "model.lora.rank", "engine.dtype", "limited compute", "unread-weights"),
        words=(
            "qlora",
            "4bit",
            "4-bit",
            "8bit",
            "8-bit",
            "quantised",
            "quantized",
            "quantization",
            "quantisation",
            "bitsandbytes",
            "bnb",
            "gptq",
            "awq",
            "gguf",
            "int8",
            "nf4",
        ),
        shows=("postlude memory MODEL model.lora.rank=16 engine.dtype=bfloat16",),
    ),
    Topic(
        "attention kernels",
        "a setting for FlashAttention: PyTorch chooses",
        ABSENT,
        "There is no setting for it and the flash-attn package is not used. Rows are packed, and attention goes "
        "through PyTorch's scaled_dot_product_attention, which takes a fused kernel where the device, the dtype and "
        "the mask allow one. Models with soft caps or sinks on attention are computed in plain steps.",
        use="Nothing to do. On a GPU engine.dtype=bfloat16 is what fused kernels want; engine.packed=false goes back "
        "to padded rows.",
        source="docs/engine.md",
        place="engines/local/attention.py:attention",
        see=("engine.packed", "engine.dtype", "engine.token_budget"),
        words=(
            "flash attention",
            "flash attn",
            "flash_attn",
            "flashattention",
            "fa2",
            "sdpa",
            "xformers",
            "attn_implementation",
        ),
        shows=("postlude selftest MODEL",),
    ),
    Topic(
        "images and audio",
        "models that see or hear",
        ABSENT,
        "Prompts and answers are text. Rows with images, audio or video are not trained on.",
        use="What there is: text, as a string or as messages.",
        source="docs/data.md",
        see=("unread-content", "data"),
        words=("images", "image", "vision", "multimodal", "vlm", "audio", "video", "pictures"),
        shows=("postlude data check FILE",),
    ),
)

SAID: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("symptom", "reward not improving"): (
        "reward not up",
        "reward not increase",
        "reward not rise",
        "reward not grow",
        "reward not change",
        "reward not better",
        "reward flat",
        "reward stuck",
        "reward constant",
        "reward stays same",
        "model not learn",
        "loss not down",
    ),
    ("symptom", "kl exploding"): ("kl grows", "kl growing", "kl keeps rising", "kl up", "kl high", "kl large"),
    ("symptom", "high reward, bad outputs"): (
        "model gets worse",
        "worse after training",
        "answers worse",
        "outputs worse",
        "quality down",
    ),
    ("alarm", "not-finite"): ("nan loss", "loss is nan", "nan", "inf", "nan gradients", "infinite loss"),
    ("alarm", "entropy-collapse"): (
        "entropy zero",
        "entropy collapses",
        "entropy falls",
        "entropy down",
        "entropy low",
        "no diversity",
        "mode collapse",
    ),
    ("alarm", "repetition"): ("model repeats", "repeats itself", "repeating", "answers loop", "repeats words"),
    ("alarm", "cut-off"): ("answers cut off", "cut short", "truncated answers", "answers stop early"),
    ("alarm", "displacement"): (
        "chosen log probs down",
        "chosen logps down",
        "chosen likelihood falls",
        "chosen answers go down",
        "chosen rewards down",
    ),
    ("alarm", "gradient-growth"): ("gradient norm explodes", "gradient explodes", "grad norm large", "gradients grow"),
    ("alarm", "mismatch"): ("sampler trainer differ", "train inference mismatch"),
    ("alarm", "overfitting"): ("overfit", "memorises", "held out worse"),
    ("error code", "out-of-memory"): (
        "oom",
        "cuda oom",
        "out of memory",
        "cuda out of memory",
        "gpu out of memory",
        "memory error",
        "killed",
    ),
    ("hacking", "reward hacking"): ("model cheats", "stop cheating", "games the reward", "exploit reward"),
    ("hacking", "length hacking"): ("answers too long", "answers longer", "verbose", "length bias of answers"),
    ("choice", "choose a method"): (
        "which method",
        "which algorithm",
        "what method",
        "best method",
        "where do i start",
    ),
    ("setting", "rates"): ("what learning rate", "which learning rate", "learning rate should", "good lr", "best lr"),
    ("command", "export"): ("merge adapter", "merge lora", "gguf export", "push to hub", "save final model"),
    ("command", "data check"): ("data good", "dataset good", "check my data", "clean data", "dataset quality"),
    ("command", "train"): ("resume run", "resume training", "continue run", "continue training", "start training"),
    ("command", "memory"): ("how much memory", "fit on gpu", "does it fit", "gpu memory need", "which gpu"),
    ("command", "compare"): ("is it better", "compare models", "compare runs", "significant"),
    ("command", "eval"): ("benchmark", "evaluate model", "pass at k", "accuracy of model"),
    ("command", "methods"): ("list methods",),
    ("section of check", "time"): (
        "how long training",
        "training take",
        "training slow",
        "duration",
        "eta",
        "speed up",
    ),
    ("key", "sampler"): ("openai server", "openai-compatible server"),
    ("key", "group_size"): (
        "how many answers",
        "many answers per prompt",
        "how many completions",
        "number generations",
    ),
    ("key", "sampling.max_tokens"): ("max length", "max new tokens", "longer answers allowed"),
    ("key", "checkpoints.every"): ("how often save", "save checkpoints"),
    ("key", "data.columns"): ("rename columns", "column names"),
    ("concept", "position bias"): ("judge prefers first", "prefers first answer", "order of answers judge"),
    ("concept", "zero-signal groups"): (
        "all rewards zero",
        "rewards all zero",
        "all rewards same",
        "reward always zero",
    ),
    ("concept", "alignment tax"): ("model forgets", "forgets skills", "lost skills"),
}
"""(kind, name) of a topic -> what users say who look for it. A phrase is in a question that has all its words."""
