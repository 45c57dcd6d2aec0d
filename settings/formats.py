"""Types of text with a fixed form, such as address ranges, zones and image references."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from settings.quantities import problem_error


@dataclass(frozen=True)
class Form:
    """A regular expression that the whole text must match, the consequence of other text, and what to write instead."""

    pattern: str
    otherwise: str
    fix: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        compiled = re.compile(self.pattern)

        def check(text: str) -> str:
            if not compiled.fullmatch(text):
                raise problem_error(self.otherwise, self.fix)
            return text

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": f"^(?:{self.pattern})$"}


class WholeNumberOrText:
    """A whole number or text, with one error message instead of one for each type."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.union_schema(
            [core_schema.int_schema(strict=True), core_schema.str_schema(strict=True)],
            custom_error_type="problem",
            custom_error_message="{consequence}; {fix}",
            custom_error_context={"consequence": "is neither a whole number nor text", "fix": "a whole number"},
        )


_REAL_RANGES = "the address ranges that your callers really use"
# Reserved for examples in documentation (RFC 5737), so no caller has such an address.
_DOCUMENTATION = tuple(map(ipaddress.IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))


def _cidr(text: str) -> str:
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        fix = 'an IPv4 range such as "10.64.0.0/16"'
        if "host bits" in str(error):
            fix = f'did you mean "{ipaddress.IPv4Network(text, strict=False)}"?'
        raise problem_error(f"is not an address range: {error}", fix) from None
    if "/" not in text:
        raise problem_error("is one address, not a range", f'"{text}/32"')
    return text


def _caller(text: str) -> str:
    network = ipaddress.IPv4Network(text)
    if network.prefixlen == 0:
        raise problem_error("lets the whole internet in", _REAL_RANGES)
    if any(network.overlaps(example) for example in _DOCUMENTATION):
        raise problem_error("is a range reserved for examples in documentation (RFC 5737): nobody could connect", _REAL_RANGES)
    return text


def _public(text: str) -> str:
    if not ipaddress.IPv4Network(text).is_global:
        raise problem_error(
            "is not a public range: nobody comes over the internet from it, and Azure refuses it",
            "the public addresses that your network's traffic leaves from (`curl ifconfig.me` shows yours), or cluster.private for callers "
            "inside the network",
        )
    return text


Cidr = Annotated[str, AfterValidator(_cidr)]
"""An IPv4 range without host bits: `10.64.0.0/16`."""

CallerCidr = Annotated[Cidr, AfterValidator(_caller)]
"""An address range of callers, neither the whole internet nor a range for documentation."""

PublicCidr = Annotated[CallerCidr, AfterValidator(_public)]
"""An address range of callers that come over the internet."""

_OLDEST_MINOR = 33
"""The oldest minor version of Kubernetes 1 that the manifests are for.

The shards' affinity has matchLabelKeys, which are stable from 1.33 on (kubernetes/enhancements KEP 3633).
"""


def _kubernetes_minor(text: str) -> str:
    fix = 'a minor version in quotes, such as "1.36"; `az aks get-versions --location <region>` lists what AKS supports'
    if re.fullmatch(r"1\.[0-9]{1,2}\.[0-9]{1,3}", text):
        minor = text.rsplit(".", 1)[0]
        raise problem_error(
            "names a patch: AKS upgrades patches by itself in cluster.maintenance, and would then refuse each later update as a downgrade",
            f'"{minor}"',
        )
    if not re.fullmatch(r"1\.[0-9]{1,2}", text):
        raise problem_error("is not a Kubernetes version", fix)
    if int(text.split(".")[1]) < _OLDEST_MINOR:
        raise problem_error(f"is too old: the shards' affinity needs matchLabelKeys, which Kubernetes has from 1.{_OLDEST_MINOR} on", fix)
    return text


KubernetesMinor = Annotated[str, AfterValidator(_kubernetes_minor)]
"""A minor version of Kubernetes that AKS may offer, such as `1.36`."""

Zone = Annotated[str, Form("[123]", "Azure's availability zones are 1, 2 and 3", '"1", "2" or "3" in quotes')]

VmSize = Annotated[
    str,
    Form(r"Standard_[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*", "is not the name of an Azure VM size", 'a name such as "Standard_NC24ads_A100_v4"'),
]

Location = Annotated[
    str, Form(r"[a-z]+[a-z0-9]*", "is not a region's name in Azure's API", 'a name from `az account list-locations`, such as "eastus"')
]

Guid = Annotated[
    str,
    Form(
        r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "is not an Entra object id, so it would give nobody any rights",
        "the id that `az ad group show --query id` prints",
    ),
]

Email = Annotated[
    str,
    Form(r"[^@\s]+@[^@\s]+\.[^@\s]+", "is not an e-mail address, so no alert would arrive", 'an address such as "ops@your-company.com"'),
]

ImageReference = Annotated[
    str,
    Form(
        r"(?!.*:latest$)[a-z0-9][a-zA-Z0-9._:/-]*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})",
        "is not an image with a fixed version: two pods could run different code under one name",
        'a reference with a tag other than latest, or with a digest, such as "zig-ai/shard:1.0.0"',
    ),
]

LabelKey = Annotated[
    str,
    Form(
        r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
        "is not a label key, so Kubernetes would refuse the pod",
        "letters, digits, '-', '_' and '.', at most 63, after an optional DNS prefix and '/'",
    ),
]

LabelValue = Annotated[
    str,
    Form(
        r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?",
        "is not a label value, so Kubernetes would refuse the pod",
        "at most 63 letters, digits, '-', '_' and '.'",
    ),
]

EnvName = Annotated[
    str,
    Form(
        r"[A-Za-z_][A-Za-z0-9_]*",
        "is not a valid name for an environment variable: a shell could not read it",
        "letters, digits and '_', not starting with a digit",
    ),
]

DnsName = Annotated[
    str,
    Form(
        r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?",
        "is not a valid Kubernetes name, so no such object can exist",
        "lower-case letters, digits, '-' and '.'",
    ),
]


class FlagValue:
    """The value of a command line's flag, with one error message instead of one for each type."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        kinds = (core_schema.bool_schema, core_schema.int_schema, core_schema.float_schema, core_schema.str_schema)
        return core_schema.union_schema(
            [kind(strict=True) for kind in kinds],
            custom_error_type="problem",
            custom_error_message="{consequence}; {fix}",
            custom_error_context={"consequence": "is no text, no number and no true", "fix": "one value, or true for a flag without one"},
        )
