"""A real vLLM without our plugin: degraded as docs/engines.md says, and no more."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.base import describe_base
from adapters.settings import Settings as AdaptersSettings
from adapters.types import Lineage, VersionStatus
from deploy.demo.serving import NO_STORE, engine
from gateway.control import Control, assembled
from gateway.loops import Loops
from tests.integration.control_house import administered
from tests.integration.gateway_house import house
from tests.integration.random_adapters import write_adapter

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]

NO_PLUGIN = {**NO_STORE, "VLLM_PLUGINS": "none-of-these"}
ASKED = {
    "model": "default",
    "messages": [{"role": "user", "content": "What are your opening hours?"}],
    "temperature": 0,
    "max_tokens": 8,
}


async def approved(control: Control, tenant_id: str, seed: int, files: Path) -> str:
    """A version ready to go live; its id."""
    artifact = await control.store.put(write_adapter(files / str(seed), control.base, seed))
    version = await control.registry.register(
        tenant_id, "default", artifact.digest, Lineage(control.base.digest), {}
    )
    await control.registry.set_status(version.id, VersionStatus.APPROVED)
    return version.id


async def test_versions_are_swapped_rolled_back_and_brought_back(base_model: Path, tmp_path: Path) -> None:
    told = AdaptersSettings(data_dir=tmp_path, base_model=str(base_model))
    digest = describe_base(base_model).digest
    with engine(base_model, NO_PLUGIN) as running:
        async with (
            house(tmp_path, running.url, running.token, searching=False, base_digest=digest) as made,
            administered(lambda: assembled(made.settings, told)) as (app, admin),
        ):
            control: Control = app.state.control
            (replica,) = control.engines
            headers = {"authorization": f"Bearer {running.token}"}
            async with httpx.AsyncClient(headers=headers, trust_env=False) as direct:
                assert (await direct.get(f"{running.url}/graft/versions")).status_code == 404

            tenant = (await admin.post("/admin/v1/tenants", json={"external_id": "acme"})).json()["id"]
            adapter = f"/admin/v1/tenants/{tenant}/adapters/default"
            one, two = [await approved(control, tenant, seed, tmp_path) for seed in (1, 2)]
            key = (await admin.post(f"/admin/v1/tenants/{tenant}/keys", json={})).json()["secret"]

            async def moved(method: str, path: str, body: Any = None) -> dict[str, Any]:
                response = await admin.request(method, adapter + path, json=body)
                assert response.status_code == 200, response.text
                found: dict[str, Any] = response.json()
                return found

            async with httpx.AsyncClient(
                base_url=made.url, headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False
            ) as client:

                async def said() -> tuple[str, str]:
                    response = await client.post("/v1/chat/completions", json=ASKED)
                    assert response.status_code == 200, response.text
                    text = response.json()["choices"][0]["message"]["content"]
                    return response.headers["x-graft-version"], text

                plain = await said()
                await moved("PUT", "/aliases/stable", {"version": one})
                first = await said()
                assert (await moved("PUT", "/aliases/stable", {"version": two}))["unloaded"] == [one]
                second = await said()
                assert [plain[0], first[0], second[0]] == ["base", "default@v1", "default@v2"]
                assert len({plain[1], first[1], second[1]}) == 3
                await moved("POST", "/rollback")
                assert await said() == first

                await replica.unload(one)  # as after a restart: the engine knows no version
                repairs = await Loops(control).reconcile()
                assert [repair.version_id for repair in repairs.loaded] == [one]
                assert await said() == first
