"""Background tasks end."""

import asyncio

from adapters.tasks import end


async def test_a_task_that_swallows_its_first_cancellation_is_ended() -> None:
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed.is_set():
                    raise
                swallowed.set()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end(task)
    assert swallowed.is_set()
    assert task.cancelled()


async def test_a_task_that_failed_is_ended_without_its_error() -> None:
    async def failing() -> None:
        raise RuntimeError("over")

    await end(asyncio.create_task(failing()))
