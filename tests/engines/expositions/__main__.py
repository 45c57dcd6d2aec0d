"""Records what the servers say at /metrics: Envoy, llama-server and Prometheus of `make serve`, and vLLM's own recorder of metrics.

    python -m tests.engines.expositions             # Envoy, llama-server and Prometheus, which `make toolchain` has built
    python -m tests.engines.expositions vllm        # the releases of vLLM, in the environments that `make judge-vllm` makes

Of each, the metrics about one subject are kept, not only those of the tables, so that a rename can be seen in the difference.
"""

import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA
from rehearsal.ports import free_port
from serve.rendering import render
from serve.service import HOST, service
from tests.engines.expositions import DATA
from tests.engines.vllm_referee.__main__ import CACHE
from tests.serve.conftest import MODEL, Client, quick_dev

PREFIXES = {
    "envoy": r"envoy_(http_downstream|cluster_(upstream_(rq|cx)|membership|outlier)|server_)",
    "llama_cpp": "llamacpp:",
    "prometheus": "(up|prometheus_(tsdb|rule|notifications|target|config))",
    "vllm": "vllm:",
}


def kept(text: str, prefix: str) -> str:
    """Returns the lines about metrics whose names begin so."""
    lines = [line for line in text.splitlines() if re.match(rf"(# (HELP|TYPE) )?{prefix}", line)]
    return "\n".join(lines) + "\n"


def write(name: str, how: str, text: str) -> None:
    (DATA / f"{name}.prom").write_text(f"# {how} (python -m tests.engines.expositions)\n" + kept(text, PREFIXES[name.split("-")[0]]))


def local() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = service(render(quick_dev(Path(scratch)), "dev", 1), model=MODEL, port=free_port(), folder=Path(scratch))
        try:
            made.start(print)
            client = Client(made)
            client.users(2, each=2).result(timeout=300)
            client.request("POST", "/v1/inference", "not JSON")
            time.sleep(15)  # Envoy moves times into its buckets, and Prometheus reads all, every five seconds
            write("envoy", "Envoy 1.40.0 before llama-server, recorded", client.metrics("coordinator"))
            write("llama_cpp", "llama-server of llama.cpp b11434, recorded", client.metrics("pipeline 0"))
            own = f"http://{HOST}:{made.observer.probe_port}"
            texts = [urllib.request.urlopen(own + path, timeout=30).read().decode() for path in ("/metrics", "/federate?match[]=up")]
            write("prometheus", "Prometheus 3.16.0 as it reads them, and what it says of its targets, recorded", "".join(texts))
        finally:
            made.end()


def vllm() -> None:
    script = Path(__file__).with_name("vllm_metrics.py")
    for release in (RELEASE, RELEASE_ON_VOLTA):
        command = [CACHE / release / "bin" / "python", script, release]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        write(f"vllm-{release}", f"vLLM {release}: its own recorder of metrics, without an engine behind it", text)


if __name__ == "__main__":
    vllm() if "vllm" in sys.argv[1:] else local()
