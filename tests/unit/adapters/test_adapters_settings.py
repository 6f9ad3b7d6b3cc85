from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.settings import Settings


def test_everything_embedded_lies_below_the_data_directory(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.artifact_store == f"file://{tmp_path}/artifacts"
    assert settings.cache_dir.is_relative_to(tmp_path)


def test_without_engine_urls_there_is_the_supervised_one() -> None:
    assert Settings(engine_port=8123).engines == ("http://127.0.0.1:8123",)


def test_engine_urls_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_ENGINE_URLS", "http://a:1/, http://b:2,")
    assert Settings().engines == ("http://a:1", "http://b:2")


def test_a_base_model_ships() -> None:
    assert Settings().base_path.parts[-3:] == ("deploy", "demo", "model")


def test_a_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MAX_LORAS", "0")
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    "url", ["", "postgresql://a@b/c", "postgresql+psycopg:///c", "sqlite+aiosqlite:///c"]
)
def test_the_record_is_in_one_of_our_databases(url: str) -> None:
    assert Settings(database_url=url).database.startswith(url or "sqlite+aiosqlite:")


@pytest.mark.parametrize(
    "url", ["postgres://a@b/c", "postgresql+asyncpg://a@b/c", "sqlite:///c", "/c/graft.db"]
)
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="begins with postgresql://"):
        Settings(database_url=url)
