import re
from pathlib import Path

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
        {"learning": {"recipe": {"epochs": 3}}},
        {"learning": {"recipe": {"rank": 0}}},
        {"learning": {"recipe": {"max_steps": float("inf")}}},
    ],
)
def test_a_wrong_document_is_refused(document: dict) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(document)


def test_what_is_refused_of_a_stored_document_has_its_default_and_the_rest_is_in_force() -> None:
    policy, refused = Policy.stored(
        {
            "logging": "off",
            "screning": {},
            "limits": {"requests_per_minute": 0, "concurrency": 3},
            "learning": {"approval": "manual", "recipe": {"rank": 0, "epochs": 3, "max_steps": 20}},
            "rollout": {"steps": ["all"], "min_requests": 7},
        }
    )
    assert policy == Policy.model_validate(
        {
            "logging": "off",
            "limits": {"concurrency": 3},
            "learning": {"approval": "manual", "recipe": {"max_steps": 20}},
            "rollout": {"min_requests": 7},
        }
    )
    assert {problem.partition(":")[0] for problem in refused} == {
        "screning",
        "limits.requests_per_minute",
        "learning.recipe",
        "rollout.steps.0",
    }


def test_a_stored_part_that_contradicts_itself_has_its_default() -> None:
    policy, refused = Policy.stored({"rollout": {"steps": [5, 1]}, "logging": "off"})
    assert policy == Policy.model_validate({"logging": "off"}) and len(refused) == 1


def test_a_valid_document_is_read_as_it_is() -> None:
    assert Policy.stored({"logging": "off"}) == (Policy.model_validate({"logging": "off"}), ())


@pytest.mark.parametrize("guide", ["gpu", "memory-needs", "rollouts"])
def test_policies_that_the_documents_print_are_taken(guide: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / f"{guide}.md").read_text()
    printed = re.findall(r'(?:`|^)(\{"\w+": .+?\})(?:`|$)', text, re.MULTILINE)
    assert printed
    for document in printed:
        assert Policy.model_validate_json(document) != Policy()
