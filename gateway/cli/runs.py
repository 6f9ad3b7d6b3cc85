"""`graft runs` and `graft train`."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from adapters.types import DEFAULT_ADAPTER
from gateway.cli.adapters import Hold
from gateway.cli.output import Exit
from gateway.cli.session import Session, of

runs = typer.Typer(help="Runs: corrections becoming weights.", no_args_is_help=True)

COLUMNS = {
    "id": "run",
    "tenant_id": "tenant",
    "adapter": "adapter",
    "status": "status",
    "phase": "phase",
    "trigger": "trigger",
    "version_id": "version",
    "created_at": "created",
}
GOOD = frozenset({"succeeded", "awaiting_approval"})


@runs.command("list")
def list_runs(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Argument(help="Id or external id; all without it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
) -> None:
    """Newest first."""
    session = of(context)
    page = session.admin().get("runs", tenant_id=tenant, limit=limit)
    session.output.rows(page["data"], COLUMNS, "There are no runs yet.")


@runs.command("show")
def show(context: typer.Context, run_id: str) -> None:
    """One run with its gate's report."""
    session = of(context)
    session.output.record(session.admin().get(f"runs/{run_id}"))


@runs.command("events")
def events(context: typer.Context, run_id: str) -> None:
    """What has happened in a run."""
    session = of(context)
    rows = session.admin().get(f"runs/{run_id}/events")["data"]
    session.output.rows(rows, {"at": "at", "kind": "event", "data": "detail"}, "Nothing has happened yet.")


@runs.command("watch")
def watch(context: typer.Context, run_id: str) -> None:
    """Follow a run to its end. Exit code 1 unless it succeeds or awaits approval."""
    _follow(of(context), run_id)


@runs.command("cancel")
def cancel(context: typer.Context, run_id: str) -> None:
    """Stop a run."""
    session = of(context)
    session.output.record(session.admin().post(f"runs/{run_id}/cancel"))


@runs.command("approve")
def approve(context: typer.Context, run_id: str, hold: Hold = False) -> None:
    """Let the version of a run that waits for it go live."""
    session = of(context)
    session.output.record(session.admin().post(f"runs/{run_id}/approve", {"hold": hold}))


@runs.command("reject")
def reject(
    context: typer.Context, run_id: str, reason: Annotated[str, typer.Option(help="Kept with the run.")] = ""
) -> None:
    """Turn the version of a run down."""
    session = of(context)
    session.output.record(session.admin().post(f"runs/{run_id}/reject", {"reason": reason}))


def train(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Id or external id.")],
    adapter: Annotated[str, typer.Option(help="One of the tenant's adapters.")] = DEFAULT_ADAPTER,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
) -> None:
    """Start a run on the corrections that are there now."""
    session = of(context)
    run = session.admin().post("runs", {"tenant_id": tenant, "adapter": adapter})
    if wait:
        _follow(session, run["id"])
    else:
        session.output.record(run)


def _follow(session: Session, run_id: str) -> None:
    if session.output.json:
        last = list(_states(session, run_id))[-1]
        session.output.document(last)
    else:
        last = _show_progress(session, run_id)
    if last.get("status") not in GOOD:
        raise typer.Exit(int(Exit.FAILED))


def _show_progress(session: Session, run_id: str) -> dict[str, Any]:
    last: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"))
    with Progress(*columns, console=session.output.console) as progress:
        task = progress.add_task(run_id, total=None, detail="")
        for last in _states(session, run_id):
            done = last["progress"]
            progress.update(
                task,
                description=f"{last['phase']} · {last['status']}",
                completed=done.get("step", 0),
                total=done.get("total_steps"),
                detail=_detail(done),
            )
    session.output.line(f"{run_id}: [bold]{last.get('status')}[/] {escape(str(last.get('error') or ''))}")
    return last


def _detail(done: dict[str, Any]) -> str:
    if not done:
        return ""
    loss, eta = done.get("loss") or 0.0, done.get("eta_seconds") or 0.0
    return f"step {done.get('step')}/{done.get('total_steps')}  loss {loss:.3f}  ETA {eta:.0f} s"


def _states(session: Session, run_id: str) -> Iterator[dict[str, Any]]:
    """The run each time it has changed, until it has ended."""
    kind = ""
    headers = {"accept": "text/event-stream"}
    for line in session.admin().stream("GET", f"runs/{run_id}/events", headers=headers, timeout=None):
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data" and kind == "run":
            yield json.loads(value)
