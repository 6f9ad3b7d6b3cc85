"""`graft up`: everything on this machine, until Ctrl-C."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from gateway import launch
from gateway.cli.output import CommandError, Output
from gateway.cli.session import of
from gateway.launch_errors import LaunchError
from gateway.supervisor import Event

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(help="The gateway's port.")] = None,
    admin_port: Annotated[int | None, typer.Option(help="The admin API's port.")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway processes.", min=1)] = None,
) -> None:
    """Start everything and stay up; Ctrl-C ends all of it."""
    session = of(context)
    overrides = {"data_dir": session.data_dir, "port": port, "admin_port": admin_port, "workers": workers}
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        asyncio.run(_up(session.output, given))
    except LaunchError as error:
        raise CommandError(error.message, fix=error.fix) from error


async def _up(output: Output, overrides: dict[str, Any]) -> None:
    settings = launch.read_settings(launch.environment(), overrides)
    with interrupted():
        output.line(f"Starting in [bold]{escape(str(settings.gateway.data_dir))}[/] …")
        with contextlib.suppress(asyncio.CancelledError):
            async with launch.running(settings, lambda event: show(output, event)) as system:
                welcome(output, system)
                await asyncio.Event().wait()
        output.line("Everything has ended.")


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """Cancels the current task on the first SIGINT, SIGTERM or SIGHUP; later ones do not disturb the
    ending."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    received: list[int] = []

    def cancel(number: int) -> None:
        if task is not None and not received:
            task.cancel()
        received.append(number)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, cancel, number)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def show(output: Output, event: Event) -> None:
    """One line per thing that happens to a process."""
    name = f"[bold]{event.process:<10}[/]"
    if event.kind == "ready":
        output.line(f"  [green]●[/] {name} ready in {event.seconds:5.1f} s   [dim]process {event.pid}[/]")
    elif event.kind == "died":
        output.line(f"  [red]●[/] {name} ended after {event.seconds:.1f} s: {escape(event.detail)}")
    else:
        output.line(f"  [yellow]●[/] {name} starts again in {event.seconds:.1f} s")


def welcome(output: Output, system: launch.System) -> None:
    """Where everything is and which keys open it."""
    plan = system.plan
    urls = {
        "gateway": f"{plan.gateway_url}/v1",
        "admin API": f"{plan.admin_url}/admin/v1",
        "admin key": plan.admin_key,
        "platform key": plan.platform_key,
        "logs": str(plan.logs),
    }
    output.line("")
    output.record({**urls, "pid": os.getpid()} if output.json else urls)
    output.line("\nA first tenant and its key: [bold]graft tenants create acme[/] · Ctrl-C ends everything.")
