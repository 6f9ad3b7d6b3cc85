"""`graft replicas`: the engines, and taking one out of service and back."""

import time
from typing import Annotated, Any

import typer

from gateway.cli.output import CommandError
from gateway.cli.session import Session, of

replicas = typer.Typer(help="The engine replicas.", no_args_is_help=True)

POLL_SECONDS = 0.2
Replica = Annotated[str, typer.Argument(help="Its URL, as `graft replicas list` shows it.")]


@replicas.command("list")
def list_replicas(context: typer.Context) -> None:
    """Each replica, whether it takes requests, and how many it has."""
    session = of(context)
    rows = session.admin().get("replicas")["data"]
    shown = rows if session.output.json else [{**row, "versions": len(row["resident"])} for row in rows]
    columns = {"id": "replica", "base": "base", "healthy": "answers", "drain": "drain"}
    columns |= {"in_flight": "in flight", "versions": "versions"}
    session.output.rows(shown, columns, "There are no replicas.")


@replicas.command("drain")
def drain(
    context: typer.Context,
    replica: Replica,
    wait: Annotated[bool, typer.Option(help="Until its last request has ended.")] = True,
    seconds: Annotated[float, typer.Option(min=0.0, help="Wait no longer than this.")] = 600.0,
) -> None:
    """Send a replica no more requests, so that it can be ended. Exit code 1 when it still has some after the wait."""
    session = of(context)
    shown = session.admin().post("replicas/drain", {"id": replica})
    if wait:
        shown = _waited(session, shown, time.monotonic() + seconds)
    session.output.record(shown)
    if wait and shown["drain"] != "drained":
        raise CommandError(f"{replica} is not drained.", fix="`graft replicas list` shows how it stands.")


@replicas.command("return")
def put_back(context: typer.Context, replica: Replica) -> None:
    """Send a drained replica requests again."""
    session = of(context)
    session.output.record(session.admin().post("replicas/return", {"id": replica}))


def _waited(session: Session, shown: dict[str, Any], until: float) -> dict[str, Any]:
    """The replica once it is drained, somebody has returned it, or the time is over."""
    with session.output.errors.status("") as status:
        while shown["drain"] == "draining" and time.monotonic() < until:
            status.update(f"{shown['in_flight']} request(s) in flight")
            time.sleep(POLL_SECONDS)
            rows = session.admin().get("replicas")["data"]
            shown = next(row for row in rows if row["id"] == shown["id"])
    return shown
