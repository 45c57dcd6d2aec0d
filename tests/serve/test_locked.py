"""The same service behind TLS, keys and a limit for each client, as `openai` and curl meet it."""

import base64
import json
import ssl
import subprocess

import openai
import pytest

from engines.envoy.access import API_KEYS_FILE
from rehearsal.ports import free_port
from serve.errors import ServeError
from serve.rendering import render
from serve.service import service
from stacks import api_keys
from tests.engines.envoy.certificates import authority, signed
from tests.serve.conftest import MODEL, quick_dev, wait_for

pytestmark = pytest.mark.process

EXPOSURE = {"tls": {"secretName": "front-door"}, "apiKeys": {"secretName": "keys"}}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """A folder with the stack's Secrets, the authority's certificate, and the keys by client."""
    folder = tmp_path_factory.mktemp("secrets")
    for name in ("front-door", "keys"):
        (folder / name).mkdir()
    signed(authority(folder), folder / "front-door", serial=1)
    made = {name: base64.b64decode(text).decode() for name, text in api_keys.manifest("keys", ["alice", "bob"], {})["data"].items()}
    (folder / "keys" / API_KEYS_FILE).write_text(made.pop(API_KEYS_FILE))
    return folder, made


@pytest.fixture(scope="module")
def locked(secrets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("locked")
    file = quick_dev(folder, exposure=EXPOSURE, coordinator={"limits": {"requestsPerMinutePerClient": 6}})
    one = service(render(file, "dev", 1), model=MODEL, port=free_port(), folder=folder, secrets=secrets[0])
    try:
        one.start(print)
        wait_for(lambda: curl(one, secrets, "/api/v1/health", "-o", "/dev/null", "-w", "%{http_code}") == "200", 20)
        yield one
    finally:
        one.end()


def curl(made, secrets, path, *how, key=None):
    authorization = ["-H", f"Authorization: Bearer {key}"] if key else []
    command = ["curl", "-sS", "--cacert", str(secrets[0] / "ca.crt"), *authorization, *how, f"{made.url}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def infer(made, secrets, key=None):
    body = json.dumps({"prompt": "The future of artificial intelligence is", "max_tokens": 8})
    how = ("-H", "Content-Type: application/json", "-d", body, "-w", "\n%{http_code}")
    answer, _, status = curl(made, secrets, "/v1/inference", *how, key=key).rpartition("\n")
    return int(status), json.loads(answer)


@pytest.fixture
def client(locked, secrets):
    """The client of a key."""
    trusting = openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=secrets[0] / "ca.crt"))
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key="none", max_retries=0, timeout=60, http_client=trusting) as ours:
        yield lambda key: ours.with_options(api_key=key)


def test_the_openai_package_needs_its_key_and_nothing_else(client, secrets):
    asked = {"model": "any", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
    assert len(list(client(secrets[1]["alice"]).completions.create(**asked, stream=True))) > 6
    with pytest.raises(openai.AuthenticationError, match="Client authentication failed"):
        client("not-a-key").completions.create(**asked)


def test_who_asks_too_often_is_told_when_to_come_back(locked, secrets, client):
    key = secrets[1]["bob"]
    assert infer(locked, secrets)[0] == 401
    answers = [infer(locked, secrets, key)]
    # A slow machine that sees a minute end meanwhile is given up to another six.
    while answers[-1][0] == 200 and len(answers) < 13:
        answers.append(infer(locked, secrets, key))
    assert answers[-1][0] == 429 and len(answers) > 6
    assert answers[0][1]["choices"][0]["text"] and answers[-1][1]["error"]["code"] == 429
    with pytest.raises(openai.RateLimitError) as refused:
        client(key).completions.create(model="any", prompt="x", max_tokens=1)
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 60


def test_no_log_has_a_key(locked, secrets):
    infer(locked, secrets, secrets[1]["load-test"])
    logs = [file.read_text(errors="replace") for file in (locked.folder / "logs").iterdir()]
    assert logs and not [key for key in secrets[1].values() for log in logs if key in log]


def test_without_the_secrets_it_is_one_line(tmp_path):
    with pytest.raises(ServeError, match=r"the coordinator reads the Secret front-door as files"):
        service(render(quick_dev(tmp_path, exposure=EXPOSURE), "dev", 1), model=MODEL, port=free_port(), folder=tmp_path)
