"""Control's process: the admin API and the loops of the leader. `python -m gateway.admin`."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import uvicorn
from fastapi import APIRouter, Depends, FastAPI

from adapters.settings import Settings as AdaptersSettings
from gateway import admin_errors
from gateway.connection import connections
from gateway.control import Control, assembled
from gateway.loops import Loops
from gateway.routes import (
    admin_adapters,
    admin_explain,
    admin_fleet,
    admin_replicas,
    admin_reviews,
    admin_rollouts,
    admin_runs,
    admin_system,
    admin_tenants,
    admin_upkeep,
    admin_versions,
    engine_files,
)
from gateway.routes.admin_access import require_admin
from gateway.server import spare_collections
from gateway.settings import Settings

PREFIX = "/admin/v1"
Assembly = Callable[[], AbstractAsyncContextManager[Control]]


def create_app(assemble: Assembly, admin_key: str, engine_token: str = "", *, loops: bool = True) -> FastAPI:
    """The admin API over what `assemble` yields, and what engines ask. Without a key nobody gets in."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            app.state.control = control = await stack.enter_async_context(assemble())
            if loops:
                await stack.enter_async_context(Loops(control).running())
            yield

    app = FastAPI(title="Graft admin API", version="1", lifespan=lifespan)
    app.state.admin_key = admin_key
    app.state.engine_token = engine_token
    api = APIRouter(prefix=PREFIX, dependencies=[Depends(require_admin)])
    for module in (
        admin_tenants,
        admin_reviews,
        admin_adapters,
        admin_versions,
        admin_upkeep,
        admin_fleet,
        admin_rollouts,
        admin_runs,
        admin_explain,
        admin_replicas,
        admin_system,
    ):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(admin_system.public)
    app.include_router(engine_files.router)
    admin_errors.install(app)
    return app


@contextlib.asynccontextmanager
async def sparing(assembly: contextlib.AbstractAsyncContextManager[Control]) -> AsyncIterator[Control]:
    """As in a worker: a collection that looks at everything a started control holds stops all its answers meanwhile."""
    async with assembly as control:
        spare_collections()
        yield control


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings, adapters = Settings(), AdaptersSettings()
    admin_key = settings.admin_key.get_secret_value()
    app = create_app(lambda: sparing(assembled(settings, adapters)), admin_key, settings.engine_key)
    uvicorn.run(
        app,
        host=settings.admin_host,
        port=settings.admin_port,
        http=connections(settings.client_patience_seconds),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
