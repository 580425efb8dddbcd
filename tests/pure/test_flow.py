"""Flows and their names."""

import pytest

from shards.flow import environment_of, flow_of, flows_of, tenant_of


@pytest.mark.parametrize(("environment", "flow"), [("production", "acme"), ("sandbox", "acme/sandbox")])
def test_a_flow_says_whose_and_where(environment: str, flow: str) -> None:
    assert flow_of("acme", environment) == flow
    assert (tenant_of(flow), environment_of(flow)) == ("acme", environment)


def test_a_tenant_has_one_flow_for_each_environment() -> None:
    assert flows_of("acme") == ["acme", "acme/sandbox"]
