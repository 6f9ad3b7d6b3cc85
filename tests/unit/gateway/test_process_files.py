"""What a supervised process may leave on disk."""

from pathlib import Path

import pytest

from gateway import process_files
from gateway.process_files import last_lines, rotate


def test_the_end_of_a_log_is_shown_without_reading_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("\n".join(str(number) for number in range(100_000)))
    assert last_lines(log, 2) == ["99998", "99999"]


def test_a_log_that_grew_too_long_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_files, "LOG_BYTES", 10)
    log = tmp_path / "a.log"
    log.write_text("x" * 11)
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "a.log.1").exists()
