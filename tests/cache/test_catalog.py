"""Claims about the catalog: what is known of URLs does not grow without end."""

import contextlib

from ppmproxy.cache.catalog import CacheCatalog
from ppmproxy.cache.catalog_rows import UrlRow


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
