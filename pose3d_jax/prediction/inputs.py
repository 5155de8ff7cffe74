"""Which images and videos there are in what a user names."""

import collections
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pose3d_jax.errors import UserError, system_error
from pose3d_jax.images.media import is_input, walk
from pose3d_jax.prediction.outputs import FIGURE, OVERLAY, POSES, VIDEO, Job

log = logging.getLogger(__name__)


def list_jobs(paths: Sequence[Path], out: Path) -> tuple[list[Job], list[UserError]]:
    """Files, and what images and videos there are in folders, each with a place of its own.

    Args:
        paths: of files and folders.
        out: directory of the results.

    Returns:
        The inputs, and what is wrong with the folders.

    Raises:
        UserError: two inputs would share a place, or a place is a file.
    """
    jobs: dict[Path, Job] = {}
    problems: list[UserError] = []
    for path in paths:
        if path.name == "..":  # Below its parent, by name, lies nothing but the parent.
            path = path.resolve()
        if os.path.isdir(path):
            files, more = _files_below(path)
            problems += more
        else:
            files = [path]
        for file in files:
            place = out / file.relative_to(path.parent)
            if os.path.isfile(place):
                raise UserError(
                    f"The results of {file} go to a directory {place}, which is a file. Choose "
                    "another --out."
                )
            if place not in jobs:
                jobs[place] = Job(file, place)
            elif os.path.realpath(file) != os.path.realpath(jobs[place].source):
                raise UserError(
                    f"{file} and {jobs[place].source} have the same name; name their folder "
                    "instead, or predict one at a time."
                )
    return list(jobs.values()), problems


def _files_below(folder: Path) -> tuple[list[Path], list[UserError]]:
    """The images and videos, and what could not be read; a line tells what was left out.

    What is hidden, its name beginning with a dot, is left out silently.
    """
    found: list[Path] = []
    problems: list[UserError] = []
    others: collections.Counter[str] = collections.Counter()

    for root, names in walk(folder, lambda e: problems.append(UserError(system_error(e)))):
        # The results of an earlier run are pictures, too.
        results = (POSES, OVERLAY, FIGURE, VIDEO) if POSES in names else ()
        for path in (Path(root, name) for name in names if name not in results):
            if is_input(path):
                found.append(path)
            else:
                others[path.suffix.lower() or "without suffix"] += 1
    if others:
        some = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        log.info("%s: other files are left out (%s)", folder, some)
    if not found and not problems:
        problems.append(UserError(f"There are no images or videos in {folder}."))
    return sorted(found), problems
