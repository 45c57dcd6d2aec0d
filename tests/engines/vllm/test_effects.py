"""What each setting becomes with vLLM; and its coordinator."""

import pytest

from engines.envoy import coordinator
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA
from tests.engines.rendering import assert_each_setting_has_an_effect, assert_envoy_takes, value_at
from tests.engines.vllm.conftest import A100S, BATCHING, V100S, asked, release_of, rendered


def test_each_setting_has_an_effect(variant):
    assert_each_setting_has_an_effect(*rendered(variant))


def test_what_every_pod_of_a_group_has_is_in_force_in_the_workers_too(v100s):
    def places(role):
        shared = ("image", "resources", "env", "startupProbe", "lifecycle", "command")
        effects = [effect for effect in v100s[0].effects if effect.place.kind == role and effect.place.path.startswith(shared)]
        return {(effect.key, effect.place.path) for effect in effects}

    # It is one place for all pods: the whole setting is not the value of the field.
    assert places("worker") == places("shard") - {("shard.config.threadPinning", "resources.limits.cpu")}


def test_sources_name_the_release_that_runs(variant):
    workload, _ = rendered(variant)
    other = {RELEASE: RELEASE_ON_VOLTA, RELEASE_ON_VOLTA: RELEASE}[release_of(workload.shard)]
    assert not [effect for effect in workload.effects if f"v{other}" in effect.source]


CHANGES = {
    ("shard", "config", "gpuMemoryFraction"): (0.8, "in force", "0.8"),
    ("model", "kvCache", "compression"): (False, "in force", "auto"),
    (*BATCHING, "maxBatchSize"): (64, "in force", "64"),
    ("model", "kvCache", "maxCacheSize"): ("8Gi", "translated", str(4 * 2**30)),
    ("shard", "config", "memoryMapping"): (False, "in force", "eager"),
    ("caching", "l1Cache", "size"): ("20Gi", "in force", "20"),
    ("shard", "config", "workerThreads"): (12, "translated", "6"),
    ("model", "name"): ("llama-3-70b", "in force", "llama-3-70b"),
    ("rollout", "modelLoadTimeout"): ("10m", "in force", "600"),
}


@pytest.mark.parametrize(("path", "change"), CHANGES.items(), ids=[".".join(path) for path in CHANGES])
def test_the_guides_keys_are_flags_and_variables(path, change, a100s):
    value, outcome, holds = change
    key = ".".join(path)

    def found(workload):
        places = ("args[--", "env[")
        effects = [one for one in workload.effects if one.key == key and one.place.kind == "shard" and one.place.path.startswith(places)]
        return {(one.outcome, value_at(workload, one)) for one in effects}

    before, after = found(a100s[0]), found(rendered(asked(A100S, {path: value}))[0])
    assert (outcome, holds) in after - before


def test_the_coordinator_finds_leaders_and_no_workers(v100s):
    """It asks for the name that only leaders have, and for a port that only they serve."""
    workload, _ = v100s
    [file] = [file for file in workload.coordinator.config_files if file.name == coordinator.CONFIG_FILE]
    assert "zig-ai-shard-leaders.zig-ai.svc.cluster.local" in file.content
    assert workload.leaders_port in workload.shard.ports and workload.leaders_port not in workload.worker.ports


def test_a_group_serves_on_until_its_last_answers_are_sent(v100s):
    """A leader without its workers answers nothing, so they end no sooner than it does."""
    workload, _ = v100s
    assert workload.shard.pre_stop_seconds == workload.worker.pre_stop_seconds > 0


@pytest.mark.process
def test_envoy_takes_the_rendered_file(variant, tmp_path):
    assert_envoy_takes(rendered(variant)[0], tmp_path)


def test_rendering_is_the_same_every_time():
    """Anything else would roll all pods at every deployment."""
    assert rendered(asked(V100S))[0] == rendered(asked(V100S))[0]
