"""QR codes as SVG, for the address at which a person confirms a sign-in: a telephone can open it."""

from __future__ import annotations

from ppmproxy.server.admin.markup import Html, markup

QUIET = 4  # modules of white around it (ISO/IEC 18004 section 9.1)
_CODE = """<svg class="qr" viewBox="0 0 {size} {size}" role="img" aria-label="QR code of the sign-in page">
<rect width="{size}" height="{size}" fill="#fff"/><path d="{path}" fill="#000"/></svg>"""


def qr_code(address: str) -> Html:
    """The QR code of an address; nothing for one that is too long for it."""
    import segno  # noqa: PLC0415 - for the few who sign in on the page

    try:
        rows = segno.make(address, error="m", micro=False).matrix
    except segno.DataOverflowError:
        return Html()
    dark = [(x, y) for y, row in enumerate(rows) for x, is_dark in enumerate(row) if is_dark]
    path = "".join(f"M{x + QUIET} {y + QUIET}h1v1h-1z" for x, y in dark)
    return markup(_CODE, size=len(rows) + 2 * QUIET, path=path)
