"""Kernel settings: every name that settings accept reaches an argument that the SDK has."""

import inspect

import pytest
from pulumi_azure_native.containerservice import SysctlConfigArgs

from infra.azure import sysctls
from settings import sysctls as allowed


def test_all_28_names_are_the_sdks():
    arguments = set(inspect.signature(SysctlConfigArgs.__init__).parameters) - {"__self__"}
    assert set(sysctls.ARGUMENTS.values()) == arguments
    assert len(sysctls.ARGUMENTS) == 28


def test_values_in_azures_form():
    assert sysctls.to_azure(
        {
            "net.core.somaxconn": 16384,
            "net.ipv4.tcp_tw_reuse": 1,
            "net.ipv4.ip_local_port_range": "32768\t60999",
            "net.ipv4.tcp_keepalive_intvl": 30,
        }
    ) == {
        "net_core_somaxconn": 16384,
        "net_ipv4_tcp_tw_reuse": True,
        "net_ipv4_ip_local_port_range": "32768 60999",
        "net_ipv4_tcpkeepalive_intvl": 30,
    }


@pytest.mark.parametrize("name", allowed.ELSEWHERE)
def test_what_aks_cannot_set_never_gets_here(name):
    with pytest.raises(KeyError):
        sysctls.to_azure({name: 1})
