"""What a piece of work costs SQLite, whatever else the processor does."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine


async def steps(database: AsyncEngine, work: Callable[[], Awaitable[object]]) -> int:
    """Instructions of SQLite's virtual machine, to the nearest ten, of work over the engine's one idle connection."""
    tens = [0]

    def count() -> None:
        tens[0] += 1

    async with database.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
    await raw.set_progress_handler(count, 10)
    await work()
    await raw.set_progress_handler(None, 10)
    return 10 * tens[0]
