"""Pairs of questions with different answers, made from a seed: companies, intents, negations and numbers that neither
the demo nor the rules of `retrieval.contrast` were written with. Pure.

A negation or a renumbering is made of a template, a subject and two words in its gap; `OTHER_WORDS` holds only
negations that are on no list of the rules.
"""

import random
from collections.abc import Callable, Mapping, Sequence

Pair = tuple[str, str]

INTENTS = (
    "opening hours/holiday schedule/parking rules/dress code",
    "loyalty points/gift cards/price match/coupon codes",
    "lunch menu/wine list/table bookings/allergy information",
    "boarding times/luggage allowance/seat selection/lounge access",
    "lab results/vaccination records/referral letters/prescription refills",
    "rent deposit/utility bills/lease renewal/maintenance requests",
    "course catalogue/exam dates/tuition assistance/library loans",
    "data roaming/voicemail greeting/number transfer/call forwarding",
    "claim form/policy excess/accident report/roadside assistance",
    "visitor badges/meeting rooms/bike storage/canteen vouchers",
)
FRAMES = (
    "Tell me about the {noun} at {company}.",
    "Where do I find the {noun} of {company}?",
    "I need the {noun} for {company}, please.",
    "{company}: {noun}?",
    "Who can explain {company}'s {noun} to me?",
    "How does {company} handle the {noun}?",
    "Has anything changed about {noun} with {company}?",
)
_HEADS = (
    "Alder Bright Cobalt Dun Ever Fair Gold Harrow Iron Juni Kest Lark Maple North Oak Quill Raven Stone West"
)
_TAILS = "brook crest dale field ford gate haven line mark moor point ridge son stead ton view ward water well wick"
_SECONDS = "Foods Tools Partners Clinic Logistics Outfitters Insurance Academy"

SUBJECTS = (
    "season tickets", "rental cars", "student visas", "garden tools", "power banks", "travel vouchers", "used books",
    "day passes", "studio flats", "contact lenses", "frozen meals", "work permits", "camera lenses", "guest accounts",
    "fishing licences",
)  # fmt: skip
PREFIXED = (
    "eligible/ineligible", "refundable/non-refundable", "available/unavailable", "insured/uninsured",
    "transferable/nontransferable", "compatible/incompatible", "registered/unregistered", "verified/unverified",
    "reversible/irreversible", "approved/disapproved", "complete/incomplete", "taxable/non-taxable",
)  # fmt: skip
ADJECTIVE_TEMPLATES = (
    "Which {subject} are {word}?",
    "What should I do when {subject} are {word}?",
    "Where is the list of {word} {subject}?",
    "Who decides that {subject} are {word}?",
    "How do I recognise {word} {subject}?",
)
OTHER_WORDS = (
    "always/rarely", "gladly/barely", "approve/deny", "keep/waive", "offer/discontinue", "honour/decline",
    "include/omit", "permit/veto", "repair/scrap", "renew/terminate", "welcome/shun", "insure/rule out",
)  # fmt: skip
VERB_TEMPLATES = (
    "Why do you {word} {subject}?",
    "When would you {word} {subject}?",
    "For whom do you {word} {subject}?",
    "What does it mean that you {word} {subject}?",
)
ADVERB_TEMPLATES = (
    "Who {word} gets {subject}?",
    "Which branches {word} sell {subject}?",
    "What customers {word} ask for {subject}?",
    "Why are {subject} {word} mentioned?",
)
NUMBERS = (
    *(f"{n}" for n in (4, 6, 8, 15, 24, 75, 120, 250, 1500)),
    "two", "three", "five", "seven", "nine", "eleven", "twenty", "thirty", "forty-five", "sixty", "ninety", "a hundred",
    "two hundred", "a thousand", "a dozen",
)  # fmt: skip
NUMBER_TEMPLATES = (
    "What do {word} {subject} come to?",
    "May I order {word} {subject} at once?",
    "Who signs off on {word} {subject}?",
    "Is there a rebate from {word} {subject} on?",
    "How are {word} {subject} packed?",
)
ORDINALS = "first second third fourth fifth sixth eighth tenth twelfth 1st 2nd 3rd 4th 5th 10th 21st"
ORDINAL_TEMPLATES = (
    "What happens in the {word} week with {subject}?",
    "Is the {word} order of {subject} cheaper?",
    "What is due at the {word} renewal of {subject}?",
    "Who is told about the {word} complaint over {subject}?",
)


def pairs(count: int, seed: int) -> Mapping[str, Sequence[Pair]]:
    """By kind, so many different pairs, the same for the same seed."""
    rng = random.Random(f"held out:{seed}")
    return {kind: _different(make, count, rng) for kind, make in _KINDS.items()}


def paraphrases(count: int, seed: int) -> Sequence[Pair]:
    """Pairs that have the same answer: one intent of one company in two frames."""
    rng = random.Random(f"alike:{seed}")
    return _different(_alike, count, rng)


def _different(make: Callable[[random.Random], Pair], count: int, rng: random.Random) -> list[Pair]:
    found: dict[Pair, None] = {}
    while len(found) < count:
        found[make(rng)] = None
    return list(found)


def _company(rng: random.Random) -> str:
    name = rng.choice(_HEADS.split()) + rng.choice(_TAILS.split())
    return f"{name} {rng.choice(_SECONDS.split())}" if rng.random() < 0.4 else name


def _nouns(rng: random.Random) -> list[str]:
    return rng.sample(rng.choice(INTENTS).split("/"), 2)


def _intent(rng: random.Random) -> Pair:
    company, frames = _company(rng), rng.choices(FRAMES, k=2)
    one, other = (
        frame.format(noun=noun, company=company) for frame, noun in zip(frames, _nouns(rng), strict=True)
    )
    return one, other


def _another_company(rng: random.Random) -> Pair:
    noun, frames, one = _nouns(rng)[0], rng.choices(FRAMES, k=2), _company(rng)
    other = next(name for name in iter(lambda: _company(rng), "") if name != one)
    return frames[0].format(noun=noun, company=one), frames[1].format(noun=noun, company=other)


def _another_company_in_lower_case(rng: random.Random) -> Pair:
    one, other = _another_company(rng)
    return one.lower(), other.lower()


def _alike(rng: random.Random) -> Pair:
    company, noun = _company(rng), _nouns(rng)[0]
    one, other = (frame.format(noun=noun, company=company) for frame in rng.sample(FRAMES, 2))
    return one, other


def _prefix(rng: random.Random) -> Pair:
    return _filled(rng, rng.choice(ADJECTIVE_TEMPLATES), rng.choice(PREFIXED).split("/"))


def _other_word(rng: random.Random) -> Pair:
    words = rng.choice(OTHER_WORDS).split("/")
    return _filled(
        rng, rng.choice(ADVERB_TEMPLATES if words[0].endswith(("ly", "ys")) else VERB_TEMPLATES), words
    )


def _number(rng: random.Random) -> Pair:
    return _filled(rng, rng.choice(NUMBER_TEMPLATES), rng.sample(NUMBERS, 2))


def _ordinal(rng: random.Random) -> Pair:
    return _filled(rng, rng.choice(ORDINAL_TEMPLATES), rng.sample(ORDINALS.split(), 2))


def _filled(rng: random.Random, template: str, words: Sequence[str]) -> Pair:
    subject = rng.choice(SUBJECTS)
    one, other = (template.format(subject=subject, word=word) for word in rng.sample(words, 2))
    return one, other


_KINDS: Mapping[str, Callable[[random.Random], Pair]] = {
    "other intent": _intent,
    "other company": _another_company,
    "other company, in lower case": _another_company_in_lower_case,
    "negation by a prefix": _prefix,
    "negation by another word": _other_word,
    "other number": _number,
    "other ordinal": _ordinal,
}
