"""Checks that a server works: requests to OpenAI's API with their tokens counted, and whether cached prompts are read back."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

TOKENS = 24
_TIMEOUT_S = 600
_COUNTERS = ("vllm:prefix_cache_hits_total", "vllm:external_prefix_cache_hits_total")
"""Returns the prompt tokens that were not computed again: found on the GPU, and read back from the host."""

Ask = Callable[[str, str], dict[str, Any]]


def chat(url: str, model: str) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "What is a pipeline?"}], "max_tokens": TOKENS, "ignore_eos": True}
    found = _json(f"{url}/v1/chat/completions", {"model": model} | body)
    return _counted(found["usage"]) | {"finish": found["choices"][0]["finish_reason"]}


def completion(url: str, model: str) -> dict[str, Any]:
    found = _json(f"{url}/v1/completions", {"model": model, "prompt": "A pipeline is", "max_tokens": TOKENS, "ignore_eos": True})
    return _counted(found["usage"]) | {"finish": found["choices"][0]["finish_reason"]}


def stream(url: str, model: str) -> dict[str, Any]:
    """Returns the events with text, and the usage in the last event."""
    body = {
        "model": model,
        "prompt": "A pipeline is",
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    events, usage, ended = 0, {}, False
    for data in _events(f"{url}/v1/completions", body):
        if data == "[DONE]":
            ended = True
            continue
        event = json.loads(data)
        events += bool(event["choices"])
        usage = event.get("usage") or usage
    return _counted(usage) | {"events": events, "done": ended}


KINDS: Mapping[str, Ask] = {"chat": chat, "completion": completion, "stream": stream}


def read_back(url: str, model: str, context: int, cache_tokens: int) -> dict[str, Any]:
    """Sends prompts that fill the GPU's cache one and a half times, then the first ones again. Returns where their tokens were found."""
    length = context - 64
    count = -(-3 * cache_tokens // (2 * length))
    for number in range(count):
        _prompt(url, model, number, length)
    before = _counters(url)
    again = max(1, count // 4)
    for number in range(again):
        _prompt(url, model, number, length)
    after = _counters(url)
    found = {name.removeprefix("vllm:").removesuffix("_total"): int(after[name] - before[name]) for name in _COUNTERS if name in after}
    return {"prompts": count, "tokens_each": length, "sent_again": again, "cache_tokens": cache_tokens, "found_tokens": found}


def _prompt(url: str, model: str, number: int, length: int) -> None:
    words = [1000 + (number * 7919 + index * (number + 3)) % 100_000 for index in range(length)]
    _json(f"{url}/v1/completions", {"model": model, "prompt": words, "max_tokens": 1, "temperature": 0})


def _counters(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=_TIMEOUT_S) as response:
        lines = response.read().decode().splitlines()
    found = dict.fromkeys(_COUNTERS, 0.0)
    for line in lines:
        name, _, value = line.rpartition(" ")
        if (known := name.partition("{")[0]) in found:
            found[known] += float(value)
    return found


def _counted(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt_tokens": usage["prompt_tokens"], "completion_tokens": usage["completion_tokens"]}


def _request(url: str, body: Mapping[str, Any]) -> urllib.request.Request:
    return urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _json(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    with urllib.request.urlopen(_request(url, body), timeout=_TIMEOUT_S) as response:
        return json.load(response)


def _events(url: str, body: Mapping[str, Any]) -> Iterator[str]:
    with urllib.request.urlopen(_request(url, body), timeout=_TIMEOUT_S) as response:
        for line in response:
            if line.startswith(b"data: "):
                yield line[6:].decode().strip()
