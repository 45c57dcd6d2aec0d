"""The shared cache level: Azure Managed Redis behind a private endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import redisenterprise

from infra.azure import private_link
from infra.azure.context import AzureContext
from infra.azure.network import Network
from infra.naming import Names
from planner.catalogue import redis_skus
from settings.account import Effect, Resource

DATABASE = "default"
"""The only name the service takes."""


@dataclass(frozen=True, kw_only=True)
class RedisCacheArgs:
    context: AzureContext
    network: Network
    sku: str
    high_availability: bool
    users: Mapping[str, pulumi.Input[str]]
    """Object ids of the identities that may log in, by a short name."""
    protect: bool


class RedisCache(pulumi.ComponentResource):
    """One instance, its database, who may log in, and the private way to it.

    Users log in with their object id and an Entra token; there are no keys. Not here: Azure Cache for Redis, which retires;
    geo-replication and persistence, as a lost cache is refilled.
    """

    host: str
    """Known before creation, so that config files can name it."""
    port: int

    def __init__(self, name: str, args: RedisCacheArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:RedisCache", name, None, opts)
        self._name, self._args = name, args
        instance, database = self._instance_and_database()
        last_change = self._users(instance, database)
        private_link.PrivateLink(
            f"{name}-link",
            private_link.PrivateLinkArgs(
                context=args.context, network=args.network, service=private_link.REDIS, target_id=instance.id, after=last_change
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.host = args.context.names.redis_host
        self.port = redis_skus.PORT
        self.register_outputs({"host": self.host, "port": self.port})

    def _instance_and_database(self) -> tuple[redisenterprise.RedisEnterprise, redisenterprise.Database]:
        args, context = self._args, self._args.context
        instance = redisenterprise.RedisEnterprise(
            self._name,
            resource_group_name=context.resource_group_name,
            location=context.location,
            cluster_name=context.names.redis,
            # No capacity (an Enterprise tier matter) and no zones: with high availability the service spreads over zones itself.
            sku=redisenterprise.SkuArgs(name=args.sku),
            high_availability="Enabled" if args.high_availability else "Disabled",
            minimum_tls_version="1.2",
            public_network_access="Disabled",
            tags=context.tags,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        database = redisenterprise.Database(
            f"{self._name}-database",
            resource_group_name=context.resource_group_name,
            cluster_name=instance.name,
            database_name=DATABASE,
            client_protocol="Encrypted",
            port=redis_skus.PORT,
            # One address and one port for any client. The cluster protocol is faster but needs ports 8500-8599 and a client that
            # speaks it, and the choice is for the database's life.
            # Source: MicrosoftDocs/azure-docs articles/redis/architecture.md (cluster policies)
            clustering_policy="EnterpriseCluster",
            eviction_policy="AllKeysLRU",
            access_keys_authentication="Disabled",
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        return instance, database

    def _users(self, instance: redisenterprise.RedisEnterprise, database: redisenterprise.Database) -> pulumi.Resource:
        """Who may log in; the last of them, or the database if there is none."""
        previous: pulumi.Resource = database
        for label, object_id in sorted(self._args.users.items()):
            previous = redisenterprise.AccessPolicyAssignment(
                f"{self._name}-user-{label}",
                resource_group_name=self._args.context.resource_group_name,
                cluster_name=instance.name,
                database_name=database.name,
                access_policy_assignment_name=label,
                # The only policy there is.
                access_policy_name="default",
                user=redisenterprise.AccessPolicyAssignmentPropertiesUserArgs(object_id=object_id),
                # One after the other: a database takes one change at a time.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[previous]),
            )
        return previous


def effects(names: Names, sku: str | None, *, by_size: bool) -> Iterator[Effect]:
    """The settings that the cache answers. `by_size`: the SKU follows from `caching.l3Cache.size`, since `redis.sku` names none."""
    cache = Resource("RedisEnterprise", names.redis)
    yield cache.effect("caching.l3Cache.backend", "clusterName")
    yield cache.effect("redis.sku", "sku.name")
    yield cache.effect("redis.highAvailability", "highAvailability")
    if sku and by_size:
        because = f"the smallest Azure Managed Redis with that much usable memory: {redis_skus.usable_gib(sku):.0f} GiB"
        source = "planner/catalogue/redis_skus.py"
        yield cache.effect("caching.l3Cache.size", "sku.name", outcome="translated", because=because, source=source)
    for resource in ("redis", "redis-database"):
        yield Resource("Pulumi resource", resource).effect("azure.protect", "protect")


def switch() -> Iterator[Effect]:
    """What `caching.l3Cache.enabled` brings and takes away here."""
    yield Resource("Pulumi resource", "redis").effect("caching.l3Cache.enabled")
