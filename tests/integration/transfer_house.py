"""Control as adapters come and go: a real record, a real artifact store, a base model of two layers, a tenant."""

import gzip
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from safetensors.numpy import save_file

from adapters.base import BaseModel
from adapters.settings import Settings as AdaptersSettings
from gateway import migrate
from gateway.control import Control, assembled
from gateway.settings import Settings
from tests.integration.control_house import administered
from tests.integration.random_adapters import write_adapter

FIRST, SECOND = (f"base_model.model.model.layers.{number}.mlp.up_proj" for number in range(2))


@dataclass(frozen=True)
class House:
    admin: httpx.AsyncClient
    control: Control
    directory: Path
    app: FastAPI

    @property
    def base(self) -> BaseModel:
        return self.control.base

    def files(self, seed: int = 1) -> dict[str, bytes]:
        """A good adapter's."""
        folder = self.directory / "made" / str(seed)
        if not folder.exists():
            write_adapter(folder, self.base, seed, rank=4)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    async def call(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        response = await self.admin.request(method, f"/admin/v1/tenants/acme/adapters/default{path}", **more)
        assert response.status_code == status, response.text
        return response.json()

    async def send(self, content: bytes, status: int = 201, **more: Any) -> Any:
        return await self.call("POST", "/versions", status, content=content, **more)

    async def refused(self, kind: str, status: int = 400, **sent: Any) -> dict[str, Any]:
        """The error that an import gets: with a reason that can be read, and nothing of it on the disk or in the
        record. sent: the request's body, as httpx takes it."""
        response = await self.admin.post("/admin/v1/tenants/acme/adapters/default/versions", **sent)
        assert (kind, response.status_code) == (kind, status), response.text[:500]
        error: dict[str, Any] = response.json()["error"]
        assert 0 < len(error["message"]) < 1000, kind
        assert len(error["param"]) <= 200, kind
        assert (kind, self.left()) == (kind, [])
        assert (kind, (await self.call("GET", "/versions"))["data"]) == (kind, [])
        return error

    def left(self) -> list[Path]:
        """Files of imports and of the artifact store."""
        places = [self.directory / "data" / "cache" / "imports", self.directory / "data" / "artifacts"]
        return [path for place in places for path in place.rglob("*") if path.is_file()]


@asynccontextmanager
async def housed(
    tmp_path: Path, redis_url: str, *, base_name: str = "tiny", weight: float = 2.0, **told: Any
) -> AsyncIterator[House]:
    """weight: every element of the base model. told: settings of imports that differ."""
    base = tmp_path / base_name
    base.mkdir(parents=True)
    (base / "config.json").write_text('{"hidden_size": 8, "num_hidden_layers": 2}')
    (base / "tokenizer.json").write_text("{}")
    weights = {f"model.layers.{n}.mlp.up_proj.weight": np.full((16, 8), weight, np.float32) for n in range(2)}
    save_file(weights, base / "m.safetensors")
    data = tmp_path / "data"
    data.mkdir()
    settings = Settings(data_dir=data, redis_url=redis_url)
    usual = {"import_sources": (tmp_path / "shared").as_uri(), "import_max_bytes": 1024 * 1024}
    imports = AdaptersSettings(data_dir=data, base_model=str(base), **usual | told)
    await migrate.upgrade(settings.database)
    async with administered(lambda: assembled(settings, imports)) as (app, admin):
        made = await admin.post("/admin/v1/tenants", json={"external_id": "acme"})
        assert made.status_code == 201
        yield House(admin, app.state.control, tmp_path, app)


def tar(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(plain_tar(files))


def plain_tar(files: Mapping[str, bytes], **pax: str) -> bytes:
    """pax: records of the first member's extended header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, (name, content) in enumerate(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.pax_headers = {} if number else pax
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()
