"""`graft rollout`."""

from typing import Annotated, Any

import typer

from adapters.types import DEFAULT_ADAPTER
from gateway.cli.adapters import Adapter, Tenant
from gateway.cli.output import CommandError, Exit
from gateway.cli.session import Session, of

rollout = typer.Typer(help="Canaries, A/B tests and shadows.", no_args_is_help=True)

Id = Annotated[str, typer.Option("--id", help="A rollout's id; without it, the adapter's newest.")]
Why = Annotated[str, typer.Option("--reason", help="For the record.")]
COLUMNS = {
    "id": "id",
    "kind": "kind",
    "status": "status",
    "share": "share %",
    "reason": "reason",
    "created_at": "started",
}


@rollout.command("start")
def start(
    context: typer.Context,
    tenant: Tenant,
    version: Annotated[str, typer.Argument(help="The candidate: v7, 7, or a version's id.")],
    adapter: Adapter = DEFAULT_ADAPTER,
    kind: Annotated[str, typer.Option(help="canary, ab or shadow.")] = "canary",
    against: Annotated[str | None, typer.Option(help="An A/B test's other version, if not stable's.")] = None,
    share: Annotated[float | None, typer.Option(help="Percent of an A/B test or a shadow.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="What a shadow may cost.")] = None,
) -> None:
    """Start a rollout; a canary takes its steps from the tenant's policy."""
    session = of(context)
    wanted = {"against": against, "share": share, "budget_tokens": budget_tokens}
    body = {"kind": kind, "version": version, **{k: v for k, v in wanted.items() if v is not None}}
    session.output.record(session.admin().post(_path(tenant, adapter), body))


@rollout.command("list")
def list_rollouts(context: typer.Context, tenant: Tenant, adapter: Adapter = DEFAULT_ADAPTER) -> None:
    """An adapter's rollouts, newest first."""
    session = of(context)
    rows = list(session.admin().all(_path(tenant, adapter)))
    session.output.rows(rows, COLUMNS, "There were no rollouts.")


@rollout.command("show")
def show(context: typer.Context, tenant: Tenant, adapter: Adapter = DEFAULT_ADAPTER, id: Id = "") -> None:
    """Where it stands and every decision with its numbers."""
    session = of(context)
    found = session.admin().get(_one(session, tenant, adapter, id))
    if session.output.json:
        session.output.document(found)
        return
    decisions = found.pop("decisions")
    session.output.record(found)
    columns = {"at": "at", "action": "decision", "reason": "reason", "actor": "by", "numbers": "numbers"}
    session.output.rows(decisions, columns, "Nothing was decided yet.")


@rollout.command("report")
def report(context: typer.Context, tenant: Tenant, adapter: Adapter = DEFAULT_ADAPTER, id: Id = "") -> None:
    """Both arms, the effects with their intervals, the verdict; of a shadow, how alike the answers are."""
    session = of(context)
    session.output.record(session.admin().get(f"{_one(session, tenant, adapter, id)}/report"))


@rollout.command("pause")
def pause(
    context: typer.Context,
    tenant: Tenant,
    adapter: Adapter = DEFAULT_ADAPTER,
    id: Id = "",
    reason: Why = "by hand",
) -> None:
    """Keep the share as it is; signs of harm still end it."""
    _move(of(context), tenant, adapter, id, "pause", {"reason": reason})


@rollout.command("resume")
def resume(context: typer.Context, tenant: Tenant, adapter: Adapter = DEFAULT_ADAPTER, id: Id = "") -> None:
    """Go on with a rollout that was paused."""
    _move(of(context), tenant, adapter, id, "resume", {})


@rollout.command("promote")
def promote(
    context: typer.Context,
    tenant: Tenant,
    adapter: Adapter = DEFAULT_ADAPTER,
    id: Id = "",
    next_step: Annotated[bool, typer.Option("--next", help="Only to the next step.")] = False,
    reason: Why = "by hand",
) -> None:
    """Give the candidate all of the traffic, whatever was counted."""
    body = {"to": "next" if next_step else "live", "reason": reason}
    _move(of(context), tenant, adapter, id, "promote", body)


@rollout.command("abort")
def abort(
    context: typer.Context,
    tenant: Tenant,
    adapter: Adapter = DEFAULT_ADAPTER,
    id: Id = "",
    reason: Why = "by hand",
) -> None:
    """Back to what served before; an A/B test or a shadow ends, and its version does not go live by itself."""
    _move(of(context), tenant, adapter, id, "abort", {"reason": reason})


def _move(
    session: Session, tenant: str, adapter: str, rollout_id: str, move: str, body: dict[str, Any]
) -> None:
    done = session.admin().post(f"{_one(session, tenant, adapter, rollout_id)}/{move}", body)
    session.output.rows([done], COLUMNS, "")


def _path(tenant: str, adapter: str) -> str:
    return f"tenants/{tenant}/adapters/{adapter}/rollouts"


def _one(session: Session, tenant: str, adapter: str, rollout_id: str) -> str:
    path = _path(tenant, adapter)
    if not rollout_id:
        rows = session.admin().get(path, limit=1)["data"]
        if not rows:
            raise CommandError("This adapter has had no rollout.", code=Exit.NOT_FOUND)
        rollout_id = rows[0]["id"]
    return f"{path}/{rollout_id}"
