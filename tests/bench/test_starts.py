"""Prod's variations as they were started on a GPU: what was kept of each, and the questions, put to a real server."""

import json

import pytest

from bench.gpu import asking
from bench.gpu.lines import GROUPS
from bench.gpu.serving import serving
from settings.files import ROOT
from tests.bench.test_gpu import small

KEPT = json.loads((ROOT / "bench/results/starts_nvidia_h200_vllm.json").read_text())
NOT_RUN = {"llama-3-70b int8, 8-bit cache, l1Cache on, 2 GPUs"}
"""Only one GPU was available."""

assert small  # a fixture


def test_each_line_was_tried_but_for_those_that_are_named():
    assert {line["name"] for line in KEPT["lines"]} == {line.name for group in GROUPS for line in group.lines} - NOT_RUN


@pytest.mark.parametrize("line", KEPT["lines"], ids=lambda line: f"{line['name']} {len(line['rendered'])}")
def test_a_line_that_started_has_answered_with_all_tokens(line):
    assert line["started"], line["error"]
    answered = line["answered"]
    assert set(answered) == {"chat", "completion", "stream"}
    assert {answer["completion_tokens"] for answer in answered.values()} == {asking.TOKENS}
    assert all(answer["prompt_tokens"] > 0 for answer in answered.values())
    assert answered["stream"]["done"] and answered["stream"]["events"] == asking.TOKENS


@pytest.mark.parametrize("line", KEPT["lines"], ids=lambda line: f"{line['name']} {len(line['rendered'])}")
def test_in_what_a_line_differed_from_its_pod_is_beside_it(line):
    """A process may differ from its pod only in its address, its share of the GPU, its weights and its environment."""
    differs = {one["what"]: one for one in line["differs"]}
    place = {"serve", "--host", "--port"}
    assert set(differs) - {"--gpu-memory-utilization", "--load-format"} == place | {"release", "CPUs", "memory", "weights", "container"}
    assert differs["release"]["pod"].endswith(":v0.17.1") and differs["release"]["here"].startswith("vllm 0.17.1 ")
    assert ("--load-format" in differs) == ("llama-3-70b" in line["name"])


def test_what_is_kept_on_the_host_is_read_back_only_where_it_is_more_than_the_gpus_cache():
    """Prod caches 8 GiB on the host and 16 GiB on the GPU, so whatever the GPU has dropped, the host has dropped before."""
    prod, small_cache = (
        "llama-3-8b int8, 8-bit cache, l1Cache on",
        "llama-3-8b int8, 8-bit cache, l1Cache on, model.kvCache.maxCacheSize: 4Gi",
    )
    found = [(line["name"], line["read_back"]) for line in KEPT["lines"] if "read_back" in line]
    assert {name for name, _ in found} == {prod, small_cache}
    for name, asked in found:
        again = asked["sent_again"] * asked["tokens_each"]
        assert asked["found_tokens"] == {"prefix_cache_hits": 0, "external_prefix_cache_hits": again if name == small_cache else 0}


@pytest.mark.process
def test_the_questions_are_answered_by_a_real_server(small):
    with serving(*small) as servers:
        [url] = servers.urls
        found = {kind: ask(url, "small") for kind, ask in asking.KINDS.items()}
    assert {answer["completion_tokens"] for answer in found.values()} == {asking.TOKENS}
    assert found["stream"]["done"] and found["stream"]["events"] >= asking.TOKENS
