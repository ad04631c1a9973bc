"""Claims about sizes as people read them."""

import pytest

from ppmproxy.config.sizes import size_text


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (3 * 2**40, "3.0 TiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_a_size_is_shown_with_its_unit(size, shown):
    assert size_text(size) == shown
