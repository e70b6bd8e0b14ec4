"""Checks that an expression cannot make: checksums, and whether a value is a secret or a placeholder.

Every validator takes the whole text as bytes and the span that the expression found, and says whether
it is real. They run on hits only.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping

Validator = Callable[[bytes, int, int], bool]

_PLACEHOLDER = re.compile(
    rb"(?i)\$.*|%.*%|<.*|\{.*|\[redacted.*|\*+|x{4,}|\.{3,}|#.*|env[:.].*|file:.*|process\.env.*|os\.environ.*"
    rb"|secrets\..*|vault:.*|none|null|nil|true|false|undefined|required|optional|redacted|your[-_ ].*|changeme"
    rb"|(?:string|str|bytes|secretstr)\b.*|(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key)"
)
_NAME = re.compile(rb"[A-Za-z_][A-Za-z_]*(?:\.[A-Za-z_][A-Za-z_]*)*")
_URL_BEFORE = re.compile(rb"://[^\s/@\"'<>]*:[^\s/@\"'<>]*$")
_VERSION_HOST = re.compile(rb"v?[0-9]+\.[0-9x].*|[0-9]+x\.[a-z]+", re.IGNORECASE)
_UNIT_SUFFIXES = frozenset(
    b"service socket target timer mount slice scope png jpg jpeg gif webp avif ico svg js mjs cjs ts tsx jsx json yaml "
    b"yml toml txt css scss html lock whl tgz transpose inverse dot matmul latest next beta alpha rc canary".split()
)
_ROBOTS = frozenset((b"git", b"noreply", b"no-reply", b"hg", b"svn"))
_IBAN_LENGTHS: Mapping[bytes, int] = {
    pair[:2]: int(pair[2:])
    for pair in (
        b"AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 "
        b"EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        b"IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 "
        b"NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 "
        b"SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
    ).split()
}
_CARD_ISSUERS = re.compile(
    rb"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"
    rb"|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
    rb"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}|62[0-9]{14,17}"
)
_NANP = re.compile(rb"1[2-9][0-9]{2}[2-9][0-9]{6}")


def luhn(raw: bytes, start: int, end: int) -> bool:
    """A card number of a known issuer whose check digit is right."""
    digits = raw[start:end].translate(None, b" -")
    if _CARD_ISSUERS.fullmatch(digits) is None or len(set(digits)) == 1:
        return False
    values = [digit - 48 for digit in reversed(digits)]
    doubled = sum(2 * value - 9 if value > 4 else 2 * value for value in values[1::2])
    return (sum(values[0::2]) + doubled) % 10 == 0


def iban(raw: bytes, start: int, end: int) -> bool:
    """An IBAN of the length of its country whose check digits are right."""
    compact = raw[start:end].replace(b" ", b"")
    if _IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(chr(character), 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def ssn(raw: bytes, start: int, end: int) -> bool:
    """A US social security number that can have been issued."""
    area, group, serial = raw[start:end].split(b"-")
    return area not in (b"000", b"666") and group != b"00" and serial != b"0000"


def phone(raw: bytes, start: int, end: int) -> bool:
    """An E.164 number of 8 to 15 digits; the North American plan has its own shape."""
    written = raw[start + 1 : end]
    digits = written.translate(None, b" .()-")
    if not 8 <= len(digits) <= 15 or written.count(b"(") != written.count(b")"):
        return False
    if digits[:1] == b"1":
        return _NANP.fullmatch(digits) is not None
    return not (written.count(b".") == 1 and written.translate(None, b"0123456789") == b".")


def email(raw: bytes, start: int, end: int) -> bool:
    """An address of a person: not a password in a URL, a package version, a file name, or a robot's login."""
    local, _, host = raw[start:end].partition(b"@")
    if local.lower() in _ROBOTS or _VERSION_HOST.fullmatch(host) is not None:
        return False
    if host.rpartition(b".")[2].lower() in _UNIT_SUFFIXES:
        return False
    return _URL_BEFORE.search(raw, max(0, start - 256), start) is None


def opaque(raw: bytes, start: int, end: int) -> bool:
    """A value that is no run of plain words: it has a digit, mixed case, or twenty letters in a row."""
    value = raw[start:end]
    if not any(48 <= byte <= 57 for byte in value):
        longest = max(map(len, re.split(rb"[^A-Za-z]+", value)))
        return longest >= 20 and not _placeholder(value)
    return any(byte > 57 for byte in value) and not _placeholder(value)


def mixed(raw: bytes, start: int, end: int) -> bool:
    """A value with letters and at least two digits."""
    value = raw[start:end]
    digits = sum(48 <= byte <= 57 for byte in value)
    return digits >= 2 and any(byte > 57 for byte in value) and not _placeholder(value)


def basic(raw: bytes, start: int, end: int) -> bool:
    """Base64 of `user:password`."""
    try:
        decoded = base64.b64decode(raw[start:end] + b"=" * (-(end - start) % 4), validate=True)
    except binascii.Error:
        return False
    return b":" in decoded and all(32 <= byte for byte in decoded)


def not_placeholder(raw: bytes, start: int, end: int) -> bool:
    """A value, not a place where a value goes."""
    return not _placeholder(raw[start:end])


def quoted(raw: bytes, start: int, end: int) -> bool:
    """A quoted value of at least four characters after a name such as `password`."""
    return end - start >= 4 and not _placeholder(raw[start:end])


def assigned(raw: bytes, start: int, end: int) -> bool:
    """An unquoted value after a name such as `password`: no call, variable or type of source code."""
    value = raw[start:end]
    if _placeholder(value) or raw[end : end + 1] in (b"(", b"["):
        return False
    if _NAME.fullmatch(value) is None:
        return True
    spaced = raw[start - 1 : start] in (b" ", b"\t")
    return not spaced and b"_" not in value and b"." not in value and value.islower()


def _placeholder(value: bytes) -> bool:
    return _PLACEHOLDER.fullmatch(value.strip()) is not None


VALIDATORS: Mapping[str, Validator] = {
    check.__name__: check
    for check in (assigned, basic, email, iban, luhn, mixed, not_placeholder, opaque, phone, quoted, ssn)
}
