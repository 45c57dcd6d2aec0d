"""Detects credentials, which no setting may contain and no message may repeat."""

from __future__ import annotations

import re

HIDDEN = "(not shown)"

_NAMES = re.compile(r"(?:^|[_.-])(?:TOKEN|KEY|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|CONNECTION_STRING|SAS)$")
_VALUES = re.compile(
    r"""
      \bhf_[A-Za-z0-9]{20,}                        # Hugging Face
    | \bsk-[A-Za-z0-9_-]{20,}                      # OpenAI and others
    | \bgh[pousr]_[A-Za-z0-9]{30,}                 # GitHub
    | \bgithub_pat_[A-Za-z0-9_]{30,}
    | \beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.  # a JSON web token
    | (?i:AccountKey|SharedAccessKey|SharedAccessSignature|Password|Pwd)=[^;\s]{8,}  # connection strings
    | [?&]sig=[A-Za-z0-9%+/]{20,}                  # a shared access signature
    | (?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==        # an Azure storage account key
    | ://[^\s/:@]*:[^\s/@]{3,}@                    # a URL with a password in it
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
    """,
    re.VERBOSE,
)
_FILE = re.compile(r"/(?:[\w.-]+/)+[\w.-]+")


def names_secret(name: str) -> bool:
    """Whether a variable or key of this name holds a credential: its last word is TOKEN, KEY, PASSWORD, SECRET or similar."""
    return bool(_NAMES.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()))


def is_secret(value: str) -> bool:
    """Whether this text has the form of a credential, whatever its name."""
    return bool(_VALUES.search(value))


def looks_secret(value: str, *names: str) -> bool:
    """Whether this text is a credential, by its form or by one of its names."""
    # A variable such as TLS_KEY often contains the path of a file, which is no secret.
    return is_secret(value) or bool(value and not _FILE.fullmatch(value) and any(map(names_secret, names)))
