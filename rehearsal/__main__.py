"""`python -m rehearsal run --stack prod [--subscription NAME] [--keep]`, `python -m rehearsal clean [--stack prod]`."""

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
    """Once is enough: what is taken away then must not be cut short."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    # The engine's API goes on reading from a pipe that is closed by then.
    threading.excepthook = lambda _: None
    raise KeyboardInterrupt


def _stack(text: str) -> str:
    """A name that is one folder's: what is there is removed before a run and after it."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no stack's name: letters, digits, '-', '_' and '.'")
    return text


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal",
        description="The whole stack on the real Pulumi engine and a real Kubernetes; only Azure is stood in for.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="preview, up, up again, refresh, destroy")
    run_parser.add_argument("--stack", required=True, type=_stack)
    run_parser.add_argument("--subscription", default="default", help="default, today, tight-quota, granted, no-zones")
    run_parser.add_argument("--keep", action="store_true", help="stop after the up and leave everything running")
    run_parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND:TYPE", help="throttle, 500, quota or crash, e.g. 500:AgentPool"
    )
    clean_parser = commands.add_parser("clean", help="take away what rehearsals left")
    clean_parser.add_argument("--stack", type=_stack)
    for sub in (run_parser, clean_parser):
        sub.add_argument("--repository", type=Path, default=REPOSITORY, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    from rehearsal import run as runner  # after the arguments: it imports the engine's API, which takes a second

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
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` wants it
            signal.signal(number, _interrupted)
    return runner.run(
        runner.Options(
            stack=options.stack,
            subscription=options.subscription,
            keep=options.keep,
            faults=",".join(options.fault),
            repository=options.repository.resolve(),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
