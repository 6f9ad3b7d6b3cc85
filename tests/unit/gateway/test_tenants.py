"""Tenants, keys and policies in the record."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit, changes
from gateway.errors import Conflict, NotFound
from gateway.keys import ALL_SCOPES, Scope, digest_of, mint
from gateway.policy import Caps, Policy
from gateway.snapshot import PLATFORM
from gateway.tables import keys
from gateway.tenants import Tenant, TenantStore
from training.tables import learning_policies

EVERYTHING = sorted(ALL_SCOPES)


@pytest.fixture
def store(database: AsyncEngine) -> TenantStore:
    return TenantStore(database)


@pytest.fixture
async def acme(store: TenantStore) -> Tenant:
    return (await store.upsert("acme", "Acme", "test"))[0]


async def test_the_same_external_id_is_the_same_tenant(store: TenantStore, acme: Tenant) -> None:
    again, created, change = await store.upsert("acme", "Acme", "test")
    assert (again, created, change) == (acme, False, 0)


async def test_a_list_of_tenants_leaves_their_policies_unread(
    store: TenantStore, database: AsyncEngine, acme: Tenant
) -> None:
    asked: list[str] = []

    def listen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(database.sync_engine, "before_cursor_execute", listen)
    assert await store.list() == [await store.get(acme.id)] == [acme]
    assert len(asked) == 2 and not any("policy" in statement for statement in asked)


async def test_an_upsert_renames(store: TenantStore, acme: Tenant) -> None:
    renamed, created, _ = await store.upsert("acme", "Acme Ltd", "test")
    assert (renamed.id, renamed.name, created) == (acme.id, "Acme Ltd", False)


async def test_an_upsert_without_a_name_keeps_the_one_that_there_is(store: TenantStore, acme: Tenant) -> None:
    assert await store.upsert("acme", None, "test") == (acme, False, 0)
    assert (await store.upsert("globex", None, "test"))[0].name == "globex"


async def test_upserts_at_once_make_one_tenant(store: TenantStore) -> None:
    made = await asyncio.gather(*(store.upsert("acme", "Acme", "test") for _ in range(8)))
    assert len({tenant.id for tenant, _, _ in made}) == 1
    assert sum(created for _, created, _ in made) == 1


async def test_a_tenant_is_found_by_either_of_its_names(store: TenantStore, acme: Tenant) -> None:
    assert await store.get("acme") == await store.get(acme.id) == acme


async def test_an_external_id_that_looks_like_another_tenants_id_does_not_take_its_place(
    store: TenantStore, acme: Tenant
) -> None:
    for name in ("Impostor", "Renamed"):
        await store.upsert(acme.id, name, "test")
        assert await store.get(acme.id) == acme


async def test_an_unknown_tenant_is_not_found(store: TenantStore) -> None:
    with pytest.raises(NotFound):
        await store.get("nobody")


async def test_tenants_come_in_pages(store: TenantStore) -> None:
    for name in ("a", "b", "c"):
        await store.upsert(name, name, "test")
    first = await store.list(limit=2)
    rest = await store.list(after=first[-1].id, limit=2)
    assert {tenant.external_id for tenant in (*first, *rest)} == {"a", "b", "c"}


async def test_times_are_in_utc(store: TenantStore, acme: Tenant) -> None:
    assert (await store.get("acme")).created_at.tzinfo is UTC


async def test_only_the_digest_of_a_key_is_stored(
    store: TenantStore, database: AsyncEngine, acme: Tenant
) -> None:
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    async with database.connect() as connection:
        row = (await connection.execute(sa.select(keys))).one()
    assert row.digest == digest_of(issued.secret)
    assert issued.secret not in str(row)


async def test_a_revoked_key_stays_listed_as_revoked(store: TenantStore, acme: Tenant) -> None:
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    await store.revoke_key(acme.id, issued.key.id, "test")
    assert (await store.keys_of(acme.id))[0].revoked_at is not None


async def test_revoking_twice_changes_nothing(store: TenantStore, acme: Tenant) -> None:
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    await store.revoke_key(acme.id, issued.key.id, "test")
    assert await store.revoke_key(acme.id, issued.key.id, "test") == 0


async def test_a_tenants_key_cannot_be_revoked_through_another_tenant(
    store: TenantStore, acme: Tenant
) -> None:
    globex = (await store.upsert("globex", "Globex", "test"))[0]
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    with pytest.raises(NotFound):
        await store.revoke_key(globex.id, issued.key.id, "test")
    with pytest.raises(NotFound):
        await store.revoke_key(None, issued.key.id, "test")


async def test_a_rotated_key_works_until_its_grace_is_over(store: TenantStore, acme: Tenant) -> None:
    issued = await store.create_key(acme.id, "first", [Scope.CHAT], "test")
    before = datetime.now(UTC)
    successor = await store.rotate_key(acme.id, issued.key.id, timedelta(hours=1), "test")
    old = next(key for key in await store.keys_of(acme.id) if key.id == issued.key.id)
    assert old.expires_at is not None and old.expires_at >= before + timedelta(hours=1)
    assert (successor.key.scopes, successor.key.expires_at) == ((Scope.CHAT,), None)


async def test_a_grace_does_not_prolong_a_key(store: TenantStore, acme: Tenant) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    issued = await store.create_key(acme.id, "first", [Scope.CHAT], "test", soon)
    successor = await store.rotate_key(acme.id, issued.key.id, timedelta(hours=1), "test")
    assert {key.expires_at for key in await store.keys_of(acme.id)} == {soon}
    assert successor.key.expires_at == soon


async def test_a_keys_limits_are_stored_and_outlive_its_rotation(store: TenantStore, acme: Tenant) -> None:
    limits = Caps(concurrency=2, tokens_per_day=1000)
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test", limits=limits)
    await store.rotate_key(acme.id, issued.key.id, timedelta(hours=1), "test")
    assert [key.limits for key in await store.keys_of(acme.id)] == [limits, limits]


async def test_rotations_at_once_make_one_successor(store: TenantStore, acme: Tenant) -> None:
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    grace = timedelta(hours=1)
    rotations = (store.rotate_key(acme.id, issued.key.id, grace, "test") for _ in range(4))
    outcomes = await asyncio.gather(*rotations, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3
    assert len(await store.keys_of(acme.id)) == 2


async def test_a_revoked_key_has_no_successor(store: TenantStore, acme: Tenant) -> None:
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    await store.revoke_key(acme.id, issued.key.id, "test")
    with pytest.raises(Conflict):
        await store.rotate_key(acme.id, issued.key.id, timedelta(hours=1), "test")


async def test_the_operators_key_is_recorded_once(store: TenantStore, database: AsyncEngine) -> None:
    secret = mint().secret
    await store.ensure_platform_key(secret)
    await store.ensure_platform_key(secret)
    assert len(await store.keys_of(None)) == 1
    async with database.connect() as connection:
        assert (await changes.since(connection, 0))[1] == {PLATFORM}


async def test_a_new_tenant_has_the_default_policy(store: TenantStore, acme: Tenant) -> None:
    stored = await store.policy(acme.id)
    assert (stored.policy, stored.revision) == (Policy(), 1)


async def test_a_policy_reaches_the_learner_in_the_same_write(
    store: TenantStore, database: AsyncEngine, acme: Tenant
) -> None:
    policy = Policy.model_validate(
        {"learning": {"triggers": {"count": 7}, "approval": "manual"}, "screening": {"pii": "redact"}}
    )
    await store.put_policy(acme.id, policy, "test")
    async with database.connect() as connection:
        document = (await connection.execute(sa.select(learning_policies.c.document))).scalar_one()
    assert (document["triggers"]["count"], document["approval"]) == (7, "manual")
    assert document["screening"]["pii"] == "redact"


async def test_a_policy_made_from_an_old_revision_is_refused(store: TenantStore, acme: Tenant) -> None:
    await store.put_policy(acme.id, Policy(), "one", expected_revision=1)
    with pytest.raises(Conflict, match="revision 2"):
        await store.put_policy(acme.id, Policy(), "two", expected_revision=1)


async def test_every_write_is_in_the_audit_log(
    store: TenantStore, database: AsyncEngine, acme: Tenant
) -> None:
    issued = await store.create_key(acme.id, "first", EVERYTHING, "alice")
    await store.revoke_key(acme.id, issued.key.id, "bob")
    await store.put_policy(acme.id, Policy(), "carol")
    acts = [entry.act for entry in await audit.entries(database, tenant_id=acme.id)]
    assert [(act.actor, act.action) for act in reversed(acts)] == [
        ("test", "tenant.created"),
        ("alice", "key.created"),
        ("bob", "key.revoked"),
        ("carol", "policy.changed"),
    ]


async def test_every_write_is_in_the_change_log(
    store: TenantStore, database: AsyncEngine, acme: Tenant
) -> None:
    async with database.connect() as connection:
        start = await changes.latest(connection)
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    assert issued.change == start + 1
    assert await store.revoke_key(acme.id, issued.key.id, "test") == start + 2
    assert (await store.put_policy(acme.id, Policy(), "test"))[1] == start + 3


async def test_no_secret_is_in_the_audit_log(store: TenantStore, database: AsyncEngine, acme: Tenant) -> None:
    issued = await store.create_key(acme.id, "first", EVERYTHING, "test")
    assert issued.secret not in str(await audit.entries(database))


async def test_the_audit_log_comes_in_pages_newest_first(database: AsyncEngine, store: TenantStore) -> None:
    for name in ("a", "b", "c"):
        await store.upsert(name, name, "test")
    first = await audit.entries(database, limit=2)
    rest = await audit.entries(database, after=first[-1].id, limit=2)
    assert [entry.id for entry in (*first, *rest)] == [3, 2, 1]
