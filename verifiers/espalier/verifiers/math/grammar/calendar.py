"""Times of day and dates in words and digits, as one text each."""

from __future__ import annotations

import datetime
import re
from typing import Final

from espalier.verifiers.math.tree import Text

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december"),
)
_MONTH: Final = "|".join(f"{month[:3]}(?:{month[3:]})?\\.?" for month in _MONTHS)
_CLOCK: Final = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d))?\s*(?P<half>[ap])\.?\s?m\b\.?|(?P<word>12:00\s*noon|12:00\s*midnight|noon|midnight)",
    re.IGNORECASE,
)
_DATES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<month>{_MONTH})\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s*,?\s*(?P<year>\d{{4}}))?",
        rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH})(?:\s*,?\s*(?P<year>\d{{4}}))?",
    )
)
_WEEKDAY: Final = re.compile(r"(?P<day>mon|tues|wednes|thurs|fri|satur|sun)day,?\s+", re.IGNORECASE)
_WEEKDAYS: Final = ("mon", "tues", "wednes", "thurs", "fri", "satur", "sun")
_ISO: Final = re.compile(r"(?P<year>\d{4})([-/])(?P<month>0[1-9]|1[0-2])\2(?P<day>0[1-9]|[12]\d|3[01])")
_UPRIGHT: Final = re.compile(
    r"\\(?:text|mathrm|mbox|textrm|textnormal)\s*\{([^{}]*)\}|[${}~]|\\[,;:! \[\]()]|\\displaystyle\b"
)


def calendar(text: str) -> Text | None:
    """The time of day "15:30 pm" or the date "2024-3-5" that a short text is; None for anything else."""
    if len(text) > 60:
        return None
    plain = " ".join(_UPRIGHT.sub(lambda match: match.group(1) or " ", text).split()).rstrip(".,")
    plain = re.sub(r"\s*:\s*", ":", plain)
    if clock := _CLOCK.fullmatch(plain) or _CLOCK.fullmatch(plain + "."):
        return _time(clock)
    weekday = _WEEKDAY.match(plain)
    for pattern in _DATES:
        if date := pattern.fullmatch(plain, weekday.end() if weekday else 0):
            month = next(number for number, name in enumerate(_MONTHS, 1) if name.startswith(date["month"][:3].lower()))
            if weekday and not _falls_on(weekday["day"], date["year"], month, int(date["day"])):
                return None
            return Text(f"date {date['year'] or '?'}-{month}-{int(date['day'])}")
    return None


def _falls_on(weekday: str, year: str | None, month: int, day: int) -> bool:
    """Whether a date, of which the year is known, is that day of the week."""
    try:
        found = datetime.date(int(year or 0), month, day).weekday()
    except ValueError:
        return False
    return _WEEKDAYS[found] == weekday.lower()


def numeric_date(text: str) -> tuple[Text, bool] | None:
    """The date "2020-03-05", and whether it is nothing else: without a leading zero it is a subtraction, too."""
    if len(text) > 60 or ("-" not in text and "/" not in text):
        return None
    date = _ISO.fullmatch(_UPRIGHT.sub(lambda match: match.group(1) or "", text).strip(" ."))
    if date is None:
        return None
    alone = date["month"].startswith("0") or date["day"].startswith("0")
    return Text(f"date {date['year']}-{int(date['month'])}-{int(date['day'])}"), alone


def _time(clock: re.Match[str]) -> Text | None:
    if clock["word"]:
        return Text(f"12:00 {'pm' if 'noon' in clock['word'].lower() else 'am'}")
    if not 1 <= int(clock["hour"]) <= 12:
        return None
    return Text(f"{int(clock['hour'])}:{clock['minute'] or '00'} {clock['half'].lower()}m")
