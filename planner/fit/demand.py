"""What a stack's targets and load test ask of the service."""

from __future__ import annotations

from dataclasses import dataclass

from planner.catalogue.model_shapes import ModelShape
from settings import StackSettings

_LETTERS_A_TOKEN = 4
"""Of English text, about. Source: OpenAI's help centre, "What are tokens and how to count them" (1 token is about 4 characters)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests of one length, each user's next one as soon as the last is answered."""

    users: int
    """Requests in flight at once."""
    input_tokens: int
    output_tokens: int
    """Of a request."""
    judged_tokens: int
    """Output tokens that the latency target is for."""
    latency_s: float
    """The target: seconds for `judged_tokens`."""
    requests_s: float
    """The target: requests a second."""

    @property
    def request_tokens(self) -> int:
        """Of one request, when its answer is whole."""
        return self.input_tokens + self.output_tokens


def too_long(load: Load, shape: ModelShape, request_tokens: int) -> str:
    """Why the service takes no such request, and what would do; empty where it does. `request_tokens`: of the longest that it takes."""
    tokens = max(load.output_tokens, load.judged_tokens)
    if load.input_tokens + tokens <= request_tokens:
        return ""
    bound, instead = f"{shape.name} holds", "another model"
    if request_tokens < shape.context:
        bound, instead = "a request may have", "more coordinator.limits.requestTokens with a cache that holds them"
    return (
        f"a request of {load.input_tokens:,} + {tokens:,} tokens exceeds the {request_tokens:,} that {bound}; a shorter "
        f"loadTest.prompt, fewer loadTest.maxTokens or targets.tokens, or {instead}"
    )


def load_of(settings: StackSettings) -> Load:
    """The load test without the pause after each answer: as many requests in flight as it has users."""
    test, targets = settings.load_test, settings.targets
    return Load(
        users=test.concurrent_users,
        input_tokens=max(1, round(len(test.prompt) / _LETTERS_A_TOKEN)),
        output_tokens=max(test.max_tokens, 2),
        judged_tokens=targets.tokens,
        latency_s=targets.latency.seconds,
        requests_s=targets.throughput_rps,
    )
