"""The command line: one file per verb."""

from __future__ import annotations

import sys

from postlude.errors import PostludeError


def main() -> None:
    """Run a command; errors of ours print what is wrong and what to do, without a traceback."""
    from postlude.cli.app import app, console_error

    try:
        app()
    except PostludeError as error:
        console_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(
            "\nstopped; what was saved in the run folder is still there (continue with --resume).",
            file=sys.stderr,
        )
        sys.exit(130)
