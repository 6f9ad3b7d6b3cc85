import pytest

from gateway.context import ContextSource, Wants, wants
from gateway.errors import InvalidRequest, RetrievalFailed
from gateway.policy import Policy
from retrieval.errors import RetrievalTimeout, RetrievalUnavailable
from retrieval.types import SAME_WORDING, Found, MemoryHit, Passage
from tests.unit.gateway.worlds import tenant

EVERYTHING = Wants(k=3, memory=True)
FOUND = Found(
    passages=(Passage("psg_1", "file-1", "Handbook", "We open at nine.", 0.9),),
    memory=(MemoryHit("fb_1", "When?", "At ten.", SAME_WORDING), MemoryHit("fb_2", "Where?", "Here.", 0.8)),
)


class Retrieval:
    """Answers what it was given, or raises it."""

    def __init__(self, outcome: Found | Exception) -> None:
        self.outcome = outcome
        self.asked: list[tuple] = []

    async def search(self, tenant_id: str, question: str, *, k: int, memory: bool, timeout_s: float) -> Found:
        self.asked.append((tenant_id, question, k, memory, timeout_s))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def test_what_was_found_is_rendered_and_named() -> None:
    context = await ContextSource(Retrieval(FOUND)).gather(tenant("acme"), None, "When?", EVERYTHING)
    assert (context.passage_ids, context.memory_ids) == (("psg_1",), ("fb_1", "fb_2"))
    assert "We open at nine." in context.text
    assert "At ten." in context.text


async def test_a_tenant_searches_only_its_own() -> None:
    retrieval = Retrieval(Found())
    await ContextSource(retrieval).gather(tenant("acme"), None, "When?", EVERYTHING)
    assert retrieval.asked == [("ten_acme", "When?", 3, True, 1.5)]


async def test_memory_that_the_version_has_learned_is_left_out() -> None:
    acme = tenant("acme", learned={"ver_1": frozenset({"fb_1"})})
    context = await ContextSource(Retrieval(FOUND)).gather(acme, "ver_1", "When?", EVERYTHING)
    assert context.memory_ids == ("fb_2",)
    assert "At ten." not in context.text


async def test_another_wording_of_what_was_learned_keeps_its_memory() -> None:
    acme = tenant("acme", learned={"ver_1": frozenset({"fb_2"})})
    context = await ContextSource(Retrieval(FOUND)).gather(acme, "ver_1", "In which place?", EVERYTHING)
    assert context.memory_ids == ("fb_1", "fb_2")


async def test_another_version_keeps_its_memory() -> None:
    acme = tenant("acme", learned={"ver_1": frozenset({"fb_1"})})
    source = ContextSource(Retrieval(FOUND))
    for version in (None, "ver_2"):
        assert (await source.gather(acme, version, "When?", EVERYTHING)).memory_ids == ("fb_1", "fb_2")


@pytest.mark.parametrize(
    ("error", "said"), [(RetrievalUnavailable("x"), "unavailable"), (RetrievalTimeout("x"), "timeout")]
)
async def test_optional_retrieval_that_fails_is_said(error: Exception, said: str) -> None:
    context = await ContextSource(Retrieval(error)).gather(tenant("acme"), None, "When?", EVERYTHING)
    assert (context.text, context.degraded) == ("", said)


async def test_required_retrieval_that_fails_fails_the_request() -> None:
    strict = tenant("acme", policy=Policy.model_validate({"retrieval": {"mode": "required"}}))
    with pytest.raises(RetrievalFailed):
        await ContextSource(Retrieval(RetrievalUnavailable("x"))).gather(strict, None, "When?", EVERYTHING)


async def test_nothing_is_asked_when_nothing_is_wanted() -> None:
    retrieval = Retrieval(FOUND)
    await ContextSource(retrieval).gather(tenant("acme"), None, "When?", Wants(0, False))
    assert retrieval.asked == []


@pytest.mark.parametrize(
    ("retrieval", "memory", "expected"),
    [
        (None, None, Wants(3, True)),
        ("off", None, Wants(0, True)),
        ("on", "off", Wants(3, False)),
        ("7", "on", Wants(7, True)),
        ("OFF", "OFF", Wants(0, False)),
    ],
)
def test_headers_narrow_a_request(retrieval: str | None, memory: str | None, expected: Wants) -> None:
    assert wants(Policy(), retrieval, memory) == expected


@pytest.mark.parametrize(("retrieval", "memory"), [("many", None), ("51", None), ("-1", None), (None, "2")])
def test_a_wrong_header_is_refused(retrieval: str | None, memory: str | None) -> None:
    with pytest.raises(InvalidRequest):
        wants(Policy(), retrieval, memory)


def test_a_header_cannot_enable_what_the_policy_disables() -> None:
    policy = Policy.model_validate({"retrieval": {"enabled": False}, "memory": {"enabled": False}})
    assert wants(policy, "5", "on") == Wants(0, False)
