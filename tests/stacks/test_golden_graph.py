"""The graph of each stack: every resource with its parent and what it waits for.

A change that moves, renames or re-parents a resource replaces it in production; here it shows in review.
`GOLDEN=write pytest tests/stacks/test_golden_graph.py` writes the files anew.
"""

import datetime
import os
from pathlib import Path

import pytest

from planner import plan
from settings import files
from stacks import program
from tests.mocks import recording, run
from tests.shipped import STACKS

GOLDEN = Path(__file__).parent / "golden"


def graph(stack: str) -> str:
    """One block a resource, in the order of types and names."""
    settings = files.from_file(files.stack_file_path(stack), stack).require()
    recorder = recording(stack)
    run(lambda: program.deploy(settings, plan(settings), stack, today=datetime.date(2026, 1, 1)))
    registered = {key: options for key, options in recorder.options.items() if key[0] != "pulumi:pulumi:Stack"}
    lines = []
    for (kind, name), options in sorted(registered.items()):
        lines.append(f"{kind} {name}")
        lines += [f"  parent: {options.parent}"] if options.parent else []
        lines += [f"  protected: {options.protect}"] if options.protect else []
        lines += [f"  formerly: {alias}" for alias in sorted(options.aliases) if kind.startswith("azure-native:")]
        lines += [f"  after: {needed}" for needed in sorted(options.depends_on)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("stack", STACKS)
def test_graph_is_the_reviewed_one(stack):
    file = GOLDEN / f"{stack}.txt"
    now = graph(stack)
    if os.environ.get("GOLDEN") == "write":
        file.write_text(now)
    assert now == file.read_text()
