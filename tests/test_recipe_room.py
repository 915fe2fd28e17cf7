"""The room of recipes: what is public there, and what reading a recipe loads."""

import subprocess
import sys

from postlude import recipe

PROBE = """
import sys
from postlude import recipe
for name in recipe.__all__:
    getattr(recipe, name)
heavy = ("torch", "transformers", "peft", "safetensors", "openai")
print(sorted({name.partition(".")[0] for name in sys.modules} & {*heavy}))
"""


def test_the_room_names_what_is_public() -> None:
    assert {name: callable(getattr(recipe, name)) for name in recipe.__all__} == dict.fromkeys(recipe.__all__, True)
    assert recipe.resolve.__module__ == "postlude.recipe.resolution"


def test_reading_a_recipe_loads_neither_torch_nor_transformers() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
