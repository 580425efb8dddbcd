"""Flows: what the queues keep apart. Pure.

A flow is the pushes of one tenant for one environment. Each has a ready list of its own in each lane, takes its turns
in the ring, and is passed over alone: what stands in the way of a tenant's sandbox is no reason to hold up its
production. The production flow bears the tenant's name, the other that name and its environment.
"""

from shards.environment import Environment


def flow_of(tenant: str, environment: str) -> str:
    return tenant if environment == Environment.PRODUCTION else f"{tenant}/{environment}"


def tenant_of(flow: str) -> str:
    return flow.partition("/")[0]


def environment_of(flow: str) -> str:
    return flow.partition("/")[2] or Environment.PRODUCTION.value


def flows_of(tenant: str) -> list[str]:
    """Every flow that a tenant may have."""
    return [flow_of(tenant, environment) for environment in Environment]
