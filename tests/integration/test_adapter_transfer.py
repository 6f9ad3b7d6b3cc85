"""Adapters in and out through the admin API: a real record, a real artifact store, real files."""

import asyncio
import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from adapters.peft_config import CONFIG
from adapters.types import Alias, Artifact, Lineage, VersionStatus
from adapters.validation import WEIGHTS
from gateway.cli.main import app as cli
from tests.integration.control_house import ADMIN_KEY
from tests.integration.gateway_house import listening
from tests.integration.transfer_house import FIRST, SECOND, House, tar


async def test_an_imported_version_is_registered_with_its_lineage_and_audited(home: House) -> None:
    version = await home.send(tar(home.files()))
    assert (version["label"], version["status"]) == ("default@v1", "registered")
    lineage = version["lineage"]
    assert (lineage["source"], lineage["actor"], lineage["base_digest"]) == (
        "upload",
        "admin:admin",
        home.base.digest,
    )
    assert await home.control.store.exists(version["artifact_digest"])
    newest = (await home.admin.get("/admin/v1/audit?tenant_id=acme")).json()["data"][0]
    assert (newest["action"], newest["actor"]) == ("version.imported", "admin:admin")


async def test_importing_the_same_artifact_again_is_the_same_version(home: House) -> None:
    first = await home.send(tar(home.files()))
    assert (await home.send(tar(home.files() | {"README.md": b"hello"}), 200))["id"] == first["id"]
    assert (await home.send(tar(home.files(2))))["label"] == "default@v2"


async def test_files_that_retention_deletes_before_they_are_registered_are_stored_again(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, put = home.control.store, home.control.store.put
    swept = asyncio.Event()

    async def put_and_swept(directory: Path) -> Artifact:
        artifact = await put(directory)
        if not swept.is_set():
            await store.delete(artifact.digest)
            swept.set()
        return artifact

    monkeypatch.setattr(store, "put", put_and_swept)
    version = await home.send(tar(home.files()))
    assert swept.is_set() and await store.exists(version["artifact_digest"])


async def test_an_export_imports_as_the_same_artifact(home: House) -> None:
    version = await home.send(tar(home.files()))
    path = "/admin/v1/tenants/acme/adapters/default/versions/v1/artifact"
    exported = await home.admin.get(path)
    assert exported.headers["x-graft-digest"] == version["artifact_digest"]
    assert exported.content == (await home.admin.get(path)).content
    with tarfile.open(fileobj=io.BytesIO(exported.content)) as archive:
        assert sorted(archive.getnames()) == [CONFIG, WEIGHTS, "lineage.json"]
        told = archive.extractfile("lineage.json")
        assert told is not None and json.load(told)["base_digest"] == home.base.digest
    await home.admin.post("/admin/v1/tenants/acme/adapters", json={"name": "support"})
    again = await home.admin.post(
        "/admin/v1/tenants/acme/adapters/support/versions",
        content=exported.content,
        headers={"x-graft-digest": version["artifact_digest"]},
    )
    assert (again.status_code, again.json()["artifact_digest"]) == (201, version["artifact_digest"])


async def test_an_export_tells_what_the_gate_decided_and_nothing_that_it_asked(home: House) -> None:
    first = await home.send(tar(home.files()))
    runs, registry = home.control.runs, home.control.registry
    run = await runs.create(first["tenant_id"], "default", "manual")
    await runs.claim("learner")
    check = {"name": "base probes", "verdict": "pass", "says": "none of 300 broke", "numbers": {"broken": 0}}
    report = {"verdict": "pass", "checks": [check], "learned": [], "cases": [{"question": "a secret"}]}
    report["production"] = first["id"]
    await runs.update(run.id, "learner", report=report)
    lineage = Lineage(home.base.digest, run_id=run.id)
    place = (first["tenant_id"], "default")
    await registry.register(*place, first["artifact_digest"], lineage, {})
    decided = {"verdict": "pass", "checks": [check], "production": first["id"]}
    assert (await home.call("GET", "/versions/v2"))["gate"] == decided
    assert (await home.call("GET", "/versions/v1"))["gate"] is None
    exported = await home.admin.get("/admin/v1/tenants/acme/adapters/default/versions/v2/artifact")
    with tarfile.open(fileobj=io.BytesIO(exported.content)) as archive:
        told = archive.extractfile("lineage.json")
        assert told is not None
        lines = told.read()
    assert json.loads(lines)["gate"] == decided
    assert b"secret" not in lines


@pytest.mark.parametrize("gate", [{}, {"gate": None}, {"gate": {"verdict": "pass", "checks": []}}])
async def test_exports_import_whether_or_not_they_tell_of_a_gate(home: House, gate: dict[str, Any]) -> None:
    told = {"base_digest": home.base.digest, "recipe": {"rank": 4}, **gate}
    version = await home.send(tar(home.files() | {"lineage.json": json.dumps(told).encode()}))
    assert version["lineage"]["recipe"] == {"rank": 4}
    assert (await home.call("GET", "/versions/v1"))["gate"] is None


async def test_what_a_file_says_of_its_past_is_kept_as_a_claim_and_believed_nowhere(home: House) -> None:
    past = {
        "version": "support@v7",
        "version_id": "ver_elsewhere",
        "parent_id": "ver_parent",
        "run_id": "run_elsewhere",
        "gate": {"verdict": "pass", "checks": []},
    }
    told = {"base_digest": home.base.digest, "status": "stable", "learned": ["cor_1"], **past}
    await home.send(tar(home.files() | {"lineage.json": json.dumps(told).encode()}))
    version = await home.call("GET", "/versions/v1")
    assert version["claimed"] == past
    assert "claimed" not in version["metrics"]
    assert (version["gate"], version["status"], version["learned"]) == (None, "registered", [])
    assert (version["lineage"]["parent_id"], version["lineage"]["run_id"]) == (None, None)
    await home.send(tar(home.files(2)))
    assert (await home.call("GET", "/versions/v2"))["claimed"] is None


async def test_only_an_approved_version_leaves_registered_and_a_rejected_one_stays(home: House) -> None:
    await home.send(tar(home.files()))
    assert (await home.call("POST", "/versions/v1/approve"))["status"] == "approved"
    assert (await home.call("POST", "/versions/v1/reject", json={}))["status"] == "rejected"
    await home.call("POST", "/versions/v1/approve", 409)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"headers": {"if-match": '"7"'}}, 409),
        ({"json": {"version": "v1", "revision": 7}}, 409),
        ({"headers": {"if-match": "new"}}, 400),
    ],
)
async def test_a_swap_from_a_revision_that_is_gone_is_refused(
    home: House, more: dict[str, Any], status: int
) -> None:
    await home.send(tar(home.files()))
    await home.call("POST", "/versions/v1/approve")
    await home.call("PUT", "/aliases/stable", status, **{"json": {"version": "v1"}, **more})


async def test_what_answered_at_a_moment_is_one_query(home: House) -> None:
    version = await home.send(tar(home.files()))
    await home.call("POST", "/versions/v1/approve")
    before = datetime.now(UTC)
    await home.control.registry.move_alias(
        version["tenant_id"],
        "default",
        Alias.STABLE,
        version["id"],
        "ada",
    )
    after = datetime.now(UTC)
    path = "/aliases/stable/history"
    assert (await home.call("GET", path, params={"at": before.isoformat()}))["data"] == []
    (move,) = (await home.call("GET", path, params={"at": after.isoformat()}))["data"]
    assert (move["version"], move["actor"]) == ("default@v1", "ada")
    await home.call("GET", path, 400, params={"at": "2026-11-17T14:03:00"})


async def test_drift_and_similarity_are_those_of_the_dense_matrices(home: House) -> None:
    changes = []
    for seed in (1, 2):
        await home.send(tar(home.files(seed)))
        held = load_file(home.directory / "made" / str(seed) / WEIGHTS)
        changes.append(
            np.stack(
                [16 / 4 * held[f"{m}.lora_B.weight"] @ held[f"{m}.lora_A.weight"] for m in (FIRST, SECOND)]
            )
        )
    drift = await home.call("GET", "/versions/v1/drift")
    assert drift["total"] == pytest.approx(np.linalg.norm(changes[0]) / np.sqrt(2 * 16 * 8 * 4), rel=1e-4)
    alike = await home.call("GET", "/versions/v1/similarity", params={"to": "v2"})
    cosine = (changes[0] * changes[1]).sum() / np.prod([np.linalg.norm(each) for each in changes])
    assert alike["total"] == pytest.approx(cosine, rel=1e-4)


async def serving(home: House, name: str, seed: int) -> str:
    """The version that serves a new tenant."""
    registry = home.control.registry
    await home.admin.post("/admin/v1/tenants", json={"external_id": name})
    path = f"/admin/v1/tenants/{name}/adapters/default/versions"
    made = (await home.admin.post(path, content=tar(home.files(seed)))).json()
    await registry.set_status(made["id"], VersionStatus.APPROVED)
    await registry.move_alias(made["tenant_id"], "default", Alias.STABLE, made["id"], "ada")
    found: str = made["id"]
    return found


async def test_the_operator_compares_a_version_with_those_that_serve_other_tenants(home: House) -> None:
    one = await home.send(tar(home.files()))
    others = [await serving(home, name, seed) for name, seed in (("globex", 1), ("initech", 2))]
    shown, after = {}, ""
    for _ in others:
        asked = {"version": one["id"], "limit": 1, "after": after}
        page = (await home.admin.get("/admin/v1/similarities", params=asked)).json()
        after = page["last_id"]
        shown |= {each["id"]: each["total"] for each in page["data"]}
    assert not page["has_more"]
    assert shown == {others[0]: pytest.approx(1.0), others[1]: pytest.approx(0.0, abs=0.5)}
    assert not [*(home.directory / "data" / "cache" / "compared").iterdir()]
    gone = await home.admin.get("/admin/v1/similarities", params={"version": "ver_none"})
    assert gone.status_code == 404


async def test_another_tenants_versions_do_not_exist(home: House) -> None:
    version = await home.send(tar(home.files()))
    await home.admin.post("/admin/v1/tenants", json={"external_id": "globex"})
    for action in ("artifact", "drift", "similarity?to=v1"):
        path = f"/admin/v1/tenants/globex/adapters/default/versions/{version['id']}/{action}"
        assert (await home.admin.get(path)).status_code == 404


async def test_the_command_line_takes_a_version_in_and_lets_it_out(home: House) -> None:
    made = home.directory / "made.tar.gz"
    made.write_bytes(tar(home.files()))
    out = home.directory / "out.tar.gz"
    async with listening(home.app) as url:

        def graft(*arguments: str) -> Any:
            root = ["--json", "--data-dir", str(home.directory / "data"), "--admin-url", url]
            done = CliRunner().invoke(cli, [*root, "--admin-key", ADMIN_KEY, "adapters", *arguments])
            assert done.exit_code == 0, done.exception
            return json.loads(done.stdout)

        version = await asyncio.to_thread(graft, "import", "acme", str(made))
        await asyncio.to_thread(graft, "export", "acme", "v1", "--out", str(out))
        again = await asyncio.to_thread(graft, "import", "acme", str(out))
        measured = await asyncio.to_thread(graft, "similarity", "acme", "v1", "v1")
        for name, seed in (("globex", 1), ("initech", 2)):
            await serving(home, name, seed)
        alike = await asyncio.to_thread(graft, "similarity", "acme", "v1")
    assert (version["label"], again["id"]) == ("default@v1", version["id"])
    assert measured["total"] == pytest.approx(1.0)
    assert [each["total"] for each in alike] == [pytest.approx(1.0), pytest.approx(0.0, abs=0.5)]
    assert not out.with_name("out.tar.gz.part").exists()
