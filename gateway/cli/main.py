"""The root command: what it is made of and how it ends."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import (
    adapters,
    apply,
    demo,
    replicas,
    reviews,
    rollouts,
    runs,
    status,
    tenancy,
    tenants,
    up,
    upkeep,
)
from gateway.cli.output import CommandError, Output
from gateway.cli.session import Session

VALUED = frozenset({"--data-dir", "--admin-url", "--gateway-url", "--admin-key"})
"""The root's options that take a value."""

app = typer.Typer(
    help="Graft: corrections act on the next request, then become weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    context: typer.Context,
    data_dir: Annotated[Path | None, typer.Option(help="Where the system keeps its data.")] = None,
    admin_url: Annotated[str, typer.Option(help="Root of a remote admin API.")] = "",
    gateway_url: Annotated[str, typer.Option(help="Root of a remote gateway.")] = "",
    admin_key: Annotated[str, typer.Option(help="Key of a remote admin API.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Options that every command understands."""
    context.obj = Session(data_dir, admin_url.rstrip("/"), gateway_url.rstrip("/"), admin_key, Output(json))


app.command()(up.up)
app.command()(demo.demo)
app.command()(status.status)
app.command()(status.doctor)
app.command("migrate")(status.migrate_command)
app.command()(status.audit)
app.add_typer(tenants.tenants, name="tenants")
app.add_typer(tenants.keys, name="keys")
app.command()(apply.apply)
app.add_typer(upkeep.adapters, name="adapters")
app.command()(adapters.swap)
app.command()(adapters.rollback)
app.add_typer(rollouts.rollout, name="rollout")
app.add_typer(replicas.replicas, name="replicas")
app.add_typer(runs.runs, name="runs")
app.command()(runs.train)
tenancy.feedback.add_typer(reviews.review, name="review")
app.add_typer(tenancy.feedback, name="feedback")
app.command()(reviews.why)
app.command()(tenancy.ingest)
app.command()(tenancy.chat)


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The root's options moved to the front, so that they may be given anywhere before `--`."""
    front: list[str] = []
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        if argument == "--":
            rest += [argument, *pending]
        elif argument == "--json" or (argument.partition("=")[0] in VALUED and "=" in argument):
            front.append(argument)
        elif argument in VALUED:
            front += [argument, *itertools.islice(pending, 1)]
        else:
            rest.append(argument)
    return front + rest


def main() -> None:
    """Errors that we expect end in one sentence, not in a traceback."""
    try:
        app(args=hoisted(sys.argv[1:]))
    except CommandError as error:
        Output().error(error)
        sys.exit(int(error.code))


if __name__ == "__main__":
    main()
