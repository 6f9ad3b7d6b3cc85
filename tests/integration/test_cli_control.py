"""`graft apply` against the real admin API."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from gateway.cli.output import Exit
from gateway.keys import Scope
from tests.integration.control_house import Graft, System, refused

FILE = """
tenants:
  acme:
    name: Acme Ltd
    policy: {learning: {triggers: {count: 12}}}
    keys: {server: [chat, feedback], tokens: [feedback]}
    adapters: [support, {name: french, base: base}]
"""


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.yaml"
    path.write_text(FILE)
    return path


def written(file: Path, acme: str) -> str:
    file.write_text(f"tenants: {{acme: {{{acme}}}}}")
    return str(file)


def changed(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.exception
    return [row["change"] for row in json.loads(result.output)]


async def test_a_file_is_applied_once(system: System, graft: Graft, file: Path) -> None:
    first = await graft("--json", "apply", "-f", str(file))
    assert changed(first) == [
        "new tenant",
        "learning.triggers.count 36 -> 12",
        "new key 'server'",
        "new key 'tokens'",
        "new adapter 'support'",
        "new adapter 'french' of 'base'",
    ]
    secrets = [row["key"] for row in json.loads(first.output) if row["key"]]
    tenant = await system.call("GET", "tenants/acme")
    keys = (await system.call("GET", "tenants/acme/keys"))["data"]
    adapters = (await system.call("GET", "tenants/acme/adapters"))["data"]
    policy = (await system.call("GET", "tenants/acme/policy"))["policy"]
    assert tenant["name"] == "Acme Ltd" and policy["learning"]["triggers"]["count"] == 12
    assert {key["name"]: key["scopes"] for key in keys} == {
        "server": ["chat", "feedback"],
        "tokens": ["feedback"],
    }
    assert len(secrets) == 2 and all(secret.startswith("gk-") for secret in secrets)
    assert {each["name"] for each in adapters} == {"default", "support", "french"}
    again = await graft("apply", "-f", str(file))
    assert (again.exit_code, again.output.strip()) == (0, "Everything is as the file says.")


async def test_a_dry_run_says_the_same_and_changes_nothing(system: System, graft: Graft, file: Path) -> None:
    looked = changed(await graft("--json", "apply", "--dry-run", "-f", str(file)))
    assert (await system.call("GET", "tenants"))["data"] == []
    assert looked == changed(await graft("--json", "apply", "-f", str(file)))
    assert changed(await graft("--json", "apply", "--dry-run", "-f", str(file))) == []


async def live_keys(system: System, tenant: str) -> set[str]:
    keys = (await system.call("GET", f"tenants/{tenant}/keys"))["data"]
    return {key["name"] for key in keys if not key["revoked_at"]}


async def test_keys_that_the_file_leaves_out_are_revoked_only_when_asked_and_can_be_seen_before(
    system: System, graft: Graft, file: Path
) -> None:
    for tenant in ("acme", "globex"):
        await system.tenant(tenant)
        await system.call("POST", f"tenants/{tenant}/keys", {"name": "old", "scopes": ["chat"]}, 201)
    assert not [each for each in changed(await graft("--json", "apply", "-f", str(file))) if "old" in each]
    looked = await graft("apply", "--revoke-keys", "--dry-run", "-f", str(file))
    assert "revoke key 'old'" in looked.output and "does not name: globex." in looked.output
    assert await live_keys(system, "acme") == {"old", "server", "tokens"}
    (revoked,) = changed(await graft("--json", "apply", "--revoke-keys", "-f", str(file)))
    assert revoked.startswith("revoke key 'old' (key_")
    assert await live_keys(system, "acme") == {"server", "tokens"}
    assert await live_keys(system, "globex") == {"old"}
    assert changed(await graft("--json", "apply", "--revoke-keys", "-f", str(file))) == []


@pytest.mark.parametrize(
    ("text", "left"), [("name: Acme", {"old"}), ("keys: {}", set()), ("keys: {new: [chat]}", {"new"})]
)
async def test_revoking_keeps_the_keys_of_a_tenant_whose_keys_the_file_does_not_give(
    system: System, graft: Graft, file: Path, text: str, left: set[str]
) -> None:
    await system.tenant()
    await system.call("POST", "tenants/acme/keys", {"name": "old", "scopes": ["chat"]}, 201)
    await graft("apply", "--revoke-keys", "-f", written(file, text))
    assert await live_keys(system, "acme") == left


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
async def test_a_key_of_other_scopes_is_named_and_nothing_is_changed(
    system: System, graft: Graft, file: Path, dry: tuple[str, ...]
) -> None:
    await system.tenant()
    key = await system.call("POST", "tenants/acme/keys", {"name": "server", "scopes": ["chat"]}, 201)
    error = refused(await graft("apply", *dry, "-f", str(file)))
    assert error.code is Exit.FAILED
    assert f"key 'server' ({key['id']}) chat -> chat, feedback" in error.message
    assert f"graft keys revoke acme {key['id']}" in error.message
    assert (await system.call("GET", "tenants/acme"))["name"] == "acme"
    assert len((await system.call("GET", "tenants/acme/keys"))["data"]) == 1


async def test_a_platform_key_is_rotated_and_revoked(system: System, graft: Graft) -> None:
    made = json.loads((await graft("--json", "keys", "create", "platform")).output)
    rotated = await graft("--json", "keys", "rotate", "platform", made["id"], "--grace", "0")
    successor = json.loads(rotated.output)
    assert successor["id"] != made["id"] and successor["secret"].startswith("gk-")
    await graft("keys", "revoke", "platform", successor["id"])
    listed = {each["id"]: each for each in (await system.call("GET", "keys"))["data"]}
    assert listed[made["id"]]["expires_at"] and listed[successor["id"]]["revoked_at"]


async def test_a_key_that_was_revoked_or_has_expired_is_made_anew(
    system: System, graft: Graft, file: Path
) -> None:
    tenant = await system.tenant()
    gone = await system.call("POST", "tenants/acme/keys", {"name": "server", "scopes": ["chat"]}, 201)
    await system.call("DELETE", f"tenants/acme/keys/{gone['id']}")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await system.control.tenants.create_key(tenant["id"], "tokens", [Scope.FEEDBACK], "test", past)
    made = changed(await graft("--json", "apply", "-f", str(file)))
    assert [each for each in made if "key" in each] == ["new key 'server'", "new key 'tokens'"]


async def test_an_adapter_does_not_change_its_base_model(system: System, graft: Graft, file: Path) -> None:
    await system.tenant()
    error = refused(await graft("apply", "-f", written(file, "adapters: [{name: default, base: large}]")))
    assert "adapter 'default' base 'base' -> 'large'" in error.message


async def test_a_base_model_that_is_not_served_is_refused_and_made_keys_are_shown(
    system: System, graft: Graft, file: Path
) -> None:
    text = "keys: {server: [chat]}, adapters: [{name: a, base: large}]"
    result = await graft("--json", "apply", "-f", written(file, text))
    assert "large" in refused(result).message
    assert [bool(row["key"]) for row in json.loads(result.output)] == [False, True]


async def test_a_policy_that_somebody_changes_meanwhile_is_not_overwritten(
    system: System, graft: Graft, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.tenant()
    policy = "tenants/acme/policy"
    store = type(system.control.tenants)
    read = store.keys_of

    async def meanwhile(self: Any, tenant_id: str, **page: Any) -> Any:
        """Between the moments in which the command looks and writes."""
        monkeypatch.setattr(store, "keys_of", read)
        await system.call("PATCH", policy, {"logging": "off"})
        return await read(self, tenant_id, **page)

    monkeypatch.setattr(store, "keys_of", meanwhile)
    error = refused(await graft("apply", "-f", str(file)))
    assert (error.code, error.message) == (Exit.CONFLICT, "The policy is at revision 2, not 1.")
    assert (await system.call("GET", policy))["policy"]["logging"] == "off"
