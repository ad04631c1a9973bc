"""The metadata of a wheel (PEP 658), taken out of a wheel that is here and verified."""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from typing import BinaryIO

from ppmproxy.cache.catalog_rows import UrlRow
from ppmproxy.cache.known_file import KnownFile
from ppmproxy.cache.page_names import METADATA
from ppmproxy.cache.upstream_cache import Asked, UpstreamCache

LARGEST_METADATA = 8 << 20  # bytes
MOST_MEMBERS = 100_000  # of a wheel
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_WHEEL = ".whl" + METADATA


async def keep_from_wheel(cache: UpstreamCache, asked: Asked, known: KnownFile) -> bool:
    """Keep the metadata that a URL names, if that is in its wheel and has the hash that the page names.

    The right to it is that of its own name on the page, as if it had been downloaded when the page was proved.
    """
    naming = known.naming
    if naming is None or not known.url.endswith(_WHEEL):
        return False
    store, holder, wheel = cache.store, asked.holder, known.url.removesuffix(METADATA)
    remembered = cache.names.get(holder, wheel)
    named = remembered.naming if remembered else await store.catalog.ask(lambda catalog: catalog.naming(holder, wheel))
    file = await store.open_blob(named.digest) if named else None
    if named is None or file is None:
        return False
    try:
        content = await asyncio.to_thread(metadata_of, file)
    finally:
        store.close_blob(named.digest, file)
    if content is None or hashlib.sha256(content).hexdigest() != known.digest:
        return False
    row = UrlRow(holder, known.url, known.variant, known.digest, {}, naming.proved_at)
    is_kept = await store.keep(content, row, asked.refusals_before)
    if is_kept and not store.is_refused(row, asked.refusals_before):
        cache.names.put_row(row)
    return is_kept


def metadata_of(wheel: BinaryIO) -> bytes | None:
    """The metadata in a wheel; None where there is none that can be read."""
    from zipfile import BadZipFile, ZipFile  # noqa: PLC0415 - takes 10 ms to import

    try:
        with ZipFile(wheel) as archive:
            members = archive.infolist()
            found = [one for one in members[:MOST_MEMBERS] if _METADATA.fullmatch(one.filename)]
            if len(found) != 1 or found[0].file_size > LARGEST_METADATA:
                return None
            with archive.open(found[0]) as member:
                return member.read(LARGEST_METADATA)
    except (BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zlib.error):
        return None
