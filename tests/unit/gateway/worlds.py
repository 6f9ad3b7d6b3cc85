"""Tenants, keys and snapshots for tests, written down in one place."""

from dataclasses import dataclass
from datetime import UTC, datetime

from adapters.types import AdapterRoutes, Alias
from gateway.keys import ALL_SCOPES, Key, Minted, Scope, mint
from gateway.policy import Policy
from gateway.snapshot import Snapshot, TenantView

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Member:
    """A tenant with one key."""

    view: TenantView
    key: Key
    minted: Minted

    @property
    def bearer(self) -> str:
        return f"Bearer {self.minted.secret}"


def adapter(
    tenant_id: str, name: str = "default", stable: str | None = None, **versions: str
) -> AdapterRoutes:
    """`versions`: v1="ver_…"; the highest is the candidate unless it is stable."""
    numbered = {int(number[1:]): version for number, version in versions.items()}
    newest = numbered[max(numbered)] if numbered else None
    candidate = newest if newest != stable else None
    return AdapterRoutes(
        tenant_id=tenant_id,
        name=name,
        aliases={Alias.STABLE: stable, Alias.CANDIDATE: candidate},
        versions=numbered,
        numbers={version: number for number, version in numbered.items()},
    )


def tenant(
    name: str, *adapters: AdapterRoutes, policy: Policy | None = None, learned: dict | None = None
) -> TenantView:
    routes = adapters or (adapter(f"ten_{name}"),)
    return TenantView(
        id=f"ten_{name}",
        external_id=name,
        policy=policy or Policy(),
        created_at=NOW,
        cache_salt=f"salt-{name}",
        adapters={route.name: route for route in routes},
        learned=learned or {},
    )


def member(
    view: TenantView, scopes: frozenset[Scope] = ALL_SCOPES, expires_at: datetime | None = None
) -> Member:
    minted = mint()
    key = Key(f"key_{view.external_id}", view.id, minted.public_id, minted.digest, scopes, expires_at)
    return Member(view, key, minted)


def platform_key() -> tuple[Key, str]:
    minted = mint()
    return Key("key_platform", None, minted.public_id, minted.digest, ALL_SCOPES), f"Bearer {minted.secret}"


def snapshot(*members: Member, keys: tuple[Key, ...] = ()) -> Snapshot:
    known = [*(each.key for each in members), *keys]
    return Snapshot(
        position=1,
        tenants={each.view.id: each.view for each in members},
        keys={key.public_id: key for key in known},
    )
