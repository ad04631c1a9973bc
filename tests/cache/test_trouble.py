"""Claims about the cache's trouble: said once, and over when what failed works again."""

import errno

import pytest

from ppmproxy.cache.folder import CacheUnusableError, ReadOnlyCacheError
from ppmproxy.cache.trouble import CacheTrouble

FULL = OSError(errno.ENOSPC, "No space left on device")
LOCKED = Exception("database is locked")


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def trouble(tmp_path, clock):
    return CacheTrouble(tmp_path, lambda: clock[0])


def test_trouble_is_said_once(trouble, tmp_path, logs):
    trouble.report_full(FULL)
    trouble.report_full(FULL)
    trouble.report_moment(LOCKED)

    assert trouble.what == f"the cache {tmp_path} cannot be written: no space left on device"
    assert [event["why"] for event in logs.events("cache_unusable")] == [trouble.what]


def test_trouble_that_returns_is_said_again(trouble, logs):
    trouble.report_moment(LOCKED)
    trouble.end_moment()
    trouble.report_moment(LOCKED)

    assert len(logs.events("cache_unusable")) == 2


@pytest.mark.parametrize(("later", "is_over"), [(0.0, False), (59.0, False), (61.0, True)])
def test_a_full_disk_is_over_when_a_file_has_room_a_minute_later(trouble, clock, later, is_over):
    trouble.report_full(FULL)
    clock[0] += later
    trouble.end_full()

    assert (trouble.what == "") is is_over


@pytest.mark.parametrize(
    ("report", "end"),
    [("report_full", "end_moment"), ("report_moment", "end_full"), ("report_unusable", "end_moment")],
)
def test_trouble_of_one_kind_does_not_end_with_another(trouble, clock, report, end):
    getattr(trouble, report)(FULL)
    clock[0] += 3600
    getattr(trouble, end)()

    assert trouble.what != ""


@pytest.mark.parametrize(
    ("error", "level"),
    [(CacheUnusableError("no folder", "make it"), "warning"), (ReadOnlyCacheError("x", "y"), "info")],
)
def test_a_cache_that_is_meant_to_be_read_only_is_no_warning(trouble, logs, error, level):
    trouble.report_unusable(error)

    (event,) = logs.events("cache_unusable")
    assert (event["level"], event["hint"]) == (level, error.hint)
