"""`graft apply -f tenants.yaml`: tenants, policies, keys and adapters as one document says. What is removed are keys,
and only with `--revoke-keys`.

tenants:
  acme:
    name: Acme Ltd
    policy: {logging: metadata, learning: {triggers: {count: 12}}}
    keys: {server: [chat, feedback, correct], tokens: [feedback]}
    adapters: [support, {name: french, base: small}]
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.markup import escape

from adapters.types import BASE_NAME, DEFAULT_ADAPTER
from gateway.cli.client import Api
from gateway.cli.output import CommandError, Exit, Output
from gateway.cli.session import of
from gateway.keys import Scope
from gateway.policy import Policy

FIRST_REVISION = 1
"""A new tenant's policy."""
Scopes = Annotated[list[Scope], Field(min_length=1)]


class DeclaredAdapter(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    base: str | None = None
    """Name of its base model; None: the first one for a new adapter, whichever it has for one that is there."""


class Declared(BaseModel):
    """One tenant. Fields that are left out stay as they are; a policy is whole, its gaps are defaults."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    policy: Policy | None = None
    keys: dict[str, Scopes | None] = Field(default_factory=dict)
    """By label. A key with a label that the tenant's live keys lack is made; None: with every scope."""
    adapters: list[str | DeclaredAdapter] = Field(default_factory=list)


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tenants: dict[str, Declared]


@dataclass(frozen=True)
class Change:
    """One line of the diff, and the call that makes it true; None: what is there cannot be changed."""

    tenant: str
    what: str
    call: Callable[[], Any] | None = None
    instead: str = ""
    """What a person can do where there is no call."""


def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    revoke_keys: Annotated[
        bool, typer.Option("--revoke-keys", help="Revoke keys that `keys` leaves out.")
    ] = False,
) -> None:
    """Make tenants, policies, keys and adapters what a file says. A second time changes nothing."""
    session, document = of(context), read(file)
    planned = list(changes(session.admin(), document))
    if revoke_keys:
        planned += surplus_keys(session.admin(), document)
        session.output.line(left_alone(session.admin(), document))
    possible = [change for change in planned if change.call]
    if len(possible) < len(planned):
        if dry_run and possible:
            show(session.output, [row(change) for change in possible], "would change")
        raise refusal([change for change in planned if not change.call])
    if dry_run:
        show(session.output, [row(change) for change in possible], "would change")
    else:
        carry_out(session.output, possible)


def carry_out(output: Output, planned: Sequence[Change]) -> None:
    """What was done is shown even when a later change fails: a key's secret is never shown again."""
    done: list[Mapping[str, Any]] = []
    try:
        for change in planned:
            made = change.call() if change.call else None
            done.append(row(change, made.get("secret") if isinstance(made, dict) else None))
    except CommandError:
        if done:
            show(output, done, "changed")
        raise
    show(output, done, "changed")


def row(change: Change, secret: str | None = None) -> Mapping[str, Any]:
    return {"tenant": change.tenant, "change": change.what, "key": secret}


def show(output: Output, rows: Sequence[Mapping[str, Any]], heading: str) -> None:
    columns = {"tenant": "tenant", "change": heading, "key": "key, shown once"}
    output.rows(rows, columns, "Everything is as the file says.")


def refusal(stuck: Sequence[Change]) -> CommandError:
    """Before anything is changed."""
    said = [f"{change.tenant}: {change.what}. {change.instead}" for change in stuck]
    return CommandError("\n".join(["This cannot be changed, so nothing was.", *said]))


def read(file: Path) -> Document:
    """Raises CommandError, naming what is wrong and where."""
    try:
        return Document.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise CommandError(f"{file} cannot be read: {error}", code=Exit.USAGE) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise CommandError(f"{file}: {where}: {problem['msg']}", code=Exit.USAGE) from error


def changes(admin: Api, document: Document) -> Iterator[Change]:
    """What differs, tenant by tenant, in the order in which it must be done."""
    there = {each["external_id"]: each for each in admin.all("tenants")}
    for name, declared in document.tenants.items():
        found = there.get(name)
        if found is None or declared.name not in (None, found["name"]):
            body = {"external_id": name, "name": declared.name or name}
            what = "new tenant" if found is None else f"name {found['name']!r} -> {declared.name!r}"
            yield Change(name, what, partial(admin.post, "tenants", body))
        yield from _inside(admin, name, declared, exists=found is not None)


def surplus_keys(admin: Api, document: Document) -> Iterator[Change]:
    """Live keys whose label the file leaves out, of tenants whose `keys` it gives. They go last: what takes their place
    is there before."""
    there = {each["external_id"] for each in admin.all("tenants")}
    for name, declared in document.tenants.items():
        if name not in there or "keys" not in declared.model_fields_set:
            continue
        path = f"tenants/{name}/keys"
        for key in admin.all(path):
            if _live(key) and key["name"] not in declared.keys:
                what = f"revoke key {key['name']!r} ({key['id']})"
                yield Change(name, what, partial(admin.delete, f"{path}/{key['id']}"))


def left_alone(admin: Api, document: Document) -> str:
    """What the file does not name and nobody can remove, for a person to read."""
    there = sorted({each["external_id"] for each in admin.all("tenants")} - document.tenants.keys())
    return f"Tenants and adapters stay. Tenants that the file does not name: {escape(', '.join(there)) or 'none'}."


def _inside(admin: Api, name: str, declared: Declared, *, exists: bool) -> Iterator[Change]:
    yield from _policy(admin, name, declared.policy, exists=exists)
    yield from _keys(admin, name, declared.keys, exists=exists)
    yield from _adapters(admin, name, declared.adapters, exists=exists)


def _policy(admin: Api, name: str, declared: Policy | None, *, exists: bool) -> Iterator[Change]:
    if declared is None:
        return
    path = f"tenants/{name}/policy"
    fresh: Mapping[str, Any] = {"policy": Policy().model_dump(mode="json"), "revision": FIRST_REVISION}
    now = admin.get(path) if exists else fresh
    wanted = declared.model_dump(mode="json")
    lines = list(differences(now["policy"], wanted))
    if lines:
        yield Change(name, "; ".join(lines), partial(admin.put, path, wanted, now["revision"]))


def _keys(
    admin: Api, name: str, declared: Mapping[str, Sequence[Scope] | None], *, exists: bool
) -> Iterator[Change]:
    path = f"tenants/{name}/keys"
    there = [key for key in admin.all(path) if _live(key)] if exists else []
    for label, scopes in declared.items():
        same = [key for key in there if key["name"] == label]
        if not same:
            body = {"name": label, **({"scopes": scopes} if scopes else {})}
            yield Change(name, f"new key {label!r}", partial(admin.post, path, body))
        wanted = sorted({scope.value for scope in scopes or ()})
        for key in same:
            if wanted and wanted != sorted(key["scopes"]):
                what = f"key {label!r} ({key['id']}) {', '.join(key['scopes'])} -> {', '.join(wanted)}"
                make = " ".join(
                    [f"graft keys create {name} --name {label}", *(f"--scope {each}" for each in wanted)]
                )
                instead = f"A key keeps its scopes. `{make}`, then `graft keys revoke {name} {key['id']}`."
                yield Change(name, what, instead=instead)


def _live(key: Mapping[str, Any]) -> bool:
    ends = key["expires_at"]
    return not key["revoked_at"] and (ends is None or datetime.fromisoformat(ends) > datetime.now(UTC))


def _adapters(
    admin: Api, name: str, declared: Sequence[str | DeclaredAdapter], *, exists: bool
) -> Iterator[Change]:
    path = f"tenants/{name}/adapters"
    there = {each["name"]: each["base"] for each in admin.all(path)} if exists else {}
    there = there or {DEFAULT_ADAPTER: BASE_NAME}
    for each in declared:
        adapter = DeclaredAdapter(name=each) if isinstance(each, str) else each
        if adapter.name not in there:
            of_base = f" of {adapter.base!r}" if adapter.base else ""
            call = partial(admin.post, path, adapter.model_dump(exclude_none=True))
            yield Change(name, f"new adapter {adapter.name!r}{of_base}", call)
        elif adapter.base not in (None, there[adapter.name]):
            what = f"adapter {adapter.name!r} base {there[adapter.name]!r} -> {adapter.base!r}"
            yield Change(name, what, instead="An adapter belongs to its base model for good.")


def differences(now: Any, wanted: Any, at: str = "") -> Iterator[str]:
    """`learning.triggers.count 36 -> 12`, one for each leaf that differs."""
    if isinstance(now, dict) and isinstance(wanted, dict):
        for name in sorted(now.keys() | wanted.keys()):
            yield from differences(now.get(name), wanted.get(name), f"{at}.{name}" if at else name)
    elif now != wanted:
        yield f"{at} {now!r} -> {wanted!r}"
