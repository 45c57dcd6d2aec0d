"""This repository's program in a folder of its own, so that a test's rehearsal is never a person's."""

from pathlib import Path

NOT_PART_OF_THE_PROGRAM = (".git", ".rehearsal", "__pycache__")


def linked_repository(source: Path, at: Path) -> Path:
    for entry in source.iterdir():
        if entry.name not in NOT_PART_OF_THE_PROGRAM:
            (at / entry.name).symlink_to(entry)
    return at
