"""What a process may take of memory, asked of the real kernel."""

import subprocess
import sys

from tests.integration.memory_group import PROCESSES, memory_group

ROOM = 256 * 2**20
ASK = """
import os, sys
from pathlib import Path
from training.cgroups import left_by_groups

Path(sys.argv[1]).write_text(str(os.getpid()))
print(min(left_by_groups()))
"""


def test_a_limit_of_the_group_above_is_what_is_left() -> None:
    with memory_group() as group:
        inside = group.directory / "inside"
        inside.mkdir()
        try:
            group.leave_room(ROOM)
            command = [sys.executable, "-c", ASK, str(inside / PROCESSES)]
            told = subprocess.run(command, check=True, capture_output=True, text=True)
        finally:
            inside.rmdir()
    assert ROOM / 2 < int(told.stdout) <= ROOM
