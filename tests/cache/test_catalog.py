"""Claims about the catalog: what it knows does not grow without end, and several changes are one or none."""

import contextlib
import os
import sqlite3

import pytest

from ppmproxy.cache.catalog import PAGE_SHARE, UNCHECKED_PAGES, CacheCatalog
from ppmproxy.cache.catalog_rows import PageRow, UrlRow


@pytest.fixture
def catalog(tmp_path):
    with contextlib.closing(CacheCatalog(tmp_path / "index.sqlite3")) as opened:
        yield opened


def url_row(number):
    return UrlRow(b"me", f"url {number}", "", f"digest {number}", {}, float(number))


def test_urls_whose_files_are_gone_and_all_but_the_last_are_forgotten(tmp_path):
    with contextlib.closing(CacheCatalog(tmp_path / "index.sqlite3")) as catalog:
        for number in range(6):
            catalog.save_file(UrlRow(b"me", f"url {number}", "", f"digest {number}", {}, float(number)), 1)
        catalog.forget_blobs(["digest 5"])

        catalog.forget_old_urls(3)

        kept = [number for number in range(6) if catalog.url(b"me", f"url {number}", "")]

    assert kept == [2, 3, 4]


def test_urls_are_kept_where_there_are_few(tmp_path):
    with contextlib.closing(CacheCatalog(tmp_path / "index.sqlite3")) as catalog:
        catalog.save_file(UrlRow(b"me", "url", "", "digest", {}, 1.0), 1)

        catalog.forget_old_urls()

        assert catalog.url(b"me", "url", "") is not None


def test_changes_that_are_made_together_are_all_made(catalog):
    assert catalog.together([lambda to, at=number: to.save_file(url_row(at), 1) for number in range(3)])

    assert catalog.totals().files == 3


def test_changes_of_which_one_fails_are_not_made(catalog):
    def fail(_catalog):
        raise ValueError

    assert not catalog.together([lambda to: to.save_file(url_row(1), 1), fail])

    assert catalog.totals().files == 0
    catalog.save_file(url_row(2), 1)


def test_changes_that_the_database_does_not_take_are_an_error(catalog, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(sqlite3.OperationalError):
            catalog.together([lambda to: to.save_file(url_row(1), 1)])

    assert catalog.totals().files == 0


def test_pages_take_no_more_than_their_share(catalog):
    most, size = 400_000, 10_000
    for number in range(30):
        page = PageRow(b"me", f"url {number}", "html", "", f"{number}", {}, os.urandom(size), float(number))
        catalog.save_page(page, {}, most)

    totals = catalog.totals()

    assert most // PAGE_SHARE - 2 * size < totals.page_bytes <= most // PAGE_SHARE * (1 + 1 / UNCHECKED_PAGES) + size
    assert catalog.page(b"me", "url 29", "html") is not None
    assert catalog.page(b"me", "url 0", "html") is None
