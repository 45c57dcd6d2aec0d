"""Requests that nobody sends by mistake, to the real proxy before real llama-servers: none costs more than one server, and the service
answers the next. Most are public reports about llama.cpp's server and vLLM: ggml-org/llama.cpp#4492, #27619, vllm-project/vllm#17313."""

import contextlib
import json
import socket

import pytest

from serve.service import HOST

pytestmark = pytest.mark.process

QUESTION = [{"role": "user", "content": "a"}]


def text(**more):
    return "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 2} | more)


def chat(**more):
    return "/v1/chat/completions", json.dumps({"messages": QUESTION, "max_tokens": 2} | more)


def schema(one):
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": one}})


def nested(depth, opens="[", closes="]"):
    return opens * depth + closes * depth


def within(path, field, value):
    """A request with a value that no JSON library would write."""
    return path, text()[1].removesuffix("}") + f', "messages": {json.dumps(QUESTION)}, "{field}": {value}}}'


def objects(depth):
    one = {"type": "string"}
    for _ in range(depth):
        one = {"type": "object", "properties": {"a": one}}
    return one


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": nested(100_000)}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": objects(30)}}
HOSTILE = {
    "JSON 100,000 deep in a field of no meaning": within("/v1/chat/completions", "metadata", nested(100_000)),
    "JSON 100,000 deep as the prompt": within("/v1/completions", "prompt", nested(100_000)),
    "a tool's parameters 50,000 deep": within("/v1/chat/completions", "tools", nested(50_000, '{"a":[', "]}")),
    "JSON that never ends": ("/v1/completions", '{"a":' * 100_000),
    "JSON 100,000 deep in a text that is read as JSON": chat(messages=[*QUESTION, {"role": "assistant", "tool_calls": [CALL]}]),
    "JSON as deep as is let in": within("/v1/chat/completions", "metadata", nested(127)),
    "a grammar 100,000 deep": text(grammar=f"root ::= {nested(100_000, '(', ')')}"),
    "a grammar as deep as is let in": text(grammar=f'root ::= {"(" * 4000}"a"{")" * 4000}'),
    "a grammar that begins with itself": text(grammar='root ::= root "a" | "b"'),
    "a grammar of nothing": text(grammar=""),
    "a pattern 100,000 deep": schema({"type": "string", "pattern": f"^{nested(100_000, '(', ')')}$"}),
    "a schema of itself": schema({"$ref": "#"}),
    "a schema 40 deep": schema(objects(40)),
    "a text of a billion letters at least": schema({"type": "string", "minLength": 10**9}),
    "tools without names": chat(tools=[{"type": "function", "function": {"name": "", "parameters": {}}}], tool_choice="required"),
    "a deep tool": chat(tools=[TOOL]),
    "a role that is a number": chat(messages=[{"role": 5, "content": "a"}]),
    "no content": chat(messages=[{"role": "user", "content": None}]),
    "100,000 answers": text(n=100_000),
    "minus one answer": text(n=-1),
    "a million probabilities": text(logprobs=10**6),
    "fewer tokens than none": text(max_tokens=-5),
    "10^18 tokens": chat(max_tokens=10**18),
    "biases of tokens that are none": text(logit_bias={"99999999": 5, "-7": 3}),
    "tokens that are none": text(prompt=[-5, 2**31 - 1, 2**40]),
    "no prompt": text(prompt=[]),
    "50,000 stops": text(stop=[f"x{number}" for number in range(50_000)]),
    "an adapter that is none": text(lora=[{"id": 99, "scale": 1.0}]),
    "a slot that is none": text(id_slot=10**6),
    "a number that is none": within("/v1/completions", "temperature", "NaN"),
    "a number beyond all": within("/v1/completions", "temperature", "1e400"),
    "bytes that are no text": ("/v1/completions", b'{"prompt": "\xff\xfe\xc3", "max_tokens": 2}'),
    "a text with zeros in it": text(prompt="a\0b"),
    "nothing": ("/v1/completions", ""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_request_costs_one_server_at_most_and_the_next_is_answered(what, client, made):
    path, body = HOSTILE[what]
    status, _, answer = client.request("POST", path, body)
    assert client.infer()[0] == 200
    dead = [pipeline.name for pipeline in made.pipelines if not pipeline.running]
    assert not dead or (status == 502 and len(dead) == 1), answer[:200]


def test_a_request_that_never_ends_holds_nobody_up(client):
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with contextlib.closing(socket.create_connection((HOST, client.made.port), timeout=60)) as endless:
        endless.sendall(head)
        with contextlib.suppress(OSError):
            for _ in range(40):
                endless.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert endless.recv(100).startswith(b"HTTP/1.1 413 ")
    assert client.infer()[0] == 200
