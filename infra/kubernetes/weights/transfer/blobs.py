"""Azure's blob storage, with the token of a pod's workload identity or with a shared access signature.

API: learn.microsoft.com/rest/api/storageservices (List Blobs, Get Blob Properties, Put Block, Put Block List, Get Block List).
"""

import json
import os
import time
import urllib.parse
import xml.etree.ElementTree as xml
from email.utils import parsedate_to_datetime
from pathlib import Path

from web import Failure, call, text_of

STORAGE_SCOPE = "https://storage.azure.com/.default"
API_VERSION = "2023-11-03"


def entra_token():
    """A token for blob storage, for the federated service account of this pod."""
    environment = os.environ
    try:
        form = {
            "grant_type": "client_credentials",
            "client_id": environment["AZURE_CLIENT_ID"],
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": Path(environment["AZURE_FEDERATED_TOKEN_FILE"]).read_text(),
            "scope": STORAGE_SCOPE,
        }
        url = f"{environment['AZURE_AUTHORITY_HOST'].rstrip('/')}/{environment['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    except KeyError as missing:
        raise Failure(f"{missing.args[0]} is not set: this pod has no workload identity (label azure.workload.identity/use)") from None
    answer = json.loads(call("POST", url, body=urllib.parse.urlencode(form).encode())[2])
    return answer["access_token"], time.monotonic() + answer["expires_in"] - 300


class Container:
    """A blob container."""

    def __init__(self, url, signature=None):
        self._url, self._signature = url.rstrip("/"), signature
        self._token, self._until = "", 0.0

    def url(self, name, **query):
        asked = "&".join(filter(None, (urllib.parse.urlencode(query), self._signature)))
        path = f"{self._url}/{urllib.parse.quote(name)}".rstrip("/")
        return f"{path}?{asked}" if asked else path

    def headers(self):
        if self._signature is not None:
            return {"x-ms-version": API_VERSION}
        if time.monotonic() >= self._until:
            self._token, self._until = entra_token()
        return {"x-ms-version": API_VERSION, "Authorization": f"Bearer {self._token}"}

    def call(self, method, name, body=None, headers=None, **query):
        return call(method, self.url(name, **query), self.headers() | (headers or {}), body)

    def list(self, prefix):
        marker = ""
        while marker is not None:
            query = {"restype": "container", "comp": "list", "prefix": prefix} | ({"marker": marker} if marker else {})
            page = xml.fromstring(self.call("GET", "", **query)[2])
            for blob in page.iter("Blob"):
                if blob.findtext("Properties/ResourceType") == "directory":
                    continue
                etag = text_of(blob, "Properties/Etag").strip(chr(34))
                yield {
                    "name": blob.findtext("Name"),
                    "size": int(text_of(blob, "Properties/Content-Length")),
                    "etag": f'"{etag}"',
                    "md5": blob.findtext("Properties/Content-MD5"),
                    "modified": parsedate_to_datetime(text_of(blob, "Properties/Last-Modified")).timestamp(),
                }
            marker = page.findtext("NextMarker") or None

    def about(self, name):
        """One blob, as `list` has it."""
        answered = self.call("HEAD", name)[1]
        size, etag, md5, modified = (answered.get(one) for one in ("Content-Length", "ETag", "Content-MD5", "Last-Modified"))
        return {"name": name, "size": int(size), "etag": etag, "md5": md5, "modified": parsedate_to_datetime(modified).timestamp()}
