"""The short form of a plan, which `make rehearse` prints while the programs are built."""

import io
import math

import pytest
from rich.console import Console

from planner.__main__ import main
from planner.recommend.assessment import assess
from planner.rules.planning import plan
from reports.plan_text import show_summary
from tests.planner import stacks


def summary(stack, width):
    asked = stacks.stack(stack)
    planned = plan(asked)
    written = io.StringIO()
    console = Console(file=written, width=width)
    show_summary(assess(asked, planned=planned), planned, stack, console)
    return written.getvalue()


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_summary_leaves_room_for_the_rehearsal_on_a_terminal_of_80_columns(stack):
    lines = summary(stack, 80).splitlines()
    assert sum(max(1, math.ceil(len(line) / 80)) for line in lines) <= 25


def test_the_summary_says_what_is_bought_what_is_missed_and_what_would_meet_it():
    text = " ".join(summary("prod", 200).split())
    for part in (
        "llama-2-70b: 8 shards on 8 GPUs; 2 Standard_NC24s_v3",
        "24.48 USD an hour",
        "missed targets.latency: 2s for 100 tokens; predicted: ",
        "The cheapest layout that meets them: ",
        "Findings about settings: 13 adjusted, 5 not supported,",
        "make plan STACK=prod",
    ):
        assert part in text


def test_the_command_prints_the_summary_instead_of_the_plan(capsys):
    assert main(["plan", "--stack", "dev", "--summary"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("llama-2-7b: ") and "make plan STACK=dev" in printed
    assert len(printed.splitlines()) < 25
