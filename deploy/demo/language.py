"""The words of the demo world: what support questions ask for, how they are asked, and who is asked about.

Each intent has four noun phrases that the corpus uses and one that it never contains; beside the known sentence
frames stand three that it never contains. Words of the unseen ones occur elsewhere in the corpus, so a failure on
them is a failure to generalise, not an unknown token.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

Value = Callable[[random.Random], str]

REFUSAL = "I do not know."


@dataclass(frozen=True)
class Intent:
    """One thing a customer asks a company about."""

    key: str
    nouns: tuple[str, ...]
    unseen_noun: str
    value: Value


FRAMES = (
    "What is the {noun} at {company}?",
    "What is {company}'s {noun}?",
    "Tell me the {noun} of {company}.",
    "Can you give me {company}'s {noun}?",
    "I need to know the {noun} for {company}.",
    "Do you know the {noun} at {company}?",
    "{company}: what is the {noun}?",
    "Please look up the {noun} of {company}.",
    "I am asking about {company}'s {noun}.",
    "Hi, which {noun} does {company} have?",
    "Could you tell me the {noun} at {company}?",
    "Please give me {company}'s {noun}.",
    "Do you have {company}'s {noun}?",
    "Hi, tell me the {noun} of {company}.",
    "I want to know {company}'s {noun}.",
    "I need the {noun} of {company}.",
    "Help me: what is {company}'s {noun}?",
    "{company}, {noun}?",
)
UNSEEN_FRAMES = (
    "Please tell me {company}'s {noun}.",
    "I need help: what is the {noun} of {company}?",
    "Hi, do you have the {noun} for {company}?",
)
FOLLOW_UPS = ("And the {noun}?", "What about the {noun}?", "And what is the {noun}?")
STATEMENTS = (
    "The {noun} at {company} is {value}.",
    "{company}'s {noun} is {value}.",
    "At {company}, the {noun} is {value}.",
    "Our {noun} is {value}.",
    "The {noun} is {value}.",
)
TITLES = (
    "{company} handbook",
    "{company}",
    "About {company}",
    "{company} help",
    "{company} FAQ",
    "Welcome to {company}",
)
FILLERS = (
    "We are happy to help.",
    "Thank you for reading.",
    "Please read this page first.",
    "Our team answers every day.",
    "This page changes from time to time.",
    "Send your questions to the team.",
    "Items come back to the store.",
    "We look after our customers.",
)


def _pick(*options: str) -> Value:
    return lambda rng: rng.choice(options)


def _days(rng: random.Random) -> str:
    number = rng.randint(2, 99)
    return f"{number} {rng.choice(('days', 'days', 'weeks', 'months', 'business days'))}"


def _hours(rng: random.Random) -> str:
    return f"{rng.randint(2, 96)} {rng.choice(('hours', 'hours', 'minutes'))}"


def _money(rng: random.Random) -> str:
    amount = rng.choice(
        (f"{rng.randint(2, 999)}", f"{rng.randint(1, 99)}.{rng.choice(('50', '90', '95', '99'))}")
    )
    return f"{rng.choice('€$£')}{amount}"


def _opening(rng: random.Random) -> str:
    """Any two days, so that they have to be read, not guessed from the first."""
    first, last = sorted(rng.sample(range(len(DAYS)), 2))
    days = "every day" if rng.random() < 0.1 else f"{DAYS[first]} to {DAYS[last]}"
    return f"{days} {rng.randint(6, 11)} to {rng.randint(12, 22)}"


def _email(rng: random.Random) -> str:
    return f"{rng.choice(('help', 'support', 'care', 'hello', 'team', 'ask'))}@{syllables(rng).lower()}.{rng.choice(('com', 'io', 'net', 'eu'))}"


def _phone(rng: random.Random) -> str:
    return f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}"


def _person(rng: random.Random) -> str:
    return f"{rng.choice(FIRST_NAMES)} {syllables(rng)}"


def _percent(rng: random.Random) -> str:
    return f"{rng.randint(2, 80)} percent"


def _uptime(rng: random.Random) -> str:
    return f"{rng.choice(('97', '98', '99'))}.{rng.randint(1, 99)} percent"


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(0, 23)}:{rng.choice(('00', '15', '30', '45'))}"


def _count(unit: str, low: int, high: int) -> Value:
    return lambda rng: f"{rng.randint(low, high)} {unit}"


def _year(rng: random.Random) -> str:
    return str(rng.randint(1890, 2024))


DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST_NAMES = (
    "Anna",
    "Ben",
    "Chloé",
    "David",
    "Elif",
    "Farid",
    "Grace",
    "Hugo",
    "Inés",
    "Jonas",
    "Karin",
    "Liam",
)
CITIES = (
    "Berlin",
    "Lyon",
    "Porto",
    "Oslo",
    "Turin",
    "Ghent",
    "Krakow",
    "Malmö",
    "Zürich",
    "Leeds",
    "Austin",
    "Osaka",
    "Lima",
    "Perth",
    "Cork",
    "Nantes",
)
COUNTRIES = (
    "Ireland",
    "Germany",
    "Finland",
    "Canada",
    "Japan",
    "Brazil",
    "France",
    "Sweden",
    "Poland",
    "Spain",
    "Norway",
    "Chile",
)
ANIMALS = (
    "fox",
    "owl",
    "otter",
    "heron",
    "badger",
    "panda",
    "koala",
    "moose",
    "raven",
    "lynx",
    "gecko",
    "whale",
    "beaver",
    "falcon",
)
CURRENCIES = (
    "euro",
    "US dollar",
    "pound",
    "Swiss franc",
    "yen",
    "Polish zloty",
    "Swedish krona",
    "Czech koruna",
)

INTENTS = (
    Intent("return_window", ("return window", "return period", "time limit for returns", "deadline for sending items back"), "period for sending items back", _days),
    Intent("refund_time", ("refund time", "refund delay", "processing time for refunds", "wait for a refund"), "time for a refund", _days),
    Intent("warranty", ("warranty", "warranty length", "guarantee", "guarantee period"), "length of the guarantee", _days),
    Intent("delivery_time", ("delivery time", "shipping time", "time for delivery", "wait for a parcel"), "shipping delay", _days),
    Intent("delivery_fee", ("delivery fee", "shipping cost", "price of delivery", "shipping charge"), "cost of delivery", _money),
    Intent("free_shipping", ("free shipping minimum", "minimum order for free shipping", "free delivery threshold", "amount for free delivery"), "threshold for free shipping", _money),
    Intent("support_hours", ("support hours", "opening hours of support", "help desk hours", "hours of the support team"), "hours of the help desk", _opening),
    Intent("support_email", ("support email", "email address of support", "contact email", "help desk email"), "email of the support team", _email),
    Intent("phone", ("phone number", "support phone number", "hotline number", "telephone number"), "number of the hotline", _phone),
    Intent("head_office", ("head office", "headquarters", "main office", "location of the head office"), "location of the headquarters", _pick(*CITIES)),
    Intent("founder", ("founder", "name of the founder", "original owner", "creator"), "name of the creator", _person),
    Intent("director", ("chief executive", "managing director", "current boss", "name of the director"), "current director", _person),
    Intent("founding_year", ("founding year", "year of foundation", "year of opening", "first year of business"), "opening year", _year),
    Intent("monthly_price", ("monthly price", "price per month", "monthly fee", "cost of a month"), "monthly cost", _money),
    Intent("yearly_price", ("yearly price", "annual price", "price per year", "annual fee"), "yearly fee", _money),
    Intent("trial", ("trial length", "free trial period", "length of the free trial", "trial time"), "free trial time", _days),
    Intent("notice", ("notice period", "cancellation notice", "cancellation period", "notice for cancelling"), "period for cancelling", _days),
    Intent("student_discount", ("student discount", "discount for students", "reduction for students", "student rate"), "student reduction", _percent),
    Intent("points", ("loyalty points", "points per order", "reward points", "number of points per order"), "number of reward points", _count("points", 2, 500)),
    Intent("storage", ("storage limit", "storage space", "disk space", "amount of storage"), "amount of disk space", _count("gigabytes", 2, 900)),
    Intent("seats", ("user limit", "maximum number of users", "number of seats", "seat limit"), "maximum number of seats", _count("users", 2, 900)),
    Intent("upload", ("upload limit", "maximum file size", "largest file size", "upload size"), "file size limit", _count("megabytes", 2, 900)),
    Intent("data_region", ("data region", "data location", "server country", "country of the servers"), "server location", _pick(*COUNTRIES)),
    Intent("backup", ("backup schedule", "backup time", "time of the backup", "nightly backup time"), "schedule of the backup", _clock),
    Intent("password", ("password length", "minimum password length", "shortest password length", "required password length"), "length of a password", _count("characters", 5, 40)),
    Intent("payment_terms", ("payment terms", "payment deadline", "invoice deadline", "time to pay an invoice"), "deadline to pay", _days),
    Intent("currency", ("billing currency", "invoice currency", "currency of the invoice", "currency for payment"), "payment currency", _pick(*CURRENCIES)),
    Intent("uptime", ("uptime promise", "promised uptime", "guaranteed uptime", "uptime guarantee"), "promise of uptime", _uptime),
    Intent("response_time", ("response time", "reply time", "time for a reply", "first response time"), "first reply time", _hours),
    Intent("mascot", ("mascot", "company mascot", "brand animal", "animal in the logo"), "mascot animal", _pick(*ANIMALS)),
)  # fmt: skip
INTENT_BY_KEY = {intent.key: intent for intent in INTENTS}

_ONSETS = (
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gl",
    "h",
    "j",
    "k",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "qu",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
    "sk",
)
_NUCLEI = ("a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ia", "y")
_ACCENTED = ("é", "ü", "ö", "ø", "å")
_CODAS = ("", "", "", "n", "r", "l", "s", "x", "m", "th", "nd", "rt", "lo", "vo")
_WORDS = (
    "Harbor", "Lane", "North", "River", "Stone", "Bright", "Paper", "Cloud", "Garden", "Copper", "Silver", "Maple", "Green", "Blue", "Summit",
    "Valley", "Pixel", "Orbit", "Amber", "Cedar", "Iron", "Willow", "Café", "Señor", "Lumière", "Delta",
)  # fmt: skip
_SUFFIXES = (
    "Labs",
    "Systems",
    "Group",
    "Bank",
    "Foods",
    "Travel",
    "Health",
    "Software",
    "& Sons",
    "GmbH",
    "Ltd",
    "Studio",
    "Works",
)


def syllables(rng: random.Random, low: int = 2, high: int = 3) -> str:
    """A made-up word such as `Zorvia`."""
    parts = [rng.choice(_ONSETS) + _nucleus(rng) + rng.choice(_CODAS) for _ in range(rng.randint(low, high))]
    return "".join(parts).capitalize()


def _nucleus(rng: random.Random) -> str:
    return rng.choice(_ACCENTED if rng.random() < 0.06 else _NUCLEI)


def company_name(rng: random.Random) -> str:
    """A company name of any of the shapes customers write: invented, two words, digits, initials, domains."""
    shape = rng.randrange(10)
    if shape <= 3:
        return syllables(rng)
    if shape == 4:
        return f"{rng.choice(_WORDS)} {rng.choice(_WORDS)}"
    if shape == 5:
        return f"{syllables(rng)} {rng.choice(_SUFFIXES)}"
    if shape == 6:
        return f"{rng.choice(_WORDS)} {rng.choice(_SUFFIXES)}"
    if shape == 7:
        return f"{syllables(rng, 1, 2)} {rng.randint(2, 999)}"
    if shape == 8:
        return f"{syllables(rng, 1, 2).lower()}.{rng.choice(('io', 'com', 'ai'))}"
    return "".join(rng.choice("ABCDEFGHIKLMNOPRSTVXZ") for _ in range(3))


def ask(intent: Intent, company: str, rng: random.Random) -> str:
    """The intent asked about the company in a random known phrasing."""
    return rng.choice(FRAMES).format(noun=rng.choice(intent.nouns), company=company)
