"""The real Prometheus, reading every second what a test has running."""

import contextlib
import json
import subprocess
import time
import urllib.parse
import urllib.request

import yaml

from rehearsal.ports import free_ports
from rehearsal.programs import find_program


class Observer:
    """Answers queries."""

    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path):
        with urllib.request.urlopen(f"{self._url}{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, query):
        """Returns the values of all series of a query, as floats."""
        found = self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")["result"]
        return [float(one["value"][1]) for one in found]

    def state(self, alert):
        """`inactive`; `pending` from the moment its expression holds; `firing`."""
        rules = [rule for group in self.get("/api/v1/rules")["groups"] for rule in group["rules"]]
        [found] = {rule["state"] for rule in rules if rule["name"] == alert}
        return found

    def has_read(self):
        """Waits until every target was read twice more, and the rules were evaluated on that."""
        for _ in range(2):
            was = self._reads()
            wait_for(lambda was=was: all(now > before for before, now in zip(was, self._reads(), strict=True)), 30)
        was = self._evaluated()
        wait_for(lambda: not was or min(self._evaluated()) > max(was), 30)

    def _reads(self):
        return [target["lastScrape"] for target in self.get("/api/v1/targets")["activeTargets"]]

    def _evaluated(self):
        return [group["lastEvaluation"] for group in self.get("/api/v1/rules")["groups"]]


@contextlib.contextmanager
def observing(jobs, rules, folder):
    """`jobs`: the addresses of each scrape job; `rules`: the text of a file of rules."""
    program = find_program("prometheus", target="test")
    [port] = free_ports(1)
    (folder / "rules.yml").write_text(rules)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    observer = Observer(port)
    try:
        wait_for(lambda: process.poll() is not None or answers(observer), 30)
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        observer.has_read()
        yield observer
    finally:
        process.kill()
        process.wait()


def answers(observer):
    try:
        return bool(observer.get("/api/v1/targets")["activeTargets"])
    except OSError:
        return False


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)
