"""The root command: where its options may stand, and how it ends."""

import json
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.client import failure
from gateway.cli.main import app, hoisted
from gateway.cli.output import CommandError, Exit, Output, shown
from gateway.cli.tenants import patch

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["status", "--json"], ["--json", "status"]),
        (["up", "--data-dir", "d", "--port", "1"], ["--data-dir", "d", "up", "--port", "1"]),
        (["up", "--data-dir=d"], ["--data-dir=d", "up"]),
        (["chat", "acme", "--", "--json"], ["chat", "acme", "--", "--json"]),
        ([], []),
    ],
)
def test_the_roots_options_may_stand_anywhere_before_a_double_dash(
    given: list[str], understood: list[str]
) -> None:
    assert hoisted(given) == understood


def test_every_command_explains_itself() -> None:
    root = typer.main.get_command(app)
    commands = root.commands  # type: ignore[attr-defined]
    assert {
        "up",
        "demo",
        "status",
        "doctor",
        "tenants",
        "keys",
        "adapters",
        "swap",
        "rollback",
    } <= commands.keys()
    assert {"runs", "train", "feedback", "ingest", "chat", "migrate", "audit"} <= commands.keys()
    for name, command in commands.items():
        assert RUNNER.invoke(app, [name, "--help"]).exit_code == 0
        assert command.get_short_help_str(), name


def test_without_a_system_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["--data-dir", str(tmp_path), "tenants", "list"])
    assert isinstance(result.exception, CommandError)
    assert "graft up" in result.exception.fix


def test_when_nothing_answers_the_exit_code_says_so(tmp_path: Path) -> None:
    arguments = ["--data-dir", str(tmp_path), "--admin-url", "http://127.0.0.1:9", "--admin-key", "gk-a-b"]
    result = RUNNER.invoke(app, [*arguments, "tenants", "list"])
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is Exit.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "code"), [(404, Exit.NOT_FOUND), (409, Exit.CONFLICT), (400, Exit.FAILED)]
)
def test_an_api_error_keeps_its_sentence_and_gets_an_exit_code(status: int, code: Exit) -> None:
    response = httpx.Response(status, json={"error": {"message": "Not so."}})
    found = failure(response)
    assert (found.message, found.code) == ("Not so.", code)


def test_an_answer_that_is_no_json_is_still_a_sentence() -> None:
    assert failure(httpx.Response(502, text="bad gateway")).message == "bad gateway"


def test_a_policy_change_is_a_patch_of_its_path() -> None:
    changed = patch(["learning.triggers.count=12", "learning.approval=manual", "memory.enabled=false"])
    assert changed == {
        "learning": {"triggers": {"count": 12}, "approval": "manual"},
        "memory": {"enabled": False},
    }


def test_a_policy_change_without_a_value_is_wrong_usage() -> None:
    with pytest.raises(CommandError) as raised:
        patch(["logging"])
    assert raised.value.code is Exit.USAGE


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (0.12345, "0.123"), ({"a": 1}, '{"a": 1}'), ("[x]", r"\[x]")],
)
def test_cells_are_text_for_people(value: object, text: str) -> None:
    assert shown(value) == text


def test_json_output_is_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json=True)
    output.line("a remark")
    output.rows([{"id": "x" * 200, "hidden": 1}], {"id": "id"}, "none")
    assert json.loads(capsys.readouterr().out) == [{"id": "x" * 200, "hidden": 1}]
