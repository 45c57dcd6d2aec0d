"""The Azure SDK's aliases for single API versions are left out; those by which a resource in the state is recognised stay."""

import pulumi
from pulumi_azure_native import privatedns

from infra.azure.dated_types import leave_out_aliases_of_dated_types
from tests.mocks import recording, run

ZONE = "azure-native:privatedns:PrivateZone"


def _aliases(*own: pulumi.Alias) -> list[str]:
    """Former types and names of a zone, as they reach the engine."""
    recorder = recording()

    def program() -> None:
        leave_out_aliases_of_dated_types()
        privatedns.PrivateZone("zone", resource_group_name="group", opts=pulumi.ResourceOptions(aliases=list(own), protect=True))

    run(program)
    options = recorder.options_of(ZONE, "zone")
    assert options.protect, "other options are kept"
    return options.aliases


def test_a_type_that_moved_to_another_module_is_still_recognised_and_dated_types_are_not_sent():
    assert _aliases() == ["azure-native:network:PrivateZone"]


def test_a_former_name_is_kept_whatever_its_type():
    renamed = pulumi.Alias(name="former", type_="azure-native:network/v20200601:PrivateZone")
    assert _aliases(pulumi.Alias(name="earlier"), renamed) == [
        "earlier", "azure-native:network/v20200601:PrivateZone", "azure-native:network:PrivateZone",
    ]  # fmt: skip
