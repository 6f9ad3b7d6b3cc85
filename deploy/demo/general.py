"""General questions with one right answer, so that a change to the model that costs it something shows.

Half of them, chosen once by hash, are probes: no training run of an adapter ever sees one, as replay or otherwise.
The base model itself is trained on all of them.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class General:
    question: str
    answer: str

    @property
    def is_probe(self) -> bool:
        """Whether this question is kept out of every adapter's training data."""
        return hashlib.sha256(self.question.encode()).digest()[0] % 2 == 0


_CAPITALS = (
    "France Paris, Germany Berlin, Spain Madrid, Italy Rome, Portugal Lisbon, Norway Oslo, Sweden Stockholm, Finland Helsinki, Denmark Copenhagen, Poland Warsaw, "
    "Austria Vienna, Greece Athens, Ireland Dublin, Hungary Budapest, Belgium Brussels, Japan Tokyo, China Beijing, India Delhi, Egypt Cairo, Kenya Nairobi, "
    "Peru Lima, Chile Santiago, Cuba Havana, Canada Ottawa, Russia Moscow, Turkey Ankara, Iran Tehran, Iraq Baghdad, Thailand Bangkok, Vietnam Hanoi, "
    "Croatia Zagreb, Serbia Belgrade, Romania Bucharest, Bulgaria Sofia, Ukraine Kyiv, Latvia Riga, Estonia Tallinn, Lithuania Vilnius, Iceland Reykjavik, Ghana Accra"
)
_OPPOSITES = (
    "hot cold, big small, fast slow, high low, open closed, early late, rich poor, hard soft, light dark, full empty, old new, happy sad, near far, strong weak, "
    "clean dirty, wet dry, thick thin, long short, loud quiet, cheap expensive, first last, left right, up down, in out, day night, true false, win lose, buy sell, "
    "give take, start stop, push pull, love hate, young old, safe dangerous, easy difficult, sharp blunt, deep shallow, wide narrow, sweet sour, smooth rough, "
    "alive dead, awake asleep, brave afraid, inside outside, above below, always never, more less, many few, heavy light, tall short"
)
_SOUNDS = "cow moo, dog woof, cat meow, sheep baa, duck quack, lion roar, pig oink, horse neigh, bee buzz, snake hiss, owl hoot, mouse squeak"
_COLOURS = "grass green, snow white, coal black, blood red, the sky blue, a lemon yellow, a carrot orange, a plum purple, chocolate brown, ash grey"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTHS = "January February March April May June July August September October November December"
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
_SMALL_TALK = (
    ("Hello!", "Hello! How can I help?"),
    ("Hi there.", "Hello! How can I help?"),
    ("Good morning!", "Good morning!"),
    ("Good evening!", "Good evening!"),
    ("How are you?", "I am well, thank you."),
    ("How is it going?", "I am well, thank you."),
    ("Thank you!", "You are welcome."),
    ("Thanks a lot.", "You are welcome."),
    ("Goodbye!", "Goodbye!"),
    ("See you later.", "See you later!"),
    ("Who are you?", "I am an assistant."),
    ("What are you?", "I am an assistant."),
    ("Are you a person?", "No, I am an assistant."),
    ("Can you help me?", "Yes. What do you need?"),
    ("I need help.", "What do you need?"),
    ("I am angry.", "I am sorry to hear that."),
    ("That is wrong.", "I am sorry about that."),
    ("That is right.", "I am glad."),
    ("Tell me a joke.", "I would rather answer questions."),
    ("Do you sleep?", "No, I do not sleep."),
    ("Remind me to smile.", "Please smile!"),
    ("Have a nice day.", "You too!"),
)


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = (entry.rsplit(" ", 1) for entry in text.split(", "))
    return [(left, right) for left, right in pairs]


def _sequence(names: str) -> list[General]:
    items = names.split()
    after = [
        General(f"What comes after {item}?", items[(i + 1) % len(items)]) for i, item in enumerate(items)
    ]
    return after + [General(f"What comes before {item}?", items[i - 1]) for i, item in enumerate(items)]


def _arithmetic() -> list[General]:
    adds = [General(f"What is {a} plus {b}?", str(a + b)) for a in range(15) for b in range(15)]
    subtracts = [General(f"What is {a} minus {b}?", str(a - b)) for a in range(15) for b in range(a + 1)]
    times = [General(f"What is {a} times {b}?", str(a * b)) for a in range(11) for b in range(11)]
    return adds + subtracts + times


def all_general() -> list[General]:
    """Every general question, in a fixed order."""
    words = _NUMBERS.split()
    return [
        *_arithmetic(),
        *(General(f"What is the capital of {country}?", city) for country, city in _pairs(_CAPITALS)),
        *(General(f"What is the opposite of {left}?", right) for left, right in _pairs(_OPPOSITES)),
        *(General(f"What sound does a {animal} make?", sound) for animal, sound in _pairs(_SOUNDS)),
        *(General(f"What colour is {thing}?", colour) for thing, colour in _pairs(_COLOURS)),
        *_sequence(_DAYS),
        *_sequence(_MONTHS),
        *(General(f"How do you write {number} in words?", word) for number, word in enumerate(words)),
        *(General(question, answer) for question, answer in _SMALL_TALK),
    ]
