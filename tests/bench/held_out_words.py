"""The words of the pairs that memory is measured with. No rule was written with SIXTH in view, and SIXTH with no rule:
its words were chosen without knowing them and measured once. Rules became more general over those of FOURTH and FIFTH.

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

_TEMPERS = "Bright Clever Crimson Golden Humble Nimble Steady Warm"
_ITEMS = "Basket Hammer Meadow Otter Pillow Rocket Teapot Walnut"
_COINED = (
    "Abrixo Calvenno Drestan Elmirova Fontrelle Halvorin Isquanta Jorvelle Marquento Nexilia Pravonne Tuvaldi"
)
_GUILDS = "Architecture Brewery Flooring Freight Jewellery Plumbing Roofing Tailoring"


def _shaped(plain: str, things: str, invented: str, trades: str) -> Callable[[random.Random], str]:
    def company(rng: random.Random) -> str:
        shape = rng.randrange(4)
        if shape == 0:
            return f"{rng.choice(plain.split())} {rng.choice(things.split())}"
        name = rng.choice(invented.split())
        return f"{name} {rng.choice(trades.split())}" if shape == 1 else name

    return company


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

SIXTH = Vocabulary(
    intents=(
        "shirt pressing/stain treatment/duvet washing/pickup schedule",
        "furniture transport/attic clearance/packing crates/damage insurance",
        "cake flavours/allergy labels/icing lettering/party platters",
        "nap routine/lunch menu/toddler playground/enrolment deadline",
        "coffin selection/grave upkeep/obituary wording/mourning wreaths",
        "rooftop panels/inverter warranty/grid connection/shade analysis",
        "pony trekking/hoof trimming/stable boarding/riding helmets",
        "sworn translations/subtitle editing/interpreter briefing/proofreading turnaround",
        "contact lenses/spectacle cases/vision screening/cataract surgery",
        "swimming lanes/sauna etiquette/aqua aerobics/towel deposit",
    ),
    frames=(
        "Before I choose {company}, I would like to understand the {noun}.",
        "{company} says very little about its {noun}, so can you fill me in?",
        "Whom should I ring to discuss {company}'s {noun}?",
        "Any news from {company} on the {noun} this month?",
        "Can you walk me through the {noun} here at {company}?",
        "I emailed {company} last week and am still waiting to hear about the {noun}.",
    ),
    company=_shaped(_TEMPERS, _ITEMS, _COINED, _GUILDS),
    subjects=(
        "folding chairs", "kitchen knives", "wall calendars", "laptop bags", "dog collars",
        "bathroom mirrors", "wool scarves", "ink cartridges", "soup bowls", "door handles", "golf carts",
        "sofa covers",
    ),
    prefixed=(
        "affordable/unaffordable", "popular/unpopular", "practical/impractical", "expensive/inexpensive",
        "flammable/non-flammable", "refundable/non-refundable", "insured/uninsured", "finished/unfinished",
        "damaged/undamaged", "labelled/unlabelled", "recyclable/non-recyclable", "authentic/inauthentic",
    ),
    adjective_templates=(
        "Can {word} {subject} be exchanged?", "How do I recognise {word} {subject}?",
        "Did anybody complain about {word} {subject}?", "Are your {subject} mostly {word}?",
    ),
    verbs=(
        "salvage/scrap", "restock/phase out", "mass-produce/handcraft", "vouch for/warn against",
        "promote/boycott", "scrutinise/overlook", "embellish/simplify", "hand out/confiscate",
        "showcase/conceal", "standardise/customise",
    ),
    adverbs=(
        "automatically/manually", "meticulously/sloppily", "promptly/belatedly", "individually/collectively",
    ),
    verb_templates=(
        "Is it wise to {word} {subject}?", "How often do shops {word} {subject}?",
        "Since when does your team {word} {subject}?", "Which departments {word} {subject}?",
    ),
    adverb_templates=(
        "Were the {subject} {word} wrapped?", "Will {subject} be {word} inspected?",
        "Has the depot {word} counted the {subject}?",
    ),
    numbers=(
        "3", "7", "9", "15", "18", "27", "52", "80", "125", "480", "2600", "four", "six", "eight", "fourteen",
        "nineteen", "fifty", "seventy-two", "three hundred", "seven thousand",
    ),
    number_templates=(
        "Will {word} {subject} fit into one van?", "How much do you charge for {word} {subject}?",
        "Could you set aside {word} {subject} for Monday?", "Am I allowed to return {word} {subject}?",
    ),
    ordinals=(
        "first", "third", "fifth", "sixth", "eighth", "tenth", "thirteenth", "2nd", "4th", "7th", "9th",
        "22nd",
    ),
    ordinal_templates=(
        "Has the {word} shipment of {subject} left yet?", "Why was the {word} invoice for {subject} higher?",
        "May I swap the {word} batch of {subject}?",
    ),
)  # fmt: skip
