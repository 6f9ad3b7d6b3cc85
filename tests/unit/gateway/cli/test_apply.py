from pathlib import Path

import pytest

from gateway.cli import apply
from gateway.cli.apply import differences, read
from gateway.cli.output import CommandError

GUIDE = Path(__file__).parents[4] / "docs" / "apply.md"
SHOWN = [GUIDE.read_text().split("```yaml\n")[1].split("```")[0], apply.__doc__.split("\n\n", 1)[1]]


@pytest.mark.parametrize(
    "text",
    [
        "tenants: {acme: {polcy: {}}}",
        "tenants: {acme: {policy: {logging: loud}}}",
        "tenants: {acme: {keys: {tokens: []}}}",
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


@pytest.mark.parametrize("text", SHOWN)
def test_the_examples_are_taken_and_give_no_key_to_a_browser(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    (tenant,) = read(tmp_path / "t.yaml").tenants.values()
    assert tenant.keys and not [label for label in tenant.keys if "browser" in label]
