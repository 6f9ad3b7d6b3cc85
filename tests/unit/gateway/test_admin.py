"""How control's process is started."""

import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from gateway import admin
from gateway.connection import Connection


def test_clients_may_stall_as_long_as_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **how: served.update(how))
    monkeypatch.setenv("GRAFT_CLIENT_PATIENCE_SECONDS", "7")
    admin.main()
    assert issubclass(served["http"], Connection)
    assert served["http"].patience_s == 7


async def test_the_collector_looks_at_nothing_that_control_holds_once_it_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A collection of all of it stops control's answers for 80 ms."""
    made: list[Any] = []

    @contextlib.asynccontextmanager
    async def assembled(*_settings: object) -> AsyncIterator[object]:
        yield object()

    monkeypatch.setattr(uvicorn, "run", lambda *_, **__: None)
    monkeypatch.setattr(admin, "assembled", assembled)
    monkeypatch.setattr(admin, "create_app", lambda assemble, *_: made.append(assemble))
    admin.main()
    usual = gc.get_threshold()
    gc.unfreeze()
    try:
        async with made[0]():
            assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
