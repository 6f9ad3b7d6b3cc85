"""Directories to work in."""

import os
import time
from pathlib import Path

import pytest

from adapters.rooms import ABANDONED_SECONDS, room


def test_a_room_goes_with_everything_in_it_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), room(tmp_path / "new") as made:
        (made / "file").write_text("x")
        raise ZeroDivisionError
    assert list((tmp_path / "new").iterdir()) == []


def test_what_somebody_killed_has_left_goes_after_a_day_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with room(tmp_path) as theirs, room(tmp_path) as mine:
        (theirs / "file").write_text("x")
        long_ago = time.time() - ABANDONED_SECONDS - 1
        os.utime(theirs, (long_ago, long_ago))
        os.utime(tmp_path / "kept", (long_ago, long_ago))
        with room(tmp_path):
            assert not theirs.exists()
            assert mine.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
