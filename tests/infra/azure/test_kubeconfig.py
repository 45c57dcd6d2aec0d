"""The kubeconfig: decoded, and without a login that waits for a person."""

import base64

import yaml

from infra.azure import kubeconfig

FROM_AKS = """\
apiVersion: v1
kind: Config
users:
- name: clusterUser_rg_aks
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args:
      - get-token
      - --environment
      - AzurePublicCloud
      - --server-id
      - 6dae42f8-4368-4678-94ff-3960e28e3630
      - --client-id
      - 80faf920-1908-4b52-b5ef-a8e7bedfc67a
      - --tenant-id
      - 44444444-4444-4444-4444-444444444444
      - --login
      - devicecode
      command: kubelogin
      provideClusterInfo: false
"""
"""What `az aks get-credentials` writes. Ids: https://learn.microsoft.com/azure/aks/kubelogin-authentication"""


def test_login_is_that_of_the_azure_cli():
    """With AKS's own `devicecode`, a pipeline's first Kubernetes call waits for a browser until it times out."""
    before, after = yaml.safe_load(FROM_AKS), yaml.safe_load(kubeconfig.with_azure_cli_login(FROM_AKS))
    ran = after["users"][0]["user"]["exec"]
    assert ran["args"][-2:] == ["--login", "azurecli"]
    ran["args"] = before["users"][0]["user"]["exec"]["args"]
    assert after == before


def test_the_login_has_no_tenant():
    """`az` refuses one on a machine with a managed identity, such as the runner inside the network that a private cluster needs."""
    arguments = yaml.safe_load(kubeconfig.with_azure_cli_login(FROM_AKS))["users"][0]["user"]["exec"]["args"]
    assert arguments == [
        "get-token",
        "--environment",
        "AzurePublicCloud",
        "--server-id",
        "6dae42f8-4368-4678-94ff-3960e28e3630",
        "--login",
        "azurecli",
    ]


def test_other_kubeconfigs_come_back_unchanged():
    text = "users:\n- name: devicecode\n  user:\n    client-certificate-data: abc\n"
    assert kubeconfig.with_azure_cli_login(text) == text


def test_decode_returns_the_text_that_azure_encoded():
    assert kubeconfig.decode(base64.b64encode(FROM_AKS.encode()).decode()) == FROM_AKS
