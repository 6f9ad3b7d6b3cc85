"""`graft chat`, `graft feedback`, `graft ingest`: what a tenant does, from the command line.

They act for a tenant with the operator's platform key, or with the tenant's own key (--key).
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from gateway.cli.client import Api
from gateway.cli.output import CommandError
from gateway.cli.session import Session, of
from training.types import question_of

feedback = typer.Typer(help="Corrections and ratings.", no_args_is_help=True)

Tenant = Annotated[str, typer.Argument(help="Id or external id.")]
Key = Annotated[str, typer.Option("--key", help="The tenant's own key instead of the operator's.")]
INGEST_SECONDS = 300.0
POLL_SECONDS = 0.2
SHOWN_HEADERS = ("x-graft-version", "x-graft-memory", "x-graft-passages")


def chat(
    context: typer.Context,
    tenant: Tenant,
    message: Annotated[str | None, typer.Argument(help="One question; without it, a conversation.")] = None,
    model: Annotated[str, typer.Option(help="default, default@v7, base, …")] = "default",
    memory: Annotated[bool, typer.Option(help="Use memory.")] = True,
    key: Key = "",
) -> None:
    """Ask a tenant's model. In a conversation, an empty line ends it."""
    session = of(context)
    api = session.data(tenant, key)
    headers = {} if memory else {"x-memory": "off"}
    if message is not None:
        _one(session, api, model, message, headers)
        return
    conversation: list[dict[str, str]] = []
    while question := session.output.console.input("[bold]you[/] ").strip():
        conversation.append({"role": "user", "content": question})
        answer = _streamed(session, api, {"model": model, "messages": conversation, "stream": True}, headers)
        conversation.append({"role": "assistant", "content": answer})


def _one(session: Session, api: Api, model: str, message: str, headers: dict[str, str]) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": message}]}
    response = api.call("POST", "chat/completions", json=body, headers=headers)
    document = response.json()
    if session.output.json:
        graft = {name: value for name, value in response.headers.items() if name.startswith("x-graft-")}
        session.output.document({**document, "graft": graft})
        return
    session.output.line(escape(document["choices"][0]["message"]["content"] or ""))
    used = [f"{name.removeprefix('x-graft-')} {response.headers.get(name) or '–'}" for name in SHOWN_HEADERS]
    session.output.line(f"[dim]{document['id']} · {' · '.join(used)}[/]")


def _streamed(session: Session, api: Api, body: dict[str, Any], headers: dict[str, str]) -> str:
    """Prints the answer as it comes, and returns it."""
    parts: list[str] = []
    for line in api.stream("POST", "chat/completions", json=body, headers=headers):
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise CommandError(str(event["error"]["message"]))
        for choice in event.get("choices", ()):
            text = choice["delta"].get("content") or ""
            parts.append(text)
            session.output.console.print(text, end="", markup=False)
    session.output.console.print()
    return "".join(parts)


@feedback.command("post")
def post(
    context: typer.Context,
    tenant: Tenant,
    correction: Annotated[str | None, typer.Option(help="The right answer.")] = None,
    question: Annotated[str | None, typer.Option(help="What was asked, if no response is named.")] = None,
    response: Annotated[str | None, typer.Option(help="Id of the response (chatcmpl-…).")] = None,
    rating: Annotated[int | None, typer.Option(min=-1, max=1)] = None,
    comment: Annotated[str | None, typer.Option()] = None,
    key: Key = "",
) -> None:
    """Correct or rate an answer: graft feedback post acme --question "…" --correction "…"."""
    session = of(context)
    asked = None if question is None else [{"role": "user", "content": question}]
    fields = {
        "correction": correction,
        "messages": asked,
        "response_id": response,
        "rating": rating,
        "comment": comment,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    session.output.record(session.data(tenant, key).post("feedback", body))


@feedback.command("list")
def list_feedback(
    context: typer.Context,
    tenant: Tenant,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    key: Key = "",
) -> None:
    """Newest first."""
    session = of(context)
    page = session.data(tenant, key).get("feedback", limit=limit)
    columns = {
        "id": "id",
        "status": "status",
        "question": "question",
        "correction": "correction",
        "rating": "rating",
    }
    rows = [{**each, "question": question_of(each["messages"])} for each in page["data"]]
    session.output.rows(rows, columns, "There is no feedback yet.")


@feedback.command("show")
def show_feedback(context: typer.Context, tenant: Tenant, feedback_id: str, key: Key = "") -> None:
    """One entry, whole."""
    session = of(context)
    session.output.record(session.data(tenant, key).get(f"feedback/{feedback_id}"))


@feedback.command("withdraw")
def withdraw(context: typer.Context, tenant: Tenant, feedback_id: str, key: Key = "") -> None:
    """Take a correction out of memory, and of everything trained from now on."""
    session = of(context)
    session.output.record(session.data(tenant, key).delete(f"feedback/{feedback_id}"))


def ingest(
    context: typer.Context,
    tenant: Tenant,
    files: Annotated[list[Path], typer.Argument(help="Text or Markdown.", exists=True, dir_okay=False)],
    key: Key = "",
) -> None:
    """Give a tenant documents to answer from; returns once they can be found."""
    session = of(context)
    api = session.data(tenant, key)
    rows = [_upload(api, path) for path in files]
    columns = {"filename": "file", "id": "id", "bytes": "bytes", "status": "status"}
    session.output.rows(rows, columns, "")


def _upload(api: Api, path: Path) -> dict[str, Any]:
    """Into the tenant's default vector store, where an upload for `assistants` goes by itself."""
    with path.open("rb") as content:
        made = api.call(
            "POST", "files", files={"file": (path.name, content)}, data={"purpose": "assistants"}
        ).json()
    deadline = time.monotonic() + INGEST_SECONDS
    while made.get("status") not in ("processed", "error") and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        made = api.get(f"files/{made['id']}")
    if made.get("status") != "processed":
        raise CommandError(
            f"{path.name} was not taken in: {made.get('status_details') or made.get('status')}."
        )
    return dict(made)
