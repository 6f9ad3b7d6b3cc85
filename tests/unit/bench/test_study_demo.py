"""What a study of the demo that was cut off takes up again."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench import study_demo


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []

    def run(seed: int, directory: Path) -> dict[str, Any]:
        made.append(seed)
        return {"seed": seed, "true": True}

    monkeypatch.setattr(study_demo, "run_demo", run)
    return made


def test_a_company_that_was_walked_is_not_walked_again(tmp_path: Path, walks: list[int]) -> None:
    kept = tmp_path / "kept"
    again = [study_demo.walked(11, tmp_path, kept) for _ in range(2)]
    assert walks == [11] and again[0] == again[1] == {"seed": 11, "true": True}


def test_changed_code_is_walked_anew(tmp_path: Path, walks: list[int]) -> None:
    for _ in range(2):
        study_demo.walked(11, tmp_path, None)
    assert walks == [11, 11]
