"""Claims that no command shows a token to its child or to the person."""

import sys

import pytest
from free_ports import free_port
from planted_tokens import AUDIENCE, IN_BASIC, SOURCES, tokens_on_the_wire, written
from processes import plain_environment, run_program
from proxy_client import leaked_forms

from ppmproxy.testing.package_manager import (
    FakePackageManager,
    IdentityProviderTrust,
    wheel,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


if sys.platform != "linux":
    pytest.skip("what other users see of a process is looked up in /proc", allow_module_level=True)


LOOK_AROUND = (
    "import os, pathlib, subprocess, sys, urllib.request\n"
    "print(urllib.request.urlopen(os.environ['PIP_INDEX_URL'] + 'hello/').status, 'was answered', flush=True)\n"
    "for looked_at in ('self/environ', 'self/cmdline', f'{os.getppid()}/cmdline'):\n"
    "    print(pathlib.Path('/proc', looked_at).read_text(), flush=True)\n"
    "ppmproxy = [sys.executable, '-m', 'ppmproxy']\n"
    "for command in (['ps', '-ww', '-eo', 'args'], [*ppmproxy, 'status'], [*ppmproxy, 'status', '--json']):\n"
    "    subprocess.run(command, check=True)\n"
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__.replace("_", "-"))
async def test_no_command_shows_a_token_to_its_child_or_to_the_person(source, tmp_path, authority):
    knobs = {
        "authority": authority,
        "repos": (IN_BASIC,),
        "trusts": (IdentityProviderTrust(AUDIENCE),),
        "device_interval": 1.0,
    }
    async with (
        FakePackageManager(**knobs, base_path="/rspm") as package_manager,
        source(package_manager, tmp_path) as planted,
    ):
        package_manager.add(wheel("hello"), IN_BASIC)
        home = tmp_path / "home-of-the-person"
        for folder in (home, home / "runtime"):
            folder.mkdir(mode=0o700)
        environ = plain_environment(home, XDG_RUNTIME_DIR=str(home / "runtime"), PPMPROXY_LOG_LEVEL="debug")
        environ |= {
            "PPMPROXY_UPSTREAM": package_manager.url,
            "PPMPROXY_CA_FILE": str(package_manager.write_ca(tmp_path / "ca.pem")),
        }
        environ |= {"PPMPROXY_LISTEN": f"127.0.0.1:{free_port()}", **planted.environ}

        async def runs(*arguments):
            return await run_program([sys.executable, "-m", "ppmproxy", *arguments], environ, home)

        executed = await runs("exec", "--repo", IN_BASIC, "--", sys.executable, "-c", LOOK_AROUND)
        doctors = [await runs("doctor", "--repo", IN_BASIC, *more) for more in ((), ("--json",))]

    secrets = {*planted.secrets, *tokens_on_the_wire(package_manager)}
    child = [planted.seen_by_child.read_text()] if planted.seen_by_child else []
    files = written(tmp_path, [*planted.files, planted.seen_by_child])
    texts = [executed.output, *(doctor.output for doctor in doctors), *child, *files]
    assert executed.code == 0, executed.output
    for told in ("200 was answered", "PIP_INDEX_URL=", "  token: from ", '"credentials": [{"source": '):
        assert told in executed.output
    assert all(f"; taken for {IN_BASIC}" in doctor.output for doctor in doctors), doctors
    assert {*planted.secrets[:1]} <= tokens_on_the_wire(package_manager)
    assert {form for secret in secrets for text in texts for form in leaked_forms(secret, text)} == set()
