"""The words of the pairs that memory is measured with. Neither the demo nor a rule of `retrieval.contrast` was written
with THIRD, which was written when everything was final and measured once. FIRST had been in view of the rules of single
words, and rules became more general over earlier versions of SECOND.

`verbs` and `adverbs` hold only opposites that are on no list of the rules. A quarter of SECOND's companies bear two
everyday words, which in lower case nothing but their place shows to be names.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """Alternatives parted by `/`; templates have gaps for what their name says."""

    intents: Sequence[str]
    frames: Sequence[str]
    company: Callable[[random.Random], str]
    subjects: Sequence[str]
    prefixed: Sequence[str]
    adjective_templates: Sequence[str]
    verbs: Sequence[str]
    adverbs: Sequence[str]
    verb_templates: Sequence[str]
    adverb_templates: Sequence[str]
    numbers: Sequence[str]
    number_templates: Sequence[str]
    ordinals: Sequence[str]
    ordinal_templates: Sequence[str]

    @property
    def verb_share(self) -> float:
        """How many of the opposites are verbs."""
        return len(self.verbs) / (len(self.verbs) + len(self.adverbs))


_HEADS = (
    "Alder Bright Cobalt Dun Ever Fair Gold Harrow Iron Juni Kest Lark Maple North Oak Quill Raven Stone West"
)
_TAILS = "brook crest dale field ford gate haven line mark moor point ridge son stead ton view ward water well wick"
_SECONDS = "Foods Tools Partners Clinic Logistics Outfitters Insurance Academy"

_COINED = "Althera Bromley Caldura Dextriq Elmora Fenwix Gastona Helvion Jorvane Kelmont Mirafel Obrix Pruvia"
_EVERYDAY = "Crystal Humble Eager Noble Mellow Sharp Grand Rapid Warm Bold"
_THINGS = "Otter Meadow Thread Castle Rocket Pepper Basket Candle Mirror Tractor"
_SURNAMES = "Adeyemi Bergstrom Cohen Delacroix Eriksen Ferrari Goldberg Ivanov"
_TRADES = "Flooring Optics Brewing Airways Roofing Press Capital Farms"


_MADE_UP = "Zentari Volkhart Ostrova Pellwick Krandor Lumeva Tasmir Quenby Ardelle Brivane Wexcombe Nolvik"
_PLAIN = "Copper Quiet Lucky Yellow Winter Little Honest Silver"
_SIGNS = "Harbor Lantern Badger Orchard Bridge Kettle Anchor Pebble"
_LINES = "Dental Bikes Catering Software Movers Studios Energy Books"


def _english_company(rng: random.Random) -> str:
    name = rng.choice(_HEADS.split()) + rng.choice(_TAILS.split())
    return f"{name} {rng.choice(_SECONDS.split())}" if rng.random() < 0.4 else name


def _coined_company(rng: random.Random) -> str:
    shape = rng.randrange(4)
    if shape == 0:
        return f"{rng.choice(_EVERYDAY.split())} {rng.choice(_THINGS.split())}"
    if shape == 1:
        return f"{rng.choice(_SURNAMES.split())} {rng.choice(_TRADES.split())}"
    name = rng.choice(_COINED.split())
    return f"{name} {rng.choice(_TRADES.split())}" if rng.random() < 0.3 else name


def _made_up_company(rng: random.Random) -> str:
    shape = rng.randrange(4)
    if shape == 0:
        return f"{rng.choice(_PLAIN.split())} {rng.choice(_SIGNS.split())}"
    name = rng.choice(_MADE_UP.split())
    if shape == 1:
        return f"{name} {rng.choice(_LINES.split())}"
    return f"{name} and {rng.choice(_MADE_UP.split())}" if shape == 2 else name


FIRST = Vocabulary(
    intents=(
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
    ),
    frames=(
        "Tell me about the {noun} at {company}.", "Where do I find the {noun} of {company}?",
        "I need the {noun} for {company}, please.", "{company}: {noun}?",
        "Who can explain {company}'s {noun} to me?", "How does {company} handle the {noun}?",
        "Has anything changed about {noun} with {company}?",
    ),
    company=_english_company,
    subjects=(
        "season tickets", "rental cars", "student visas", "garden tools", "power banks", "travel vouchers",
        "used books", "day passes", "studio flats", "contact lenses", "frozen meals", "work permits",
        "camera lenses", "guest accounts", "fishing licences",
    ),
    prefixed=(
        "eligible/ineligible", "refundable/non-refundable", "available/unavailable", "insured/uninsured",
        "transferable/nontransferable", "compatible/incompatible", "registered/unregistered",
        "verified/unverified", "reversible/irreversible", "approved/disapproved", "complete/incomplete",
        "taxable/non-taxable",
    ),
    adjective_templates=(
        "Which {subject} are {word}?", "What should I do when {subject} are {word}?",
        "Where is the list of {word} {subject}?", "Who decides that {subject} are {word}?",
        "How do I recognise {word} {subject}?",
    ),
    verbs=(
        "approve/deny", "keep/waive", "offer/discontinue", "honour/decline", "include/omit", "permit/veto",
        "repair/scrap", "renew/terminate", "welcome/shun", "insure/rule out",
    ),
    adverbs=(
        "always/rarely", "gladly/barely",
    ),
    verb_templates=(
        "Why do you {word} {subject}?", "When would you {word} {subject}?",
        "For whom do you {word} {subject}?", "What does it mean that you {word} {subject}?",
    ),
    adverb_templates=(
        "Who {word} gets {subject}?", "Which branches {word} sell {subject}?",
        "What customers {word} ask for {subject}?", "Why are {subject} {word} mentioned?",
    ),
    numbers=(
        "4", "6", "8", "15", "24", "75", "120", "250", "1500", "two", "three", "five", "seven", "nine",
        "eleven", "twenty", "thirty", "forty-five", "sixty", "ninety", "a hundred", "two hundred",
        "a thousand", "a dozen",
    ),
    number_templates=(
        "What do {word} {subject} come to?", "May I order {word} {subject} at once?",
        "Who signs off on {word} {subject}?", "Is there a rebate from {word} {subject} on?",
        "How are {word} {subject} packed?",
    ),
    ordinals=(
        "first", "second", "third", "fourth", "fifth", "sixth", "eighth", "tenth", "twelfth", "1st", "2nd",
        "3rd", "4th", "5th", "10th", "21st",
    ),
    ordinal_templates=(
        "What happens in the {word} week with {subject}?", "Is the {word} order of {subject} cheaper?",
        "What is due at the {word} renewal of {subject}?",
        "Who is told about the {word} complaint over {subject}?",
    ),
)  # fmt: skip

SECOND = Vocabulary(
    intents=(
        "ferry crossings/cabin upgrades/pet rules/harbour taxes",
        "swimming lessons/sauna sessions/towel rental/coach profiles",
        "reading list/thesis deadline/dorm rooms/exchange semester",
        "overtime pay/parental leave/company car/canteen hours",
        "gas bill/solar panels/night rate/meter readings",
        "rent increase/pet policy/roof repairs/parking permits",
        "brunch menu/takeaway boxes/birthday cakes/terrace seating",
        "fabric samples/delivery slots/assembly service/colour chart",
        "eye exam/flu shots/physiotherapy plan/dental cleaning",
        "annual report/press photos/apprenticeships/charity projects",
    ),
    frames=(
        "Somebody called about the {noun} of {company}.", "Does {company} publish the {noun}?",
        "Where would one see the {noun} for {company} these days?", "{company}'s {noun}, please.",
        "At {company}, how are the {noun} organised?", "Concerning the {noun} with {company}, whom do I ask?",
        "Let me know the {noun} that apply at {company}.",
    ),
    company=_coined_company,
    subjects=(
        "garden sheds", "tour buses", "sign-up bonuses", "concert seats", "office chairs",
        "phone contracts", "night shifts", "trial lessons", "cargo bikes", "hotel suites", "software keys",
        "wedding cakes", "dog leads", "craft fairs", "tax returns",
    ),
    prefixed=(
        "valid/invalid", "renewable/non-renewable", "paid/unpaid", "cancelled/uncancelled",
        "movable/immovable", "legible/illegible", "responsible/irresponsible", "assembled/disassembled",
        "accurate/inaccurate", "occupied/unoccupied", "restricted/unrestricted", "fiction/nonfiction",
    ),
    adjective_templates=(
        "Do you keep {word} {subject}?", "Are your {subject} {word}?",
        "What do {word} {subject} look like?", "Can {subject} be {word}?",
        "How many {subject} were {word} last year?",
    ),
    verbs=(
        "reward/penalise", "endorse/condemn", "display/conceal", "improve/worsen", "attach/detach",
        "recruit/dismiss", "prefer/dislike", "promote/demote", "tighten/loosen", "inspect/overlook",
        "finance/boycott", "hasten/postpone",
    ),
    adverbs=(
        "willingly/grudgingly", "promptly/belatedly", "constantly/occasionally", "entirely/partially",
        "commonly/scarcely", "carefully/carelessly",
    ),
    verb_templates=(
        "Do you {word} {subject}?", "Can my team {word} {subject} here?",
        "Is it your policy to {word} {subject}?", "Will the branch {word} {subject}?",
        "Which partners {word} {subject}?",
    ),
    adverb_templates=(
        "Do staff {word} handle {subject}?", "Are {subject} {word} available?",
        "Who {word} checks {subject}?", "Do you {word} deliver {subject}?",
    ),
    numbers=(
        "3", "7", "9", "12", "18", "35", "80", "400", "2500", "four", "six", "eight", "ten", "fourteen",
        "fifteen", "fifty", "seventy", "sixty-two", "three hundred", "two thousand", "a million",
        "two dozen",
    ),
    number_templates=(
        "Can we reserve {word} {subject}?", "How heavy are {word} {subject}?",
        "Do {word} {subject} fit into one delivery?", "What happens after {word} {subject}?",
        "Which discount do {word} {subject} get?",
    ),
    ordinals=(
        "second", "third", "fourth", "fifth", "seventh", "ninth", "eleventh", "2nd", "3rd", "6th", "8th",
        "11th", "22nd", "first", "last",
    ),
    ordinal_templates=(
        "Do the {word} {subject} cost extra?", "Who pays on the {word} day of {subject}?",
        "Is there a gift with the {word} purchase of {subject}?",
        "When does the {word} batch of {subject} arrive?",
    ),
)  # fmt: skip

THIRD = Vocabulary(
    intents=(
        "seat reservations/lost luggage/bike carriage/group tickets",
        "guitar lessons/sheet music/instrument hire/choir auditions",
        "visa forms/passport photos/consular fees/embassy address",
        "warehouse tours/forklift training/pallet sizes/customs papers",
        "vaccination records/puppy courses/grooming prices/kennel places",
        "data export/login problems/browser support/audit logs",
        "mortgage rates/travel money/cheque books/lost cards",
        "guest wifi/late checkout/spa packages/airport shuttle",
    ),
    frames=(
        "I have a question about the {noun} of {company}.", "Where do I find the {noun} at {company}?",
        "Could {company} send me details on {noun}?", "What should I know about {noun} with {company}?",
        "Is there anything new on {company}'s {noun}?", "Please explain the {noun} of {company} to me.",
    ),
    company=_made_up_company,
    subjects=(
        "rain jackets", "museum guides", "server racks", "yoga mats", "parking fines", "winter tyres",
        "house plants", "film rolls", "repair kits", "school trips", "coffee machines", "boat trailers",
    ),
    prefixed=(
        "likely/unlikely", "regular/irregular", "perfect/imperfect", "available/unavailable",
        "complete/incomplete", "approved/unapproved", "logical/illogical", "honest/dishonest",
        "usual/unusual", "patient/impatient",
    ),
    adjective_templates=(
        "Have you any {word} {subject}?", "Why are the {subject} {word}?",
        "When do {subject} count as {word}?", "Is there a list of {word} {subject}?",
    ),
    verbs=(
        "expand/shrink", "praise/criticise", "defend/attack", "collect/scatter", "polish/scratch",
        "welcome/shun", "invest in/abandon", "freeze/thaw", "hire/fire", "mend/break",
    ),
    adverbs=("gladly/reluctantly", "publicly/secretly", "seldom/regularly", "fully/barely"),
    verb_templates=(
        "Do you {word} {subject}?", "Who will {word} the {subject}?", "May customers {word} {subject}?",
        "Would your company {word} {subject}?",
    ),
    adverb_templates=(
        "Are {subject} {word} offered?", "Do you {word} replace {subject}?", "Who {word} pays for {subject}?",
    ),
    numbers=(
        "2", "5", "11", "16", "24", "45", "90", "650", "3200", "three", "five", "nine", "thirteen", "twenty",
        "forty", "eighty-one", "six hundred", "five thousand",
    ),
    number_templates=(
        "Can I order {word} {subject} today?", "What do {word} {subject} weigh?",
        "Is there room for {word} {subject}?", "How long do {word} {subject} last?",
    ),
    ordinals=(
        "first", "second", "third", "sixth", "eighth", "tenth", "twelfth", "4th", "5th", "7th", "9th", "31st",
    ),
    ordinal_templates=(
        "Is the {word} pair of {subject} free?", "What happens in the {word} week with {subject}?",
        "Who gets the {word} set of {subject}?",
    ),
)  # fmt: skip
