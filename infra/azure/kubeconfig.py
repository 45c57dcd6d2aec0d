"""The kubeconfig that AKS hands out, made usable by a program. Pure functions."""

from __future__ import annotations

import base64
import re


def decode(value: str) -> str:
    """AKS answers with base64."""
    return base64.b64decode(value).decode()


def with_azure_cli_login(kubeconfig: str) -> str:
    """Log in as whoever ran `az login`, a pipeline with OIDC included.

    AKS writes `--login devicecode`, which waits for a person with a browser. The kubeconfig is otherwise left as it is;
    one without kubelogin's argument comes back unchanged.
    Source: https://azure.github.io/kubelogin/concepts/login-modes/azurecli.html
    """
    return re.sub(r"(-\s+--login\s*\n\s*-\s+)devicecode\b", r"\1azurecli", kubeconfig)
