"""The secrets of a data directory."""

import json
from pathlib import Path

import pytest

from gateway import credentials
from gateway.keys import public_id_of
from gateway.launch_errors import LaunchError


def test_a_second_start_finds_the_same_secrets(tmp_path: Path) -> None:
    assert credentials.load_or_create(tmp_path) == credentials.load_or_create(tmp_path)


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    credentials.load_or_create(tmp_path)
    assert (tmp_path / credentials.FILE_NAME).stat().st_mode & 0o077 == 0


def test_admin_and_platform_key_look_like_keys(tmp_path: Path) -> None:
    made = credentials.load_or_create(tmp_path)
    assert public_id_of(made.admin_key) and public_id_of(made.platform_key)


def test_what_was_configured_wins_and_is_not_stored(tmp_path: Path) -> None:
    made = credentials.load_or_create(tmp_path, internal_token="configured", admin_key="gk-mine-1")
    assert (made.internal_token, made.admin_key) == ("configured", "gk-mine-1")
    assert "configured" not in (tmp_path / credentials.FILE_NAME).read_text()


def test_a_directory_without_secrets_has_none(tmp_path: Path) -> None:
    assert credentials.load(tmp_path) is None


@pytest.mark.parametrize("damaged", ["", "{", json.dumps({"admin_key": "x"}), "[]"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, damaged: str) -> None:
    (tmp_path / credentials.FILE_NAME).write_text(damaged)
    with pytest.raises(LaunchError, match=r"secrets\.json"):
        credentials.load_or_create(tmp_path)
