"""Files of a model that somebody damaged on purpose: each is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postlude.errors import ConfigError
from postlude.models.files import header
from postlude.models.trial import LONGEST, endless


@pytest.mark.parametrize("entry", [{"dtype": 3}, {"dtype": ["F32"]}, {"shape": ["1"]}, {"shape": 1}])
def test_a_header_whose_values_are_of_other_kinds_is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    text = json.dumps({"norm": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **entry}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ConfigError, match="its header cannot be read"):
        header(file)


def test_a_template_of_a_million_characters_is_refused_before_it_is_tried() -> None:
    assert endless("9" * LONGEST) is None
    assert endless("9" * (LONGEST + 1)) == f"it has {LONGEST + 1:,} characters, more than {LONGEST:,}"
