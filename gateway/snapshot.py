"""What a gateway worker knows: tenants, keys, routes, learned corrections. Immutable; a change makes a new
one.

A request reads one snapshot from its start to its end, so it never sees half of a change, and nothing on its
path waits on SQL.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from adapters.types import AdapterRoutes
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
        truth about: one of them that is not in `tenants` is gone, and so are its keys."""
        stale = set(changed)
        kept_tenants = {name: view for name, view in self.tenants.items() if name not in stale}
        kept_keys = {name: key for name, key in self.keys.items() if (key.tenant_id or PLATFORM) not in stale}
        return replace(
            self,
            position=position,
            tenants=kept_tenants | {view.id: view for view in tenants},
            keys=kept_keys | {key.public_id: key for key in keys},
        )


class CurrentSnapshot:
    """The one reference that changes."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.value = snapshot or Snapshot()
