"""People's verdicts on the answers of a run: what is shown to them, where verdicts are kept, what they say together.

Nothing here prints or reads keys: a terminal (`cli/review.py`) or a page stands on it.
"""

from postlude.review.report import figures

__all__ = ["figures"]
