"""The command line: one file per verb."""

from __future__ import annotations

import gc
import sys

from postlude.errors import PostludeError


def collect_rarely() -> None:
    """Look for cyclic garbage 70 times less often: the searches are a fifth of the CPU time of a start."""
    gc.set_threshold(50_000, 50, 50)


def main() -> None:
    """Run a command; errors of ours print what is wrong and what to do, without a traceback."""
    collect_rarely()
    from postlude.cli.app import app, console_error
    from postlude.cli.waiting import tell
    from postlude.process import end_without_threads, exit_code_of, signal_behind
    from postlude.waits import Watchdog

    try:
        with Watchdog(lambda text: tell([text])):
            app()
    except SystemExit as end:  # how every command ends
        signum = signal_behind(end)
        code = end.code if signum is None else exit_code_of(signum)
        end_without_threads(code if isinstance(code, int) else 0)
        sys.exit(code)
    except PostludeError as error:
        console_error(error, as_json="--json" in sys.argv[1:])
        end_without_threads(error.exit_code)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(
            "\nstopped; what was saved in the run folder is still there (continue with --resume).",
            file=sys.stderr,
        )
        sys.exit(130)
