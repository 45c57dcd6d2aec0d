"""What stands open at the front door, and what memory and time the proxy there needs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.fit import proxy_memory
from planner.fit.concurrency import concurrency, waiting_requests
from planner.fit.demand import load_of
from planner.rules.rule import Advice, Situation

_RULES = "settings/rules/network.py"


def public_without_tls(at: Situation) -> Iterator[Advice]:
    if at.settings.exposure.public and at.settings.exposure.tls is None:
        yield Advice(
            code="REACH-002",
            outcome="noted",
            path=("exposure", "public"),
            because="requests and answers cross the internet as plain text. To encrypt them: exposure.tls.secretName with a certificate",
            source=_RULES,
        )


def public_without_sign_in(at: Situation) -> Iterator[Advice]:
    exposure = at.settings.exposure
    certificates = exposure.tls is not None and exposure.tls.client_ca_secret_name is not None
    if exposure.public and exposure.api_keys is None and not certificates:
        yield Advice(
            code="REACH-003",
            outcome="noted",
            path=("exposure", "public"),
            because="whoever has an address in exposure.allowedIpRanges may use the GPUs, unnamed and without a limit of his own. "
            "To ask for more: exposure.apiKeys.secretName, or exposure.tls.clientCaSecretName",
            source=_RULES,
        )


_BYTES_A_TOKEN = 10
"""Of a request in Chinese whose client escapes it: 0.6 tokens a character (api-docs.deepseek.com, quick_start/token_usage), each of which
JSON then writes in 6 bytes (python's `json`, and so `requests`)."""
_MIB = 2**20


def size_of_the_longest_request(at: Situation) -> Iterator[Advice]:
    """A prompt that the model reads must not be refused for its bytes."""
    if not at.traits.proxied:
        return
    tokens = concurrency(at.settings, at.gpu, at.shape, load_of(at.settings).request_tokens).request_tokens
    needed_mib = min(1024, math.ceil(tokens * _BYTES_A_TOKEN / _MIB))
    if at.settings.coordinator.limits.request_size.bytes < min(tokens * _BYTES_A_TOKEN, needed_mib * _MIB):
        yield Advice(
            code="PROXY-003",
            outcome="adjusted",
            path=("coordinator", "limits", "requestSize"),
            value=f"{needed_mib}MB",
            because=f"a request may have {tokens:,} tokens, which in Chinese are up to {_BYTES_A_TOKEN} bytes each as clients escape them: "
            "larger ones would be refused with 413 though the model reads them",
            source="api-docs.deepseek.com, quick_start/token_usage",
        )


_SPARE_GIB = 4
"""That may be asked for beyond the need: no node is saved by less, and the guide's 12 GiB are for a cache that the proxy does not have."""


def proxy_needs(at: Situation) -> Iterator[Advice]:
    if not at.traits.proxied:
        return
    coordinator = at.settings.coordinator
    runs = concurrency(at.settings, at.gpu, at.shape, load_of(at.settings).request_tokens).requests
    waiting = waiting_requests(at.settings, runs)
    requests, needed_gib = proxy_memory.most_requests(coordinator, waiting), proxy_memory.needed_gib(coordinator, waiting)
    for side in ("requests", "limits"):
        written = getattr(coordinator.resources, side).memory
        if written is None or needed_gib <= written.gib <= needed_gib + _SPARE_GIB:
            continue
        why = "it would refuse requests that its limits let in" if written.gib < needed_gib else "it keeps no answers"
        yield Advice(
            code="PROXY-001",
            outcome="adjusted",
            path=("coordinator", "resources", side, "memory"),
            value=f"{math.ceil(needed_gib)}Gi",
            because=f"{coordinator.config.max_connections:,} connections and {requests:,} requests of "
            f"{coordinator.limits.request_size} at once take the proxy {needed_gib:.1f} GiB: {why}",
            source=proxy_memory.SOURCE,
        )


DNS_SECONDS = 32
"""Until a coordinator has heard that a pipeline is gone: records live for 30 s in Kubernetes' default CoreDNS, and it asks every 2 s."""


def grace_outlasts_dns(at: Situation) -> Iterator[Advice]:
    grace = at.settings.rollout.termination_grace
    if at.traits.proxied and grace.seconds < DNS_SECONDS:
        yield Advice(
            code="ROLL-001",
            outcome="noted",
            path=("rollout", "terminationGrace"),
            because=f"a coordinator may send requests to a pipeline for {DNS_SECONDS} s after it was told to end: those of the last "
            f"{DNS_SECONDS - grace.seconds:g} s meet a pod that ends or is gone, and some of them are lost",
            source="kubernetes/website content/en/docs/tasks/administer-cluster/dns-custom-nameservers.md, "
            "engines/envoy/pipeline_cluster.py",
        )


RULES = (public_without_tls, public_without_sign_in, grace_outlasts_dns)
"""All but `size_of_the_longest_request` and `proxy_needs`, which come after the rules that decide how many requests wait."""
