"""`graft apply -f tenants.yaml`: tenants, policies, keys and adapters as one document says. Nothing is removed.

tenants:
  acme:
    name: Acme Ltd
    policy: {logging: metadata, learning: {triggers: {count: 12}}}
    keys: {server: [chat, feedback, correct], browser: [feedback]}
    adapters: [support]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.cli.client import Api
from gateway.cli.output import CommandError, Exit
from gateway.cli.session import of
from gateway.keys import Scope
from gateway.policy import Policy


class Declared(BaseModel):
    """One tenant. Fields that are left out stay as they are; a policy is whole, its gaps are defaults."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    policy: Policy | None = None
    keys: dict[str, list[Scope] | None] = Field(default_factory=dict)
    """By label. A key with a label that the tenant's live keys lack is made."""
    adapters: list[str] = Field(default_factory=list)


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tenants: dict[str, Declared]


@dataclass(frozen=True)
class Change:
    """One line of the diff, and the call that makes it true."""

    tenant: str
    what: str
    call: Callable[[], Any]


def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
) -> None:
    """Make tenants, policies, keys and adapters what a file says. A second time changes nothing."""
    session = of(context)
    document = read(file)
    admin = session.admin()
    rows = []
    for change in changes(admin, document):
        made = None if dry_run else change.call()
        secret = made.get("secret") if isinstance(made, dict) else None
        rows.append({"tenant": change.tenant, "change": change.what, "key": secret})
    columns = {
        "tenant": "tenant",
        "change": "would change" if dry_run else "changed",
        "key": "key, shown once",
    }
    session.output.rows(rows, columns, "Everything is as the file says.")


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


def _inside(admin: Api, name: str, declared: Declared, *, exists: bool) -> Iterator[Change]:
    path = f"tenants/{name}"
    if declared.policy is not None:
        now = admin.get(f"{path}/policy")["policy"] if exists else Policy().model_dump(mode="json")
        wanted = declared.policy.model_dump(mode="json")
        lines = list(differences(now, wanted))
        if lines:
            yield Change(name, "; ".join(lines), partial(admin.put, f"{path}/policy", wanted))
    live = [key for key in admin.get(f"{path}/keys")["data"] if not key["revoked_at"]] if exists else []
    for label, scopes in declared.keys.items():
        if label not in {key["name"] for key in live}:
            body: dict[str, Any] = {"name": label, **({"scopes": scopes} if scopes else {})}
            yield Change(name, f"new key {label!r}", partial(admin.post, f"{path}/keys", body))
    known = {each["name"] for each in admin.get(f"{path}/adapters")["data"]} if exists else {"default"}
    for adapter in declared.adapters:
        if adapter not in known:
            yield Change(
                name, f"new adapter {adapter!r}", partial(admin.post, f"{path}/adapters", {"name": adapter})
            )


def differences(now: Any, wanted: Any, at: str = "") -> Iterator[str]:
    """`learning.triggers.count 36 -> 12`, one for each leaf that differs."""
    if isinstance(now, dict) and isinstance(wanted, dict):
        for name in sorted(now.keys() | wanted.keys()):
            yield from differences(now.get(name), wanted.get(name), f"{at}.{name}" if at else name)
    elif now != wanted:
        yield f"{at} {now!r} -> {wanted!r}"
