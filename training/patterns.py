"""Recognisers of what should not be learned: secrets, personal data, words aimed at the model. Pure.

Secrets are detect-secrets' patterns for well-known formats, and ours for what prose holds and where its own take time
that grows with the square of a text (npm's, OpenAI's). Its entropy and keyword detectors are made for source code and
find much in prose, so they are not used.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

_DETECTORS: tuple[RegexBasedDetector, ...] = (
    AWSKeyDetector(),
    AzureStorageKeyDetector(),
    DiscordBotTokenDetector(),
    GitHubTokenDetector(),
    GitLabTokenDetector(),
    JwtTokenDetector(),
    MailchimpDetector(),
    PrivateKeyDetector(),
    PypiTokenDetector(),
    SendGridDetector(),
    SlackDetector(),
    SquareOAuthDetector(),
    StripeDetector(),
    TelegramBotTokenDetector(),
    TwilioKeyDetector(),
)
_KNOWN = tuple(pattern for detector in _DETECTORS for pattern in detector.denylist)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:.{0,8000}?-----END [A-Z ]{0,30}PRIVATE KEY-----)?", re.DOTALL
)
_OURS = (
    re.compile(r"\bgk-[A-Za-z0-9]+-[A-Za-z0-9_-]{16,}|\bnpm_[A-Za-z0-9]{36}\b"),
    re.compile(r"//\S{1,200}?/:_authToken=\s{0,9}\S+|(?<![\w-])sk-[\w-]{20,200}T3BlbkFJ[A-Za-z0-9]{20}"),
    re.compile(r"\b(?:sk|rk|pk)[-_](?:live|test|proj|ant)[-_A-Za-z0-9]{12,}|\bsk-[A-Za-z0-9]{20,}"),
    re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@]+:[^\s:/@]{3,}@\S+", re.IGNORECASE),
    re.compile(
        r"\b(?:password|passwd|passphrase|pwd|api[_ -]?key|secret[_ -]?key|access[_ -]?token|client[_ -]?secret)"
        r"\s*(?:[:=]|\bis\b)\s*[\"'`]?(?=\S{0,200}[\d!#$%&*+=@^_-])(?![\d.,]+(?:\s|$))[^\s\"'`]{8,}",
        re.IGNORECASE,
    ),
)
_INSTRUCTIONS = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,30}\b(?:previous|prior|above|earlier|all|your|these)\b"
    r".{0,30}\b(?:instruction|prompt|rule|message|guideline|context|training|filter)s?\b"
    r"|\b(?:reveal|print|repeat|show|output|leak)\b.{0,20}\b(?:system|hidden|initial|developer) (?:prompt|message)"
    r"|\byou are now\b.{0,40}\b(?:mode|unrestricted|jailbroken|dan)\b"
    r"|\b(?:pretend|act as if) (?:that )?you (?:are|have)\b.{0,40}\b(?:no (?:rules|restrictions|limits)|unfiltered)"
    r"|\b(?:from now on|whenever (?:anyone|someone|a user) asks)\b.{0,60}\b(?:you (?:must|will|should)|always|never)\b"
    r"|\bas an ai(?: language)? model,? you (?:must|should|will)\b"
    r"|<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>|^[ \t]{0,8}#{2,9}\s*(?:system|instruction)s?\s*:?\s*$",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
_ROLES = re.compile(
    r"^(?:support|info|sales|help|helpdesk|service-?desk|contact|kontakt|hello|hi|ask|mail|care|customers?|customer-?care|"
    r"enquir(?:y|ies)|inquir(?:y|ies)|billing|invoices?|finance|accounting|service|office|reception|press|media|marketing|"
    r"partners?|jobs|careers|privacy|legal|compliance|security|returns|orders?|shop|store|bookings?|reservations?|team|"
    r"admin|abuse|noreply|no-reply|postmaster|webmaster|feedback|accounts?|hr)\b",
    re.IGNORECASE,
)
_TOLL_FREE = re.compile(
    r"^(?:\+?1[\s.-]*)?\(?8(?:00|33|44|55|66|77|88)\)?(?!\d)|^(?:\+\d\d|00\d\d|0)[\s.-]*800"
)


def _personal_address(found: str) -> bool:
    """A role's address is a company's, and knowledge."""
    return not _ROLES.match(found)


def _personal_number(found: str) -> bool:
    digits = sum(map(str.isdigit, found))
    return 9 <= digits <= 15 and not _TOLL_FREE.match(found)


def _luhn(found: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in found if digit.isdigit()][::-1]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2]]
    return 13 <= len(digits) <= 19 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _iban(found: str) -> bool:
    """The check digits of account numbers (ISO 13616)."""
    text = re.sub(r"\s", "", found).upper()
    return 15 <= len(text) <= 34 and int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _always(_: str) -> bool:
    return True


_PERSONAL: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}"), _personal_address),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,4})?\b"), _iban),
    ("card", re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d.,-]\d)"), _luhn),
    ("ssn", re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"), _always),
    (
        "phone",
        re.compile(
            r"(?<![\w.+-])(?:\+\d{1,3}[\s.-]?(?:\(0?\d{1,4}\)[\s.-]?)?\d(?:[\s./-]?\d){6,12}"
            r"|\(\d{3}\)\s?\d{3}[\s.-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4}|0\d{2,4}[\s/-]\d{3,4}[\s-]?\d{3,5})(?![\w-])"
        ),
        _personal_number,
    ),
    (
        "birth date",
        re.compile(r"\b(?:born (?:on|in)|date of birth:?|dob:?)\s+[\w ,./-]{0,40}\d{2,4}", re.I),
        _always,
    ),
)


MARK = re.compile(r"\[(?:" + "|".join(["secret", *(kind for kind, _, _ in _PERSONAL)]) + r")\]")
"""What `without` leaves in the place of what it took out."""


Span = tuple[int, int, str]
"""Where in a text (start, end), and what of."""
_WINDOW = 4096
"""Characters that a pattern is held against at once, half of them new each time: some take time that grows with the
square of what they are held against."""


def secrets_in(text: str) -> list[Span]:
    """Each secret."""
    found = [(*key.span(), "secret") for key in _PRIVATE_KEY.finditer(text)]
    for pattern in (*_OURS, *_KNOWN):
        found += [(start, end, "secret") for start, end, _ in _matches(pattern, text)]
    return found


def personal_in(text: str) -> list[Span]:
    """Each piece of personal data; addresses and numbers of roles do not count."""
    return [
        (start, end, kind)
        for kind, pattern, holds in _PERSONAL
        for start, end, said in _matches(pattern, text)
        if holds(said)
    ]


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int, str]]:
    """Where it matches, and what. What stands in two windows may come twice, the second time cut off at its start."""
    for start in range(0, max(len(text) - _WINDOW // 2, 1), _WINDOW // 2):
        for found in pattern.finditer(text, start, start + _WINDOW):
            yield *found.span(), found.group()


def apart(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """The spans that overlap none of the others: a password before a host looks like an address."""
    taken = [(start, end) for start, end, _ in others]
    return [span for span in spans if all(span[1] <= start or end <= span[0] for start, end in taken)]


def instructs(text: str) -> bool:
    """Whether a text speaks to the model instead of answering."""
    return _INSTRUCTIONS.search(text) is not None


def without(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by `[kind]`; overlapping spans become the first one's."""
    return "".join(_pieces(text, sorted(spans)))


def _pieces(text: str, spans: Iterable[Span]) -> Iterator[str]:
    done = 0
    for start, end, kind in spans:
        if start >= done:
            yield text[done:start]
            yield f"[{kind}]"
        done = max(done, end)
    yield text[done:]
