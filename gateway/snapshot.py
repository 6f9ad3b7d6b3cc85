"""What a gateway worker knows: tenants, keys, routes, learned corrections. Immutable; a change makes a new
one.

A request reads one snapshot, the newest when its body is there, so it never sees half of a change, and nothing on
its path waits on SQL.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from adapters.types import BASE_NAME, DEFAULT_ADAPTER, AdapterRoutes
from gateway.hints import Hint
from gateway.keys import Key
from gateway.policy import Policy

PLATFORM = ""
"""Stands for the platform where a tenant's id is expected: a change row of this name reloads platform
keys."""


@dataclass(frozen=True)
class TenantView:
    """One tenant as the data plane sees it."""

    id: str
    external_id: str
    policy: Policy
    created_at: datetime
    cache_salt: str
    """Keeps the tenant's prefix cache in the engine apart from everybody else's."""
    adapters: Mapping[str, AdapterRoutes] = field(default_factory=dict)
    learned: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Version id to the corrections that it answers without memory."""

    @cached_property
    def bases(self) -> Mapping[str, str]:
        """Base models that it may ask by name, the first one and those of its adapters, each with the adapter whose
        record such requests belong to."""
        found = {self.adapters[name].base: name for name in sorted(self.adapters, reverse=True)}
        return {base: name for base, name in found.items() if base} | {BASE_NAME: DEFAULT_ADAPTER}


@dataclass(frozen=True)
class Snapshot:
    """`position`: the newest row of the change log that is in it."""

    position: int = 0
    tenants: Mapping[str, TenantView] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    """By public id; revoked keys are not here."""

    def tenant_named(self, name: str) -> TenantView | None:
        """By our id, or by the owner's own external id."""
        return self.tenants.get(name) or self._by_external_id.get(name)

    @cached_property
    def _by_external_id(self) -> Mapping[str, TenantView]:
        return {view.external_id: view for view in self.tenants.values()}

    @cached_property
    def _keys_of(self) -> Mapping[str, Set[str]]:
        """Tenant id (or PLATFORM) to its keys' public ids."""
        found: dict[str, set[str]] = {}
        for public_id, key in self.keys.items():
            found.setdefault(key.tenant_id or PLATFORM, set()).add(public_id)
        return found

    def serves(self, tenant_id: str, label: str) -> bool:
        """Whether the tenant is served by the base model, or by this version through an alias."""
        view = self.tenants.get(tenant_id)
        name, at, number = label.partition("@v")
        adapter = view.adapters.get(name) if view and at else None
        if adapter is None:
            return view is not None and not at
        return adapter.versions.get(int(number)) in set(adapter.aliases.values()) - {None}

    def with_changes(
        self, position: int, changed: Iterable[str], tenants: Iterable[TenantView], keys: Iterable[Key]
    ) -> "Snapshot":
        """`changed` names the tenants (and perhaps PLATFORM) that `tenants` and `keys` now hold the whole
        truth about: one of them that is not in `tenants` is gone, and so are its keys.

        What did not change is copied as it is, one pointer each; only what changed is looked at.
        """
        views, known = dict(self.tenants), dict(self.keys)
        by_external_id, keys_of = dict(self._by_external_id), dict(self._keys_of)
        for name in changed:
            gone = views.pop(name, None)
            if gone is not None:
                by_external_id.pop(gone.external_id, None)
            for public_id in keys_of.pop(name, ()):
                del known[public_id]
        for view in tenants:
            views[view.id] = by_external_id[view.external_id] = view
        for key in keys:
            known[key.public_id] = key
            owner = key.tenant_id or PLATFORM
            keys_of[owner] = {*keys_of.get(owner, ()), key.public_id}
        fresh = replace(self, position=position, tenants=views, keys=known)
        vars(fresh).update(_by_external_id=by_external_id, _keys_of=keys_of)
        return fresh

    def with_hint(self, hint: Hint) -> "Snapshot":
        """With one alias moved, at the same position, because the record was not read; itself when the version is none
        that it knows of this tenant's adapter."""
        view = self.tenants.get(hint.tenant_id)
        routes = view.adapters.get(hint.adapter) if view else None
        if view is None or routes is None or hint.version_id not in {None, *routes.numbers}:
            return self
        moved = replace(routes, aliases={**routes.aliases, hint.alias: hint.version_id})
        seen = replace(view, adapters={**view.adapters, hint.adapter: moved})
        return self.with_changes(self.position, (), [seen], ())


class CurrentSnapshot:
    """The one reference that changes."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.value = snapshot or Snapshot()
