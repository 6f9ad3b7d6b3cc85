"""A tenant that leaves with its adapter: what one installation lets out, another one takes in."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.peft_config import CONFIG
from adapters.types import Lineage
from tests.integration.transfer_house import House, housed, tar

PLACE = "/admin/v1/tenants/acme/adapters/default/versions/v2/artifact"


async def exported(home: House) -> tuple[bytes, dict[str, Any]]:
    """A version as a run makes it, its configuration naming the base model as it is called there."""
    files = home.files()
    files[CONFIG] = json.dumps(json.loads(files[CONFIG]) | {"base_model_name_or_path": "org/tiny"}).encode()
    parent = await home.send(tar(files))
    runs, place = home.control.runs, (parent["tenant_id"], "default")
    run = await runs.create(*place, "manual")
    await runs.claim("learner")
    await runs.update(run.id, "learner", report={"verdict": "pass", "checks": [], "production": None})
    lineage = Lineage(home.base.digest, {"rank": 4}, f"sha256:{'d' * 64}", parent["id"], run.id)
    await home.control.registry.register(*place, parent["artifact_digest"], lineage, {"loss": float("nan")})
    return (await home.admin.get(PLACE)).content, await home.call("GET", "/versions/v2")


async def test_an_export_is_the_same_version_where_the_base_model_has_another_name(
    tmp_path: Path, redis_url: str
) -> None:
    async with housed(tmp_path / "here", redis_url) as here:
        left, was = await exported(here)
    async with housed(tmp_path / "there", redis_url, base_name="renamed") as there:
        headers = {"x-graft-digest": was["artifact_digest"]}
        now = await there.send(left, headers=headers)
        assert there.base.id == "renamed"
        again = (await there.admin.get(PLACE.replace("v2", "v1"))).content
        assert (await there.send(again, 200))["id"] == now["id"]
    assert now["artifact_digest"] == was["artifact_digest"]
    for name in ("base_digest", "dataset_digest", "recipe"):
        assert now["lineage"][name] == was["lineage"][name]
    for name in ("parent_id", "run_id"):
        assert now["claimed"][name] == was["lineage"][name]
    assert (now["claimed"]["gate"], now["claimed"]["version_id"]) == (was["gate"], was["id"])


@pytest.mark.parametrize("accept_base", [False, True])
async def test_an_export_for_other_weights_is_refused_by_both_digests(
    tmp_path: Path, redis_url: str, accept_base: bool
) -> None:
    async with housed(tmp_path / "here", redis_url) as here:
        left, was = await exported(here)
    async with housed(tmp_path / "there", redis_url, weight=3.0) as there:
        error = (await there.send(left, 409, params={"accept_base": accept_base}))["error"]
        assert was["lineage"]["base_digest"] in error["message"]
        assert there.base.digest in error["message"]
        assert there.left() == []
