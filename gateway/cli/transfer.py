"""`graft adapters import`, `export`, `approve`, `reject`, `drift`, `similarity`: versions in and out, judged and
measured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from adapters.types import DEFAULT_ADAPTER
from gateway.cli.adapters import Adapter, Hold, Tenant, adapters
from gateway.cli.output import CommandError, Exit
from gateway.cli.session import Session, of

__all__ = ["adapters"]
"""The group of commands, with those of this file in it."""
WHOLE_SECONDS = 3600.0
_CHUNK = 1024**2

Version = Annotated[str, typer.Argument(help="v7, 7, or a version's id.")]


@adapters.command("import")
def import_version(
    context: typer.Context,
    tenant: Tenant,
    source: Annotated[str, typer.Argument(help="A .tar, .tar.gz or .zip, or a URI that control may read.")],
    adapter: Adapter = DEFAULT_ADAPTER,
    digest: Annotated[str, typer.Option(help="sha256:… of the file, or of the artifact.")] = "",
    accept_base: Annotated[
        bool, typer.Option("--accept-base", help="Its base model is ours under another name.")
    ] = False,
) -> None:
    """Take in a PEFT adapter as a version, which waits for `graft adapters approve`."""
    session = of(context)
    path = f"tenants/{tenant}/adapters/{adapter}/versions"
    if "://" in source:
        body = {"uri": source, "digest": digest or None, "accept_base": accept_base}
        response = session.admin().call("POST", path, json=body, timeout=WHOLE_SECONDS)
    else:
        response = _upload(session, path, Path(source), digest, accept_base)
    version = response.json()
    if session.output.json:
        session.output.document(version)
        return
    news = "imported" if response.status_code == 201 else "was there already"
    session.output.line(f"[bold]{escape(version['label'])}[/] {news} · {version['artifact_digest']}")
    if version["status"] == "registered":
        session.output.line(f"  [dim]→[/] graft adapters approve {escape(tenant)} v{version['number']}")


def _upload(session: Session, path: str, file: Path, digest: str, accept_base: bool) -> Any:
    if not file.is_file():
        raise CommandError(
            f"{file} is not a file.",
            fix="Pack a folder first: tar czf adapter.tar.gz -C FOLDER .",
            code=Exit.USAGE,
        )
    headers = {"content-type": "application/octet-stream", **({"x-graft-digest": digest} if digest else {})}
    with _bar(session) as bar:
        return session.admin().call(
            "POST",
            path,
            content=_pieces(file, bar),
            params={"accept_base": accept_base},
            headers=headers,
            timeout=WHOLE_SECONDS,
        )


def _pieces(path: Path, bar: Progress) -> Iterator[bytes]:
    task = bar.add_task(path.name, total=path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
            bar.advance(task, len(chunk))


@adapters.command("export")
def export_version(
    context: typer.Context,
    tenant: Tenant,
    version: Version,
    out: Annotated[Path, typer.Option("--out", help="The .tar.gz to write.")],
    adapter: Adapter = DEFAULT_ADAPTER,
) -> None:
    """A version with its lineage as one file, for another system to import."""
    session = of(context)
    path = f"tenants/{tenant}/adapters/{adapter}/versions/{version}/artifact"
    partial = out.with_name(f"{out.name}.part")
    try:
        with _bar(session) as bar, partial.open("wb") as file:
            task = bar.add_task(out.name, total=None)
            for chunk in session.admin().download(path):
                file.write(chunk)
                bar.advance(task, len(chunk))
        partial.replace(out)
    except OSError as error:
        raise CommandError(f"{out} cannot be written ({error.strerror}).") from error
    finally:
        partial.unlink(missing_ok=True)
    if session.output.json:
        session.output.document({"file": str(out), "bytes": out.stat().st_size})
    else:
        session.output.line(f"{escape(str(out))}  [dim]{out.stat().st_size} bytes[/]")


@adapters.command("approve")
def approve(
    context: typer.Context,
    tenant: Tenant,
    version: Version,
    adapter: Adapter = DEFAULT_ADAPTER,
    hold: Hold = False,
) -> None:
    """Let an imported version go live."""
    path = f"tenants/{tenant}/adapters/{adapter}/versions/{version}/approve"
    of(context).output.record(of(context).admin().post(path, {"hold": hold}))


@adapters.command("reject")
def reject(
    context: typer.Context,
    tenant: Tenant,
    version: Version,
    adapter: Adapter = DEFAULT_ADAPTER,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
) -> None:
    """See to it that an imported version never goes live."""
    path = f"tenants/{tenant}/adapters/{adapter}/versions/{version}/reject"
    of(context).output.record(of(context).admin().post(path, {"reason": reason}))


@adapters.command("drift")
def drift(
    context: typer.Context, tenant: Tenant, version: Version, adapter: Adapter = DEFAULT_ADAPTER
) -> None:
    """How far a version moves the base model's weights: ‖ΔW‖ / ‖W‖."""
    session = of(context)
    found = session.admin().get(f"tenants/{tenant}/adapters/{adapter}/versions/{version}/drift")
    _measured(session, found, "‖ΔW‖/‖W‖", "every layer")


@adapters.command("similarity")
def similarity(
    context: typer.Context,
    tenant: Tenant,
    version: Version,
    to: Annotated[
        str, typer.Argument(help="v6, or another@v2 of the tenant's; without it, what serves any tenant.")
    ] = "",
    adapter: Adapter = DEFAULT_ADAPTER,
) -> None:
    """Whether two versions change the weights in the same direction: 1 the same, 0 unrelated, -1 opposite. Without
    another one, those that serve any tenant, the most alike first."""
    session = of(context)
    path = f"tenants/{tenant}/adapters/{adapter}/versions/{version}"
    if to:
        _measured(session, session.admin().get(f"{path}/similarity", to=to), "cosine", "both together")
        return
    asked = session.admin().get(path)["id"]
    with session.output.errors.status("") as status:
        rows = []
        for row in session.admin().all("similarities", page_size=10, version=asked):
            rows.append(row)
            status.update(f"{len(rows)} compared")
    rows.sort(key=lambda row: row["total"], reverse=True)
    columns = {"tenant_id": "tenant", "version": "version", "id": "id", "total": "cosine"}
    session.output.rows(rows, columns, "No version of its base model serves.")


def _measured(session: Session, found: dict[str, Any], heading: str, whole: str) -> None:
    if session.output.json:
        session.output.document(found)
        return
    rows = [{"layer": name, "value": value} for name, value in found["modules"].items()]
    rows.append({"layer": whole, "value": found["total"]})
    session.output.rows(rows, {"layer": "layer", "value": heading}, "")


def _bar(session: Session) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=session.output.errors, transient=True, disable=session.output.json)
