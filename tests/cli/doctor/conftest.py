"""What the tests of `doctor` share: a person, a fake Package Manager, settings that lead to it, and a shell."""

from examined_person import configured, person, server, shell  # noqa: F401 - fixtures
