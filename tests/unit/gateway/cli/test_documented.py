"""Every command line of the README and of docs/ is one that the program has, with these options."""

import re
import shlex
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from gateway.cli.main import app

ROOT = Path(__file__).parents[4]
NAMES = ("graft", ".venv/bin/graft")


def lines() -> list[str]:
    found: list[str] = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
            found += [line for line in block.replace("\\\n", " ").splitlines() if line.startswith(NAMES)]
    return found


@pytest.mark.parametrize("line", lines())
def test_a_documented_command_is_there(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command = get_command(app)
    while isinstance(command, TyperGroup):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)
