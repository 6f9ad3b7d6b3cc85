"""The words of the pairs that memory is measured with. Neither the demo nor a rule of `retrieval.contrast` was written
with the intents, frames and companies of FIFTH, which were written when everything was final and measured once. Rules
became more general over those of THIRD and FOURTH.

`verbs` and `adverbs` hold only opposites that are on no list of the rules. A quarter of the companies bear two
everyday words, which in lower case nothing but their place shows to be names.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


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


_MADE_UP = "Zentari Volkhart Ostrova Pellwick Krandor Lumeva Tasmir Quenby Ardelle Brivane Wexcombe Nolvik"
_PLAIN = "Copper Quiet Lucky Yellow Winter Little Honest Silver"
_SIGNS = "Harbor Lantern Badger Orchard Bridge Kettle Anchor Pebble"
_LINES = "Dental Bikes Catering Software Movers Studios Energy Books"

_INVENTED = (
    "Bexaro Dovinta Felquist Gravelle Hollinder Ketravo Lorquin Montessa Norvelda Prantik Rovanto Stelmar"
)
_MOODS = "Calm Tiny Royal Sunny Rustic Modern Velvet Silent"
_OBJECTS = "Falcon Cherry Anvil Ladder Cactus Whistle Dolphin Blanket"
_BRANCHES = "Bakery Glass Records Cycles Carpets Water Toys Heating"

_FRESH = "Aurexa Belmoral Cindrave Dorvina Evoltra Farnwick Gildora Hexalon Ivarno Jastrel Kovindra Lumbrix"
_MANNERS = "Gentle Brisk Hidden Lofty Merry Proud Simple Wild"
_MARKS = "Acorn Beacon Compass Feather Granite Island Parrot Saddle"
_CRAFTS = "Bakers Finance Gardens Tools Textiles Ferries Printing Clinics"


def _made_up_company(rng: random.Random) -> str:
    shape = rng.randrange(4)
    if shape == 0:
        return f"{rng.choice(_PLAIN.split())} {rng.choice(_SIGNS.split())}"
    name = rng.choice(_MADE_UP.split())
    if shape == 1:
        return f"{name} {rng.choice(_LINES.split())}"
    return f"{name} and {rng.choice(_MADE_UP.split())}" if shape == 2 else name


def _shaped(plain: str, things: str, invented: str, trades: str) -> Callable[[random.Random], str]:
    def company(rng: random.Random) -> str:
        shape = rng.randrange(4)
        if shape == 0:
            return f"{rng.choice(plain.split())} {rng.choice(things.split())}"
        name = rng.choice(invented.split())
        return f"{name} {rng.choice(trades.split())}" if shape == 1 else name

    return company


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

FOURTH = Vocabulary(
    intents=(
        "kiln firing/glaze colours/clay delivery/wheel practice",
        "sperm whale cruise/life jackets/seasickness pills/sighting guarantee",
        "blood donor card/snack corner/plasma appointments/iron levels",
        "chimney sweep/soot removal/stove approval/carbon alarm",
        "tattoo designs/aftercare cream/piercing studs/consent sheets",
        "campfire permits/tent pitches/shower tokens/caravan hookups",
        "chess tournament/opening theory/junior squad/rating certificate",
        "hearing test/ear moulds/battery packs/tinnitus group",
        "judo belts/sparring partners/mat fees/grading ceremony",
        "saffron bulbs/greenhouse glass/pond liners/slug traps",
    ),
    frames=(
        "Could you clarify the {noun} at {company}?", "We are curious about {company}'s {noun}.",
        "Which page of {company} covers the {noun}?", "Regarding {company}, what are the {noun} like?",
        "Is the {noun} of {company} still the same?", "Our group wants the {noun} from {company}.",
    ),
    company=_shaped(_MOODS, _OBJECTS, _INVENTED, _BRANCHES),
    subjects=(
        "beach tents", "piano stools", "water filters", "safety boots", "theatre props", "bus passes",
        "desk lamps", "gift hampers", "hiking poles", "pizza ovens", "chess clocks", "baby monitors",
    ),
    prefixed=(
        "safe/unsafe", "certified/uncertified", "tested/untested", "visible/invisible",
        "replaceable/irreplaceable", "washable/non-washable", "sold/unsold", "mature/immature",
        "loyal/disloyal", "formal/informal", "wanted/unwanted", "toxic/non-toxic",
    ),
    adjective_templates=(
        "Where do {word} {subject} go?", "Is it normal that {subject} are {word}?",
        "What if the {subject} turn out {word}?", "Who sorts out {word} {subject}?",
    ),
    verbs=(
        "subsidise/tax", "assemble/dismantle", "hide/reveal", "soften/harden", "donate/hoard", "heat/chill",
        "clean/soil", "sponsor/sabotage", "shorten/lengthen", "decorate/strip",
    ),
    adverbs=("quickly/slowly", "kindly/rudely", "openly/covertly", "completely/partly"),
    verb_templates=(
        "Does anyone {word} {subject}?", "Should we {word} our {subject}?", "Why would you {word} {subject}?",
        "Are you able to {word} {subject}?",
    ),
    adverb_templates=(
        "Who {word} returns {subject}?", "Do they {word} sell {subject}?", "Are {subject} {word} checked?",
    ),
    numbers=(
        "4", "6", "10", "13", "22", "38", "60", "150", "720", "1800", "two", "seven", "eleven", "twelve",
        "sixteen", "thirty", "fifty-five", "nine hundred", "four thousand",
    ),
    number_templates=(
        "Do you stock {word} {subject}?", "Where can I store {word} {subject}?",
        "Would {word} {subject} be too many?", "Who delivers {word} {subject}?",
    ),
    ordinals=(
        "first", "second", "fourth", "fifth", "seventh", "ninth", "eleventh", "3rd", "6th", "8th", "10th",
        "23rd",
    ),
    ordinal_templates=(
        "Can I skip the {word} round of {subject}?", "Who checks the {word} box of {subject}?",
        "When is the {word} delivery of {subject}?",
    ),
)  # fmt: skip

FIFTH = replace(
    FOURTH,
    intents=(
        "telescope hire/star maps/night permits/dome visits",
        "grape harvest/cellar tasting/cork recycling/vintage archive",
        "bee boxes/honey jars/queen breeding/smoker fuel",
        "hull painting/mooring spots/sail repairs/tide tables",
        "puppet show/costume workshop/stage lights/ticket refunds",
        "ski wax/lift passes/avalanche course/boot fitting",
        "court booking/racket strings/league fixtures/changing rooms",
        "notary stamp/land register/will storage/witness list",
        "fish tanks/coral cuttings/pump filters/water tests",
        "choir robes/organ tuning/wedding hymns/crypt tours",
    ),
    frames=(
        "Do you happen to know the {noun} of {company}?", "A colleague mentioned {company} and its {noun}.",
        "How does {company} handle the {noun} now?", "Tell us more about the {noun} that {company} offers.",
        "Who looks into the {noun} for {company}?", "My sister asked {company} for the {noun} yesterday.",
    ),
    company=_shaped(_MANNERS, _MARKS, _FRESH, _CRAFTS),
)  # fmt: skip
