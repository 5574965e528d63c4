"""Is the code that is about to run the code that a commit names? The profile of a paper's numbers insists on it."""

import subprocess
from collections.abc import Sequence
from dataclasses import replace

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.project import Project

CLEAN_PROFILES = ("full",)
NAMED = 5  # files that the refusal names


def changed_files(project: Project) -> list[str] | None:
    """Files that differ from the commit, new ones included and ignored ones not; None where there is no history."""
    command = ["git", "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"]
    try:
        done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return sorted(entry[3:] for entry in done.stdout.split("\0") if entry)


def with_clean_checkout(project: Project, plans: Sequence[Plan], allow_dirty: bool) -> list[Plan]:
    """The plans as they may run: one of a profile in `CLEAN_PROFILES` needs a checkout without changes.

    With `allow_dirty` it takes the changed files along into each `run.json`. ParameterError before anything starts.
    """
    wanting = [plan for plan in plans if plan.profile in CLEAN_PROFILES]
    changed = changed_files(project) if wanting else []
    if changed == []:
        return list(plans)
    if not allow_dirty:
        what = "no git history" if changed is None else f"{len(changed)} uncommitted: {', '.join(changed[:NAMED])}"
        more = ", ..." if changed and len(changed) > NAMED else ""
        raise ParameterError(
            f"{wanting[0].name}: the checkout is not clean ({what}{more}), expected code that a commit names; commit, "
            "or give --allow-dirty and have it noted in every run"
        )
    noted = tuple(changed or ["no git history"])
    return [replace(plan, changed_files=noted) if plan in wanting else plan for plan in plans]
