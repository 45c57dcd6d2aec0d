"""`python -m stacks`: commands that read a stack file without starting Pulumi, for people, editors, hooks and CI.

- `check` lists what `pulumi up` would refuse.
- `explain` says what becomes of each setting. A setting with the outcome `error` is a problem.
- `coverage` prints docs/guide-coverage.md.
- `api-keys` prints the Secret with the clients' keys.
- `schema` prints the JSON schema of a stack file.

Exit status: 0 without problems, 1 with problems, 2 for a wrong command line.
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
    parser = argparse.ArgumentParser(prog="python -m stacks", description="Work with a stack file without starting Pulumi.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="list what `pulumi up` would refuse in a stack file")
    check.add_argument("--stack", help="name of the stack, whose file is Pulumi.<stack>.yaml")
    check.add_argument("--file", type=Path, help="the stack file, if it is elsewhere")
    check.add_argument("--json", action="store_true", help="print the result as one JSON object")
    explain = commands.add_parser("explain", help="say what becomes of each setting, where it takes effect, and why; fail on an error")
    explain.add_argument("key", nargs="?", help="a setting, such as shard.config.workerThreads, or a section, such as shard.config")
    explain.add_argument("--stack", default="prod", help="name of the stack, whose file is Pulumi.<stack>.yaml (default: prod)")
    explain.add_argument("--file", type=Path, help="the stack file, if it is elsewhere")
    explain.add_argument("--json", action="store_true", help="print the settings as a JSON list")
    coverage = commands.add_parser("coverage", help="print a page with what becomes of each setting of the guide")
    coverage.add_argument("--write", action="store_true", help="write the page to docs/guide-coverage.md instead of printing it")
    keys = commands.add_parser("api-keys", help="print the Secret with a key for each client, for `kubectl apply --server-side -f -`")
    keys.add_argument("clients", nargs="*", type=_client, help="every client that is to have a key; the load test always has one")
    keys.add_argument("--stack", default="prod", help="name of the stack, whose file is Pulumi.<stack>.yaml (default: prod)")
    keys.add_argument("--file", type=Path, help="the stack file, if it is elsewhere")
    keys.add_argument(
        "--keep", action="store_true", help="read the existing Secret as JSON from standard input, and keep the keys of the named clients"
    )
    schema = commands.add_parser("schema", help="print the JSON schema of a stack file, for editors")
    schema.add_argument("--write", action="store_true", help=f"write the schema to {SCHEMA_PATH.name} instead of printing it")
    models = commands.add_parser("models", help="print a page with each model of the catalogue and the cheapest layout for it")
    models.add_argument("--write", action="store_true", help="write the page to docs/models.md instead of printing it")
    options = parser.parse_args(arguments)
    if options.command == "schema":
        return _schema(write=options.write)
    if options.command == "models":
        return _models(write=options.write)
    if options.command == "coverage":
        return _coverage(write=options.write)
    if options.command == "api-keys":
        return _api_keys(options.file or files.stack_file_path(options.stack), options.stack, options.clients, keep=options.keep)
    if options.command == "explain":
        return _explain(options.file or files.stack_file_path(options.stack), options.stack, options.key, as_json=options.json)
    if not (options.stack or options.file):
        check.error("name a stack with --stack, or a file with --file")
    path = options.file or files.stack_file_path(options.stack)
    return _check(path, options.stack or path.name.removeprefix("Pulumi.").removesuffix(".yaml"), as_json=options.json)


def _check(path: Path, stack: str, *, as_json: bool) -> int:
    checked = files.from_file(path, stack)
    file = checked.file
    problems = sorted([*checked.problems, *_planned(checked)], key=lambda problem: file.line_of(problem.key) or 0)
    if as_json:
        listed = [{**asdict(problem), "line": file.line_of(problem.key)} for problem in problems]
        print(json.dumps({"file": str(path), "settings": file.values, "sections": len(file.sections), "problems": listed}, indent=2))
    elif problems:
        print(_listing(file, problems), file=sys.stderr)
    else:
        unchecked = f" (not checked, because only Pulumi can decrypt it: {', '.join(checked.encrypted)})" if checked.encrypted else ""
        print(f"{path.name}: {file.values} settings in {len(file.sections)} sections, no problems{unchecked}")
    return 1 if problems else 0


def _planned(checked: files.Checked) -> tuple[Problem, ...]:
    """Returns the problems that only the planner can find, such as unknown VM sizes and models, or shards that fit on no node."""
    from planner.rules.planning import plan, unknown_names

    if checked.settings is None:
        return unknown_names(checked.readable, checked.unusable)
    try:
        plan(checked.settings)
    except SettingsError as error:
        return error.problems
    return ()


def _listing(file: StackFile, problems: list[Problem]) -> str:
    """Formats the problems as `file:line: problem`, the form that editors turn into links."""

    def located(problem: Problem) -> str:
        line = file.line_of(problem.key)
        return f"{file.path.name}:{line}: {problem}" if line else str(problem)

    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    return "\n\n".join([f"{file.path.name}: {count}", *map(located, problems)])


def _explain(path: Path, stack: str, key: str | None, *, as_json: bool) -> int:
    from planner import plan

    stack = stack.rsplit("/", 1)[-1]
    try:
        asked = files.from_file(path, stack).require()
        planned = plan(asked)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    # Pulumi's SDKs: two seconds that a stack file with a mistake need not wait.
    from infra.registration import registration
    from reports import explain
    from reports.outcomes import outcomes

    rows = outcomes(asked, registration(planned, stack))
    try:
        rows = explain.selected(rows, key)
    except KeyError as unknown:
        print(unknown.args[0], file=sys.stderr)
        return 1
    status = 1 if any(row.outcome == "error" for row in rows) else 0
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
        return status
    from rich.console import Console

    explain.show(rows, stack, Console() if sys.stdout.isatty() else Console(width=explain.WIDTH))
    return status


def _client(text: str) -> str:
    from stacks import api_keys

    if not re.fullmatch(api_keys.CLIENT, text):
        raise argparse.ArgumentTypeError(f"{text} is not a valid name for a client: use at most 63 lower-case letters, digits and '-'")
    return text


def _api_keys(path: Path, stack: str, clients: list[str], *, keep: bool) -> int:
    from stacks import api_keys

    checked = files.from_file(path, stack)
    if checked.problems:
        print(SettingsError(checked.problems), file=sys.stderr)
        return 1
    asked = checked.settings.exposure.api_keys if checked.settings else None
    if asked is None:
        print(f"{path.name} requires no API keys: set exposure.apiKeys.secretName first", file=sys.stderr)
        return 1
    try:
        existing = api_keys.read(sys.stdin.read()) if keep else {}
    except ValueError:
        print("--keep reads a Secret as JSON: kubectl get secret ... -o json | python -m stacks api-keys --keep ...", file=sys.stderr)
        return 1
    if removed := api_keys.removed(clients, existing):
        print(f"not named, so their keys are removed: {', '.join(removed)}; to keep a key, name its client too", file=sys.stderr)
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


def _models(*, write: bool) -> int:
    from reports import models_page

    if write:
        models_page.PATH.write_text(models_page.page())
    else:
        print(models_page.page(), end="")
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
