"""Background tasks end, and none holds up the others."""

import asyncio

import pytest

from adapters.tasks import InTurn, end


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


class Work:
    """Waits to be let go; `begun` counts."""

    def __init__(self) -> None:
        self.begun = 0
        self.over = False
        self.go_on = asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.go_on.wait()
        finally:
            self.over = True
        return "done"


async def at_once() -> str:
    return "at once"


async def ended(turns: InTurn[str]) -> list[str]:
    """What has ended by itself, once something has."""
    for _ in range(1000):
        if found := turns.ended():
            return found
        await asyncio.sleep(0)
    raise TimeoutError("nothing ended")


async def test_what_takes_long_goes_on_by_itself_and_is_begun_once_at_a_time() -> None:
    turns, slow = InTurn[str](0.01), Work()
    for _ in range(2):
        assert await turns.do("slow", slow) == []
    assert (await turns.do("quick", at_once), turns.ended()) == (["at once"], [])
    slow.go_on.set()
    assert (slow.begun, await ended(turns)) == (1, ["done"])
    assert (await turns.do("slow", slow), slow.begun) == (["done"], 2)


async def test_what_fails_is_logged_in_its_turn_and_by_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turns, fails = InTurn[str](0.01), asyncio.Event()

    async def failing() -> str:
        await fails.wait()
        raise RuntimeError("no luck")

    assert await turns.do("failing", failing) == []
    fails.set()
    async with asyncio.timeout(5):
        while not caplog.records:
            assert turns.ended() == []
            await asyncio.sleep(0)
    caplog.clear()
    assert (await turns.do("failing", failing), len(caplog.records)) == ([], 1)
    assert await turns.do("failing", at_once) == ["at once"]


async def test_closing_ends_what_goes_on() -> None:
    turns, slow = InTurn[str](0.01), Work()
    await turns.do("slow", slow)
    await turns.close()
    assert slow.over and turns.ended() == []
