"""The commands `python -m planner recommend` and `compare`: their arguments and their output."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from settings import Problem, SettingsError, files
from settings.error_messages import closest

if TYPE_CHECKING:
    from rich.console import Console

ALL = "all"


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `recommend` and `compare` to the planner's commands."""
    recommend = commands.add_parser(
        "recommend", help="list the layouts that meet the stack's targets, cheapest first, and why the others do not"
    )
    recommend.add_argument("--stack", default="prod", help="name of the stack, whose file is Pulumi.<stack>.yaml (default: prod)")
    recommend.add_argument("--file", type=Path, help="the stack file, if it is elsewhere")
    recommend.add_argument("--region", help=f"an Azure region, or {ALL} (default: the stack's)")
    recommend.add_argument("--spot", action="store_true", help="use spot prices")
    recommend.add_argument(
        "--survive",
        type=int,
        default=0,
        choices=range(5),
        metavar="N",
        help="keep meeting the targets when any N nodes are lost (default: 0)",
    )
    recommend.add_argument("--retired", action="store_true", help="include VM sizes that Azure no longer sells")
    recommend.add_argument(
        "--expected",
        action="store_true",
        help="count a target as met when the estimate meets it, not only when the slow end of its range does",
    )
    recommend.add_argument("--all", action="store_true", help="print all layouts instead of the cheapest")
    recommend.add_argument("--json", action="store_true", help="print one JSON object")

    compare = commands.add_parser("compare", help="compare measurements with their estimates")
    compare.add_argument(
        "--measured", type=Path, required=True, metavar="FILE.json", help="the measurements; docs/choosing-a-layout.md describes the file"
    )
    compare.add_argument("--json", action="store_true", help="print one JSON object")


def run_compare(options: argparse.Namespace) -> int:
    """Runs `compare`. Returns the exit status: 0 if at least one entry was compared, otherwise 1."""
    from reports import comparison

    try:
        compared = comparison.compare(options.measured)
    except comparison.Unreadable as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(comparison.as_json(compared), indent=2))
    else:
        from reports import recommendation

        recommendation.show_compared(compared, _console())
    return 0 if any(entry.pairs for entry in compared) else 1


def run(options: argparse.Namespace) -> int:
    """Runs `recommend`. Returns the exit status: 0 if a layout meets the targets, 1 if none does or if there are problems."""
    from planner.recommend.assessment import assess
    from planner.recommend.choice import SearchOptions

    try:
        asked = files.from_file(options.file or files.stack_file_path(options.stack), options.stack).require()
        search_options = SearchOptions(
            regions=_regions(options.region), spot=options.spot, survive=options.survive, retired=options.retired, expected=options.expected
        )
        assessment = assess(asked, search_options)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        from reports import json_output

        print(json.dumps(json_output.as_json(assessment, options.stack), indent=2))
    else:
        from reports import recommendation

        recommendation.show(assessment, options.stack, _console(), everything=options.all)
    return 0 if assessment.result.choices else 1


def _console() -> Console:
    from rich.console import Console

    # A pipe has no width, so take one that fits a row of the tables.
    return Console() if sys.stdout.isatty() else Console(width=200)


def _regions(name: str | None) -> tuple[str, ...]:
    from planner.catalogue import hardware

    known = hardware.regions()
    if name is None:
        return ()
    if name == ALL:
        return known
    if name not in known:
        near = closest(name, known)
        fix = f"did you mean {near}?" if near else f"{ALL}, or one of {', '.join(known)}"
        raise SettingsError([Problem(key="--region", value=name, consequence="is not a region of the price list", fix=fix)])
    return (name,)
