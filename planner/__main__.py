"""`python -m planner plan --stack prod`: what a stack file means, before anything is bought; `estimate`, `recommend`, `compare` beside it.

Exit status: 0 with an answer, 1 with problems, 2 when it was called wrongly.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from planner.recommend.assessment import assess
from planner.rules.planning import plan
from reports import commands as choices
from reports import estimate_commands as performance
from settings import SettingsError, files
from settings.exit_status import ended


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m planner", description="What a stack file means, before anything is bought.")
    commands = parser.add_subparsers(dest="command", required=True)
    planned = commands.add_parser("plan", help="layout, memory of each GPU, nodes, cost, targets, what would meet them, findings")
    planned.add_argument("--stack", default="prod", help="the stack's name: reads Pulumi.<stack>.yaml (default: prod)")
    planned.add_argument("--file", type=Path, help="the stack file, if it is somewhere else")
    planned.add_argument("--json", action="store_true", help="print the plan as one JSON object")
    planned.add_argument("--html", type=Path, metavar="FILE", help="also write one self-contained HTML page")
    performance.add(commands)
    choices.add(commands)
    options = parser.parse_args(arguments)
    if options.command == "estimate":
        return performance.run(options)
    if options.command == "recommend":
        return choices.run(options)
    if options.command == "compare":
        return choices.run_compare(options)
    try:
        asked = files.from_file(options.file or files.stack_file_path(options.stack), options.stack).require()
        made = plan(asked)
        found = assess(asked, planned=made)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    if options.html:
        from reports.html import page

        try:
            options.html.write_text(page(found, options.stack))
        except OSError as error:
            print(f"{options.html}: {error.strerror}", file=sys.stderr)
            return 1
    if options.json:
        from reports.plan_text import as_json

        print(json.dumps(as_json(found, made, options.stack), indent=2))
    else:
        from rich.console import Console

        from reports.plan_text import show

        # A pipe has no width: wide enough for a line of the findings to be found by grep.
        console = Console() if sys.stdout.isatty() else Console(width=200)
        show(found, made, options.stack, console)
        if options.html:
            print(f"\nwritten: {options.html}")
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
