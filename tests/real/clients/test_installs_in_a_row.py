"""The claim that of many installs in a row none fails under `exec --intercept`, though the client tries nothing again.

PPMPROXY_INSTALLS says how many; a connection that is lost once in a thousand times shows only in hundreds of installs.
"""

import os
import sys
from urllib.parse import urlsplit

import company_setup
import pytest
from company_setup import UV

from ppmproxy.testing.package_manager import wheel

INSTALLS = int(os.environ.get("PPMPROXY_INSTALLS", "30"))
WHEELS = 5
SECONDS_OF_ONE = 30  # at most, on a machine that does much else

pytestmark = [pytest.mark.real, pytest.mark.timeout(60 + SECONDS_OF_ONE * INSTALLS)]
company = company_setup.company


@pytest.mark.parametrize("beside", ["beside a running daemon", "with a daemon of its own"])
async def test_of_many_installs_in_a_row_none_fails_without_retries(beside, company):
    names = [f"package-{number}" for number in range(WHEELS)]
    for name in names:
        company.package_manager.add(wheel(name))
    failed = []

    async def install(number, **environ):
        target = ("--target", f"installed-{number}", "--python", sys.executable)
        flags = ("--no-cache", "--quiet", "--index-url", company.index, *target)
        end = await company.exec(UV, "pip", "install", *flags, *names, UV_HTTP_RETRIES="0", **environ)
        installed = list((company.project / f"installed-{number}").glob("package_*.dist-info"))
        if end.code or len(installed) != WHEELS:
            failed.append((number, end.output))

    if beside.startswith("beside"):
        async with company.daemon() as running:
            listen = {"PPMPROXY_LISTEN": urlsplit(running.url).netloc, "PPMPROXY_TOKEN": ""}
            for number in range(INSTALLS // 2):
                await install(number, **listen)
    else:
        for number in range(INSTALLS - INSTALLS // 2):
            await install(number)

    assert failed == []
