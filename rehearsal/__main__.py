"""The commands `python -m rehearsal run --stack prod [--subscription NAME] [--keep]` and `python -m rehearsal clean [--stack prod]`."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from rehearsal.layout import REPOSITORY

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupted(*_: object) -> NoReturn:
    """Raises KeyboardInterrupt once; further signals are ignored, so that they cannot interrupt the clean-up."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    # The Automation API would complain about a pipe that is closed by then.
    threading.excepthook = lambda _: None
    raise KeyboardInterrupt


def _stack(text: str) -> str:
    """Accepts only names that are one folder, because that folder is removed before and after a run."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid stack name: use letters, digits, '-', '_' and '.'")
    return text


def _changes(text: str) -> tuple[str, ...]:
    """Accepts names of changes, separated by commas, and `all`."""
    from rehearsal import changes

    asked, known = tuple(filter(None, text.split(","))), changes.names()
    unknown = [name for name in asked if name not in (*known, "all")]
    if unknown:
        raise argparse.ArgumentTypeError(f"no change '{unknown[0]}': write all, or some of {', '.join(known)}")
    return asked


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal",
        description="Run a whole stack on the real Pulumi engine and a real Kubernetes control plane; only Azure is simulated.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="rehearse a stack: preview, up, up again, refresh, changes, destroy")
    run_parser.add_argument("--stack", required=True, type=_stack)
    run_parser.add_argument(
        "--subscription", default="default", help="the subscription to rehearse, a file of rehearsal/subscriptions (docs/rehearsal.md)"
    )
    run_parser.add_argument("--keep", action="store_true", help="stop after the first up and leave everything running")
    run_parser.add_argument(
        "--changes",
        type=_changes,
        default=(),
        metavar="NAMES",
        help="make these changes after the refresh, separated by commas, or `all` (rehearsal/changes.yaml)",
    )
    run_parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND:TYPE",
        help="inject a fault (throttle, 500, quota or crash), such as 500:AgentPool",
    )
    clean_parser = commands.add_parser("clean", help="remove what rehearsals left")
    clean_parser.add_argument("--stack", type=_stack)
    for sub in (run_parser, clean_parser):
        sub.add_argument("--repository", type=Path, default=REPOSITORY, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    from rehearsal import run as runner  # imported late, because the Automation API takes a second

    reason = runner.main_is_supported()
    if reason:
        parser.error(reason)
    if options.command == "clean":
        return runner.clean(options.repository.resolve(), options.stack)
    try:
        from rehearsal.azure.faults import parse

        parse(",".join(options.fault))
    except ValueError as error:
        parser.error(str(error))
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, _interrupted)
    return runner.run(
        runner.Options(
            stack=options.stack,
            subscription=options.subscription,
            keep=options.keep,
            faults=",".join(options.fault),
            changes=options.changes,
            repository=options.repository.resolve(),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
