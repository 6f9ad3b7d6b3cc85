import pytest
from pydantic import ValidationError

from adapters.types import Check
from gateway.policy import Policy
from training.types import LearningPolicy


def test_an_empty_document_is_a_whole_policy() -> None:
    assert Policy.model_validate({}) == Policy()


def test_a_policy_survives_storage() -> None:
    policy = Policy.model_validate({"logging": "off", "rollout": {"steps": [1, 5, 25, 100]}})
    assert Policy.model_validate(policy.model_dump(mode="json")) == policy


def test_the_default_learning_part_is_the_training_packages_default() -> None:
    assert Policy().learning.record() == LearningPolicy()


def test_checks_are_of_one_adapter() -> None:
    checks = [
        {"question": "Where?", "contains": "Leeds"},
        {"question": "When?", "contains": "9 to 5", "adapter": "b"},
    ]
    rollout = Policy.model_validate({"rollout": {"checks": checks}}).rollout
    assert rollout.checks_of("default") == (Check("Where?", "Leeds"),)


@pytest.mark.parametrize(
    "document",
    [
        {"limit": {}},
        {"retrieval": {"mode": "maybe"}},
        {"retrieval": {"k": -1}},
        {"rollout": {"steps": [5, 1, 100]}},
        {"rollout": {"steps": [1, 5]}},
        {"rollout": {"steps": []}},
        {"rollout": {"checks": [{"question": "Where?", "contains": " "}]}},
        {"rollout": {"checks": [{"question": "Where?", "contains": "Leeds"}] * 33}},
        {"limits": {"requests_per_minute": 0}},
    ],
)
def test_a_wrong_document_is_refused(document: dict) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(document)
