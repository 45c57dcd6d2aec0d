"""The net under `explain`: every setting is changed, one at a time, and what changes in all that the stack registers is what is named.

Without it `explain` was silent about 15 of 31 settings' further effects: a keep-alive that also sets the load balancer's idle timeout, a
load timeout that also lets a node's drain take longer.
"""

import datetime
import functools
import json
import operator

import pytest

from infra.account import statements
from infra.registration import registration
from planner import plan as make_plan
from planner.engine_facts import NAMES
from settings import StackSettings
from settings.error_messages import key_text
from settings.flatten import document, leaves, paths, with_values
from tests.infra import variations
from tests.infra.changes import any_change, unnamed
from tests.infra.kubernetes.conftest import settings_of

EVERYWHERE = {
    "engine": "it renders other servers",
    "sizing.mode": "it decides whether any other setting is adjusted",
    "azure.location": "every Azure resource has it",
    "azure.namePrefix": "every Azure name begins with it",
    "azure.nameSuffix": "it ends the names that are unique in all of Azure, which images and addresses carry",
    "azure.tags.environment": "every Azure resource has the tags",
}
"""Settings whose places nobody would want to read one by one: `explain` names one that stands for all."""

LOCKS = {
    "public": True,
    "allowedIpRanges": ["20.42.7.0/24"],
    "tls": {"secretName": "front-door", "clientCaSecretName": "clients"},
    "apiKeys": {"secretName": "keys"},
    "allowedOrigins": ["https://one.example"],
}
LIMITS = {"limits": {"requestsPerMinutePerClient": 77, "requestTokens": 2048}}
STACKS = {
    "zig_ai": {
        "images": {"coordinator": "ours/coordinator:2.0", "shard": "ours/shard:2.0"},
        "azure": {"nameSuffix": "abc123", "network": {"buildersCidr": "10.64.9.0/27"}},
        "cluster": {"authorizedIpRanges": ["20.42.9.0/24"]},
        "gpuPool": {"minNodes": 2, "maxNodes": 6, "sysctls": {"net.core.somaxconn": 8192}, "usdPerHour": 3.5},
        "exposure": {"allowedIpRanges": ["20.42.9.0/24"]},
        "budget": {"alertEmails": ["somebody@example.com"]},
        "monitoring": {"receivers": variations.RECEIVERS},
        "redis": {"sku": "Balanced_B250"},
        "coordinator": LIMITS,
    },
    "llama_cpp": variations.merged(
        variations.VARIATIONS["llama.cpp, weights on the node"],
        {"exposure": LOCKS, "coordinator": LIMITS, "autoscaling": {"enabled": True}},
    ),
    "vllm": variations.merged(
        variations.VARIATIONS["vllm on two GPUs, fetched weights on the node"],
        {"exposure": LOCKS, "coordinator": LIMITS, "rollout": {"weightsRetention": "30d"}},
    ),
}
"""prod with each engine, and values for what prod leaves out."""
WITHOUT_ENGINE = ("azure", "cluster", "gpuPool", "redis", "budget", "monitoring", "nodeTuning", "loadTest", "profiling")
"""Sections that no engine reads: changed with one of them."""

OTHER = {
    "redis.sku": "MemoryOptimized_M150",
    "model.source": f"hf://org/name@{'1' * 40}/name.Q8_0.gguf",
    "gpuPool.vmSize": "Standard_NC48ads_A100_v4",
    "cluster.adminGroupObjectIds": ["11111111-2222-3333-4444-555555555555"],
    "exposure.allowedOrigins": ["https://other.example"],
    "monitoring.enabled": False,
    # Far enough for fields that count in minutes, in nodes' disks or in thresholds.
    "coordinator.config.keepAliveTimeout": "500s",
    "coordinator.replicas": 1,
    "monitoring.receivers.team.kind": "webhook",
    "monitoring.receivers.team.severities": ["page"],
    "monitoring.receivers.mail.severities": ["page", "heartbeat"],
    "monitoring.receivers.mail.smarthost": "smtp.example.com:465",
    "monitoring.receivers.mail.to": "other@example.com",
    "monitoring.receivers.mail.from": "other@example.com",
    "targets.availability": "99%",
    "rollout.modelLoadTimeout": "55m",
    "rollout.terminationGrace": "700s",
    "gpuPool.osDiskGib": 1500,
    "cluster.authorizedIpRanges": [],
    "cluster.zones": [],
    "azure.network.buildersCidr": "10.64.10.0/27",
    # As narrow as what is in it allows: what lies in the space stays in it.
    "azure.network.addressSpace": "10.64.0.0/17",
    "nodeTuning.hugePages2Mi": 8192,
}
REMOVED = {
    "zig_ai": [
        ("budget", "monthlyUsd"),
        ("gpuPool", "minNodes"),
        ("gpuPool", "maxNodes"),
        ("gpuPool", "sysctls"),
        ("images", "shard"),
        ("redis", "sku"),
        ("exposure", "allowedIpRanges"),
        ("coordinator", "limits"),
        ("coordinator", "service", "annotations"),
        ("shard", "topologySpreadConstraints"),
        ("caching", "l3Cache"),
    ],
    "llama_cpp": [
        ("exposure", "tls"),
        ("exposure", "apiKeys"),
        ("exposure", "allowedOrigins"),
        ("exposure", "allowedIpRanges"),
        ("coordinator", "resources", "limits", "memory"),
        ("model", "source"),
        ("rollout", "weightsRetention"),
    ],
    "vllm": [
        ("exposure", "tls"),
        ("exposure", "tls", "clientCaSecretName"),
        ("exposure", "apiKeys"),
        ("coordinator", "limits", "requestsPerMinutePerClient"),
        ("coordinator", "limits", "requestTokens"),
        ("model", "tokenSecret"),
    ],
}
"""What is left out as well, one at a time."""
NO_OTHER = {
    ("zig_ai", "monitoring.receivers.mail.kind"): "the others need neither an address nor a mail server",
    ("zig_ai", "model.quantization.enabled"): "in 16 bits the model fits none of these GPUs",
    ("vllm", "model.name"): "model.source must be a source of that model",
    ("vllm", "model.source"): "tried with llama_cpp",
    ("llama_cpp", "sizing.mode"): "a stack of this size is refused as it is written",
}
"""What cannot be changed by itself."""


def other(path, value):
    """Another valid value."""
    key = key_text(path)
    if key in OTHER:
        return OTHER[key]
    return not value if isinstance(value, bool) else variations.other(path, value)


def described(settings):
    plan = make_plan(settings)
    record = registration(plan, "test", today=datetime.date(2026, 1, 1))
    return record, tuple(statements(record))


def changes(stack):
    """Path, what changes and is not named, and whether anything changes at the places that are."""
    base = variations.checked(variations.merged(document(settings_of("prod")), STACKS[stack]))
    before, statements_before = described(base)
    for path, changed in tried(stack, base):
        after, statements_after = described(changed)
        keys = {key_text(path), *_changed_with_it(before.plan, after.plan)}
        places = tuple([effect.place for effect in said if effect.key in keys] for said in (statements_before, statements_after))
        named = before.resources == after.resources or any_change(before, after, (*places[0], *places[1]))
        yield path, unnamed(before, after, places), named


def tried(stack, base):
    """Paths, and the stack with another value there or without that setting."""
    for path, value in paths(base):
        key, here = key_text(path), stack == "zig_ai" or path[0] not in WITHOUT_ENGINE
        if here and key not in EVERYWHERE and (stack, key) not in NO_OTHER and other(path, value) != value:
            yield path, with_values(base, {path: other(path, value)})
    yield from ((path, without(base, path)) for path in REMOVED[stack])


def without(base, path):
    """The stack as if nobody had written the setting or the section; settings that need each other are taken out one at a time too."""
    kept = document(base)
    *sections, last = path
    inside = functools.reduce(operator.getitem, sections, kept)
    del inside[last]
    return StackSettings.model_validate_json(json.dumps(kept))


def _changed_with_it(before, after):
    """Settings that the planner gives another value because of it, and says so: they answer for their own places."""
    given = [leaves(plan.settings) for plan in (before, after)]
    found = [{(finding.key, finding.given) for finding in plan.findings} for plan in (before, after)]
    return {key for key in given[0].keys() | given[1].keys() if given[0].get(key) != given[1].get(key)} | {
        key for key, _ in found[0] ^ found[1]
    }


def test_each_engine_has_a_stack_here():
    assert set(STACKS) == set(NAMES), "add one to STACKS"


@pytest.mark.parametrize("stack", STACKS)
def test_what_a_setting_changes_is_what_explain_names(stack):
    found = list(changes(stack))
    assert len(found) > 90
    assert {path: not_named for path, not_named, _ in found if not_named} == {}
    assert [path for path, _, named in found if not named] == [], "explain names places at which nothing changes"
