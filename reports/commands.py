"""`python -m planner recommend` and `compare`: their arguments, and what they print."""

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
    told = commands.add_parser("recommend", help="the layouts that meet the stack's targets, cheapest first, and why the rest do not")
    told.add_argument("--stack", default="prod", help="the stack's name: reads Pulumi.<stack>.yaml (default: prod)")
    told.add_argument("--file", type=Path, help="the stack file, if it is somewhere else")
    told.add_argument("--region", help=f"an Azure region, or {ALL} (default: the stack's)")
    told.add_argument("--spot", action="store_true", help="at spot prices")
    told.add_argument("--survive", type=int, default=0, choices=range(5), metavar="N", help="nodes that may be lost (default: 0)")
    told.add_argument("--retired", action="store_true", help="also sizes that Azure no longer sells")
    told.add_argument("--expected", action="store_true", help="enough if the estimate itself meets a target, not its range's slow end")
    told.add_argument("--all", action="store_true", help="print all layouts, not only the cheapest")
    told.add_argument("--json", action="store_true", help="print one JSON object")

    beside = commands.add_parser("compare", help="measurements beside their estimates")
    beside.add_argument("--measured", type=Path, required=True, metavar="FILE.json", help="entries as docs/choosing-a-layout.md has them")
    beside.add_argument("--json", action="store_true", help="print one JSON object")


def run_compare(options: argparse.Namespace) -> int:
    """Exit status: 0 where at least one entry was compared, else 1."""
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
    return 0 if any(one.pairs for one in compared) else 1


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 with a layout that meets the targets, 1 without one or with problems."""
    from planner.recommend.assessment import assess
    from planner.recommend.choice import Wish

    try:
        asked = files.from_file(options.file or files.stack_file_path(options.stack), options.stack).require()
        wish = Wish(
            regions=_regions(options.region), spot=options.spot, survive=options.survive, retired=options.retired, expected=options.expected
        )
        found = assess(asked, wish)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        from reports import json_output

        print(json.dumps(json_output.as_json(found, options.stack), indent=2))
    else:
        from reports import recommendation

        recommendation.show(found, options.stack, _console(), everything=options.all)
    return 0 if found.found.choices else 1


def _console() -> Console:
    from rich.console import Console

    # A pipe has no width: wide enough for a row of the tables.
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
        raise SettingsError([Problem(key="--region", value=name, consequence="the price list does not have it", fix=fix)])
    return (name,)
