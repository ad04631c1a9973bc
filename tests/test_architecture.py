"""The house stays as drawn: which module lives in which layer, who may import whom, and the picture that says so.

The picture is the docstring of `ppmproxy`; ``python tests/test_architecture.py`` draws it anew from the table below and
from the first line of each module.
"""

import ast
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ppmproxy"
WIDTH = 120

# Every module, and every sub-package as one, in its layer: what decides and does no I/O, what reaches out of the
# process, what serves clients, and what people start. Within a layer in the order in which they are best read.
LAYERS = {
    "decide": """
        errors origin settings
        config config_keys config_layers config_file config_place config_values config_network config_access
        config_credentials
        credentials renewal tokens_toml sign_in_answers authorization refusals
        routing headers codings possessive local_links html_links json_links simple_index problem local_access status
        checkup client_habits told_indexes
        wishes text_form text_edit ini_edit toml_edit json_edit marked_block three_way dry_run
        state_line service_units launchd_agent scheduled_task carried_settings
    """,
    "reach": """
        settings_file credential_sources kept_tokens asked_tokens token_store sign_in sign_in_desk browser
        upstream passage upstream_faults trust forward_proxy
        listeners unix_listener port_holder peer_uid process runtime_folder identity_proof running_daemon
        rewriting configured_files logs systemd user_systemd
    """,
    "serve": """
        server guard door connections own_pages lookout ways proxy exchange pages succession heartbeat
    """,
    "people": """
        __main__ cli command run exec_command borrowed_daemon daemon_thread event_loop status_command wait
        shutdown login logout env
        chosen_upstream chosen_index client_variables
        configure client_files lock lock_files config_command lock_round_trip completion
        service service_order service_systemd service_health service_elsewhere
        doctor local_checkup upstream_checkup client_survey canary demo stand_in
    """,
}
TITLES = {
    "decide": "decide (no I/O)",
    "reach": "reach (I/O)",
    "serve": "serve",
    "people": "people",
}
UNITS = {unit: layer for layer, units in LAYERS.items() for unit in units.split()}
RANK = {layer: rank for rank, layer in enumerate(LAYERS)}

# What waits, looks at the machine or talks to it. `os` too: what a decision needs of it comes in as a parameter.
IMPURE = frozenset(
    {
        "aiohttp",
        "asyncio",
        "socket",
        "ssl",
        "time",
        "keyring",
        "subprocess",
        "os",
        "threading",
        "multiprocessing",
        "concurrent",
        "select",
        "selectors",
        "signal",
        "shutil",
        "tempfile",
        "glob",
        "http",
        "urllib.request",
        "webbrowser",
        "random",
        "secrets",
        "logging",
        "structlog",
        "truststore",
        "importlib",
    }
)
NO_NAMES_OF_A_DOMAIN = {"utils", "util", "helpers", "helper", "common", "base", "manager", "core", "misc"}
STAND_IN_USERS = {"demo", "doctor", "canary"}  # `doctor --canary`

HEAD = """\
A local authenticating proxy for Posit Package Manager.

Four layers: an import points to a module's own layer or to a lower one, never up, and the lowest does no I/O. Each
module stands here with the first line of its own docstring; ``tests/test_architecture.py`` keeps this true.
"""


# --- reading the package ----------------------------------------------------------------------------------------------


@cache
def sources():
    """The syntax tree of every module, by its dotted name below the package; "" is the package itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def unit_of(module):
    """The module itself, or the sub-package that it is in."""
    return module.partition(".")[0]


def units():
    return {unit_of(module) for module in sources()} - {""}


def imported_names(module):
    """Absolute dotted names of everything a module imports anywhere in it, under TYPE_CHECKING and in functions too."""
    here = ["ppmproxy", *module.split(".")] if module else ["ppmproxy"]
    is_package = not module or any(other.startswith(f"{module}.") for other in sources())
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = here[: len(here) - node.level + is_package] if node.level else []
            source = ".".join([*up, *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def imported_units(unit):
    """The units of this package that a unit imports, itself left out."""
    modules = [module for module in sources() if unit_of(module) == unit]
    names = {name for module in modules for name in imported_names(module) if name.startswith("ppmproxy.")}
    return {unit_of(name.removeprefix("ppmproxy.")) for name in names} & (units() - {unit})


def charter(unit):
    """The first line of a module's docstring."""
    return (ast.get_docstring(sources()[unit]) or "").partition("\n")[0]


# --- the layers -------------------------------------------------------------------------------------------------------


def test_every_module_has_its_place_in_the_table_and_no_other_has():
    missing, gone = units() - UNITS.keys(), UNITS.keys() - units()

    assert not missing, f"give these a layer in LAYERS, then run python tests/test_architecture.py: {sorted(missing)}"
    assert not gone, f"these are in LAYERS and no longer in the package: {sorted(gone)}"


def test_no_module_is_in_two_layers():
    listed = [unit for names in LAYERS.values() for unit in names.split()]

    assert sorted(listed) == sorted(set(listed))


@pytest.mark.parametrize("unit", UNITS)
def test_an_import_points_to_the_own_layer_or_to_a_lower_one(unit):
    upwards = {other for other in imported_units(unit) & UNITS.keys() if RANK[UNITS[other]] > RANK[UNITS[unit]]}

    assert not upwards


@pytest.mark.parametrize("unit", LAYERS["decide"].split())
def test_what_decides_does_no_io(unit):
    names = {name for module in sources() if unit_of(module) == unit for name in imported_names(module)}
    # "os.path.join" counts as "os", and "urllib.request" as itself, which "urllib.parse" is not.
    prefixes = {".".join(name.split(".")[:length]) for name in names for length in (1, 2)}

    assert not prefixes & IMPURE


def test_no_import_leads_in_a_circle():
    graph = {unit: imported_units(unit) for unit in units()}
    free = set()
    while newly_free := {unit for unit in graph.keys() - free if graph[unit] <= free}:
        free |= newly_free

    assert not graph.keys() - free


def test_the_stand_in_serves_the_demo_and_the_doctor_and_nobody_else():
    users = {unit for unit in units() if "stand_in" in imported_units(unit)}

    assert users <= STAND_IN_USERS


def test_what_is_imported_by_name_while_running_is_a_command():
    from ppmproxy.cli import COMMANDS

    assert {command.module for command in COMMANDS} <= set(LAYERS["people"].split())


def test_the_package_itself_imports_nothing_so_that_each_module_can_be_had_alone():
    assert list(imported_names("")) == []


# --- names and charters -----------------------------------------------------------------------------------------------


def test_no_module_is_named_after_nothing_in_particular():
    words = {word for module in sources() for part in module.split(".") for word in part.split("_")}

    assert not words & NO_NAMES_OF_A_DOMAIN


@pytest.mark.parametrize("module", sources())
def test_a_module_begins_with_its_charter_in_one_sentence_on_one_line(module):
    lines = (ast.get_docstring(sources()[module]) or "").splitlines()

    assert lines
    assert lines[0].endswith(".")
    assert lines[0][0] == "`" or lines[0][0].isupper()
    assert lines[1:2] in ([], [""])


def test_no_two_modules_have_the_same_charter():
    charters = [charter(unit) for unit in units()]

    assert len(charters) == len(set(charters))


# --- the picture ------------------------------------------------------------------------------------------------------


def picture():
    """The docstring of the package."""
    column = max(map(len, UNITS)) + len("    ")
    layers = []
    for layer, names in LAYERS.items():
        lines = [TITLES[layer]]
        for unit in names.split():
            indents = {"initial_indent": f"  {unit}".ljust(column), "subsequent_indent": " " * column}
            lines += textwrap.wrap(charter(unit), WIDTH, break_on_hyphens=False, **indents)
        layers.append("\n".join(lines))
    return "\n".join([HEAD, *(f"{layer}\n" for layer in layers)])


def test_the_picture_in_the_package_s_docstring_is_the_house_as_it_is():
    assert ast.get_docstring(sources()[""], clean=False) == picture(), "run python tests/test_architecture.py"


def draw():
    """Write the picture where it belongs; the rest of the file stays."""
    path = PACKAGE / "__init__.py"
    docstring = sources()[""].body[0]
    rest = path.read_text(encoding="utf-8").splitlines(keepends=True)[docstring.end_lineno :]
    path.write_text(f'"""{picture()}"""\n' + "".join(rest), encoding="utf-8")


if __name__ == "__main__":
    test_every_module_has_its_place_in_the_table_and_no_other_has()
    draw()
    sys.stdout.write("drawn: ppmproxy/__init__.py\n")
