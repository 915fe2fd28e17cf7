"""Stands in for vllm in an interpreter of tests: `tests.fake_vllm` behind the real one's command line."""

import json
import os

__version__ = json.loads(os.environ.get("FAKE_VLLM", "{}")).get("version", "0.32.0")
