# ruff: noqa: E501 - Azure's messages are one line each
"""AKS's rules for a cluster and its maintenance windows.

Source: MicrosoftDocs/azure-aks-docs articles/aks/{configure-azure-cni,azure-cni-overlay,azure-cni-powered-by-cilium,
nat-gateway,manage-local-accounts-managed-azure-ad,planned-maintenance,supported-kubernetes-versions}.md.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Any

from rehearsal.azure.rules.base import Network, Refused, Request, network, overlap
from rehearsal.azure.rules.pools import inline_pools

# MicrosoftDocs/azure-aks-docs articles/aks/concepts-network-cni-overview.md: neither services, pods nor networks may use them.
_AKS_OWN = [ipaddress.ip_network(text) for text in ("169.254.0.0/16", "172.30.0.0/16", "172.31.0.0/16", "192.0.2.0/24")]
# Managed Identity Operator, Contributor and Owner: the built-in roles with userAssignedIdentities/*/assign/action (built-in-roles.md).
_MAY_HAND_ON = ("f1a07417-d97a-45cb-824c-7a7467783830", "b24988ac-6180-42a0-ab88-20f7382dd24c", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635")


def _invalid(parameter: str, details: str, code: str = "InvalidParameter") -> Refused:
    return Refused(
        code,
        f"The value of parameter {parameter} is invalid. Error details: {details} Please see https://aka.ms/aks-naming-rules for more details."
        if parameter == "dnsPrefix"
        else f"The value of parameter {parameter} is invalid. Error details: {details}",
        parameter,
    )


def managed_cluster(request: Request) -> None:
    """Everything AKS checks of a cluster before it starts."""
    _version(request)
    _tier(request)
    _dns_prefix(request)
    _identity(request)
    _entra(request)
    inline_pools(request)
    _network(request)
    _api_server(request)
    _addons(request)


def _version(request: Request) -> None:
    """A cluster goes on with a version that is no longer offered (supported-kubernetes-versions.md, FAQ). Text: AKS's K8sVersionNotSupported."""
    version = request.inputs.get("kubernetesVersion")
    minor, runs = (
        ".".join(str(text).split(".")[:2]) for text in (version, (request.old or {"inputs": {}})["inputs"].get("kubernetesVersion"))
    )
    if version and minor not in (runs, *request.subscription.kubernetes_versions):
        offered = ", ".join(request.subscription.kubernetes_versions)
        raise Refused(
            "K8sVersionNotSupported",
            f"Managed cluster {request.name} is on version {version} which is not supported in this region. Please use [az aks get-versions] command to get the supported version list in this region ({offered}). For more information, please check https://aka.ms/supported-version-list",
        )
    if request.old is not None and version:
        old = request.old["outputs"].get("currentKubernetesVersion") or version  # an upgrade channel moves it
        asked, current = ([int(part) for part in text.split(".")] for text in (version, old))
        if asked < current[: len(asked)]:
            raise Refused("NotAllowedToDowngrade", f"Downgrading the cluster from {old} to {version} is not allowed.")
        if asked[1] - current[1] > 1:
            raise Refused(
                "OperationNotAllowed", f"Upgrading Kubernetes version {old} to {version} is not allowed: one minor version at a time."
            )


def _tier(request: Request) -> None:
    """Cost analysis needs a paid tier, long-term support the Premium one. Source: cost-analysis.md, long-term-support.md."""
    tier = (request.inputs.get("sku") or {}).get("tier", "Free")
    cost = ((request.inputs.get("metricsProfile") or {}).get("costAnalysis") or {}).get("enabled")
    if cost and tier == "Free":
        raise Refused(
            "BadRequest",
            "The cost analysis feature is only available for clusters of the Standard or Premium tier.",
            "metricsProfile.costAnalysis",
        )
    if request.inputs.get("supportPlan") == "AKSLongTermSupport" and tier != "Premium":
        raise Refused("BadRequest", "supportPlan AKSLongTermSupport is only available in the Premium tier.", "supportPlan")


def _dns_prefix(request: Request) -> None:
    prefix = request.inputs.get("dnsPrefix")
    if not prefix and not request.inputs.get("fqdnSubdomain"):
        raise Refused("InvalidParameter", "Required parameter dnsPrefix is missing (null or empty).", "dnsPrefix")
    if prefix and (len(prefix) > 54 or not prefix.replace("-", "").isalnum() or prefix.startswith("-") or prefix.endswith("-")):
        raise _invalid(
            "dnsPrefix", f"'{prefix}' must contain between 1 and 54 alphanumerics and hyphens, and start and end with an alphanumeric."
        )


def _identity(request: Request) -> None:
    identity = request.inputs.get("identity") or {}
    for reference in identity.get("userAssignedIdentities") or []:
        request.must_exist(reference)
    if not identity and not request.inputs.get("servicePrincipalProfile"):
        raise Refused("InvalidParameter", "Provisioning of a managed cluster needs an identity or a service principal.", "identity")
    if identity.get("type") == "UserAssigned" and not identity.get("userAssignedIdentities"):
        raise _invalid("identity", "type UserAssigned needs userAssignedIdentities.")
    kubelet = ((request.inputs.get("identityProfile") or {}).get("kubeletidentity") or {}).get("resourceId")
    if kubelet:
        _kubelet_identity(request, identity, request.must_exist(kubelet)["id"])


def _kubelet_identity(request: Request, identity: dict[str, Any], kubelet: str) -> None:
    """A cluster hands an identity to its nodes only with the right to, also on an update.

    Rule: articles/aks/use-managed-identity.md. Text: as people quote it who ran into it with Terraform; Azure/azure-service-operator tries
    again on its code (v2/api/containerservice/customizations), since a grant made just before may not be known yet.
    """
    if identity.get("type") != "UserAssigned":
        raise Refused(
            "CustomKubeletIdentityOnlySupportedOnUserAssignedMSICluster",
            "Custom kubelet identity is only supported on a user-assigned managed identity cluster.",
            "identityProfile.kubeletidentity",
        )
    own = {request.must_exist(one)["outputs"]["principalId"] for one in identity["userAssignedIdentities"]}
    if not any(
        grant["inputs"]["principalId"] in own
        and grant["inputs"]["roleDefinitionId"].lower().endswith(_MAY_HAND_ON)
        and (kubelet.lower() + "/").startswith(grant["inputs"]["scope"].lower().rstrip("/") + "/")
        for grant in request.cloud.of_type("RoleAssignment")
    ):
        raise Refused(
            "CustomKubeletIdentityMissingPermissionError",
            "The cluster using user-assigned managed identity must be granted 'Managed Identity Operator' role to assign kubelet identity. You can run 'az role assignment create --assignee <control-plane-identity-principal-id> --role 'Managed Identity Operator' --scope <kubelet-identity-resource-id>' to grant the permission. See https://learn.microsoft.com/en-us/azure/aks/use-managed-identity#add-role-assignment",
        )


def _entra(request: Request) -> None:
    entra = request.inputs.get("aadProfile")
    if request.inputs.get("disableLocalAccounts") and not entra:
        raise Refused(
            "BadRequest",
            "Disabling local accounts is only allowed for AAD enabled clusters. Local accounts can be disabled only when aadProfile is set.",
            "disableLocalAccounts",
        )
    if entra and entra.get("enableAzureRBAC") and not request.inputs.get("enableRBAC", True):
        raise _invalid("enableRBAC", "Azure RBAC needs Kubernetes RBAC.")
    if entra and not entra.get("managed", False):
        raise Refused(
            "InvalidParameter",
            "AKS-managed Microsoft Entra integration is the only one left: set aadProfile.managed.",
            "aadProfile.managed",
        )


def _network(request: Request) -> None:
    profile = request.inputs.get("networkProfile") or {}
    plane, policy = profile.get("networkDataplane", "azure"), profile.get("networkPolicy")
    if plane == "cilium" and policy not in ("cilium", "none", None):
        raise _invalid("networkProfile.networkPolicy", f"networkPolicy '{policy}' is not supported with the Cilium data plane. Use cilium.")
    if policy == "cilium" and plane != "cilium":
        raise Refused(
            "NetworkPolicyCiliumNotSupported",
            "Network policy cilium is only supported when networkDataplane is cilium.",
            "networkProfile.networkPolicy",
        )
    if plane == "cilium" and profile.get("networkPlugin") != "azure":
        raise _invalid("networkProfile.networkPlugin", "the Cilium data plane needs Azure CNI.")
    if profile.get("networkPluginMode") == "overlay" and profile.get("networkPlugin") != "azure":
        raise _invalid("networkProfile.networkPluginMode", "overlay needs networkPlugin azure.")
    _load_balancer(profile)
    _ranges(request, profile)
    if profile.get("outboundType") == "userAssignedNATGateway":
        _nat_outbound(request)


def _load_balancer(profile: dict[str, Any]) -> None:
    if profile.get("loadBalancerSku") == "basic":
        # Basic load balancer retired on 2025-09-30 (azure-aks-docs, upgrade-basic-load-balancer-on-aks.md)
        raise _invalid("networkProfile.loadBalancerSku", "the Basic load balancer was retired on 2025-09-30. Use standard.")
    outbound = profile.get("loadBalancerProfile") or {}
    ports = outbound.get("allocatedOutboundPorts", 0)
    if ports % 8 or not 0 <= ports <= 64000:
        raise _invalid("networkProfile.loadBalancerProfile.allocatedOutboundPorts", f"{ports} must be a multiple of 8 between 0 and 64000.")
    idle = outbound.get("idleTimeoutInMinutes", 30)
    if not 4 <= idle <= 120:
        raise _invalid("networkProfile.loadBalancerProfile.idleTimeoutInMinutes", f"{idle} must be between 4 and 120.")


def _ranges(request: Request, profile: dict[str, Any]) -> None:
    """Pod, service and network ranges are apart. Text: AKS's ServiceCidrOverlapExistingSubnetsCidr, PodCidrOverlap..."""
    service = network(profile.get("serviceCidr", "10.0.0.0/16"), "networkProfile.serviceCidr")
    pods = network(profile.get("podCidr", "10.244.0.0/16"), "networkProfile.podCidr")
    if service.prefixlen < 12:
        raise _invalid("networkProfile.serviceCidr", f"{service} is larger than /12.")
    dns = profile.get("dnsServiceIP", "10.0.0.10" if "serviceCidr" not in profile else str(service[10]))
    address = ipaddress.ip_address(dns)
    if address not in service or address == service[1]:
        raise _invalid("networkProfile.dnsServiceIP", f"{dns} must be within serviceCidr {service}, and not its first address.")
    if overlap(service, pods):
        raise Refused(
            "ServiceCidrOverlapPodCidr",
            f"The specified service CIDR {service} is conflicted with the pod CIDR {pods}. Please see https://aka.ms/aks/servicecidroverlap for more details.",
            "networkProfile.serviceCIDR",
        )
    for reserved in _AKS_OWN:
        for where, block in (("serviceCidr", service), ("podCidr", pods), *((name, space) for space, name in _vnet_spaces(request))):
            if overlap(block, reserved):
                raise _invalid("networkProfile", f"{block} of {where} overlaps {reserved}, which AKS uses itself.")
    for space, name in _vnet_spaces(request):
        if overlap(service, space):
            raise Refused(
                "ServiceCidrOverlapExistingSubnetsCidr",
                f"The specified service CIDR {service} is conflicted with an existing subnet CIDR {space} of {name}. Please see https://aka.ms/aks/servicecidroverlap for more details.",
                "networkProfile.serviceCIDR",
            )
        if overlap(pods, space):
            raise Refused(
                "PodCidrOverlapExistingSubnetsCidr",
                f"The specified pod CIDR {pods} is conflicted with an existing subnet CIDR {space} of {name}.",
                "networkProfile.podCIDR",
            )


def _vnet_spaces(request: Request) -> list[tuple[Network, str]]:
    spaces = []
    for pool in request.inputs.get("agentPoolProfiles") or []:
        reference = pool.get("vnetSubnetID")
        parent = request.cloud.get(reference.rsplit("/subnets/", 1)[0]) if reference else None
        if parent:
            spaces += [
                (network(text, parent["id"]), parent["id"].rsplit("/", 1)[1])
                for text in parent["inputs"]["addressSpace"]["addressPrefixes"]
            ]
    return spaces


def _nat_outbound(request: Request) -> None:
    """Outbound through one's own NAT gateway needs a subnet that has one. Text: AKS's ExistingRouteTableNotAssociated sibling, aka.ms/aks/natgateway."""
    for pool in request.inputs.get("agentPoolProfiles") or []:
        subnet = request.cloud.get(pool.get("vnetSubnetID"))
        if subnet is None or not (subnet["inputs"].get("natGateway") or {}).get("id"):
            where = pool.get("vnetSubnetID") or f"of agent pool {pool.get('name')}"
            raise Refused(
                "NatGatewayNotAssociatedWithSubnet",
                f"outboundType userAssignedNATGateway: subnet {where} is not associated with a NAT gateway. Please see aka.ms/aks/natgateway.",
                "networkProfile.outboundType",
            )


def _api_server(request: Request) -> None:
    access = request.inputs.get("apiServerAccessProfile") or {}
    ranges = access.get("authorizedIPRanges") or []
    if access.get("enablePrivateCluster") and ranges:
        raise Refused(
            "AuthorizedIPRangesNotSupportedForPrivateCluster",
            "API server authorized IP ranges are not supported for a private cluster.",
            "apiServerAccessProfile.authorizedIPRanges",
        )
    if len(ranges) > 200:
        raise _invalid("apiServerAccessProfile.authorizedIPRanges", "at most 200 ranges.")
    for text in ranges:
        if not ipaddress.ip_network(text, strict=False).is_global and text != "0.0.0.0/32":
            raise _invalid("apiServerAccessProfile.authorizedIPRanges", f"{text} is not a public range.")


def _addons(request: Request) -> None:
    identity = (request.inputs.get("securityProfile") or {}).get("workloadIdentity") or {}
    issuer = request.inputs.get("oidcIssuerProfile") or {}
    if identity.get("enabled") and not issuer.get("enabled"):
        raise Refused(
            "BadRequest",
            "Enabling workload identity requires enabling the OIDC issuer (oidcIssuerProfile.enabled).",
            "securityProfile.workloadIdentity",
        )
    if request.old is not None and (request.old["inputs"].get("oidcIssuerProfile") or {}).get("enabled") and not issuer.get("enabled"):
        raise Refused("BadRequest", "OIDC issuer feature cannot be disabled.", "oidcIssuerProfile")
    for name, addon in (request.inputs.get("addonProfiles") or {}).items():
        workspace = (addon.get("config") or {}).get("logAnalyticsWorkspaceResourceID")
        if addon.get("enabled") and name.lower() == "omsagent" and workspace:
            request.must_exist(workspace)


def maintenance(request: Request) -> None:
    """Windows are at least 4 hours, of a known name, with one schedule. Source: planned-maintenance.md."""
    window = request.inputs.get("maintenanceWindow")
    if request.name not in ("default", "aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule"):
        raise Refused(
            "InvalidParameter",
            f"The maintenance configuration name '{request.name}' is not valid. Use default, aksManagedAutoUpgradeSchedule or aksManagedNodeOSUpgradeSchedule.",
            "name",
        )
    if request.name == "default":
        return
    if not window:
        raise Refused("InvalidParameter", f"maintenanceWindow is required for {request.name}.", "properties.maintenanceWindow")
    duration = window.get("durationHours", 0)
    if not 4 <= duration <= 24:
        raise _invalid("properties.maintenanceWindow.durationHours", f"{duration} must be between 4 and 24.")
    schedules = [key for key, value in (window.get("schedule") or {}).items() if value]
    if len(schedules) != 1:
        raise _invalid(
            "properties.maintenanceWindow.schedule",
            f"exactly one of daily, weekly, absoluteMonthly, relativeMonthly; {len(schedules)} given.",
        )
    try:
        datetime.strptime(window.get("startTime", ""), "%H:%M")
    except ValueError:
        raise _invalid("properties.maintenanceWindow.startTime", f"'{window.get('startTime')}' is not HH:MM.") from None
