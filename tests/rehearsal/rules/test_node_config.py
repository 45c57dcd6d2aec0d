# ruff: noqa: E501 - a case is a line
"""Refused settings of a pool's nodes, in the words that a user sees."""

import pytest

from tests.rehearsal.azure_client import refused


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kubeletConfig": {"cpuManagerPolicy": "dynamic"}}, "Invalid value 'dynamic' for cpuManagerPolicy. Allowed: none, static."),
        ({"kubeletConfig": {"imageGcLowThreshold": 90}}, "at most imageGcHighThreshold"),
        ({"linuxOSConfig": {"sysctls": {"netCoreSomaxconn": 100}}}, "Invalid value '100' for sysctls.netCoreSomaxconn. Allowed: 4096 to 3240000."),
        ({"linuxOSConfig": {"sysctls": {"netIpv4IpLocalPortRange": "10 20"}}}, "'first last'"),
        ({"linuxOSConfig": {"transparentHugePageEnabled": "sometimes"}}, "Allowed: always, madvise, never."),
    ],
)  # fmt: skip
def test_refused_kubelet_and_kernel_settings(landscape, more, words):
    landscape.make_cluster()
    refused(words, landscape.make_pool, **more)
