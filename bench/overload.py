"""Measures a whole service under overload: the real proxy in front of real llama-servers, as dev's pods run them.

    python -m bench.overload [--pipelines 2] [--seconds 30] [--rounds 3]

Users ask in a closed loop. One whose answer does not come in time leaves, closes the connection and asks anew at once; one who is refused
comes back after Retry-After. Time is measured in answers of a full service, so that the machine's speed is left out: users leave after
`PATIENCE` of them, and the line in the coordinator, `queuedRequests` and as many as run, is as long as a quarter of that, as rule
PROXY-002 makes it of 15 s and clients that leave after 60. The loads are 1, 2 and 5 times the requests that the pipelines run at once, in
turns. Answers that came in time are counted, by the second and by the second of CPU time that the servers had: the latter leaves out what
else the machine does, and shows work whose answer nobody had.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import yaml

from rehearsal.ports import free_port
from serve.rendering import render
from serve.service import HOST, Service, service
from settings import files
from toolchain.cache import Cache

STACK = "dev"
RESULT = files.ROOT / "bench" / "results" / "overload.json"
MODEL = Cache.of_user().share / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
LOADS = (1, 2, 5)
PATIENCE = 4
TOKENS = 8
BODY = json.dumps({"prompt": "The future of artificial intelligence is", "max_tokens": TOKENS, "ignore_eos": True})


class Users:
    """Runs `count` users for `seconds`, and returns how their requests ended, by status or `left`."""

    def __init__(self, port: int, count: int, patience_s: float) -> None:
        self.port, self.patience_s = port, patience_s
        self.ends: collections.Counter[str] = collections.Counter()
        self.without_retry_after = 0
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._user, daemon=True) for _ in range(count)]

    def run(self, made: Service, warm_s: float, seconds: float) -> None:
        for thread in self._threads:
            thread.start()
        time.sleep(warm_s)
        with self._lock:
            self.ends.clear()
        before_s = cpu_s(made)
        time.sleep(seconds)
        with self._lock:
            self.found = dict(self.ends)
        self.cpu_s = cpu_s(made) - before_s
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _user(self) -> None:
        while not self._ended.is_set():
            end, wait_s = self._ask()
            with self._lock:
                self.ends[end] += 1
                self.without_retry_after += end == "503" and not wait_s
            self._ended.wait(wait_s)

    def _ask(self) -> tuple[str, float]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=self.patience_s)
        try:
            connection.request("POST", "/v1/completions", BODY, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return str(answer.status), float(answer.getheader("retry-after") or 0)
        except TimeoutError:
            return "left", 0.0
        finally:
            connection.close()


@contextmanager
def serving(pipelines: int, queued: int) -> Generator[Service]:
    with tempfile.TemporaryDirectory() as name:
        document = yaml.safe_load((files.ROOT / f"Pulumi.{STACK}.yaml").read_text())
        config = document["config"]
        config["zig-ai-aks:sharding"]["pipelines"] = config["zig-ai-aks:gpuPool"]["maxNodes"] = pipelines
        config["zig-ai-aks:coordinator"].setdefault("limits", {})["queuedRequests"] = queued
        file = Path(name) / f"Pulumi.{STACK}.yaml"
        file.write_text(yaml.safe_dump(document))
        running = service(render(file, STACK, pipelines), model=MODEL, port=free_port(), folder=Path(name))
        try:
            running.start(lambda _: None)
            yield running
        finally:
            running.end()


def at_once(made: Service) -> int:
    """The requests that all pipelines run at once."""
    arguments = made.pipelines[0].command.arguments
    return len(made.pipelines) * int(arguments[arguments.index("--parallel") + 1])


def cpu_s(made: Service) -> float:
    """Returns the CPU time of the llama-servers in seconds."""
    ticks = 0
    for pipeline in made.pipelines:
        assert pipeline.process
        fields = Path(f"/proc/{pipeline.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(made: Service, load: int, patience_s: float, seconds: float) -> dict[str, float]:
    users = Users(made.port, load * at_once(made), patience_s)
    users.run(made, patience_s, seconds)
    answers = users.found.get("200", 0)
    return {
        "answers_s": answers / seconds,
        "answers_a_cpu_s": answers / users.cpu_s,
        "refused_without_retry_after": users.without_retry_after,
        **users.found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a whole service answers under more load than it takes.")
    parser.add_argument("--pipelines", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with serving(options.pipelines, 1) as made:
        running = at_once(made)
        rate = _rate(made, options.seconds)
    patience_s = PATIENCE * running / rate
    queued = max(1, round(rate * patience_s / 4) - running)
    rounds: list[dict[str, dict[str, float]]] = []
    with serving(options.pipelines, queued) as made:
        for _ in range(options.rounds):
            rounds.append({str(load): measured(made, load, patience_s, options.seconds) for load in LOADS})
            print(json.dumps(rounds[-1]), flush=True)
    result = {
        "pipelines": options.pipelines,
        "at_once": running,
        "queued": queued,
        "patience_in_answers": PATIENCE,
        "answers_s_to_best": _to_best(rounds, "answers_s"),
        "answers_a_cpu_s_to_best": _to_best(rounds, "answers_a_cpu_s"),
        "rounds": rounds,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: ratios for name, ratios in result.items() if name.endswith("best")}))


def _to_best(rounds: list[dict[str, dict[str, float]]], name: str) -> dict[str, float]:
    """Returns the medians by load."""
    medians = {str(load): statistics.median(each[str(load)][name] for each in rounds) for load in LOADS}
    return {load: round(median / max(medians.values()), 2) for load, median in medians.items()}


def _rate(made: Service, seconds: float) -> float:
    """Measures the answers per second of a full service whose users never leave."""
    users = Users(made.port, at_once(made), 600)
    users.run(made, seconds / 2, seconds)
    return users.found["200"] / seconds


if __name__ == "__main__":
    main()
