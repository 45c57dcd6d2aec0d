"""Runs of the small program in `tiny/`, as a person starts them: `python -m rehearsal`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from rehearsal import processes
from rehearsal.layout import REPOSITORY, Layout
from rehearsal.programs import REHEARSAL, require_programs

TINY = Path(__file__).parent / "tiny"


def copied(folder):
    """The small program in a folder of its own."""
    require_programs(*REHEARSAL, target="test")
    shutil.copytree(TINY, folder)
    return folder


def start(repository, *arguments, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "rehearsal", *arguments, "--repository", str(repository)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200"}, **how,
    )  # fmt: skip


def rehearse(repository, *arguments):
    """(exit code, what was printed)."""
    process = start(repository, *arguments)
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def configure(repository, stack, **settings):
    config = {"config": {f"tiny:{key}": value for key, value in settings.items()}}
    (repository / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(config))


def nothing_runs(repository, stack="dev"):
    return processes.marked(Layout.of_stack(stack, repository).root) == {}
