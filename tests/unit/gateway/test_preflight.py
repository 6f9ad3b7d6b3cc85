"""What stops a start, and what it says."""

import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from gateway import preflight
from gateway.authorities import trusted
from gateway.launch_errors import LaunchError


def test_a_port_in_use_is_named_with_the_setting_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"Port {port} .*GRAFT_ADMIN_PORT"):
            preflight.require_port("127.0.0.1", port, "GRAFT_ADMIN_PORT")


def test_a_free_port_is_left_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    preflight.require_port("127.0.0.1", port, "GRAFT_PORT")
    preflight.require_port("127.0.0.1", port, "GRAFT_PORT")


def test_a_missing_model_names_what_is_missing_and_the_setting(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LaunchError, match=r"tokenizer\.json, \*\.safetensors.*GRAFT_BASE_MODEL"):
        preflight.require_model(tmp_path)


def test_a_whole_model_is_accepted(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    preflight.require_model(tmp_path)


def test_a_full_disk_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(LaunchError, match="--data-dir"):
        preflight.require_disk(tmp_path / "not" / "there")
    assert not (tmp_path / "not").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LaunchError, match="--data-dir"):
        preflight.require_writable(tmp_path / "data")


def test_a_file_where_the_data_directory_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(LaunchError, match="cannot be written"):
        preflight.require_writable(tmp_path / "data")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificate_authorities_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    authorities = tmp_path / "authorities.pem"
    if content is not None:
        authorities.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    with pytest.raises(LaunchError, match=r"SSL_CERT_FILE .*PEM"):
        trusted()


def test_two_supervisors_never_share_a_data_directory(tmp_path: Path) -> None:
    refused = pytest.raises(LaunchError, match=f"process {os.getpid()}")
    with preflight.lock(tmp_path), refused, preflight.lock(tmp_path, wait_s=0.0):
        raise AssertionError("locked twice")


def test_a_data_directory_is_free_again_once_its_supervisor_has_ended(tmp_path: Path) -> None:
    with preflight.lock(tmp_path):
        assert preflight.running(tmp_path)
    assert not preflight.running(tmp_path)


def test_the_state_of_a_system_that_never_ran_is_empty(tmp_path: Path) -> None:
    assert preflight.read_state(tmp_path) == {}
