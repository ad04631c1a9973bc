"""The value of `access`: the same user, any user, or a list of users.

The room `access` enforces it.
"""

from __future__ import annotations

from ppmproxy.config.location import Location, nearest
from ppmproxy.config.model import Access, AccessRule
from ppmproxy.config.values import (
    ValueType,
    comma_separated,
    filled_string,
    from_inline_toml,
    items_of,
    toml_list,
    toml_string,
    wrong_type,
)

_WORDS = (AccessRule.SAME_USER.value, AccessRule.ANY.value)
_LARGEST_UID = 2**32 - 2  # the largest 32-bit number means "no user" to the kernel
_HINT = 'write "same-user", "any", or a list of users like ["alice", 1001]'


def _access(value: object, location: Location) -> Access:
    if isinstance(value, str):
        if value not in _WORDS:
            raise location.refused(value, "not same-user or any", f"the nearest is {nearest(value, _WORDS)}; {_HINT}")
        return Access(AccessRule(value))
    if not isinstance(value, list):
        raise wrong_type(value, "a string or a list of users", location, _HINT)
    users = items_of(value, location, _user)
    if not users:
        raise location.error("is empty, so nobody could use the proxy", _HINT)
    names = tuple(user for user in users if isinstance(user, str))
    return Access(AccessRule.LISTED, names, tuple(user for user in users if isinstance(user, int)))


def _user(value: object, location: Location) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _LARGEST_UID:
            raise location.refused(value, "not a user's number", f"write a number from 0 to {_LARGEST_UID}")
        return value
    if not isinstance(value, str):
        raise wrong_type(value, "a user's name or number", location, _HINT)
    return filled_string(value, location)


def _from_text(text: str, location: Location) -> object:
    """A word, users separated by commas, or a list as TOML writes it."""
    if text.lstrip().startswith("["):
        return from_inline_toml(text, location)
    users = comma_separated(text, location)
    word = text.strip()
    if not users or word in _WORDS or (len(users) == 1 and _may_be_misspelt(word)):
        return word
    return [_number_or_name(str(user)) for user in users]


def _may_be_misspelt(name: str) -> bool:
    """Whether a single name may be a misspelt word, which must not admit a user of that name."""
    import difflib  # noqa: PLC0415 - seldom needed

    return bool(difflib.get_close_matches(name.lower(), _WORDS))


def _number_or_name(user: str) -> str | int:
    return int(user) if user.isascii() and user.isdigit() and len(user) <= len(str(_LARGEST_UID)) else user


def _format(access: Access) -> str:
    if access.rule is not AccessRule.LISTED:
        return toml_string(access.rule.value)
    return toml_list([*map(toml_string, access.names), *map(str, access.uids)])


ACCESS = ValueType(_access, _format, "same-user|any|USER,...", _from_text, is_list=True)
