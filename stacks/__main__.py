"""A stack file without the engine, for people, editors, hooks and CI.

`check`: what `pulumi up` would refuse of it. `explain`: what becomes of each setting. `coverage`: docs/guide-coverage.md.
`api-keys`: the Secret with its clients' keys.
Exit status: 0 without problems, 1 with problems, 2 when it was called wrongly.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

from settings import Problem, SettingsError, files
from settings.exit_status import ended
from settings.stack_file import StackFile

SCHEMA_PATH = files.ROOT / "stack.schema.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stacks", description="Look at a stack file without the engine.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="what `pulumi up` would refuse of a stack file")
    check.add_argument("--stack", help="the stack's name: checks Pulumi.<stack>.yaml")
    check.add_argument("--file", type=Path, help="the stack file, if it is somewhere else")
    check.add_argument("--json", action="store_true", help="print the result as one JSON object")
    explain = commands.add_parser("explain", help="what becomes of each setting, where it is, and why")
    explain.add_argument("key", nargs="?", help="as in the stack file: shard.config.workerThreads, or shard.config for all below it")
    explain.add_argument("--stack", default="prod", help="the stack's name: reads Pulumi.<stack>.yaml (default: prod)")
    explain.add_argument("--file", type=Path, help="the stack file, if it is somewhere else")
    explain.add_argument("--json", action="store_true", help="print the rows as a JSON list")
    coverage = commands.add_parser("coverage", help="what becomes of each setting of the guide, as a page")
    coverage.add_argument("--write", action="store_true", help="write it to docs/guide-coverage.md instead of printing it")
    keys = commands.add_parser("api-keys", help="the Secret with a key for each client, for kubectl apply --server-side -f -")
    keys.add_argument("clients", nargs="*", type=_client, help="all that are to have one; the load test has one anyway")
    keys.add_argument("--stack", default="prod", help="the stack's name: reads Pulumi.<stack>.yaml (default: prod)")
    keys.add_argument("--file", type=Path, help="the stack file, if it is somewhere else")
    keys.add_argument("--keep", action="store_true", help="read the Secret that is there, as JSON, and keep the keys of these clients")
    schema = commands.add_parser("schema", help="the JSON schema of a stack file, for editors")
    schema.add_argument("--write", action="store_true", help=f"write it to {SCHEMA_PATH.name} instead of printing it")
    options = parser.parse_args(arguments)
    if options.command == "schema":
        return _schema(write=options.write)
    if options.command == "coverage":
        return _coverage(write=options.write)
    if options.command == "api-keys":
        return _api_keys(options.file or files.stack_file_path(options.stack), options.stack, options.clients, keep=options.keep)
    if options.command == "explain":
        return _explain(options.file or files.stack_file_path(options.stack), options.stack, options.key, as_json=options.json)
    if not (options.stack or options.file):
        check.error("which stack? give --stack or --file")
    path = options.file or files.stack_file_path(options.stack)
    return _check(path, options.stack or path.name.removeprefix("Pulumi.").removesuffix(".yaml"), as_json=options.json)


def _check(path: Path, stack: str, *, as_json: bool) -> int:
    checked = files.from_file(path, stack)
    file = checked.file
    problems = sorted([*checked.problems, *_planned(checked)], key=lambda problem: file.line_of(problem.key) or 0)
    if as_json:
        found = [{**asdict(problem), "line": file.line_of(problem.key)} for problem in problems]
        print(json.dumps({"file": str(path), "settings": file.values, "sections": len(file.sections), "problems": found}, indent=2))
    elif problems:
        print(_listing(file, problems), file=sys.stderr)
    else:
        unchecked = f" (not checked, as only the engine can read it: {', '.join(checked.encrypted)})" if checked.encrypted else ""
        print(f"{path.name}: {file.values} settings in {len(file.sections)} sections, no problems{unchecked}")
    return 1 if problems else 0


def _planned(checked: files.Checked) -> tuple[Problem, ...]:
    """What the planner finds in settings that are right by themselves: unknown sizes and models, shards that fit no node."""
    from planner.rules.planning import plan, unknown_names

    if checked.settings is None:
        return unknown_names(checked.readable, checked.unusable)
    try:
        plan(checked.settings)
    except SettingsError as error:
        return error.problems
    return ()


def _listing(file: StackFile, problems: list[Problem]) -> str:
    """Every problem with the line it stands on, as editors understand it."""

    def located(problem: Problem) -> str:
        line = file.line_of(problem.key)
        return f"{file.path.name}:{line}: {problem}" if line else str(problem)

    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    return "\n\n".join([f"{file.path.name}: {count}", *map(located, problems)])


def _explain(path: Path, stack: str, key: str | None, *, as_json: bool) -> int:
    from planner import plan
    from reports.outcomes import outcomes, rendered

    stack = stack.rsplit("/", 1)[-1]
    try:
        asked = files.from_file(path, stack).require()
        made = plan(asked)
        rows = outcomes(asked, made, rendered(made, stack), stack)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    from reports import explain

    try:
        rows = explain.selected(rows, key)
    except KeyError as unknown:
        print(unknown.args[0], file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
        return 0
    from rich.console import Console

    explain.show(rows, stack, Console() if sys.stdout.isatty() else Console(width=explain.WIDTH))
    return 0


def _client(text: str) -> str:
    from stacks import api_keys

    if not re.fullmatch(api_keys.CLIENT, text):
        raise argparse.ArgumentTypeError(f"{text} is no name for a client: lower-case letters, digits and '-', at most 63")
    return text


def _api_keys(path: Path, stack: str, clients: list[str], *, keep: bool) -> int:
    from stacks import api_keys

    checked = files.from_file(path, stack)
    if checked.problems:
        print(SettingsError(checked.problems), file=sys.stderr)
        return 1
    asked = checked.settings.exposure.api_keys if checked.settings else None
    if asked is None:
        print(f"{path.name} asks for no keys: set exposure.apiKeys.secretName", file=sys.stderr)
        return 1
    try:
        existing = api_keys.read(sys.stdin.read()) if keep else {}
    except ValueError:
        print("--keep reads a Secret as JSON: kubectl get secret ... -o json | python -m stacks api-keys --keep ...", file=sys.stderr)
        return 1
    print(json.dumps(api_keys.manifest(asked.secret_name, clients, existing)))
    return 0


def _coverage(*, write: bool) -> int:
    from reports import coverage

    text = coverage.stale() or coverage.PATH.read_text()
    if write:
        coverage.PATH.write_text(text)
    else:
        print(text, end="")
    return 0


def _schema(*, write: bool) -> int:
    from settings.schema import stack_file_schema

    text = json.dumps(stack_file_schema(files.PROJECT), indent=2) + "\n"
    if write:
        SCHEMA_PATH.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
