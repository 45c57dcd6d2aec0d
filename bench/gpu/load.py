"""A closed loop of users, each of whom sends the next request when the last one is answered.

The first answer in each slot has a random length, so that the slots spread over an answer's time. With equal lengths, slots that started
together would end together forever. Requests are the guide's: a prompt, 100 tokens, a temperature, and nothing else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import aiohttp

PROMPT_TOKENS = 32
ANSWER_TOKENS = 100
TEMPERATURE = 0.7
STREAMED = 10
"""One in so many users, the first one included, gets streamed answers, which show the first token; the others get whole answers."""
FIRST_WORD = 256
"""Tokens below this number are single bytes (gguf_weights.py, checkpoint.py)."""
USERS_A_PROCESS = 64
"""The users of one process; it is low enough that no such process needs a whole CPU."""


class TooShort(Exception):
    """No answer ended in the window."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A completely answered request, with times in seconds of `time.monotonic`."""

    sent: float
    ended: float
    first: float | None
    """Seconds to the first token, or None if the answer was not streamed."""
    tokens: int

    @property
    def seconds(self) -> float:
        return self.ended - self.sent


@dataclass(frozen=True, kw_only=True)
class Load:
    """The results of a window. Times are in seconds unless a name says otherwise."""

    users: int
    window_s: float
    requests: int
    requests_s: float
    throughput_tok_s: float
    latency_s: float
    """The median, like the values below unless they say otherwise."""
    latency_p95_s: float
    latency_mean_s: float
    ttft_ms: float | None
    """None, like the two values below, if no streamed answer ended in the window."""
    ttft_p95_ms: float | None
    tpot_ms: float | None
    in_flight: float
    """Requests/s times the mean latency, which is the number of users (Little's law) if the window is long enough."""
    short: int
    """Answers that the model ended early; they are in no other figure."""
    busiest_client: float = 0.0
    """The CPU time of the users' busiest process divided by the time; near 1, the clients would be the limit."""


Opened = Callable[[], Callable[[], None]]


def run(
    urls: list[str], users: int, slots: int, vocabulary: int, warm_up_s: float, window_s: float, opened: Opened | None = None,
    tokens: int = ANSWER_TOKENS,
) -> Load:  # fmt: skip
    """Measures a window. Users take the servers in turn, and the servers work on `slots` requests at once.

    `opened` is called before the window, and what it returns after it. Raises TooShort, and RuntimeError for a failed request."""
    shares = [range(first, users, -(-users // USERS_A_PROCESS)) for first in range(-(-users // USERS_A_PROCESS))]
    with _processes([(urls, share, slots, vocabulary, tokens) for share in shares]) as pipes:
        _sleep(pipes, warm_up_s)
        closed = opened() if opened else None
        start = time.monotonic()
        _sleep(pipes, window_s)
        end = time.monotonic()
        if closed:
            closed()
        for pipe in pipes:
            pipe.send(None)
        answered, busy = zip(*(_received(pipe) for pipe in pipes), strict=True)
    found = summary([answer for answers in answered for answer in answers], users, start, end, tokens)
    return dataclasses.replace(found, busiest_client=round(max(busy), 2))


@contextmanager
def _processes(shares: list[tuple]) -> Generator[list[Connection]]:
    """Runs a process for each share of the users, which have all started when the context begins. Raises RuntimeError."""
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for share in shares:
            here, there = spawn.Pipe()
            processes.append(spawn.Process(target=_process, args=(there, *share), daemon=True))
            processes[-1].start()
            there.close()
            pipes.append(here)
        for pipe in pipes:
            _received(pipe)  # it is ready
        for pipe in pipes:
            pipe.send(None)
        yield pipes
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _received(pipe: Connection):
    """Returns what the process sent. Raises RuntimeError if the process failed instead."""
    try:
        found = pipe.recv()
    except EOFError:
        raise RuntimeError("a process of users ended") from None
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def _sleep(pipes: list[Connection], seconds: float) -> None:
    """Waits while the users run. A process that sends something earlier has failed."""
    for pipe in wait(pipes, timeout=seconds):
        assert isinstance(pipe, Connection)
        _received(pipe)


def _process(pipe: Connection, urls: list[str], indexes: range, slots: int, vocabulary: int, tokens: int) -> None:
    pipe.send(())
    pipe.recv()
    began, busy = time.monotonic(), time.process_time()
    try:
        answers = asyncio.run(_users(pipe, urls, indexes, slots, vocabulary, tokens))
    except (RuntimeError, aiohttp.ClientError) as error:
        pipe.send(str(error) or repr(error))
    else:
        pipe.send((answers, (time.process_time() - busy) / (time.monotonic() - began)))


async def _users(pipe: Connection, urls: list[str], indexes: range, slots: int, vocabulary: int, tokens: int) -> list[Answer]:
    """Waits until the pipe has data."""
    answers: list[Answer] = []
    # llama-server closes a connection after a streamed answer, without saying so before.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), told.set)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        tasks = [
            asyncio.create_task(_user(session, urls[index % len(urls)], index, index < slots, vocabulary, tokens, answers))
            for index in indexes
        ]
        end = asyncio.create_task(told.wait())
        try:
            done, _ = await asyncio.wait([*tasks, end], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {end}:
                task.result()
        finally:
            for task in (*tasks, end):
                task.cancel()
            await asyncio.gather(*tasks, end, return_exceptions=True)
    return answers


async def _user(
    session: aiohttp.ClientSession, url: str, index: int, spread: bool, vocabulary: int, tokens: int, answers: list[Answer]
) -> None:
    words = random.Random(index)
    lengths = itertools.chain([words.randint(1, tokens)] if spread else [], itertools.repeat(tokens))
    for length in lengths:
        # The first token differs, so that no prompt begins like another and none is in a cache.
        prompt = [words.randrange(FIRST_WORD, vocabulary - 1) for _ in range(PROMPT_TOKENS)]
        body = {"prompt": prompt, "max_tokens": length, "temperature": TEMPERATURE}
        sent = time.monotonic()
        first, made = await _streamed(session, url, body, sent) if index % STREAMED == 0 else (None, await _whole(session, url, body))
        if length == tokens:
            answers.append(Answer(sent=sent, ended=time.monotonic(), first=first, tokens=made))


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
    if first is None:
        raise RuntimeError(f"{url}: the stream ended without an event")
    return first, tokens


def summary(answers: list[Answer], users: int, start: float, end: float, tokens: int = ANSWER_TOKENS) -> Load:
    """Computes the figures of the answers that ended in the window. Raises TooShort if there are none."""
    ended = [answer for answer in answers if start <= answer.ended < end]
    whole = [answer for answer in ended if answer.tokens == tokens]
    if not whole:
        raise TooShort(f"{users} users: no answer ended in the window of {end - start:.0f} s: a longer one is needed")
    streamed = [(answer.seconds, answer.first) for answer in whole if answer.first is not None]
    seconds = [answer.seconds for answer in whole]
    first_ms = [first * 1e3 for _, first in streamed]
    each_ms = [(took - first) * 1e3 / (tokens - 1) for took, first in streamed]
    rate = len(whole) / (end - start)
    return Load(
        users=users,
        window_s=round(end - start, 1),
        requests=len(whole),
        requests_s=round(rate, 3),
        throughput_tok_s=round(rate * tokens, 1),
        latency_s=round(statistics.median(seconds), 3),
        latency_p95_s=round(_p95(seconds), 3),
        latency_mean_s=round(statistics.fmean(seconds), 3),
        ttft_ms=round(statistics.median(first_ms), 1) if streamed else None,
        ttft_p95_ms=round(_p95(first_ms), 1) if streamed else None,
        tpot_ms=round(statistics.median(each_ms), 3) if streamed else None,
        in_flight=round(rate * statistics.fmean(seconds), 1),
        short=len(ended) - len(whole),
    )


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
