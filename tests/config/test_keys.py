import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest

from ppmproxy.config.keys import DAEMON_KEYS, KEYS, UPSTREAM_KEYS, example, flags
from ppmproxy.config.load import ConfigInputs, load
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment

HOME = Path("/home/alice")


def test_every_field_of_the_settings_has_a_key_and_every_key_a_field():
    daemon = {key.field for key in DAEMON_KEYS}
    upstream = {key.field for key in UPSTREAM_KEYS}

    assert daemon == {field.name for field in fields(Settings)} - {"upstreams"}
    assert upstream == {field.name for field in fields(Upstream)} - {"name", "configured"}


def test_no_name_is_used_twice():
    assert len({key.name for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_default_is_written_in_toml_that_reads_back_as_the_default(key):
    text = f"{key.name} = {key.formatted_default()}"

    found = load(ConfigInputs(Environment({}, HOME), file_text=text, file_name="f")).settings

    owner, default = (found, Settings()) if key in DAEMON_KEYS else (found.upstreams[0], Upstream())
    assert getattr(owner, key.field) == getattr(default, key.field)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_one_name_gives_variable_and_flag(key):
    assert key.variable == f"PPMPROXY_{key.name.upper()}"
    assert key.flag == f"--{key.name.replace('_', '-')}"


def test_argparse_can_offer_every_flag():
    parser = argparse.ArgumentParser(prog="ppmproxy")
    for flag in flags():
        optional = {"nargs": "?", "const": flag.bare_value} if flag.bare_value else {}
        parser.add_argument(flag.name, dest=flag.key, metavar=flag.metavar, help=flag.help, **optional)

    given = vars(parser.parse_args(["--sign-in", "never", "--uploads", "--listen", "127.0.0.1:1,[::1]:1"]))

    found = load(ConfigInputs(Environment({}, HOME), flags=given)).settings
    assert "(default: " in parser.format_help()
    assert found.upstreams[0].sign_in.value == "never"
    assert found.upstreams[0].uploads is True
    assert len(found.listen) == 2


def test_a_key_that_may_hold_a_secret_has_no_flag():
    assert {key.name for key in KEYS} - {flag.key for flag in flags()} == {"headers", "credentials"}


def test_the_example_is_the_defaults_with_an_upstream():
    found = load(ConfigInputs(Environment({}, HOME), file_text=example(), file_name="f")).settings

    (upstream,) = found.upstreams
    assert upstream == Upstream(url="https://packagemanager.example.com", configured=True)
    assert found.listen == Settings().listen


def test_the_example_has_a_comment_above_every_key():
    lines = example().splitlines()

    for key in KEYS:
        if key.alias_of or key.name == "credentials":
            continue
        (index,) = (index for index, line in enumerate(lines) if line.startswith(f"{key.name} = "))
        assert lines[index - 1] == f"# {key.help}"


def test_the_commented_table_of_the_example_loads_too():
    text = re.sub(r"^# (?=\[\[|(?:from|path|repos|use) = )", "", example(), flags=re.MULTILINE)

    (upstream,) = load(ConfigInputs(Environment({}, HOME), file_text=text, file_name="f")).settings.upstreams

    (credential,) = upstream.credentials
    assert (credential.source, credential.path, credential.repos) == (
        "file",
        HOME / ".config/ppmproxy/token",
        ("pypi-internal",),
    )


def test_the_example_fits_a_screen():
    assert max(map(len, example().splitlines())) <= 120
