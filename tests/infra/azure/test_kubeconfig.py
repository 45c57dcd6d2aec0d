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
      - --login
      - devicecode
      command: kubelogin
"""


def test_login_is_that_of_the_azure_cli():
    """With AKS's own `devicecode`, a pipeline's first Kubernetes call waits for a browser until it times out."""
    arguments = yaml.safe_load(kubeconfig.with_azure_cli_login(FROM_AKS))["users"][0]["user"]["exec"]["args"]
    assert arguments[-2:] == ["--login", "azurecli"]
    assert kubeconfig.with_azure_cli_login(FROM_AKS).replace("azurecli", "devicecode") == FROM_AKS


def test_other_kubeconfigs_come_back_unchanged():
    text = "users:\n- name: devicecode\n  user:\n    client-certificate-data: abc\n"
    assert kubeconfig.with_azure_cli_login(text) == text


def test_decode_returns_the_text_that_azure_encoded():
    assert kubeconfig.decode(base64.b64encode(FROM_AKS.encode()).decode()) == FROM_AKS
