"""Claims about README.md: its commands, as they stand, lead from a bare Debian file system to an install and back."""

import re
import shutil
import subprocess

import pytest
from bare_debian import HOME, INDEX, INSTALL_DEADLINE, approved_in_the_end, newcomer
from readme import blocks_of, section
from uv import find_uv_bin

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]  # a system, and what README installs in it

INSTALL = "real/service/test_first_hour::test_each_way_to_install_leads_to_the_same_command"
SIGN_IN = "real/service/test_first_hour::test_single_sign_on_leads_to_an_install"
TOKEN = "real/service/test_first_hour::test_a_token_in_a_file_leads_to_an_install"
CONFIGURE = "real/service/test_first_hour::test_configured_clients_install_and_are_restored"
WRONG = "real/service/test_first_hour::test_what_is_wrong_is_found_by_the_commands_for_it"
UNINSTALL = "real/service/test_first_hour::test_nothing_is_left_after_the_commands_that_uninstall_it"

FROM_REGISTRY = {"has_registry": True, "deadline": INSTALL_DEADLINE}
SIX = ".venv/bin/python -c 'import six; print(six.__version__)'"
PIP_CONF = "[global]\nno-input = true\n"


def lines_of(test):
    """The commands of a block, one a line."""
    [block] = blocks_of(test)
    return block.text.splitlines()


def install_with(tool):
    """README's line for one of the ways to install."""
    return next(line for line in lines_of(INSTALL) if line.startswith(tool))


@pytest.fixture(scope="module")
def installed():
    """A person on a bare Debian who has followed the section on installing, with pipx."""
    packages = re.search(r"`(apt-get install [^`]+)`", section("Install"))[1]
    with newcomer() as person:
        person.must(f"apt-get -qq update; {packages} --yes", is_root=True, **FROM_REGISTRY)
        person.must(install_with("pipx"), **FROM_REGISTRY)
        yield person


@pytest.fixture
def person(installed):
    installed.forgets()
    return installed


def upgrade_with(tool):
    """README's command to upgrade what a tool has installed."""
    return re.search(rf"`({tool} [^`]*install [^`]+)`", section("Upgrade and uninstall"))[1]


def says_six(person):
    return person.must(SIX).strip()


def with_token(person):
    """Settings and a token as README says, and an install in a virtual environment."""
    [block] = blocks_of(TOKEN)
    return person.must(block.text, TOKEN=person.package_manager.token)


@pytest.fixture
def of_uv(person):
    """The person, with an installation by uv instead."""
    shutil.copy(find_uv_bin(), person.root / "usr/local/bin/uv")
    person.must("pipx uninstall ppmproxy")
    person.must(install_with("uv"), **FROM_REGISTRY)
    yield person
    person.must("uv tool uninstall ppmproxy")
    person.must(install_with("pipx"), **FROM_REGISTRY)


def is_upgraded(person, tool):
    """Whether README's command brings a module that is new in the checkout."""
    module = person.home / "ppmproxy/ppmproxy/new_in_this_version.py"
    module.touch()
    person.must(upgrade_with(tool), **FROM_REGISTRY)
    module.unlink()
    return bool(person.must(f"find ~/.local -name {module.name}"))


def test_each_way_to_install_leads_to_the_same_command(person):
    """The first is where all these tests begin; the second is that of the next test."""
    person.must(install_with("python3"), **FROM_REGISTRY)

    by_pipx, by_python = (person.must(f"{command} --help") for command in ("ppmproxy", "~/.ppmproxy/bin/ppmproxy"))

    person.must("rm -r ~/.ppmproxy")
    assert by_pipx == by_python != ""
    assert is_upgraded(person, "pipx")


def test_uv_installs_and_upgrades_it_as_well(of_uv):
    assert "usage: ppmproxy" in of_uv.must("ppmproxy --help")
    assert is_upgraded(of_uv, "uv")


def test_single_sign_on_leads_to_an_install(person):
    [block] = blocks_of(SIGN_IN)
    command = person.command(block.text)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process:
        approved_in_the_end(person, process)
        said, _ = process.communicate(timeout=INSTALL_DEADLINE)

    assert process.returncode == 0, said
    assert "Successfully installed six" in said
    assert says_six(person)
    assert all(person.package_manager.tokens_seen[-2:])


def test_a_token_in_a_file_leads_to_an_install(person):
    said = with_token(person)

    assert "Successfully installed six" in said
    assert says_six(person)
    assert (person.home / ".config/ppmproxy/token").stat().st_mode & 0o777 == 0o600
    assert {*person.package_manager.tokens_seen} <= {"", person.package_manager.token}


def test_configured_clients_install_and_are_restored(person):
    [block] = blocks_of(CONFIGURE)
    with_token(person)
    person.must(f"mkdir -p ~/.config/pip; printf '{PIP_CONF}' >~/.config/pip/pip.conf")
    fresh = ".venv/bin/pip uninstall -qy six"

    by_all = person.must(f"{fresh}; ppmproxy run >~/log 2>&1 & ppmproxy wait\n{block.text}")
    by_file = person.must(f"{fresh}; .venv/bin/pip install six")
    by_variable = person.must(
        f'{fresh}; ppmproxy configure pip --undo\neval "$(ppmproxy env)"\n.venv/bin/pip install six'
    )

    for said in (by_all, by_file, by_variable):
        assert INDEX in said
        assert "Successfully installed six" in said
    assert (person.home / ".config/pip/pip.conf").read_text() == PIP_CONF


def test_what_is_wrong_is_found_by_the_commands_for_it(person):
    [block] = blocks_of(WRONG)
    with_token(person)
    person.must("ppmproxy run >~/log 2>&1 & ppmproxy wait; ppmproxy exec -- .venv/bin/pip download six")

    right = person.must(block.text)
    person.must(f"echo wrong >~/.config/ppmproxy/token; .venv/bin/pip install -qi {INDEX} x || true")
    wrong = person.must(block.text.replace("ppmproxy doctor", "ppmproxy doctor || true;"))

    assert not re.search("^failed", right, re.MULTILINE), right
    assert f"{HOME}/.config/ppmproxy/token" in right
    assert re.search(r"^failed +token.*\n +fix: ", wrong, re.MULTILINE), wrong


def test_nothing_is_left_after_the_commands_that_uninstall_it(person):
    """The last one, therefore."""
    [block] = blocks_of(UNINSTALL)
    before = person.files()
    with_token(person)
    person.must("ppmproxy run >/dev/null 2>&1 & ppmproxy wait; ppmproxy configure pip")

    said = person.must(block.text)

    assert person.files() == before
    assert person.runs("ppmproxy --help").code != 0, said
