"""The retrieval process: `python -m retrieval.service`."""

import asyncio
import sys

import uvicorn

from retrieval.app import build_app
from retrieval.database import open_engine
from retrieval.encoder import Encoder
from retrieval.settings import Settings


async def serve(settings: Settings) -> None:
    """Until SIGINT or SIGTERM. The tables must exist: migrations run before this process starts."""
    engine = open_engine(settings.resolved_database_url())
    encoder = await asyncio.to_thread(Encoder.load, settings.encoder_path(), settings.encoder_threads)
    config = uvicorn.Config(
        build_app(settings, engine, encoder),
        host=settings.retrieval_host,
        port=settings.retrieval_port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await engine.dispose()


def main() -> None:
    settings = Settings()
    if not settings.internal_token.get_secret_value():
        sys.exit("GRAFT_INTERNAL_TOKEN is not set: the retrieval service answers nobody without it.")
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
