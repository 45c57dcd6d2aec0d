"""What stands open at the front door."""

from __future__ import annotations

from collections.abc import Iterator

from planner.rules.rule import Advice, Situation

_RULES = "settings/reach_rules.py"


def public_without_tls(at: Situation) -> Iterator[Advice]:
    if at.settings.exposure.public and at.settings.exposure.tls is None:
        yield Advice(
            code="REACH-002",
            outcome="noted",
            path=("exposure", "public"),
            because="requests and answers cross the internet as plain text. To encrypt them: exposure.tls.secretName with a certificate",
            source=_RULES,
        )


def public_without_sign_in(at: Situation) -> Iterator[Advice]:
    exposure = at.settings.exposure
    certificates = exposure.tls is not None and exposure.tls.client_ca_secret_name is not None
    if exposure.public and exposure.api_keys is None and not certificates:
        yield Advice(
            code="REACH-003",
            outcome="noted",
            path=("exposure", "public"),
            because="whoever has an address in exposure.allowedIpRanges may use the GPUs, unnamed and without a limit of his own. "
            "To ask for more: exposure.apiKeys.secretName, or exposure.tls.clientCaSecretName",
            source=_RULES,
        )


RULES = (public_without_tls, public_without_sign_in)
