from pathlib import Path

import pytest

from gateway.cli.apply import differences, read
from gateway.cli.output import CommandError


@pytest.mark.parametrize(
    "text",
    [
        "tenants: {acme: {polcy: {}}}",
        "tenants: {acme: {policy: {logging: loud}}}",
        "tenants: {acme: {keys: {browser: []}}}",
        "tenants: {acme: {adapters: [{base: small}]}}",
        "[",
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(CommandError, match=r"t\.yaml"):
        read(tmp_path / "t.yaml")


def test_a_difference_names_its_leaf() -> None:
    assert list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}})) == ["a.b 1 -> 3"]
