"""`ppmproxy configure --system`: what works for all users of a machine, instead of a file that names the proxy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ppmproxy.clients.system_files import SystemFile
from ppmproxy.errors import UsageError

_PROFILE = "/etc/profile.d/ppmproxy.sh"


def no_system_file(origin: str) -> UsageError:
    """The error that a file for all users would not work."""
    what = f"configure: a file for all users cannot name {origin}, which is one user's own proxy"
    return UsageError(what, "use one of the recipes above; nothing was written")


def system_recipe(files: Sequence[SystemFile], platform: str) -> Iterator[str]:
    """The lines of the recipe: the real URL in these files, or variables at each login."""
    if files:
        yield from ("The Package Manager's own URL, for commands run by `ppmproxy exec --intercept -- ...`", "")
    for file in files:
        yield from (f"in {file.where}:", "", *(f"    {line}" for line in file.lines), "")
    beginning = "Or variables" if files else "Variables"
    if platform == "win32":
        yield f"{beginning}, set by the PowerShell profile for all users ($PROFILE.AllUsersAllHosts):"
        yield from ("", "    ppmproxy env --shell powershell | Out-String | Invoke-Expression")
    else:
        yield f"{beginning}, set at each login by {_PROFILE}:"
        yield from ("", '    if command -v ppmproxy >/dev/null; then eval "$(ppmproxy env --shell sh)"; fi')
