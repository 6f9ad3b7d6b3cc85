"""How control's process is started."""

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
