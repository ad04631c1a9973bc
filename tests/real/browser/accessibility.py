"""Findings of axe-core, an engine that checks a page in a browser for what people with disabilities need."""

import shutil
import subprocess
import tarfile

from downloads import INSTALL_DEADLINE, cached_folder, skip_or_fail

AXE = "axe-core@4"


async def serious_findings(page):
    """What axe-core finds to be serious or critical, with the elements."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate((cached_folder("axe-core", _get_axe) / "axe.min.js").read_text(encoding="utf-8"))
    result = await page.evaluate("axe.run()")
    return [
        (found["id"], found["help"], [node["html"][:200] for node in found["nodes"]])
        for found in result["violations"]
        if found["impact"] in {"serious", "critical"}
    ]


def _get_axe(folder):
    npm = shutil.which("npm")
    if npm is None:
        skip_or_fail("there is no npm", "install it, to get axe-core with it")
    command = [npm, "pack", "--silent", AXE]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALL_DEADLINE)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        source = archive.extractfile("package/axe.min.js")
        (folder / "axe.min.js").write_bytes(source.read())
