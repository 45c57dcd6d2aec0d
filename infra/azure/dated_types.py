"""Leaves out the aliases by which the Azure SDK recognises resources of its modules for single API versions.

Every class of the SDK carries an alias for each API version that it has ever had, 113 for a cluster: a resource in the state that was
registered through such a module, such as `azure-native:containerservice/v20240501:ManagedCluster`, is then not replaced. This program
registers everything through the modules without a version, so its state never has such a type, and Pulumi computes each of these 1,300
aliases in several tasks: half of the work of a preview that is not imports. Aliases of types without a version stay, because by them
the SDK says that a type has moved to another module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy

import pulumi
from pulumi.runtime import register_stack_transformation

_OF_ONE_API_VERSION = re.compile(r"azure-native:\w+/v\d{8}\w*:\w+")


def leave_out_aliases_of_dated_types() -> None:
    """Applies to every resource that the running program registers from now on."""
    register_stack_transformation(_without)


def _without(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    aliases: Sequence[pulumi.Input[str | pulumi.Alias]] = args.opts.aliases or ()
    kept = [alias for alias in aliases if not _is_dated(alias)]
    if len(kept) == len(aliases):
        return None
    options = copy(args.opts)
    options.aliases = kept
    return pulumi.ResourceTransformationResult(args.props, options)


def _is_dated(alias: pulumi.Input[str | pulumi.Alias]) -> bool:
    """Whether the alias differs from its resource in its type alone, and that type is of a module for one API version."""
    if not isinstance(alias, pulumi.Alias) or not isinstance(alias.type_, str):
        return False
    others = (alias.name, alias.parent, alias.stack, alias.project)
    return all(other is ... for other in others) and _OF_ONE_API_VERSION.fullmatch(alias.type_) is not None
