"""Prints what /metrics of a vLLM release says, by that release's own code; run by the release's Python (`__main__.py`).

Its recorder of metrics is made with the configuration of a small model, with no engine behind it, and each series is then moved once, so
that those are there too that appear with their first value. The numbers mean nothing; names, types, labels and bounds are the release's.
"""

import importlib
import sys
from types import SimpleNamespace

# Of the release's environment, not of this project's.
prometheus_client = importlib.import_module("prometheus_client")

OBSERVED = SimpleNamespace(
    show_hidden_metrics=False,
    show_hidden_metrics_for_version=None,
    kv_cache_metrics=False,
    enable_mfu_metrics=False,
    kv_cache_metrics_sample=0.01,
    collect_model_forward_time=False,
    collect_model_execute_time=False,
)


class Anything(SimpleNamespace):
    """A configuration in which what was not given is off."""

    def __getattr__(self, name):
        return None


CONFIG = Anything(
    model_config=Anything(served_model_name="model", max_model_len=4096, model="model"),
    observability_config=OBSERVED,
    cache_config=Anything(metrics_info=lambda: {"block_size": "16"}),
    kv_transfer_config=None,
    speculative_config=None,
    lora_config=None,
    parallel_config=Anything(data_parallel_size=1),
)


def recorder(release):
    """Makes the recorder that the release's server makes: of the V0 engine, which a V100 runs, or of V1."""
    if release.startswith("0.8."):
        return importlib.import_module("vllm.engine.metrics").Metrics(["model_name"], CONFIG), {"model_name": "model"}
    return importlib.import_module("vllm.v1.metrics.loggers").PrometheusStatLogger(CONFIG), {}


def moved(collector, labels):
    """Moves each series of a metric, once it has its labels."""
    given = collector
    if collector._labelnames and not collector._metrics:
        given = collector.labels(*[labels.get(name, name) for name in collector._labelnames])
    for series in given._metrics.values() if given._labelnames and given is collector else [given]:
        for act in ("set", "observe", "inc"):
            if hasattr(series, act):
                getattr(series, act)(*([] if act == "inc" else [1]))
                break


def main(release):
    made, labels = recorder(release)
    for collector in list(prometheus_client.REGISTRY._collector_to_names):
        if getattr(collector, "_name", "").startswith("vllm"):
            moved(collector, labels)
    text = prometheus_client.generate_latest().decode()
    keep = [part for part in text.split("# HELP ") if part.startswith("vllm:")]
    assert made and keep
    print("".join(f"# HELP {part}" for part in keep), end="")


if __name__ == "__main__":
    main(sys.argv[1])
