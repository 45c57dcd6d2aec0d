"""The kubeconfig that AKS hands out, made usable by a program. Pure functions."""

from __future__ import annotations

import base64
import re


def decode(value: str) -> str:
    """AKS answers with base64."""
    return base64.b64decode(value).decode()


def with_azure_cli_login(kubeconfig: str) -> str:
    """Log in as whoever ran `az login`, a pipeline with OIDC included.

    AKS writes `--login devicecode`, which waits for a person with a browser, and the tenant and client of that login. Both are left
    out: `az` refuses a tenant when it is logged in as the managed identity of a machine (Azure/kubelogin issue 123), and kubelogin's own
    `convert-kubeconfig --login azurecli` leaves them out too. A kubeconfig without kubelogin's arguments comes back unchanged.
    Source: https://azure.github.io/kubelogin/concepts/login-modes/azurecli.html
    """
    with_login, found = re.subn(r"(-\s+--login\s*\n\s*-\s+)devicecode\b", r"\1azurecli", kubeconfig)
    return (
        re.sub(r"^[ \t]*-[ \t]+--(?:tenant-id|client-id)[ \t]*\n[ \t]*-[ \t]+\S+[ \t]*\n", "", with_login, flags=re.M)
        if found
        else kubeconfig
    )
