"""`graft adapters pin`, `unpin`, `merge`, `divergence`, `prune`: what keeps a fleet of adapters small."""

from typing import Annotated, Any

import typer

from adapters.types import DEFAULT_ADAPTER
from gateway.cli.adapters import Adapter, Tenant
from gateway.cli.session import of
from gateway.cli.transfer import adapters

__all__ = ("adapters",)

Version = Annotated[str, typer.Argument(help="v7, or a version's id.")]


@adapters.command("pin")
def pin(context: typer.Context, tenant: Tenant, version: Version, adapter: Adapter = DEFAULT_ADAPTER) -> None:
    """Keep a version in the engines, asked for or not."""
    session = of(context)
    session.output.record(session.admin().put(_path(tenant, adapter, f"versions/{version}/pin"), {}))


@adapters.command("unpin")
def unpin(
    context: typer.Context, tenant: Tenant, version: Version, adapter: Adapter = DEFAULT_ADAPTER
) -> None:
    """Let a version leave the engines when others are asked for more."""
    session = of(context)
    session.output.record(session.admin().delete(_path(tenant, adapter, f"versions/{version}/pin")))


@adapters.command("merge")
def merge(
    context: typer.Context,
    tenant: Tenant,
    sources: Annotated[list[str], typer.Argument(help="v3, other@v7, or v3=0.5 with a weight.")],
    adapter: Adapter = DEFAULT_ADAPTER,
    method: Annotated[str, typer.Option(help="linear, ties, dare_linear or dare_ties.")] = "linear",
    density: Annotated[float, typer.Option(help="Share of elements that TIES and DARE keep.")] = 0.5,
    rank: Annotated[int | None, typer.Option(help="Of the result; the engines' largest without it.")] = None,
) -> None:
    """Make one version out of several: a run, with the gate at its end."""
    session = of(context)
    body: dict[str, Any] = {"sources": [_source(each) for each in sources], "method": method}
    run = session.admin().post(_path(tenant, adapter, "merges"), body | {"density": density, "rank": rank})
    session.output.record(run)


@adapters.command("divergence")
def divergence(
    context: typer.Context,
    tenant: Tenant,
    version: Version,
    adapter: Adapter = DEFAULT_ADAPTER,
    anchors: Annotated[int, typer.Option(min=1, max=256)] = 64,
) -> None:
    """How far a version answers from the base model on prompts that nobody corrected, in nats."""
    session = of(context)
    path = _path(tenant, adapter, f"versions/{version}/divergence")
    session.output.record(session.admin().get(path, anchors=anchors))


@adapters.command("prune")
def prune(
    context: typer.Context,
    tenant: Tenant,
    adapter: Adapter = DEFAULT_ADAPTER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Let the files go of versions that retention does not keep and nothing needs."""
    session = of(context)
    rows = session.admin().post(_path(tenant, adapter, "prune"), {"dry_run": dry_run})["data"]
    columns = {"label": "version", "status": "status", "pruned": "goes", "kept_for": "kept because"}
    session.output.rows(rows, columns, "There are no versions with files.")


def _path(tenant: str, adapter: str, rest: str) -> str:
    return f"tenants/{tenant}/adapters/{adapter}/{rest}"


def _source(told: str) -> dict[str, Any]:
    version, equals, weight = told.partition("=")
    try:
        return {"version": version, "weight": float(weight)} if equals else {"version": version}
    except ValueError as error:
        raise typer.BadParameter(f"{weight!r} is no weight") from error
