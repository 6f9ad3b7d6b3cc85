"""`graft adapters`, `graft swap`, `graft rollback`."""

from datetime import datetime
from typing import Annotated, Any

import typer

from adapters.types import BASE_NAME, DEFAULT_ADAPTER, Alias
from gateway.cli.output import Output
from gateway.cli.session import of

adapters = typer.Typer(help="Adapters and their versions.", no_args_is_help=True)

Tenant = Annotated[str, typer.Argument(help="Id or external id.")]
Hold = Annotated[bool, typer.Option("--hold", help="Not by itself: for an A/B test, or a swap by hand.")]
Adapter = Annotated[str, typer.Option("--adapter", help="One of the tenant's adapters.")]


@adapters.command("list")
def list_adapters(context: typer.Context, tenant: Tenant) -> None:
    """A tenant's adapters and what each serves."""
    session = of(context)
    rows = list(session.admin().all(f"tenants/{tenant}/adapters"))
    shown = rows if session.output.json else [{**row, "stable": row["stable"] or row["base"]} for row in rows]
    for row in shown:
        row["live"] = row["versions"]["live"]
    columns = {"name": "adapter", "base": "base", "stable": "serves", "candidate": "candidate"}
    columns |= {"live": "versions", "created_at": "created"}
    session.output.rows(shown, columns, "There are no adapters.")


@adapters.command("create")
def create(
    context: typer.Context,
    tenant: Tenant,
    name: Annotated[str, typer.Argument(help="As the tenant will ask for it.")],
    base: Annotated[str, typer.Option(help="The base model that it belongs to, for good.")] = BASE_NAME,
) -> None:
    """Another adapter for a tenant; every tenant has `default`."""
    session = of(context)
    session.output.record(session.admin().post(f"tenants/{tenant}/adapters", {"name": name, "base": base}))


@adapters.command("versions")
def versions(context: typer.Context, tenant: Tenant, adapter: Adapter = DEFAULT_ADAPTER) -> None:
    """An adapter's versions, newest first."""
    session = of(context)
    rows = list(session.admin().all(f"tenants/{tenant}/adapters/{adapter}/versions"))
    columns = {"label": "version", "status": "status", "id": "id", "created_at": "created"}
    session.output.rows(rows, columns, "There are no versions yet: the base model answers.")


@adapters.command("show")
def show(context: typer.Context, tenant: Tenant, version: str, adapter: Adapter = DEFAULT_ADAPTER) -> None:
    """One version with its lineage and what it has learned. VERSION: v7, or its id."""
    session = of(context)
    session.output.record(session.admin().get(f"tenants/{tenant}/adapters/{adapter}/versions/{version}"))


@adapters.command("history")
def history(
    context: typer.Context,
    tenant: Tenant,
    adapter: Adapter = DEFAULT_ADAPTER,
    at: Annotated[
        datetime | None, typer.Option(help="Only what answered then, such as 2026-11-17T14:03, local time.")
    ] = None,
    alias: Annotated[
        Alias, typer.Option(help="candidate: what a rollout gave a part of the traffic to.")
    ] = Alias.STABLE,
) -> None:
    """What answered when: every move of an alias, newest first."""
    session = of(context)
    then = None if at is None else at.astimezone().isoformat()
    path = f"tenants/{tenant}/adapters/{adapter}/aliases/{alias}/history"
    rows = list(session.admin().all(path, at=then))
    columns = {"at": "at", "previous_id": "from", "version": "to", "version_id": "id", "actor": "by"}
    never = "It never moved" if at is None else "It had not moved by then"
    meant = ": the base model answered." if alias is Alias.STABLE else "."
    session.output.rows(rows, columns, never + meant)


def swap(
    context: typer.Context,
    tenant: Tenant,
    version: Annotated[str, typer.Argument(help="v7, 7, or a version's id.")],
    adapter: Adapter = DEFAULT_ADAPTER,
) -> None:
    """Make a version the one that serves, without restarting anything."""
    session = of(context)
    path = f"tenants/{tenant}/adapters/{adapter}/aliases/stable"
    _moved(session.output, session.admin().put(path, {"version": version}))


def rollback(context: typer.Context, tenant: Tenant, adapter: Adapter = DEFAULT_ADAPTER) -> None:
    """Back to what served before, in one step."""
    session = of(context)
    _moved(session.output, session.admin().post(f"tenants/{tenant}/adapters/{adapter}/rollback"))


def _moved(output: Output, result: dict[str, Any]) -> None:
    if output.json:
        output.document(result)
        return
    stages = "  ".join(f"{stage} {took:.0f}" for stage, took in result["timings_ms"].items() if took >= 0.5)
    output.line(
        f"{result['adapter']}: {result['previous']} → [bold]{result['version']}[/] on {result['workers']} "
        f"worker(s) in {result['total_ms']:.0f} ms  [dim]{stages}[/]"
    )
    if not result["visible"]:
        output.line(
            f"[yellow]A worker is late; it follows by itself:[/] /admin/v1/changes/{result['change']} says when it has."
        )
