"""LaTeX's commands for words between braces, as every pattern that meets them names them."""

from __future__ import annotations

import re

TEXTS = r"\\(?:text|mbox|textrm|textbf|textit|textsf|texttt|textnormal|mathrm|emph)"
"""A pattern of the command alone; styles of letters, such as \\mathbf and \\textup, are taken off by `normalise`."""
TEXT = re.compile(rf"{TEXTS}\s*\{{([^{{}}]*)\}}")
"""The command with its words."""
