"""A closed loop of users: each sends its next request when the last one is answered.

The first answer in each slot has a random length, so that the slots spread over an answer's time however long that is; started together
with equal lengths they would end together for ever. Requests are the guide's: a prompt, 100 tokens, a temperature, and nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

PROMPT_TOKENS = 32
ANSWER_TOKENS = 100
TEMPERATURE = 0.7
STREAMED = 10
"""Every so manyth user, the first one included, has its answers streamed and sees the first token; the others get theirs whole."""
FIRST_WORD = 256
"""Tokens below it are single bytes (weights.py)."""


class TooShort(Exception):
    """No answer ended in the window."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One request that was answered whole; times in seconds of `time.monotonic`."""

    sent: float
    ended: float
    first: float | None
    """Seconds to the first token; None where the answer was not streamed."""
    tokens: int

    @property
    def seconds(self) -> float:
        return self.ended - self.sent


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a window showed. Seconds unless named otherwise."""

    users: int
    window_s: float
    requests: int
    requests_s: float
    throughput_tok_s: float
    latency_s: float
    """The median, as are those below that say nothing else."""
    latency_p95_s: float
    latency_mean_s: float
    ttft_ms: float
    ttft_p95_ms: float
    tpot_ms: float
    in_flight: float
    """By Little's law, requests/s times the mean latency: the users, if the window is long enough."""
    short: int
    """Answers with fewer tokens than asked for, as the model ended them; they are in no figure but this."""


Opened = Callable[[], Awaitable[Callable[[], Awaitable[None]]]]


async def run(
    urls: list[str], users: int, slots: int, vocabulary: int, warm_up_s: float, window_s: float, opened: Opened | None = None
) -> Load:
    """Users take the servers in turn; `slots` of them can be worked on at once. `opened` is called before the window, and what it
    returns after it. Raises TooShort, and RuntimeError or aiohttp.ClientError for a request that failed."""
    answers: list[Answer] = []
    # llama-server closes a connection after a streamed answer, without saying so before.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        tasks = [
            asyncio.create_task(_user(session, urls[index % len(urls)], index, index < slots, vocabulary, answers))
            for index in range(users)
        ]
        try:
            await _sleep(tasks, warm_up_s)
            closed = await opened() if opened else None
            start = time.monotonic()
            await _sleep(tasks, window_s)
            end = time.monotonic()
            if closed:
                await closed()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return summary(answers, users, start, end)


async def _sleep(tasks: list[asyncio.Task], seconds: float) -> None:
    """Users run for ever: one that has ended has failed."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _user(session: aiohttp.ClientSession, url: str, index: int, spread: bool, vocabulary: int, answers: list[Answer]) -> None:
    words = random.Random(index)
    lengths = itertools.chain([words.randint(1, ANSWER_TOKENS)] if spread else [], itertools.repeat(ANSWER_TOKENS))
    for length in lengths:
        # The first token differs, so that no prompt begins like another and none is in a cache.
        prompt = [words.randrange(FIRST_WORD, vocabulary - 1) for _ in range(PROMPT_TOKENS)]
        body = {"prompt": prompt, "max_tokens": length, "temperature": TEMPERATURE}
        sent = time.monotonic()
        first, tokens = await _streamed(session, url, body, sent) if index % STREAMED == 0 else (None, await _whole(session, url, body))
        if length == ANSWER_TOKENS:
            answers.append(Answer(sent=sent, ended=time.monotonic(), first=first, tokens=tokens))


async def _whole(session: aiohttp.ClientSession, url: str, body: dict) -> int:
    async with session.post(f"{url}/v1/completions", json=body) as response:
        text = await response.text()
        if response.status != 200:
            raise RuntimeError(f"{url}: status {response.status}: {text[:300]}")
        return json.loads(text)["usage"]["completion_tokens"]


async def _streamed(session: aiohttp.ClientSession, url: str, body: dict, sent: float) -> tuple[float, int]:
    first, tokens = None, 0
    asked = body | {"stream": True, "stream_options": {"include_usage": True}}
    async with session.post(f"{url}/v1/completions", json=asked) as response:
        if response.status != 200:
            raise RuntimeError(f"{url}: status {response.status}: {(await response.text())[:300]}")
        async for line in response.content:
            if line.startswith(b"data: {"):
                first = first or time.monotonic() - sent
                if b'"usage"' in line:
                    tokens = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", tokens)
    return first, tokens


def summary(answers: list[Answer], users: int, start: float, end: float) -> Load:
    """Of the answers that ended in the window. Raises TooShort where there are none."""
    ended = [answer for answer in answers if start <= answer.ended < end]
    whole = [answer for answer in ended if answer.tokens == ANSWER_TOKENS]
    streamed = [(answer.seconds, answer.first) for answer in whole if answer.first is not None]
    if not streamed:
        raise TooShort(f"{users} users: no streamed answer ended in the window of {end - start:.0f} s: a longer one is needed")
    seconds = [answer.seconds for answer in whole]
    first_ms = [first * 1e3 for _, first in streamed]
    each_ms = [(took - first) * 1e3 / (ANSWER_TOKENS - 1) for took, first in streamed]
    rate = len(whole) / (end - start)
    return Load(
        users=users,
        window_s=round(end - start, 1),
        requests=len(whole),
        requests_s=round(rate, 3),
        throughput_tok_s=round(rate * ANSWER_TOKENS, 1),
        latency_s=round(statistics.median(seconds), 3),
        latency_p95_s=round(_p95(seconds), 3),
        latency_mean_s=round(statistics.fmean(seconds), 3),
        ttft_ms=round(statistics.median(first_ms), 1),
        ttft_p95_ms=round(_p95(first_ms), 1),
        tpot_ms=round(statistics.median(each_ms), 3),
        in_flight=round(rate * statistics.fmean(seconds), 1),
        short=len(ended) - len(whole),
    )


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
