from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.apply import changes, differences, read
from gateway.cli.output import CommandError
from gateway.policy import Policy

TEXT = """
tenants:
  acme:
    policy: {learning: {triggers: {count: 12}}}
    keys: {server: [chat, feedback]}
    adapters: [support]
"""


class Admin:
    """The admin API's tenants in memory."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def all(self, _: str) -> Iterator[Any]:
        yield from self.held.get("tenants", {}).values()

    def get(self, path: str) -> Any:
        return self.held.get(path, {"data": []})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path == "tenants":
            self.held.setdefault(path, {})[body["external_id"]] = body
            tenant = f"tenants/{body['external_id']}"
            self.held[f"{tenant}/policy"] = {"policy": Policy().model_dump(mode="json")}
        else:
            self.held.setdefault(path, {"data": []})["data"].append({"revoked_at": None, **body})
        return body

    def put(self, path: str, body: dict[str, Any]) -> Any:
        self.held[path] = {"policy": body}
        return body


def test_applying_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TEXT)
    document, admin = read(tmp_path / "t.yaml"), Admin()
    done = []
    for change in changes(admin, document):  # type: ignore[arg-type]
        change.call()
        done.append(change.what)
    assert done == [
        "new tenant",
        "learning.triggers.count 36 -> 12",
        "new key 'server'",
        "new adapter 'support'",
    ]
    assert list(changes(admin, document)) == []  # type: ignore[arg-type]


def test_looking_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TEXT)
    admin = Admin()
    assert len(list(changes(admin, read(tmp_path / "t.yaml")))) == 4  # type: ignore[arg-type]
    assert admin.held == {}


@pytest.mark.parametrize(
    "text", ["tenants: {acme: {polcy: {}}}", "tenants: {acme: {policy: {logging: loud}}}", "["]
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(CommandError, match=r"t\.yaml"):
        read(tmp_path / "t.yaml")


def test_a_difference_names_its_leaf() -> None:
    assert list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}})) == ["a.b 1 -> 3"]
