"""Reads from Azure Resource Manager, with Pulumi's own credentials."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

AKS = {"api-version": "2025-09-01"}
"""The version of AKS's API, which is also the one that azure-native 3.29 uses."""
_PUBLIC_CLOUD = "https://management.azure.com"


class Arm:
    """One subscription. Every method raises `Unanswered` without an answer, and `Missing` where there is nothing."""

    def __init__(self, *, subscription_id: str, token: str, endpoint: str | None = None) -> None:
        self._base = f"{endpoint or os.environ.get('ARM_ENDPOINT') or _PUBLIC_CLOUD}/subscriptions/{subscription_id}"
        self._token = token

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """Returns the answer at a path of the subscription, such as `providers/Microsoft.Compute/skus`."""
        return self._read(f"{self._base}/{path}?{urllib.parse.urlencode(query)}")

    def pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yields the items of a list, over all of its pages."""
        page = self.get(path, query)
        yield from page["value"]
        while page.get("nextLink"):
            page = self._read(page["nextLink"])
            yield from page["value"]

    def find(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        """Returns the resource at a path, or None where there is none."""
        try:
            return self.get(path, query)
        except Missing:
            return None

    def _read(self, url: str) -> dict[str, Any]:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except OSError as error:
            raise _unanswered(error) from error


class Unanswered(Exception):
    """Azure Resource Manager gave no answer; the text says why, and what helps, as the end of a sentence."""


class Missing(Unanswered):
    """There is no such resource, or nobody in the subscription has ever used its kind."""


def _unanswered(error: OSError) -> Unanswered:
    if not isinstance(error, urllib.error.HTTPError):
        return Unanswered(f"Azure Resource Manager could not be reached: {error}")
    answer = f"Azure Resource Manager answered {error.code}"
    # azure-native registers a provider when it first creates something of it; until then Azure refuses all of the provider's paths.
    unregistered = re.search(r"namespace '([\w.]+)'", said) if "MissingSubscriptionRegistration" in (said := _text(error)) else None
    if unregistered:
        return Missing(f"{answer}; `az provider register --namespace {unregistered[1]} --wait` makes it possible")
    if error.code == 404:
        return Missing(answer)
    return Unanswered(
        f"{answer}; whoever deploys needs at least the role Reader on the subscription" if error.code in (401, 403) else answer
    )


def _text(error: urllib.error.HTTPError) -> str:
    return error.read().decode(errors="replace")
