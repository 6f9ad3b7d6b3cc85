"""`graft tenants` and `graft keys`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import CommandError, Exit
from gateway.cli.session import of

tenants = typer.Typer(help="Tenants and their policies.", no_args_is_help=True)
keys = typer.Typer(help="API keys of tenants, and platform keys.", no_args_is_help=True)

Tenant = Annotated[str, typer.Argument(help="Id or external id.")]
TENANT_COLUMNS = {"external_id": "tenant", "name": "name", "id": "id", "created_at": "created"}
KEY_COLUMNS = {
    "id": "id",
    "name": "name",
    "public_id": "public id",
    "scopes": "scopes",
    "last_used_at": "last used",
    "expires_at": "expires",
    "revoked_at": "revoked",
}
PLATFORM = "platform"


@tenants.command("list")
def list_tenants(context: typer.Context) -> None:
    """All tenants."""
    session = of(context)
    rows = list(session.admin().all("tenants"))
    session.output.rows(rows, TENANT_COLUMNS, "There are no tenants. Make one: graft tenants create acme")


@tenants.command("create")
def create_tenant(
    context: typer.Context,
    external_id: Annotated[str, typer.Argument(help="Your own name for it.")],
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    key: Annotated[bool, typer.Option(help="Also make an API key.")] = True,
) -> None:
    """Make a tenant, or find it again, and a key for it. The key is shown once."""
    session = of(context)
    admin = session.admin()
    tenant = admin.post("tenants", {"external_id": external_id, "name": name})
    made = admin.post(f"tenants/{tenant['id']}/keys", {"name": "first"}) if key else {}
    session.output.record({**tenant, "key": made.get("secret")})


@tenants.command("show")
def show_tenant(context: typer.Context, tenant: Tenant) -> None:
    """A tenant with its adapters and its policy."""
    session = of(context)
    admin = session.admin()
    shown = admin.get(f"tenants/{tenant}")
    adapters = admin.all(f"tenants/{tenant}/adapters")
    policy = admin.get(f"tenants/{tenant}/policy")
    serves = {each["name"]: each["stable"] or each["base"] for each in adapters}
    session.output.record({**shown, "adapters": serves, **policy})


@tenants.command("policy")
def policy(
    context: typer.Context,
    tenant: Tenant,
    changes: Annotated[
        list[str] | None, typer.Argument(help="Such as learning.triggers.count=12 or logging=off.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Replace the whole document by this JSON file.")] = None,
) -> None:
    """Show the policy, change fields of it, or replace it."""
    session = of(context)
    admin, path = session.admin(), f"tenants/{tenant}/policy"
    if file is not None:
        shown = admin.put(path, json.loads(file.read_text()))
    elif changes:
        shown = admin.call("PATCH", path, json=patch(changes)).json()
    else:
        shown = admin.get(path)
    session.output.document(shown)


def patch(changes: list[str]) -> dict[str, Any]:
    """`a.b=1` as `{"a": {"b": 1}}`; values are JSON, and what is no JSON is text."""
    whole: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise CommandError(f"{change!r} is not name=value.", code=Exit.USAGE)
        *parents, last = name.split(".")
        place = whole
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = _value(value)
    return whole


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _path(tenant: str) -> str:
    return "keys" if tenant == PLATFORM else f"tenants/{tenant}/keys"


@keys.command("list")
def list_keys(context: typer.Context, tenant: Tenant) -> None:
    """A tenant's keys; `platform` for the keys that may act for every tenant."""
    session = of(context)
    rows = list(session.admin().all(_path(tenant)))
    session.output.rows(rows, KEY_COLUMNS, "There are no keys.")


@keys.command("create")
def create_key(
    context: typer.Context,
    tenant: Tenant,
    name: Annotated[str, typer.Option(help="What it is for.")] = "default",
    scope: Annotated[list[str] | None, typer.Option(help="chat, feedback, correct, knowledge.")] = None,
) -> None:
    """A new key, shown once. Without --scope it may do everything in its tenant."""
    session = of(context)
    body = {"name": name, **({"scopes": scope} if scope else {})}
    session.output.record(session.admin().post(_path(tenant), body))


@keys.command("revoke")
def revoke_key(context: typer.Context, tenant: Tenant, key_id: str) -> None:
    """End a key everywhere, at once."""
    session = of(context)
    session.output.record(session.admin().delete(f"{_path(tenant)}/{key_id}"))


@keys.command("rotate")
def rotate_key(
    context: typer.Context,
    tenant: Tenant,
    key_id: str,
    grace: Annotated[float, typer.Option(help="Seconds that the old key still works.")] = 3600.0,
) -> None:
    """A successor with the same scopes."""
    session = of(context)
    path = f"{_path(tenant)}/{key_id}/rotate"
    session.output.record(session.admin().post(path, {"grace_seconds": grace}))
