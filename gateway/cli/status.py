"""`graft status`, `graft doctor`, `graft migrate`, `graft audit`: looking at the system and mending its
ground."""

import asyncio
from typing import Annotated, Any

import psutil
import typer

from gateway import launch, migrate, preflight
from gateway.cli.output import CommandError, Exit
from gateway.cli.session import Session, of
from gateway.credentials import Credentials
from gateway.launch_errors import LaunchError


def status(context: typer.Context) -> None:
    """What runs here, what answers and what each engine holds. Exit code 3 when nothing answers."""
    session = of(context)
    state = session.state
    known = session.admin().get("status")
    replicas = session.admin().get("replicas")
    if session.output.json:
        session.output.document({"supervisor": state or None, "control": known, "replicas": replicas["data"]})
        return
    processes = [{"process": name, **each} for name, each in state.get("processes", {}).items()]
    for each in processes:
        each["memory"] = _memory(int(each["pid"]))
    columns = {
        "process": "process",
        "pid": "pid",
        "ready": "ready",
        "restarts": "restarts",
        "memory": "memory",
        "log": "log",
    }
    session.output.rows(processes, columns, "No supervisor runs on this data directory; control answers.")
    session.output.line("")
    session.output.rows(
        _parts(known, replicas), {"part": "part", "answers": "answers", "detail": "detail"}, ""
    )
    session.output.line("")
    columns = {"engine": "engine", "base": "base", "version": "version", "version_id": "id"}
    columns["leases"] = "in flight"
    session.output.rows(
        _resident(replicas), columns, "No adapter is loaded: every tenant is served by the base."
    )


def _parts(known: dict[str, Any], replicas: dict[str, Any]) -> list[dict[str, Any]]:
    drains = {replica["id"]: replica["drain"] for replica in replicas["data"]}
    rows = [
        {"part": f"engine {url}", "answers": healthy, "detail": drains[url]}
        for url, healthy in known["engines"].items()
    ]
    rows += [{"part": name, "answers": known[name]} for name in ("retrieval", "redis", "sql")]
    workers = known["workers"]
    rows.append({"part": "gateway", "answers": bool(workers), "detail": f"{len(workers)} worker(s)"})
    role = "leads" if known["leader"] else "follows another"
    return [*rows, {"part": "control", "answers": True, "detail": role}]


def _resident(replicas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"engine": replica["id"], "base": replica["base"], **version}
        for replica in replicas["data"]
        for version in replica.get("versions", ())
    ]


def _memory(pid: int) -> str:
    """Resident memory of a process and all that it started."""
    if not pid:
        return "waiting"
    try:
        process = psutil.Process(pid)
        sizes = [each.memory_info().rss for each in (process, *process.children(recursive=True))]
    except psutil.Error:
        return "gone"
    return f"{sum(sizes) // 2**20} MiB"


def doctor(context: typer.Context) -> None:
    """Whether everything is there that a start needs, and how to mend what is not. Exit code 1 if something
    is."""
    session = of(context)
    findings = _findings(session)
    rows = [vars(finding) for finding in findings]
    if session.output.json:
        session.output.document(rows)
    else:
        for finding in findings:
            mark = "[green]●[/]" if finding.ok else "[red]●[/]"
            session.output.line(f"{mark} [bold]{finding.subject}[/]: {finding.detail}")
            if finding.fix:
                session.output.line(f"  → {finding.fix}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(int(Exit.FAILED))


def _findings(session: Session) -> list[preflight.Finding]:
    overrides = {} if session.data_dir is None else {"data_dir": session.data_dir}
    try:
        settings = launch.read_settings(launch.environment(), overrides)
        plan = launch.make_plan(settings, session.secrets or Credentials("", "", ""))
    except LaunchError as error:
        return [preflight.Finding("settings", False, error.message, error.fix)]
    found = [preflight.Finding("settings", True, "every variable is known and valid")]
    if not preflight.running(session.directory):
        return [*found, *preflight.examine(plan)]
    state = preflight.Finding("system", True, f"running, process {session.state.get('pid')}")
    parts = _parts(session.admin().get("status"), session.admin().get("replicas"))
    return [*found, state, *(_part(session, part) for part in parts)]


def _part(session: Session, part: dict[str, Any]) -> preflight.Finding:
    if part["answers"]:
        return preflight.Finding(part["part"], True, part.get("detail") or "answers")
    return preflight.Finding(
        part["part"], False, "does not answer", f"Read the logs in {session.directory}/logs."
    )


def migrate_command(context: typer.Context) -> None:
    """Bring the database to this version's schema; `graft up` does it by itself."""
    session = of(context)
    if not session.settings.database_url:
        preflight.require_writable(session.directory)
    try:
        asyncio.run(migrate.upgrade(session.settings.database))
    except LaunchError as error:
        raise CommandError(error.message, fix=error.fix) from error
    session.output.line("The schema is up to date.")


def audit(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Argument(help="Only this tenant's entries.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 30,
) -> None:
    """Who changed what, newest first."""
    session = of(context)
    page = session.admin().get("audit", tenant_id=tenant, limit=limit)
    columns = {"at": "at", "actor": "actor", "action": "action", "subject": "subject", "detail": "detail"}
    session.output.rows(page["data"], columns, "Nothing was changed yet.")
