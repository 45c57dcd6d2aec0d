"""`python -m planner plan --stack prod` says what a stack file means before anything is bought. Other commands: estimate, recommend,
compare, model.

Exit status: 0 with an answer, 1 with problems, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from planner.recommend.assessment import assess
from planner.rules.planning import plan
from reports import commands, estimate_commands, model_command
from settings import SettingsError, files
from settings.exit_status import ended


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m planner", description="Says what a stack file means before anything is bought.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    plan_parser = subparsers.add_parser("plan", help="layout, GPU memory, nodes, cost, verdicts on the targets, alternatives, findings")
    plan_parser.add_argument("--stack", default="prod", help="the stack's name: reads Pulumi.<stack>.yaml (default: prod)")
    plan_parser.add_argument("--file", type=Path, help="the stack file, if it is somewhere else")
    plan_parser.add_argument("--summary", action="store_true", help="print the short form: layout, GPU memory, cost, targets")
    plan_parser.add_argument("--json", action="store_true", help="print the plan as one JSON object")
    plan_parser.add_argument("--html", type=Path, metavar="FILE", help="also write one self-contained HTML page")
    estimate_commands.add(subparsers)
    commands.add(subparsers)
    model_command.add(subparsers)
    options = parser.parse_args(arguments)
    if options.command == "estimate":
        return estimate_commands.run(options)
    if options.command == "recommend":
        return commands.run(options)
    if options.command == "compare":
        return commands.run_compare(options)
    if options.command == "model":
        return model_command.run(options)
    try:
        asked = files.from_file(options.file or files.stack_file_path(options.stack), options.stack).require()
        planned = plan(asked)
        assessment = assess(asked, planned=planned)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    if options.html:
        from reports.html import page

        try:
            options.html.write_text(page(assessment, options.stack))
        except OSError as error:
            print(f"{options.html}: {error.strerror}", file=sys.stderr)
            return 1
    if options.json:
        from reports.plan_text import as_json

        print(json.dumps(as_json(assessment, planned, options.stack), indent=2))
    else:
        from rich.console import Console

        from reports.plan_text import show, show_summary

        # A pipe has no width: wide enough for a line of the findings to be found by grep.
        console = Console() if sys.stdout.isatty() else Console(width=200)
        (show_summary if options.summary else show)(assessment, planned, options.stack, console)
        if options.html:
            print(f"\nwritten: {options.html}")
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
