"""A pipeline whose cache is full: each request is answered, waits or is refused by itself, and none ends another's.

In a cache that all requests share, llama-server ends every one of them when a token more has no room (ggml-org/llama.cpp#23652).
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from rehearsal.ports import free_port
from serve.rendering import render
from serve.service import service
from tests.serve.conftest import MODEL, Client, quick_dev

pytestmark = pytest.mark.process

WORDS = ("river", "stone", "cloud", "paper", "window", "garden", "number", "silver", "morning", "letter", "bridge", "copper", "island")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One pipeline with a cache of 512 tokens for requests of at most 256, and dev's batch of seven: two run at once."""
    folder = tmp_path_factory.mktemp("small")
    cache, limits = {"kvCache": {"maxCacheSize": "140Mi"}}, {"limits": {"requestTokens": 256}}
    file = quick_dev(folder, model=cache, coordinator=limits, sizing={"mode": "fitted"})
    # One thread: two that wait for each other at every layer stand still where other tests have the CPUs.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    one = service(render(file, "dev", 1), model=MODEL, port=free_port(), folder=folder)
    monkeypatch.undo()
    try:
        one.start(print)
        yield one
    finally:
        one.end()


def server(made):
    """Past the coordinator, which would let it have no more than the plan says."""
    return made.metrics["pipeline 0"]


def prompt(number, words):
    return f"{number} " + " ".join(WORDS[(number + 3 * at) % len(WORDS)] for at in range(words)) + "\nOnce"


def asked(made, number, words, **more):
    body = {"prompt": prompt(number, words), "ignore_eos": True, "temperature": 0} | more
    status, _, answer = Client(made).request("POST", "/v1/completions", json.dumps(body), at=server(made), timeout=600)
    return status, json.loads(answer)


def test_the_real_server_has_the_slots_of_the_plan(small):
    log = small.pipelines[0].log.read_text()
    assert re.search(r"n_slots = 2, n_ctx_slot = 256, kv_unified = 'false'", log)


def test_more_than_the_cache_holds_are_all_answered(small):
    """Eight requests of some 93 tokens that come together, where one shared cache of as many tokens ended all eight with 500."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: asked(small, number, 45, max_tokens=40), range(8)))
    assert [status for status, _ in answers] == [200] * 8
    assert {answer["usage"]["completion_tokens"] for _, answer in answers} == {40}


def test_a_prompt_that_is_too_long_is_refused_by_itself_and_an_answer_ends_where_its_part_does(small):
    """The worst mix: prompts longer than a slot, answers without an end, and ordinary ones among them."""
    ordinary, endless, too_long = {"max_tokens": 30}, {}, {"max_tokens": 30}
    wanted = [(10, ordinary), (400, too_long), (150, endless), (400, too_long), (10, ordinary)]
    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(lambda one: (one[1][1], asked(small, one[0], one[1][0], **one[1][1])), enumerate(wanted)))
    for (words, more), (_, (status, answer)) in zip(wanted, answers, strict=True):
        if words == 400:
            assert status == 400, answer
            assert answer["error"]["type"] == "exceed_context_size_error" and "256 tokens" in answer["error"]["message"]
        else:
            assert status == 200, answer
            [choice] = answer["choices"]
            assert choice["finish_reason"] == "length"
            used = answer["usage"]
            assert used["completion_tokens"] == 30 if more else used["total_tokens"] == 256


def test_streams_that_have_begun_go_on(small):
    """An error in the midst of an answer that began with 200 is one that no client's retry mends."""
    client = openai.OpenAI(base_url=f"http://{server(small)}/v1", api_key="-", max_retries=0, timeout=600)

    def one(number):
        messages: Any = [{"role": "user", "content": prompt(number, 45)}]
        events = client.chat.completions.create(model="-", messages=messages, max_tokens=40, stream=True, extra_body={"ignore_eos": True})
        return [event.choices[0].finish_reason for event in events if event.choices and event.choices[0].finish_reason]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [["length"]] * 8
