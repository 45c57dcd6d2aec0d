"""Where weights come from: the Hugging Face hub, a blob path, an OCI artifact. Each becomes a list of files that can be read in parts.

APIs: huggingface.co/docs/hub/api (tree, resolve); opencontainers/distribution-spec (manifests, blobs) with the token protocol of
distribution.github.io/distribution/spec/auth/token.
"""

import base64
import hashlib
import json
import os
import re
import time
import urllib.parse

from blobs import Container
from web import Failure, Refused, Remote, call

HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
OTHER_FORMATS = re.compile(r"(^|/)original/|\.(bin|pt|pth|ckpt|h5|msgpack|onnx|ot|gguf|nemo)$")
"""The same weights again, in formats that servers of safetensors do not read."""
INDEX = "model.safetensors.index.json"
MISTRALS_OWN = re.compile(r"consolidated[^/]*\.safetensors")
"""The same weights under Mistral's own names, beside those that the index lists: mistralai/Mistral-7B-Instruct-v0.3 is 29 GB for 14.5."""


def remote_files(source, token):
    kind, _, rest = source.partition("://")
    return {"hf": hub_files, "https": blob_files, "http": blob_files, "oci": registry_files}[kind](source, rest, token)


def hub_files(source, rest, token):
    """All files of a model at one commit, or the one that the source names."""
    model, _, revision = rest.partition("@")
    revision, _, only = revision.partition("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url, tree = f"{HUB}/api/models/{model}/tree/{revision}?recursive=true", []
    try:
        while url:
            _, answered, body = call("GET", url, headers)
            tree += json.loads(body)
            following = re.search(r'<([^>]+)>;\s*rel="next"', answered.get("Link") or "")
            url = following and following[1]
    except Refused as error:
        why = {
            401: "the hub wants a token, or there is no such model: model.tokenSecret with a token that may read it",
            403: "the token's owner has not been given this model: ask for access on its page",
            404: "there is no such model or commit, or the token may not see it",
        }.get(error.status, str(error))
        raise Failure(f"{source}: {error.status}: {why}") from None
    found = [
        Remote(
            path=entry["path"],
            size=entry["size"],
            url=f"{HUB}/{model}/resolve/{revision}/{urllib.parse.quote(entry['path'])}",
            headers=lambda: headers,
            digests={"sha256": entry["lfs"]["oid"]} if entry.get("lfs") else {"git": entry["oid"]},
            version=entry["oid"],
        )
        for entry in tree
        if entry["type"] == "file"
    ]
    if only:
        return named(source, found, only)
    return one_copy(source, found)


def one_copy(source, found):
    """Returns a published model's files: the weights that a server loads, once, and everything that is not weights.

    With an index those are the files it names, without one all safetensors files at the top: so does vLLM with `--load-format
    safetensors` (vllm-project/vllm v0.17.1 vllm/model_executor/model_loader/default_loader.py, _prepare_weights, and weight_utils.py,
    filter_duplicate_safetensors_files). A model that has no safetensors at all comes whole.
    """
    weights = {file.path for file in found if file.path.endswith(".safetensors")}
    if not weights:
        return found
    index = next((file for file in found if file.path == INDEX), None)
    if index:
        loaded = set(json.loads(index.read(0, index.size))["weight_map"].values())
        if missing := sorted(loaded - weights):
            raise Failure(f"{source}: its {INDEX} names {missing[0]}, which is not there ({len(missing)} of {len(loaded)} are missing)")
    else:
        loaded = {path for path in weights if "/" not in path and not MISTRALS_OWN.fullmatch(path)}
    if not loaded:
        raise Failure(
            f"{source}: its only weights are {', '.join(sorted(weights)[:3])}, which a server that reads config.json does not load: a "
            f"repository of the same model with model.safetensors, or with {INDEX} and the files it names"
        )
    return [file for file in found if file.path in loaded or not (file.path in weights or OTHER_FORMATS.search(file.path))]


def blob_files(source, rest, token):
    """A blob, or all below a path that ends with a slash. `token` is a shared access signature; without one it is this pod's identity."""
    host, container, path = rest.split("/", 2)
    store = Container(f"{source.partition('://')[0]}://{host}/{container}", signature=token.lstrip("?") if token else None)
    try:
        entries = list(store.list(path)) if path.endswith("/") else [store.about(path)]
    except Refused as error:
        who = "the signature in model.tokenSecret" if token else "the identity that fetches (Storage Blob Data Reader)"
        raise Failure(f"{source}: {error.status} {error.reason}: {who} may not read it, or it is not there") from None

    def unchanged(etag):
        return lambda: store.headers() | {"If-Match": etag}

    return [
        Remote(
            path=entry["name"].removeprefix(path) or path.rsplit("/", 1)[-1],
            size=entry["size"],
            url=store.url(entry["name"]),
            headers=unchanged(entry["etag"]),
            digests={"md5": base64.b64decode(entry["md5"]).hex()} if entry["md5"] else {},
            version=entry["etag"],
        )
        for entry in entries
    ]


def registry_files(source, rest, token):
    """The layers of an artifact by their titles, as ORAS makes them; each is known by its SHA-256. `token` is user:password."""
    host, _, rest = rest.partition("/")
    name, _, digest = rest.partition("@")
    digest, _, only = digest.partition("/")
    base = f"{'http' if host.startswith(('127.0.0.1', 'localhost')) else 'https'}://{host}/v2/{name}"
    kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    headers, until = {"Accept": kinds}, 0.0

    def signed_in():
        nonlocal until
        if time.monotonic() >= until:
            try:
                call("GET", f"{base}/manifests/{digest}", {"Accept": kinds})
                until = float("inf")
            except Refused as error:
                if error.status != 401:
                    raise
                headers["Authorization"] = registry_token(error.headers.get("WWW-Authenticate", ""), token)
                # The least that the token protocol lets a registry give is 60 s.
                until = time.monotonic() + 50
        return headers

    try:
        _, _, body = call("GET", f"{base}/manifests/{digest}", signed_in())
    except Refused as error:
        raise Failure(f"{source}: {error.status} {error.reason}: model.tokenSecret may not read it, or it is not there") from None
    if hashlib.sha256(body).hexdigest() != digest.removeprefix("sha256:"):
        raise Failure(f"{source}: the registry's manifest has another digest")
    found = []
    for layer in json.loads(body).get("layers", []):
        title = layer.get("annotations", {}).get("org.opencontainers.image.title")
        if title is None or "tar" in layer["mediaType"]:
            raise Failure(f"{source}: layer {layer['digest'][:19]} is no titled file ({layer['mediaType']}): push files with `oras push`")
        sha256 = layer["digest"].removeprefix("sha256:")
        found.append(Remote(title, layer["size"], f"{base}/blobs/{layer['digest']}", signed_in, {"sha256": sha256}, sha256))
    return named(source, found, only) if only else found


def registry_token(challenge, credentials):
    """The Authorization header that a registry's 401 asks for."""
    basic = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else None
    if not challenge.startswith("Bearer "):
        if basic is None:
            raise Failure("the registry wants a password: model.tokenSecret with user:password")
        return basic
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    url = f"{asked.pop('realm')}?{urllib.parse.urlencode(asked)}"
    _, _, body = call("GET", url, {"Authorization": basic} if basic else {})
    answer = json.loads(body)
    return f"Bearer {answer.get('token') or answer['access_token']}"


def named(source, found, path):
    """The one file of that path."""
    for file in found:
        if file.path == path:
            return [file]
    near = ", ".join(sorted(file.path for file in found if file.path.endswith(path.rsplit(".", 1)[-1])))
    raise Failure(f"{source}: there is no file {path}" + (f"; there is {near}" if near else ""))
