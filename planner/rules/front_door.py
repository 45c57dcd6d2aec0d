"""What the front door leaves open to strangers, and what memory and time the proxy there needs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.fit import proxy_memory
from planner.fit.concurrency import concurrency, waiting_requests
from planner.fit.demand import demand_of
from planner.fit.plan import Finding
from planner.rules.rule import RuleContext, Rules

RULES = Rules()
AFTER_WAITING = Rules()
"""What the proxy needs follows from how many requests wait, so these run after the rules in `waiting.py`."""

_SOURCE = "settings/rules/network.py"


@RULES.rule
def public_without_tls(context: RuleContext) -> Iterator[Finding]:
    """A public address without TLS is noted."""
    if context.settings.exposure.public and context.settings.exposure.tls is None:
        yield Finding(
            code="REACH-002",
            outcome="noted",
            path=("exposure", "public"),
            because="requests and answers cross the internet as plain text. To encrypt them, set exposure.tls.secretName to a Secret with "
            "a certificate",
            source=_SOURCE,
        )


@RULES.rule
def public_without_sign_in(context: RuleContext) -> Iterator[Finding]:
    """A public address that asks for neither a key nor a client certificate is noted."""
    exposure = context.settings.exposure
    certificates = exposure.tls is not None and exposure.tls.client_ca_secret_name is not None
    if exposure.public and exposure.api_keys is None and not certificates:
        yield Finding(
            code="REACH-003",
            outcome="noted",
            path=("exposure", "public"),
            because="whoever has an address in exposure.allowedIpRanges may use the GPUs, without a name and without a limit for each "
            "client. To tell clients apart, set exposure.apiKeys.secretName or exposure.tls.clientCaSecretName",
            source=_SOURCE,
        )


_BYTES_PER_TOKEN = 10
"""Bytes of a request per token, at worst: Chinese text has 0.6 tokens a character (api-docs.deepseek.com, quick_start/token_usage), and
clients that escape it (python's `json`, and so `requests`) write each character in 6 bytes."""
_MIB = 2**20


@AFTER_WAITING.rule
def size_of_the_longest_request(context: RuleContext) -> Iterator[Finding]:
    """A prompt that the model can read must not be refused for its bytes."""
    if not context.traits.proxied:
        return
    settings = context.settings
    tokens = concurrency(settings, context.gpu, context.shape, demand_of(settings).request_tokens).request_tokens
    needed_mib = min(1024, math.ceil(tokens * _BYTES_PER_TOKEN / _MIB))
    if settings.coordinator.limits.request_size.bytes < min(tokens * _BYTES_PER_TOKEN, needed_mib * _MIB):
        yield Finding(
            code="PROXY-003",
            outcome="adjusted",
            path=("coordinator", "limits", "requestSize"),
            value=f"{needed_mib}MB",
            because=f"a request may have {tokens:,} tokens, and a token of Chinese text takes up to {_BYTES_PER_TOKEN} bytes as clients "
            "escape it: a larger request would be refused with 413 although the model can read it",
            source="api-docs.deepseek.com, quick_start/token_usage",
        )


_SPARE_GIB = 4
"""How much more than the need a stack may ask for. Less than that saves no node; the guide's 12 GiB are for a cache that the proxy
lacks."""


@AFTER_WAITING.rule
def proxy_needs(context: RuleContext) -> Iterator[Finding]:
    """The coordinator's memory must hold what its limits let in, and not much more."""
    if not context.traits.proxied:
        return
    settings, coordinator = context.settings, context.settings.coordinator
    running = concurrency(settings, context.gpu, context.shape, demand_of(settings).request_tokens).requests
    waiting = waiting_requests(settings, running)
    requests, needed_gib = proxy_memory.most_requests(coordinator, waiting), proxy_memory.needed_gib(coordinator, waiting)
    for side in ("requests", "limits"):
        memory = getattr(coordinator.resources, side).memory
        if memory is None or needed_gib <= memory.gib <= needed_gib + _SPARE_GIB:
            continue
        why = (
            "with less it would refuse requests that its limits let in" if memory.gib < needed_gib else "it has no cache of answers to hold"
        )
        yield Finding(
            code="PROXY-001",
            outcome="adjusted",
            path=("coordinator", "resources", side, "memory"),
            value=f"{math.ceil(needed_gib)}Gi",
            because=f"the proxy needs {needed_gib:.1f} GiB for {coordinator.config.max_connections:,} connections and {requests:,} "
            f"requests of {coordinator.limits.request_size} at once; {why}",
            source=proxy_memory.SOURCE,
        )


DNS_SECONDS = 32
"""The longest time until a coordinator learns that a pipeline is gone: records live for 30 s in Kubernetes' default CoreDNS, and the
coordinator asks every 2 s."""


@RULES.rule
def grace_outlasts_dns(context: RuleContext) -> Iterator[Finding]:
    """A pod that ends must go on answering until every coordinator knows that it is ending."""
    grace = context.settings.rollout.termination_grace
    if context.traits.proxied and grace.seconds < DNS_SECONDS:
        yield Finding(
            code="ROLL-001",
            outcome="noted",
            path=("rollout", "terminationGrace"),
            because=f"a coordinator may go on sending requests to a pipeline for {DNS_SECONDS} s after the pipeline was asked to stop: the "
            f"requests of the last {DNS_SECONDS - grace.seconds:g} s reach a pod that is stopping or gone, and some of them are lost",
            source="kubernetes/website content/en/docs/tasks/administer-cluster/dns-custom-nameservers.md, "
            "engines/envoy/pipeline_cluster.py",
        )
