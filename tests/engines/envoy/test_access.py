"""TLS, API keys and a limit for each client in the real proxy, with files as the kubelet mounts and renews them."""

import collections
import contextlib
import http.client
import json
import shutil
import ssl
import subprocess

import pytest

from engines.envoy.access import API_KEYS_FILE, Tls, api_keys_file
from engines.envoy.config import LIVE_PATH, READY_PATH
from tests.engines.envoy.certificates import authority, mount, signed
from tests.engines.envoy.proxy import COMPLETION, arguments, pipelines, running, wait_for

pytestmark = pytest.mark.process

ALICE, BOB, EVE = "key-of-alice-0001", "key-of-bob-00002", "key-of-nobody-03"


@pytest.fixture
def one():
    with pipelines(0.01) as made:
        yield made


def mounted_keys(folder, **keys):
    content = folder / f"keys of {len(list(folder.iterdir()))}"
    content.mkdir()
    (content / API_KEYS_FILE).write_text(api_keys_file(keys))
    return mount(folder, "api-keys", content)


def status(proxy, key=None, **how):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return proxy.infer(**headers, **how)[0]


def probe(proxy):
    """Whether it is alive, and ready."""
    return [proxy.request("GET", path, port=proxy.metrics_port)[0] for path in (LIVE_PATH, READY_PATH)]


def test_only_a_known_key_gets_in(one, tmp_path):
    keys = mounted_keys(tmp_path, alice=ALICE, bob=BOB)
    with running(arguments(*one, guard={"api_keys_dir": str(keys)}), one, tmp_path) as proxy:
        assert (status(proxy, ALICE), status(proxy, BOB)) == (200, 200)
        forms = ({"authorization": f"bearer {ALICE}"}, {"Authorization": f"BEARER  {ALICE} "}, {"api-key": ALICE}, {"x-api-key": ALICE})
        assert [proxy.infer(**headers)[0] for headers in forms] == [200] * 4
        wrong = (
            {"api-key": EVE},
            {"x-api-key": f"Bearer {ALICE}"},
            {"authorization": "Bearer", "api-key": ALICE},
        )
        assert [proxy.infer(**headers)[0] for headers in wrong] == [401] * 3
        heard = json.loads(proxy.request("GET", "/v1/headers", **{"api-key": ALICE})[2])["headers"]
        assert ALICE not in str(heard), "a key stays with the coordinator"
        for headers in ({}, {"authorization": f"Bearer {EVE}"}, {"authorization": "Bearer "}, {"authorization": f"Basic {ALICE}"}):
            code, answered, body = proxy.infer(**headers)
            assert code == 401 and answered["content-type"] == "application/json", headers
            assert json.loads(body)["error"]["message"] == "Client authentication failed."
        assert proxy.health == 200, "who looks after it has no key"
        assert proxy.request("GET", "/metrics", port=proxy.metrics_port)[0] == 200
        assert proxy.request("GET", "/v1/models")[0] == 401


def test_a_key_is_shown_nowhere_and_stays_with_the_coordinator(one, tmp_path):
    keys = mounted_keys(tmp_path, alice=ALICE)
    with running(arguments(*one, guard={"api_keys_dir": str(keys)}), one, tmp_path) as proxy:
        assert (status(proxy, ALICE), status(proxy, EVE)) == (200, 401)
        heard = json.loads(proxy.request("GET", "/v1/headers", authorization=f"Bearer {ALICE}")[2])["headers"]
        dump = proxy.request("GET", "/config_dump?resource=ecds_filters", port=proxy.admin_port)[2].decode()
        metrics = proxy.request("GET", "/metrics", port=proxy.metrics_port)[2].decode()
    assert "authorization" not in {name.lower() for name in heard} and ALICE not in str(heard)
    assert "[redacted]" in dump and ALICE not in dump
    for text in (metrics, proxy.log.read_text()):
        assert ALICE not in text and EVE not in text


def test_curl_reads_a_refusal_of_a_request_that_has_a_body(one, tls, tmp_path):
    """With HTTP/2, Debian 12's curl says in two of three tries that the stream was broken."""
    ca, told = tls
    guard = {"tls": told, "api_keys_dir": str(mounted_keys(tmp_path, alice=ALICE))}
    with running(arguments(*one, guard=guard), one, tmp_path) as proxy:
        asked = ["curl", "-sS", "--cacert", str(ca / "ca.crt"), "-d", COMPLETION, f"https://127.0.0.1:{proxy.port}/v1/inference"]
        for _ in range(10):
            assert '"code":401' in subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def test_changed_keys_need_no_restart(one, tmp_path):
    keys = mounted_keys(tmp_path, alice=ALICE)
    with running(arguments(*one, guard={"api_keys_dir": str(keys)}), one, tmp_path) as proxy:
        assert (status(proxy, ALICE), status(proxy, BOB)) == (200, 401)
        mounted_keys(tmp_path, bob=BOB)
        wait_for(lambda: status(proxy, BOB) == 200, 20)
        assert status(proxy, ALICE) == 401


def test_without_its_keys_it_lets_nobody_in(one, tmp_path):
    """A Secret without the file, or with something else in it: closed, not open."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / API_KEYS_FILE).write_text("not keys")
    with running(arguments(*one, guard={"api_keys_dir": str(tmp_path / "empty")}), one, tmp_path) as proxy:
        wait_for(lambda: proxy.health == 200, 30)
        assert status(proxy, ALICE) == 500


def test_each_key_has_its_own_limit(one, tmp_path):
    keys = mounted_keys(tmp_path, alice=ALICE, bob=BOB)
    guard = {"api_keys_dir": str(keys), "requests_per_minute": 3}
    with running(arguments(*one, guard=guard), one, tmp_path) as proxy:
        assert [status(proxy, ALICE) for _ in range(5)] == [200, 200, 200, 429, 429]
        assert status(proxy, BOB) == 200
        disguised = {"x-zig-ai-client": "somebody-else"}
        code, headers, body = proxy.infer(authorization=f"Bearer {ALICE}", **disguised)
        assert code == 429 and 0 < int(headers["retry-after"]) <= 60
        assert json.loads(body)["error"]["code"] == 429 and "Retry-After" in json.loads(body)["error"]["message"]
        assert status(proxy, EVE) == 401, "who has no key has no limit either"
        assert proxy.health == 200


def test_without_keys_each_address_has_its_own_limit(one, tmp_path):
    with running(arguments(*one, guard={"requests_per_minute": 2}), one, tmp_path) as proxy:
        assert [status(proxy, source="127.0.2.1") for _ in range(3)] == [200, 200, 429]
        assert status(proxy, source="127.0.2.2") == 200
        forged = {"x-forwarded-for": "127.0.2.9"}
        assert proxy.infer(source="127.0.2.1", **forged)[0] == 429, "an address is the connection's, not what a header says"


@pytest.fixture
def tls(tmp_path):
    """Where a server's certificate and its authority are."""
    made = {name: tmp_path / f"made {name}" for name in ("ca", "server", "config")}
    for folder in made.values():
        folder.mkdir()
    authority(made["ca"])
    mount(tmp_path, "tls", signed(made["ca"], made["server"], serial=1))
    return made["ca"], Tls(config_dir=str(made["config"]), certificate_dir=str(tmp_path / "tls"), client_ca_dir=None)


REJECTED = "Failed to load certificate chain"


def unusable(folder):
    """What a Secret may hold by mistake."""
    made = folder / "unusable"
    made.mkdir()
    (made / "tls.crt").write_text("nothing")
    (made / "tls.key").write_text("nothing")
    return made


def trusting(ca, client=None):
    context = ssl.create_default_context(cafile=ca / "ca.crt")
    if client:
        context.load_cert_chain(client / "tls.crt", client / "tls.key")
    return context


def infer(proxy, context):
    """Status and the serial number of the server's certificate."""
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/inference", COMPLETION, {"content-type": "application/json"})
        answer = connection.getresponse()
        serial = int(connection.sock.getpeercert()["serialNumber"], 16)
        answer.read()
        return answer.status, serial


def test_tls_and_nothing_but_tls(one, tls, tmp_path):
    ca, told = tls
    with running(arguments(*one, guard={"tls": told}), one, tmp_path) as proxy:
        assert infer(proxy, trusting(ca)) == (200, 1)
        with pytest.raises((OSError, http.client.HTTPException)):
            proxy.infer()
        asked = ["curl", "-sS", "--cacert", str(ca / "ca.crt"), "-w", "%{http_version}", f"https://127.0.0.1:{proxy.port}/v1/models"]
        assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.endswith("}1.1")


def test_a_renewed_certificate_needs_no_restart_and_a_broken_one_changes_nothing(one, tls, tmp_path):
    ca, told = tls
    renewed, broken = tmp_path / "renewed", unusable(tmp_path)
    renewed.mkdir()
    with running(arguments(*one, guard={"tls": told}), one, tmp_path) as proxy:
        assert infer(proxy, trusting(ca))[1] == 1
        mount(tmp_path, "tls", broken)
        wait_for(lambda: REJECTED in proxy.log.read_text(), 20)
        assert infer(proxy, trusting(ca)) == (200, 1)
        assert probe(proxy) == [200, 200]
        mount(tmp_path, "tls", signed(ca, renewed, serial=2))
        wait_for(lambda: infer(proxy, trusting(ca))[1] == 2, 20)


def test_clients_with_certificates_only(one, tls, tmp_path):
    ca, told = tls
    ours, theirs, stranger = (tmp_path / name for name in ("our client", "their client", "their ca"))
    for folder in (ours, theirs, stranger):
        folder.mkdir()
    mount(tmp_path, "client-ca", ca)
    told = Tls(config_dir=told.config_dir, certificate_dir=told.certificate_dir, client_ca_dir=str(tmp_path / "client-ca"))
    with running(arguments(*one, guard={"tls": told}), one, tmp_path) as proxy:
        assert infer(proxy, trusting(ca, signed(ca, ours, serial=3)))[0] == 200
        for client in (None, signed(authority(stranger), theirs, serial=4)):
            with pytest.raises(OSError):
                infer(proxy, trusting(ca, client))


def test_without_a_usable_certificate_nothing_is_served(one, tls, tmp_path):
    """Closed, and not in plain text; the log says why."""
    ca, told = tls
    mount(tmp_path, "tls", unusable(tmp_path))
    with running(arguments(*one, guard={"tls": told}), one, tmp_path) as proxy:
        wait_for(lambda: REJECTED in proxy.log.read_text(), 20)
        with pytest.raises(OSError):
            infer(proxy, trusting(ca))
        with pytest.raises((OSError, http.client.HTTPException)):
            proxy.infer()


BROKEN = {
    "a certificate that is none": ("tls", {"tls.crt": "nothing"}),
    "an empty certificate": ("tls", {"tls.crt": ""}),
    "the key of another": ("tls", {"tls.key": None}),
    "an authority that is none": ("client-ca", {"ca.crt": "nothing"}),
    "an empty file of keys": ("api-keys", {API_KEYS_FILE: ""}),
    "keys that are no JSON": ("api-keys", {API_KEYS_FILE: ALICE}),
    "a file without keys": ("api-keys", {API_KEYS_FILE: "{}"}),
}
"""The Secret, and what its files hold; None: a good key, but of another certificate."""


@pytest.mark.parametrize("what", BROKEN)
def test_ready_only_with_secrets_that_it_can_use(what, one, tls, tmp_path):
    """A rolling change would replace coordinators that work with such as turn all clients away."""
    ca, told = tls
    mount(tmp_path, "client-ca", ca)
    keys = mounted_keys(tmp_path, alice=ALICE)
    secret, files = BROKEN[what]
    good, broken, other = tmp_path / "good", tmp_path / "broken", tmp_path / "other"
    other.mkdir()
    other_key = (signed(ca, other, serial=5) / "tls.key").read_text()
    for folder in (good, broken):
        shutil.copytree(tmp_path / secret / "..data", folder)
    for file, content in files.items():
        (broken / file).write_text(other_key if content is None else content)
    mount(tmp_path, secret, broken)
    told = Tls(config_dir=told.config_dir, certificate_dir=told.certificate_dir, client_ca_dir=str(tmp_path / "client-ca"))
    args = arguments(*one, guard={"tls": told, "api_keys_dir": str(keys)})
    with running(args, one, tmp_path) as proxy:
        live, ready = probe(proxy)
        assert live == 200 and ready >= 500
    mount(tmp_path, secret, good)
    with running(args, one, tmp_path) as proxy:
        assert probe(proxy) == [200, 200]


def test_limits_do_not_count_what_was_never_let_in(one, tmp_path):
    keys = mounted_keys(tmp_path, alice=ALICE)
    with running(arguments(*one, guard={"api_keys_dir": str(keys), "requests_per_minute": 2}), one, tmp_path) as proxy:
        seen = collections.Counter(status(proxy, EVE) for _ in range(5))
        assert seen == {401: 5} and status(proxy, ALICE) == 200


ASKS = {"origin": "https://app.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization"}


def cors(headers):
    found = {name.lower().removeprefix("access-control-"): value for name, value in headers.items()}
    return {name: found[name] for name in ("allow-origin", "allow-credentials", "allow-headers") if name in found}


def test_a_page_of_an_allowed_origin_may_ask_with_a_key_and_read_refusals(one, tmp_path):
    keys = mounted_keys(tmp_path, alice=ALICE)
    guard = {"api_keys_dir": str(keys), "allowed_origins": ("https://app.example",)}
    with running(arguments(*one, guard=guard), one, tmp_path) as proxy:
        code, headers, _ = proxy.request("OPTIONS", "/v1/chat/completions", **ASKS)
        assert code == 200 and cors(headers) == {"allow-origin": "https://app.example", "allow-headers": "authorization, *"}
        for key, expected in ((ALICE, 200), (EVE, 401)):
            code, headers, _ = proxy.infer(origin="https://app.example", authorization=f"Bearer {key}")
            assert code == expected and cors(headers) == {"allow-origin": "https://app.example"}
        assert proxy.request("OPTIONS", "/v1/chat/completions", **ASKS | {"origin": "https://evil.example"})[0] == 401
        assert cors(proxy.infer(origin="https://evil.example", authorization=f"Bearer {ALICE}")[1]) == {}


def test_without_the_setting_no_page_is_let_in_whatever_the_server_says(one, tmp_path):
    """llama-server answers every origin, with credentials."""
    with running(arguments(*one), one, tmp_path) as proxy:
        code, headers, _ = proxy.infer(origin="https://evil.example")
        assert code == 200 and cors(headers) == {}
