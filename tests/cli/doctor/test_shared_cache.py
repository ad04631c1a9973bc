"""Claims about doctor's check of the shared cache: what it tried, and what to do where that failed."""

import sys

import pytest

from ppmproxy.cli.doctor.checks import Outcome
from ppmproxy.cli.doctor.shared_cache import shared_cache_checks
from ppmproxy.config.model import CacheUrlMode, Settings, Upstream


async def checked(**settings):
    return await shared_cache_checks(Settings(**settings), {})


async def test_without_one_nothing_is_said():
    assert await checked() == []


@pytest.mark.parametrize("mode", CacheUrlMode)
async def test_it_is_tried_as_far_as_the_mode_allows_and_nothing_is_left(tmp_path, mode):
    (result,) = await checked(cache_url=f"file://{tmp_path}", cache_url_mode=mode)

    assert result.outcome is Outcome.OK
    assert ("written, read and compared" in result.what) is (mode is CacheUrlMode.READ_WRITE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_folder_that_cannot_be_used_is_a_warning_with_its_fix(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    (result,) = await checked(cache_url=f"file://{tmp_path}/file")

    assert result.outcome is Outcome.WARNING
    assert "files come from the Package Manager" in result.what
    assert result.fix


async def test_a_missing_folder_is_a_warning_where_nothing_may_be_written(tmp_path):
    (result,) = await checked(cache_url=f"file://{tmp_path}/missing", cache_url_mode=CacheUrlMode.READ)

    assert result.outcome is Outcome.WARNING
    assert "mount the volume" in result.fix
    assert not (tmp_path / "missing").exists()


async def test_a_missing_folder_for_temporary_files_is_mended_by_another_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))

    (result,) = await checked(cache_url=f"file://{tmp_path}")
    monkeypatch.setattr("tempfile.tempdir", None)  # as in a new process
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (mended,) = await checked(cache_url=f"file://{tmp_path}")

    assert result.outcome is Outcome.WARNING
    assert "no temporary file can be written: no such file or directory" in result.what
    assert "TMPDIR" in result.fix
    assert mended.outcome is Outcome.OK


async def test_a_missing_extra_is_a_failure_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)

    (result,) = await checked(cache_url="s3://bucket")

    assert result.outcome is Outcome.FAILED
    assert "install the extra ppmproxy[shared-cache]" in result.fix


async def test_without_a_cache_it_is_of_no_use(tmp_path):
    (result,) = await checked(cache_url=f"file://{tmp_path}", upstreams=(Upstream(cache=False),))

    assert result.outcome is Outcome.WARNING
    assert "cache = true" in result.fix
