"""One run of a comparison in a process of its own: `python -m postlude.contest.worker FOLDER PLACE`."""

from __future__ import annotations

import sys
from pathlib import Path

from postlude.contest.plan import Contest
from postlude.contest.running import FAILED, STOPPED, Work, run_job, stop_with_input
from postlude.errors import PostludeError


def main(folder: Path, place: str) -> int:
    contest = Contest.read(folder)
    jobs = [*contest.trials(), *contest.runs(Work(contest, folder).chosen())]
    job = next(job for job in jobs if job.place == place)
    stop_with_input()
    try:
        return STOPPED if run_job(contest, folder, job) else 0
    except PostludeError as error:
        print(str(error).replace("\n", " "), file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
