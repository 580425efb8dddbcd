"""The table of everything that there is at /v1: the app is built from it, and the description is written from it."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from engine.admin import resources
from engine.admin.bodies import After, Force
from engine.admin.checking import Checked, WhatToCheck
from engine.admin.resources import Ask, Outcome
from shards.administration import views
from shards.administration.actions import Administration
from shards.administration.credential_request import NewCredential, Rotation
from shards.administration.requests import Expiry, NewApplication, NewKey, NewTenant, TenantChanges, WhichLane

TENANT: Final = "/v1/tenants/{tenant}"


class Route(NamedTuple):
    """One operation. ``name`` is its word in the log and in the description.

    ``body`` and ``query`` are what it takes, ``answer`` what it gives with ``status``. ``operator``: it is for whoever
    runs the gateway, and an API key can't do it.
    """

    method: str
    path: str
    name: str
    summary: str
    act: Callable[[Administration, Ask], Awaitable[Outcome]]
    answer: type[Any]
    body: type[Any] | None = None
    query: type[Any] | None = None
    status: int = 200
    operator: bool = False

    @property
    def changes(self) -> bool:
        """Whether it does more than show."""
        return self.method != "GET"


ROUTES: Final = (
    Route(
        "GET",
        "/v1/tenants",
        "tenant list",
        "List the tenants",
        resources.list_tenants,
        views.TenantList,
        operator=True,
    ),
    Route(
        "POST",
        "/v1/tenants",
        "tenant create",
        "Create a tenant with a first API key",
        resources.create_tenant,
        views.NewTenantView,
        body=NewTenant,
        status=201,
        operator=True,
    ),
    Route("GET", TENANT, "tenant show", "Show a tenant", resources.show_tenant, views.TenantDetail),
    Route(
        "PATCH",
        TENANT,
        "tenant set",
        "Change limits and settings",
        resources.change_tenant,
        views.TenantView,
        body=TenantChanges,
        operator=True,
    ),
    Route(
        "DELETE",
        TENANT,
        "tenant delete",
        "Remove a tenant with its keys and credentials",
        resources.delete_tenant,
        views.Done,
        query=Force,
        operator=True,
    ),
    Route(
        "POST",
        f"{TENANT}/disable",
        "tenant disable",
        "Take nothing in of a tenant, and send nothing",
        resources.disable_tenant,
        views.TenantView,
        operator=True,
    ),
    Route(
        "POST",
        f"{TENANT}/enable",
        "tenant enable",
        "Let a disabled tenant go on",
        resources.enable_tenant,
        views.TenantView,
        operator=True,
    ),
    Route(
        "POST",
        f"{TENANT}/pause",
        "tenant pause",
        "Send nothing more from a lane",
        resources.pause_tenant,
        views.TenantView,
        body=WhichLane,
    ),
    Route(
        "POST",
        f"{TENANT}/resume",
        "tenant resume",
        "Let a paused lane go on",
        resources.resume_tenant,
        views.TenantView,
        body=WhichLane,
    ),
    Route(
        "POST",
        f"{TENANT}/check",
        "tenant check",
        "Ask APNs whether it takes the credentials",
        resources.check_tenant,
        Checked,
        body=WhatToCheck,
    ),
    Route(
        "GET",
        f"{TENANT}/applications",
        "application list",
        "List the applications",
        resources.list_applications,
        views.ApplicationList,
    ),
    Route(
        "POST",
        f"{TENANT}/applications",
        "application add",
        "Let the tenant push to another application",
        resources.add_application,
        views.ApplicationList,
        body=NewApplication,
        status=201,
    ),
    Route(
        "DELETE",
        f"{TENANT}/applications/{{name}}",
        "application remove",
        "Take no more pushes to an application",
        resources.remove_application,
        views.Done,
        query=Force,
    ),
    Route(
        "GET",
        f"{TENANT}/credentials",
        "credential list",
        "List the credentials, without their secrets",
        resources.list_credentials,
        views.CredentialList,
    ),
    Route(
        "POST",
        f"{TENANT}/credentials",
        "credential add",
        "Add a key or a certificate",
        resources.add_credential,
        views.CredentialChange,
        body=NewCredential,
        status=201,
    ),
    Route(
        "DELETE",
        f"{TENANT}/credentials/{{name}}",
        "credential revoke",
        "Remove a credential with its stored secret",
        resources.revoke_credential,
        views.Done,
    ),
    Route(
        "POST",
        f"{TENANT}/credentials/{{name}}/rotate",
        "credential rotate",
        "Add a newer one beside it, which signs from then on",
        resources.rotate_credential,
        views.CredentialChange,
        body=Rotation,
        status=201,
    ),
    Route(
        "POST",
        f"{TENANT}/credentials/{{name}}/disable",
        "credential disable",
        "Use a credential no more, and keep it",
        resources.disable_credential,
        views.CredentialChange,
    ),
    Route(
        "POST",
        f"{TENANT}/credentials/{{name}}/enable",
        "credential enable",
        "Use a disabled credential again",
        resources.enable_credential,
        views.CredentialChange,
    ),
    Route(
        "POST",
        f"{TENANT}/credentials/{{name}}/expire",
        "credential expire",
        "Use a credential no more from a time on",
        resources.expire_credential,
        views.CredentialChange,
        body=Expiry,
    ),
    Route("GET", f"{TENANT}/keys", "key list", "List the API keys", resources.list_keys, views.KeyList),
    Route(
        "POST",
        f"{TENANT}/keys",
        "key create",
        "Make an API key, shown in this answer only",
        resources.create_key,
        views.NewKeyView,
        body=NewKey,
        status=201,
    ),
    Route(
        "GET",
        f"{TENANT}/keys/{{name}}",
        "key show",
        "Show what an API key is for, by its prefix",
        resources.find_key,
        views.KeyDetail,
    ),
    Route(
        "DELETE",
        f"{TENANT}/keys/{{name}}",
        "key revoke",
        "End an API key, at once or after a time",
        resources.revoke_key,
        views.Done,
        query=After,
    ),
    Route(
        "GET",
        "/v1/keys",
        "key list all",
        "List everybody's API keys",
        resources.list_keys,
        views.KeyList,
        operator=True,
    ),
    Route(
        "GET",
        "/v1/keys/{name}",
        "key find",
        "Show whose an API key is, by its prefix",
        resources.find_key,
        views.KeyDetail,
        operator=True,
    ),
)
