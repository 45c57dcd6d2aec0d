"""ConfigMaps of a server's config files."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from engines.workload import Server
from infra.kubernetes import names, pods


def config_map_name(owner: str, server: Server) -> str:
    """The name carries the content's hash.

    A changed file is a new ConfigMap: the pod template names it, so the pods roll; and a pod of the old revision that is restarted
    in the middle of the rollout still finds the files it was rolled out with. A fixed name with a hash in a pod annotation would
    hand the new files to old pods. The old ConfigMap goes only after the new pods are up, because Pulumi deletes last.
    """
    contents = [text for file in server.config_files for text in (file.name, file.content)]
    return f"{owner}-config-{pods.content_hash(*contents)}"


def server_config(owner: str, server: Server, component: str, opts: pulumi.ResourceOptions) -> k8s.core.v1.ConfigMap:
    """The immutable ConfigMap of one server's files."""
    return k8s.core.v1.ConfigMap(
        f"{owner}-config",
        metadata={
            "name": config_map_name(owner, server),
            "namespace": names.SERVICE_NAMESPACE,
            "labels": names.labels(owner, component),
        },
        immutable=True,
        data={file.name: file.content for file in server.config_files},
        opts=opts,
    )
