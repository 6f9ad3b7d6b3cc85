"""`graft feedback review`: corrections that wait for a person; and `graft why`: what an answer was made of."""

from typing import Annotated, Any

import typer

from gateway.cli.session import Session, of

review = typer.Typer(help="Corrections that wait for a person.", no_args_is_help=True)

Tenant = Annotated[str, typer.Argument(help="Id or external id.")]
LEARNED_COLUMNS = {"id": "id", "status": "status", "question": "question", "correction": "correction"}
COLUMNS = {"id": "id", "reasons": "why it waits", "question": "question", "correction": "correction"}


@review.command("list")
def list_reviews(
    context: typer.Context, tenant: Tenant, limit: Annotated[int, typer.Option(min=1, max=200)] = 50
) -> None:
    """Oldest first."""
    session = of(context)
    page = session.admin().get(f"tenants/{tenant}/reviews", limit=limit)
    session.output.rows(page["data"], COLUMNS, "Nothing waits for a person.")


@review.command("accept")
def accept(context: typer.Context, tenant: Tenant, feedback_id: str) -> None:
    """Use it, in memory at once. What it contradicts is superseded."""
    _decide(of(context), tenant, feedback_id, "accept")


@review.command("edit")
def edit(
    context: typer.Context,
    tenant: Tenant,
    feedback_id: str,
    correction: Annotated[str, typer.Option(help="The right answer.")],
) -> None:
    """Use another text instead."""
    _decide(of(context), tenant, feedback_id, "edit", {"correction": correction})


@review.command("reject")
def reject(context: typer.Context, tenant: Tenant, feedback_id: str) -> None:
    """Never use it."""
    _decide(of(context), tenant, feedback_id, "reject")


def _decide(
    session: Session, tenant: str, feedback_id: str, decision: str, body: dict[str, Any] | None = None
) -> None:
    path = f"tenants/{tenant}/reviews/{feedback_id}/{decision}"
    session.output.record(session.admin().post(path, body))


def why(
    context: typer.Context,
    response_id: Annotated[str, typer.Argument(help="Id of the response (chatcmpl-…).")],
    tenant: Annotated[str, typer.Option(help="Ask as this tenant instead of as the operator.")] = "",
    key: Annotated[str, typer.Option("--key", help="The tenant's own key.")] = "",
) -> None:
    """Why this answer: version, memory, passages, corrections and the run behind the version, timings."""
    session = of(context)
    api = session.data(tenant, key) if tenant or key else session.admin()
    found = api.get(f"responses/{response_id}/explain")
    if session.output.json:
        session.output.document(found)
        return
    learned = found["version"]["learned"]
    session.output.record({**found, "version": {**found["version"], "learned": learned["count"]}})
    if learned["newest"]:
        session.output.line(
            f"\nLearned by the version, the newest {len(learned['newest'])} of {learned['count']}:"
        )
        session.output.rows(learned["newest"], LEARNED_COLUMNS, "")
