"""`python -m serve`: a stack's service on this machine until Ctrl-C.

Exit status: 0 when it was ended, 1 when it could not serve, 2 when it was called wrongly.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serve.errors import ServeError
from serve.rendering import ENGINE, Rendered, render
from serve.service import Service, end_left_behind, service
from serve.substitutions import HOST
from settings import SettingsError, files
from toolchain.cache import Cache

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
REQUEST = {"prompt": "The future of artificial intelligence is", "max_tokens": 100, "temperature": 0.7}
"""The guide's."""


class _Ended(Exception):
    """Someone asked for the end."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description="A stack's service on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the pods' own commands as processes, until Ctrl-C")
    serve.add_argument("--stack", default="dev", help="the stack's name: reads Pulumi.<stack>.yaml (default: dev)")
    serve.add_argument("--file", type=Path, help="the stack file, if it is somewhere else")
    serve.add_argument("--pipelines", type=_count, default=2, help="how many llama-servers behind the coordinator (default: 2)")
    serve.add_argument("--port", type=_port, default=8080, help="where clients ask (default: 8080)")
    serve.add_argument("--model", type=Path, help=f"a GGUF file (default: the toolchain's {MODEL})")
    serve.add_argument("--secrets", type=Path, help="a folder with one for each Secret that the stack names, and its keys as files")
    serve.add_argument("--folder", type=Path, help="for logs and configuration (default: .local/STACK)")
    options = parser.parse_args(arguments)
    _on_signals(_end)
    try:
        _serve(options)
    except _Ended:
        print("ended; no process is left", flush=True)
    except (ServeError, SettingsError) as problem:
        print(problem if isinstance(problem, SettingsError) else f"serve: {problem}", file=sys.stderr)
        return 1
    return 0


def _count(text: str) -> int:
    return _within(text, 1, 16)


def _port(text: str) -> int:
    return _within(text, 1, 65535)


def _within(text: str, least: int, most: int) -> int:
    if not (text.isdecimal() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
    return int(text)


def _end(*_: object) -> None:
    _on_signals(signal.SIG_IGN)  # once is enough: what follows must not be cut short
    raise _Ended


def _on_signals(handler: Callable[..., None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _serve(options: argparse.Namespace) -> None:
    rendered = render(options.file or files.stack_file_path(options.stack), options.stack, options.pipelines)
    folder = options.folder or files.ROOT / ".local" / options.stack
    model = options.model or Cache.of_user().share / "models" / MODEL
    with _alone(folder):
        end_left_behind(folder, _say)
        made = service(rendered, model=model, port=options.port, folder=folder, secrets=options.secrets)
        try:
            _introduce(rendered, made, model)
            made.start(_say)
            _invite(rendered, made)
            while True:
                time.sleep(0.5)
                made.mend(_say)
        finally:
            _on_signals(signal.SIG_IGN)
            made.end()


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One service a folder; the kernel frees it when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(f"another one is serving from {folder}: end it, or give this one --folder") from None
        yield


def _introduce(rendered: Rendered, made: Service, model: Path) -> None:
    asked = (
        "" if rendered.engine_asked == ENGINE else f", in place of {rendered.engine_asked}, which needs a GPU or images of the user's own"
    )
    _say(f"Serving {rendered.stack} with engine {ENGINE}{asked}; {model.name} in place of {rendered.model}")
    _say("Otherwise than in the pods:")
    for each in made.substitutions:
        change = f"{each.what} {each.pod} -> {each.here}" if each.pod else f"{each.what} {each.here}"
        _say(f"  {change}  ({each.because})")
    _say(f"Starting; logs in {made.folder / 'logs'}")


def _invite(rendered: Rendered, made: Service) -> None:
    _say(f"\n{made.url}  Ctrl-C ends it")
    for name, address in made.metrics.items():
        _say(f"  metrics of {name}: http://{address}{rendered.workload.metrics_path}")
    if made.observer:
        _say(f"  Prometheus' API: http://{HOST}:{made.observer.probe_port}/api/v1/query?query=up")
    _say("")
    body = json.dumps(REQUEST)
    # A certificate is for the service's own name.
    secure = " -k" if made.scheme == "https" else ""
    key = ' -H "Authorization: Bearer $API_KEY"' if rendered.api_keys else ""
    _say(f"curl -s{secure} {made.url}{rendered.workload.inference_path} -H 'Content-Type: application/json'{key} -d '{body}'\n")


if __name__ == "__main__":
    sys.exit(main())
