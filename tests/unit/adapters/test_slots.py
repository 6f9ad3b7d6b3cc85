"""A worker's requests and the engines' slots, in simulated time."""

import asyncio
from collections import Counter

import pytest

from adapters.errors import EngineUnavailable
from adapters.slot_board import NO_SLOT, Board, Waiter
from adapters.slot_table import Grants, SlotTable
from adapters.slots import Slots
from adapters.testing import MemorySlots
from tests.unit.adapters.simulated import simulate

URL = "http://engine"


class Engine:
    """Counts what it is asked for at once."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most = 0
        self.order: list[str] = []

    async def serve(self, slots: Slots, version_id: str, seconds: float) -> float:
        """How long the request waited for its slot."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        slot = await slots.enter(URL, version_id)
        waited = clock() - asked
        self.order.append(version_id)
        self.running[version_id] += 1
        self.most = max(self.most, sum(1 for count in self.running.values() if count))
        await asyncio.sleep(seconds)
        self.running[version_id] -= 1
        slot.release()
        return waited


def fleet(
    count: int, slots: int, *, bound: int = 1000, patience_s: float = 60.0, keep: bool = True
) -> tuple[list[Slots], list[MemorySlots]]:
    """Workers over the same tables. Nobody is told of another's changes but by asking."""
    clock, tables = asyncio.get_running_loop().time, {}
    names = {f"w_{number}" for number in range(count)}
    lines = [MemorySlots(tables, slots, name, names, clock) for name in sorted(names)]
    made = [
        Slots(line, [URL], slots, lambda: max(1, slots // count), bound, patience_s, clock, keep=keep)
        for line in lines
    ]
    return made, lines


def test_a_version_that_holds_its_slot_costs_no_round_trip() -> None:
    async def play() -> None:
        (slots,), (line,) = fleet(1, 2)
        engine = Engine()
        for _ in range(10):
            await asyncio.gather(*(engine.serve(slots, "a", 0.1) for _ in range(5)))
        assert len(line.words) == 1
        with pytest.raises(StopIteration):
            slots.enter(URL, "a").send(None)

    simulate(play)


def test_the_base_model_takes_no_slot() -> None:
    async def play() -> None:
        (slots,), (line,) = fleet(1, 1)
        assert await slots.enter(URL, None) is NO_SLOT
        assert not line.words

    simulate(play)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_engine_is_never_asked_for_more_adapters_than_it_has_slots(workers: int) -> None:
    async def play() -> None:
        found, _ = fleet(workers, 4)
        engine = Engine()
        tasks = [engine.serve(found[i % workers], f"v{i % 17}", 0.05 + i % 7 * 0.02) for i in range(300)]
        await asyncio.gather(*tasks)
        assert engine.most == 4

    simulate(play)


def test_a_flood_on_every_slot_does_not_starve_another_adapter() -> None:
    async def play() -> None:
        (slots,), _ = fleet(1, 2)
        engine = Engine()

        async def flood(name: str) -> None:
            for _ in range(100):
                await engine.serve(slots, name, 0.2)

        floods = [asyncio.create_task(flood(name)) for name in ("a", "b") for _ in range(5)]
        await asyncio.sleep(1.0)
        waited = [await engine.serve(slots, "quiet", 0.2) for _ in range(5)]
        assert max(waited) < 1.0
        for task in floods:
            task.cancel()

    simulate(play)


def test_who_waits_is_served_in_the_order_of_the_oldest_request_of_each_adapter() -> None:
    async def play() -> None:
        (slots,), _ = fleet(1, 1)
        engine = Engine()
        tasks = []
        for name in ("a", "b", "c", "b", "d", "a"):
            tasks.append(asyncio.create_task(engine.serve(slots, name, 0.5)))
            await asyncio.sleep(0.15)
        await asyncio.gather(*tasks)
        assert engine.order == ["a", "b", "b", "c", "d", "a"]

    simulate(play)


def test_patience_ends_and_leaves_nothing_behind() -> None:
    async def play() -> None:
        (slots,), _ = fleet(1, 1, patience_s=2.0)
        held = await slots.enter(URL, "a")
        with pytest.raises(EngineUnavailable):
            await slots.enter(URL, "b")
        assert slots.waiting == 0
        held.release()
        await Engine().serve(slots, "c", 0.1)

    simulate(play)


def test_past_the_bound_a_request_is_refused_at_once() -> None:
    async def play() -> None:
        (slots,), _ = fleet(1, 1, bound=1)
        await slots.enter(URL, "a")
        waiting = asyncio.create_task(slots.enter(URL, "b"))
        await asyncio.sleep(0)
        with pytest.raises(EngineUnavailable):
            await slots.enter(URL, "c")
        waiting.cancel()

    simulate(play)


def test_a_client_that_leaves_just_as_its_slot_comes_gives_it_up() -> None:
    async def play() -> None:
        (slots,), _ = fleet(1, 1)
        held = await slots.enter(URL, "a")
        leaving = asyncio.create_task(slots.enter(URL, "b"))
        await asyncio.sleep(0.5)
        held.release()
        while not any(line.ready.done() for lines in slots._boards[URL].lines.values() for line in lines):
            if "b" in slots._boards[URL].grants:
                break
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0.1)
        assert await Engine().serve(slots, "c", 0.1) < 0.5

    simulate(play)


async def test_a_client_that_has_left_when_its_slot_comes_takes_no_part_of_it() -> None:
    """Its task has not heard of it yet. The slot would be held for ever."""
    board = Board(URL, 1, lambda: 0.0, lambda _: None)
    waiter = Waiter(0.0, asyncio.get_running_loop().create_future())
    board.wait("a", waiter)
    waiter.ready.cancel()
    board.apply(board.word(0.0), Grants(frozenset({"a"}), frozenset(), 0))
    board.give_up("a", waiter)
    assert board.grants["a"].running == 0


def test_without_a_ledger_each_worker_keeps_to_its_part() -> None:
    async def play() -> None:
        found, lines = fleet(2, 4)
        for line in lines:
            line.away = True
        engine = Engine()
        await asyncio.gather(*(engine.serve(found[i % 2], f"v{i % 16}", 0.1) for i in range(100)))
        assert engine.most == 4

    simulate(play)


def test_when_the_ledger_goes_workers_leave_what_is_beyond_their_parts() -> None:
    """Both passed requests of the same four versions. The second goes on so and never needs to ask; the first is asked
    for two others too."""

    async def play() -> None:
        found, lines = fleet(2, 4)
        engine = Engine()

        async def stream(worker: int, name: str) -> None:
            while True:
                await engine.serve(found[worker], name, 0.3)

        same = [(worker, f"v{number}") for worker in (0, 1) for number in range(4)]
        streams = [asyncio.create_task(stream(*each)) for each in same]
        await asyncio.sleep(1.0)
        for worker, line in enumerate(lines):
            line.away = True
            found[worker].lost()
        streams += [asyncio.create_task(stream(0, name)) for name in ("other", "another")]
        await asyncio.sleep(2.0)
        engine.most = 0
        engine.order.clear()
        await asyncio.sleep(10.0)
        assert engine.most <= 4
        assert len(set(engine.order)) == 6
        for each in streams:
            each.cancel()

    simulate(play)


def test_when_the_ledger_is_back_all_workers_agree_again() -> None:
    async def play() -> None:
        found, lines = fleet(2, 2)
        for line in lines:
            line.away = True
        engine = Engine()
        await asyncio.gather(*(engine.serve(found[i % 2], f"v{i % 4}", 0.1) for i in range(20)))
        for line in lines:
            line.away = False
        await asyncio.sleep(2.0)
        await asyncio.gather(*(engine.serve(found[i % 2], f"v{i % 5}", 0.1) for i in range(40)))
        table: SlotTable = lines[0].tables[URL]
        assert engine.most == 2
        assert len(table.held) <= 2

    simulate(play)


def test_a_ledger_that_has_begun_anew_counts_what_runs() -> None:
    async def play() -> None:
        found, lines = fleet(2, 2)
        engine = Engine()
        running = [asyncio.create_task(engine.serve(found[0], name, 5.0)) for name in ("a", "b")]
        await asyncio.sleep(1.0)
        lines[0].tables.clear()
        found[0].lost()
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(engine.serve(found[1], name, 0.1)) for name in ("c", "d")]
        await asyncio.sleep(0.1)
        found[0].changed(URL)
        await asyncio.gather(*running, *others)
        assert engine.most == 2

    simulate(play)


def test_a_request_that_came_while_the_ledger_was_asked_and_had_forgotten_its_slot_is_told() -> None:
    board = Board(URL, 1, lambda: 0.0, lambda _: None)
    board.apply(board.word(0.0), Grants(frozenset({"a"}), frozenset(), 0))
    told = board.word(0.0)
    assert board.enter("a") is not None
    board.apply(told, Grants(frozenset(), frozenset(), 0))
    assert board.wake.is_set() and board.word(0.0).running == {"a"}


def test_a_worker_that_closes_gives_its_slots_back() -> None:
    async def play() -> None:
        (first, second), lines = fleet(2, 1)
        (await first.enter(URL, "a")).release()
        await first.close()
        assert not lines[0].tables[URL].held
        await Engine().serve(second, "b", 0.1)

    simulate(play)


def test_whoever_keeps_none_gives_a_slot_back_with_its_last_request() -> None:
    async def play() -> None:
        (slots,), (line,) = fleet(1, 2, keep=False)
        first, second = await slots.enter(URL, "a"), await slots.enter(URL, "a")
        first.release()
        await asyncio.sleep(0.1)
        assert line.tables[URL].held
        second.release()
        await asyncio.sleep(0.1)
        assert not line.tables[URL].held
        await Engine().serve(slots, "a", 0.1)

    simulate(play)
