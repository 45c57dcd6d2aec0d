"""`python -m serve`: runs a stack's service on this machine until Ctrl-C.

Exit status: 0 after Ctrl-C or SIGTERM, 1 if it could not serve, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import signal
import sys
import time
from collections.abc import Callable, Generator
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
"""The request of the guide's load test."""


class _Ended(Exception):
    """A signal asked the service to end."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serve", description="Run a stack's service on this machine: the pods' own commands as processes, until Ctrl-C."
    )
    parser.add_argument("--stack", default="dev", help="name of the stack, whose file is Pulumi.<stack>.yaml (default: dev)")
    parser.add_argument("--file", type=Path, help="the stack file, if it is elsewhere")
    parser.add_argument("--pipelines", type=_count, default=2, help="number of llama-servers behind the coordinator (default: 2)")
    parser.add_argument("--port", type=_port, default=8080, help="port of the service (default: 8080)")
    parser.add_argument("--model", type=Path, help=f"a GGUF file (default: {MODEL} from the toolchain)")
    parser.add_argument(
        "--secrets", type=Path, help="a folder that has, for each Secret that the stack names, a folder with the Secret's keys as files"
    )
    parser.add_argument("--folder", type=Path, help="folder for logs and configuration (default: .serve/STACK)")
    options = parser.parse_args(arguments)
    _on_signals(_end)
    try:
        _serve(options)
    except _Ended:
        print("stopped; no process is left running", flush=True)
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
    _on_signals(signal.SIG_IGN)  # a second signal must not interrupt the clean-up
    raise _Ended


def _on_signals(handler: Callable[..., None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _serve(options: argparse.Namespace) -> None:
    rendered = render(options.file or files.stack_file_path(options.stack), options.stack, options.pipelines)
    folder = options.folder or files.ROOT / ".serve" / options.stack
    model = options.model or Cache.of_user().share / "models" / MODEL
    with _alone(folder):
        end_left_behind(folder, _say)
        running = service(rendered, model=model, port=options.port, folder=folder, secrets=options.secrets)
        try:
            _introduce(rendered, running, model)
            running.start(_say)
            _invite(rendered, running)
            while True:
                time.sleep(0.5)
                running.mend(_say)
        finally:
            _on_signals(signal.SIG_IGN)
            running.end()


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Lets one service use a folder at a time. The kernel releases the lock when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(f"another service is running from {folder}: stop it, or choose another folder with --folder") from None
        yield


def _introduce(rendered: Rendered, running: Service, model: Path) -> None:
    asked = "" if rendered.engine_asked == ENGINE else f", in place of {rendered.engine_asked}, which needs a GPU or your own images"
    _say(f"Serving {rendered.stack} with engine {ENGINE}{asked}; {model.name} in place of {rendered.model}")
    _say("Differences from the pods:")
    for difference in running.substitutions:
        change = f"{difference.pod} -> {difference.here}" if difference.pod else difference.here
        _say(f"  {difference.what} {change}  ({difference.because})")
    _say(f"Starting; logs in {running.folder / 'logs'}")


def _invite(rendered: Rendered, running: Service) -> None:
    _say(f"\n{running.url}  (Ctrl-C stops the service)")
    for name, address in running.metrics.items():
        _say(f"  metrics of {name}: http://{address}{rendered.workload.metrics_path}")
    if running.observer:
        _say(f"  Prometheus' API: http://{HOST}:{running.observer.probe_port}/api/v1/query?query=up")
    _say("")
    body = json.dumps(REQUEST)
    # The certificate is for the service's own name, not for this address.
    secure = " -k" if running.scheme == "https" else ""
    key = ' -H "Authorization: Bearer $API_KEY"' if rendered.api_keys else ""
    _say(f"curl -s{secure} {running.url}{rendered.workload.inference_path} -H 'Content-Type: application/json'{key} -d '{body}'\n")


if __name__ == "__main__":
    sys.exit(main())
