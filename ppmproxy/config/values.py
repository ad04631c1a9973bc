"""The types of a setting's value (boolean, number, duration, choice, path, list): parsed and formatted.

Each type is parsed from TOML, and from the text of a variable or flag. Addresses, URLs and headers are in `network`.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ppmproxy.config.file import inline_value
from ppmproxy.config.location import SEE_EXAMPLE, Location, nearest, one_of
from ppmproxy.errors import ConfigError

Word = TypeVar("Word", bound=enum.Enum)
Item = TypeVar("Item")

MAX_DURATION = 24 * 3600.0  # seconds; the longest an event loop waits for one thing
MAX_AGE = 3650 * 24 * 3600.0  # seconds; the longest that something may be kept

_WORD = re.compile("[A-Za-z_-]{1,24}")  # anything else may be a token in the wrong place
_INVISIBLE = "\u200b\u2060\ufeff"  # characters without width, which pages and chats put around what is copied
_BOOLEAN_WORDS = {
    "true": True,
    "false": False,
    "1": True,
    "0": False,
    "yes": True,
    "no": False,
    "on": True,
    "off": False,
}
_DAY = 24 * 3600
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile(rf"(?:({_NUMBER})d)?(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?(?:({_NUMBER})ms)?")


def unchanged(text: str, _place: Location) -> object:
    """The text of a variable or flag, for a type that is a string in TOML too."""
    return text


@dataclass(frozen=True, slots=True)
class ValueType:
    """How a value is parsed from TOML, converted from a variable's text to TOML, and formatted as TOML."""

    parse: Callable[[object, Location], Any]
    format: Callable[[Any], str]
    metavar: str
    from_text: Callable[[str, Location], object] = unchanged
    may_be_bare: bool = False  # a flag without a value means true
    is_list: bool = False  # in a variable or flag the items are separated by commas


def type_name(value: object) -> str:
    """The TOML name of a value's type, for messages."""
    names: dict[type, str] = {
        bool: "a boolean", int: "a whole number", float: "a number", str: "a string", list: "a list", dict: "a table",
    }  # fmt: skip
    return names.get(type(value), "a date or a time")


def wrong_type(value: object, expected: str, location: Location, hint: str = SEE_EXAMPLE) -> ConfigError:
    """The error for a value of the wrong type."""
    return location.error(f"must be {expected}, not {type_name(value)}", hint)


def toml_string(text: str) -> str:
    """A basic string of TOML; the bytes of a path that is not UTF-8 become escapes."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return quoted.encode(errors="backslashreplace").decode()


def toml_list(items: Iterable[str]) -> str:
    """A TOML list of values that are formatted already."""
    return f"[{', '.join(items)}]"


# --- strings and choices ----------------------------------------------------------------------------------------------


def string(value: object, location: Location) -> str:
    """A string without control characters, and without the blanks around it that come with pasting."""
    if not isinstance(value, str):
        raise wrong_type(value, "a string", location)
    text = value.strip().strip(_INVISIBLE)
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):  # noqa: PLR2004 - C0 and DEL
        raise location.error("contains a line break or another control character", "write it on one line")
    return text


def filled_string(value: object, location: Location) -> str:
    """A string that is not empty."""
    text = string(value, location)
    if not text:
        raise location.error("is empty", "give it a value, or leave it out")
    return text


def choice_of(words: type[Word]) -> ValueType:
    """One of the values of an enumeration of strings."""
    known: list[str] = [word.value for word in words]

    def parse(value: object, location: Location) -> Word:
        text = string(value, location)
        if text not in known:
            hint = f"the nearest is {nearest(text, known)}"
            if _WORD.fullmatch(text):
                raise location.refused(text, f"not {one_of(known)}", hint)
            raise location.error(f"must be {one_of(known)}", hint)
        return words(text)

    return ValueType(parse, lambda word: toml_string(word.value), "|".join(known))


# --- booleans and numbers ---------------------------------------------------------------------------------------------


def _boolean(value: object, location: Location) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(value, "true or false", location, "write true or false, without quotes")
    return value


def _boolean_from_text(text: str, location: Location) -> bool:
    try:
        return _BOOLEAN_WORDS[text.strip().lower()]
    except KeyError:
        raise location.refused(text, "not true or false", f"write {one_of(_BOOLEAN_WORDS)}") from None


BOOLEAN = ValueType(_boolean, lambda value: str(value).lower(), "true|false", _boolean_from_text, may_be_bare=True)


def whole_number(least: int, most: int) -> ValueType:
    """A whole number from `least` to `most`, both included."""

    def parse(value: object, location: Location) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(value, "a whole number", location, "write it without quotes, as in max_connections = 50")
        if not least <= value <= most:
            raise location.refused(value, f"not from {least} to {most}", "choose a number in that range")
        return value

    def from_text(text: str, location: Location) -> int:
        digits = text.strip()
        if not re.fullmatch(r"[0-9]{1,18}", digits):
            raise location.refused(digits, "not a whole number", f"choose one from {least} to {most}")
        return int(digits)

    return ValueType(parse, str, "NUMBER", from_text)


def duration(*, may_be_zero: bool = False, most: float = MAX_DURATION) -> ValueType:
    """A duration in seconds: a number, or a string such as ``20s``, ``1m``, ``500ms``, ``1h30m`` and ``7d``."""
    hint = 'write it like "20s", "500ms", "1m" or "1h30m"; a plain number is seconds'

    def parse(value: object, location: Location) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise wrong_type(value, "a time", location, hint)
        seconds = seconds_of(value)
        if seconds is None:
            raise location.refused(value, "not a time", hint)
        is_long_enough = seconds >= 0 if may_be_zero else seconds > 0
        if not is_long_enough or seconds > most:
            longest = "24h" if most == MAX_DURATION else format_duration(most).strip('"')
            least = "at least" if may_be_zero else "more than"
            raise location.refused(value, f"not {least} 0s and at most {longest}", hint)
        return seconds

    return ValueType(parse, format_duration, "TIME")


def seconds_of(value: float | str) -> float | None:
    """The seconds of a duration such as ``20s`` or of a plain number; None for anything else."""
    if not isinstance(value, str):
        return float(min(max(value, -1), MAX_AGE + 1))  # a whole number may be too large for a float
    text = value.strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    parts = _DURATION.fullmatch(text)
    if not parts or not text:
        return None
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in parts.groups())
    return days * _DAY + hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def format_duration(seconds: float) -> str:
    """The short form of a duration, as TOML."""
    milliseconds = round(seconds * 1000)
    if 0 < seconds < 1 and milliseconds / 1000 == seconds:
        return f'"{milliseconds}ms"'
    if seconds != int(seconds):
        from decimal import Decimal  # noqa: PLC0415 - only to show such a value

        return f'"{Decimal(repr(seconds)):f}s"'
    if seconds < 2 * 60:
        return f'"{int(seconds)}s"'
    if seconds >= 2 * _DAY and seconds % _DAY == 0:
        return f'"{int(seconds) // _DAY}d"'
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if count)
    return f'"{text}"'


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)")
_MOST_BYTES = 1 << 50


def _byte_size(value: object, location: Location) -> int:
    hint = 'write it like "2GiB" or "500MB"; a plain number is bytes'
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise wrong_type(value, "a size", location, hint)
    parts = _SIZE.fullmatch(str(value).strip())
    factor = _UNITS.get(parts[2].lower()) if parts else None
    if parts is None or factor is None:
        raise location.refused(value, "not a size", hint)
    size = float(parts[1]) * factor
    if size > _MOST_BYTES:
        raise location.refused(value, "not at most 1024TiB", hint)
    return int(size)


def format_size(size: int) -> str:
    """The short form of a size in bytes, exact, as TOML."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _UNITS[unit.lower()] == 0:
            return f'"{size // _UNITS[unit.lower()]}{unit}"'
    return str(size)


BYTE_SIZE = ValueType(_byte_size, format_size, "SIZE")


# --- paths and lists --------------------------------------------------------------------------------------------------


def path(value: object, location: Location) -> Path:
    """A path; `Location.path_of` resolves ``~`` and relative ones."""
    text = filled_string(value, location)
    if text.startswith("~") and text != "~" and not text.startswith("~/"):
        raise location.refused(
            text, "which begins with ~ and a user's name", "write the path in full, or begin it with ~/"
        )
    return location.path_of(text)


def _path_or_none(value: object, location: Location) -> Path | None:
    return path(value, location) if string(value, location) else None


PATH = ValueType(path, lambda value: toml_string(str(value)), "PATH")
OPTIONAL_PATH = ValueType(_path_or_none, lambda value: toml_string("" if value is None else str(value)), "PATH")


def items_of(value: object, location: Location, item: Callable[[object, Location], Item]) -> tuple[Item, ...]:
    """The items of a list, each parsed by `item`."""
    if not isinstance(value, list):
        raise wrong_type(value, "a list", location, 'write it in brackets, as in key = ["one", "two"]')
    return tuple(item(element, location.below(index)) for index, element in enumerate(value))


def list_of(item: Callable[[object, Location], object], metavar: str) -> ValueType:
    """A list without duplicates; in a variable or flag the items are separated by commas."""

    def parse(value: object, location: Location) -> tuple[object, ...]:
        return tuple(dict.fromkeys(items_of(value, location, item)))

    return ValueType(
        parse, lambda items: toml_list(toml_string(str(one)) for one in items), metavar, comma_separated, is_list=True
    )


def comma_separated(text: str, _place: Location) -> list[object]:
    """The items of a variable or flag; an empty text is an empty list."""
    return [part.strip() for part in text.split(",")] if text.strip() else []


def from_inline_toml(text: str, location: Location) -> object:
    """A list or table in a variable, as inline TOML."""
    try:
        return inline_value(text)
    except ValueError:
        raise location.error("is not a TOML value", "write it on one line as it stands behind = in the file") from None
