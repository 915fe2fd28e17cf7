"""Hostile and cheating programs against the reward `code`: `make hostile DIR=folder`.

The folder holds programs and an `index.json`: `{"programs": [{"id", "file", "kind", "expected_reward", ...}]}`. In a
program `@CANARY@` stands for a folder of the harness and `TARGETPID` for the process that grades it. The programs are
tried only inside the sandbox; what they could harm is the harness's own.
"""
