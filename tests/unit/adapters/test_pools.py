import json
from pathlib import Path

import pytest

from adapters.pools import Pool, parse_pools

LARGE = {"model": "/models/large", "engines": ["http://gpu2:8000/", " http://gpu3:8000"]}


def told(**bases: object) -> str:
    return json.dumps(bases)


def test_nothing_said_means_no_further_base_model() -> None:
    assert parse_pools("") == {}


def test_a_pool_has_a_name_a_directory_and_replicas() -> None:
    urls = ("http://gpu2:8000", "http://gpu3:8000")
    assert parse_pools(told(large=LARGE)) == {"large": Pool(model=Path("/models/large"), engines=urls)}


def test_an_engine_that_is_started_here_has_a_port() -> None:
    found = parse_pools(told(large={"model": "/models/large", "port": 8101}))
    assert found["large"] == Pool(model=Path("/models/large"), engines=("http://127.0.0.1:8101",), port=8101)


@pytest.mark.parametrize("name", ["base", "default", "none"])
def test_a_name_that_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: no base model can have this name"):
        parse_pools(told(**{name: LARGE}))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("large", "Invalid JSON"),
        (told(large={**LARGE, "engines": []}), "large: has either engines or the port"),
        (told(large={**LARGE, "port": 8101}), "large: has either engines or the port"),
        (told(large={"model": "/m", "port": 0}), r"large\.port"),
        (told(large={"model": "/m", "port": 1}, other={"model": "/m", "port": 1}), r"other\.engines"),
        (told(large={**LARGE, "model": "models/large"}), r"large\.model: is not an absolute path"),
        (told(large={**LARGE, "url": "http://x"}), r"large\.url"),
        (told(**{"a@v1": LARGE}), "pattern"),
        (told(large=LARGE, other=LARGE), r"other\.engines: an engine holds one base model"),
        (told(large={**LARGE, "engines": ["http://a", "http://a/"]}), r"large\.engines"),
        (told(large={**LARGE, "engines": ["http://first/"]}), r"large\.engines"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_pools(value, ["http://first"])
