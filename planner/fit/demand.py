"""What a stack's targets and its load test ask of the service."""

from __future__ import annotations

from dataclasses import dataclass

from planner.catalogue.model_shapes import ModelShape
from settings import StackSettings

_LETTERS_A_TOKEN = 4
"""Letters per token of English text, roughly. Source: OpenAI's help centre, "What are tokens and how to count them" (1 token is about 4
characters)."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Requests of one length. Each user sends the next request as soon as the last one is answered."""

    users: int
    """Requests in flight at once."""
    input_tokens: int
    """Tokens of one prompt."""
    output_tokens: int
    """Tokens of one answer."""
    judged_tokens: int
    """Output tokens within which the latency target is measured."""
    latency_s: float
    """The latency target: seconds for `judged_tokens`."""
    requests_s: float
    """The throughput target: requests a second."""

    @property
    def request_tokens(self) -> int:
        """Tokens of one request whose answer is complete, prompt and answer together."""
        return self.input_tokens + self.output_tokens


def too_long(load: Demand, shape: ModelShape, request_tokens: int) -> str:
    """Returns why the service cannot serve such requests and what would help; an empty text where it can.

    `request_tokens` is the length of the longest request that it admits.
    """
    tokens = max(load.output_tokens, load.judged_tokens)
    if load.input_tokens + tokens <= request_tokens:
        return ""
    bound, instead = f"{shape.name} can read", "another model"
    if request_tokens < shape.context:
        bound, instead = "a request may have", "a higher coordinator.limits.requestTokens with a cache that holds them"
    return (
        f"a request of {load.input_tokens:,} + {tokens:,} tokens exceeds the {request_tokens:,} that {bound}; choose a shorter "
        f"loadTest.prompt, a lower loadTest.maxTokens or targets.tokens, or {instead}"
    )


def demand_of(settings: StackSettings) -> Demand:
    """Returns the load of the load test without its pause after each answer: as many requests in flight as it has users."""
    test, targets = settings.load_test, settings.targets
    return Demand(
        users=test.concurrent_users,
        input_tokens=max(1, round(len(test.prompt) / _LETTERS_A_TOKEN)),
        output_tokens=max(test.max_tokens, 2),
        judged_tokens=targets.tokens,
        latency_s=targets.latency.seconds,
        requests_s=targets.throughput_rps,
    )
