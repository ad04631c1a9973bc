from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppmproxy.auth.credential import Use
from ppmproxy.auth.policy import Scheme
from ppmproxy.config.file import parse_document
from ppmproxy.config.keys import KEYS
from ppmproxy.config.load import ConfigInputs, load
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.config.model import PUBLIC_URL, Access, AccessRule, ApiAccess, LogLevel, Settings, SignIn
from ppmproxy.config.values import toml_string
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError

HOME = Path("/home/alice")
FILE = "/etc/ppmproxy/config.toml"
URL = "https://pm.example.com/rspm"
TWO = f'[upstream.default]\nurl = "{URL}"\n[upstream.lab]\nurl = "https://lab.example.com"\n'


def loaded(text=None, environ=None, flags=None):
    return load(ConfigInputs(Environment(environ or {}, HOME), flags or {}, text, FILE))


def settings_of(text=None, environ=None, flags=None):
    return loaded(text, environ, flags).settings


def only_upstream(text=None, environ=None, flags=None):
    (upstream,) = settings_of(text, environ, flags).upstreams
    return upstream


def mistake(text=None, environ=None, flags=None):
    """The message and the hint of the error."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, environ, flags)
    return f"{caught.value}\n{caught.value.hint}"


def shown(effective, key):
    (entry,) = (entry for entry in effective.entries if entry.key == key)
    return entry.value, entry.source


# --- all keys ------------------------------------------------------------------------------------------------------


def test_without_any_input_the_defaults_apply():
    assert settings_of() == Settings()


def test_an_empty_file_gives_the_defaults():
    assert settings_of("") == Settings()


def test_every_key_of_the_file_reaches_its_field():
    text = """
    listen = ["127.0.0.1:8000", "unix:~/ppm.sock"]
    access = ["alice", 1001]
    allowed_hosts = ["Proxy.internal", "ppm:80"]
    log_level = "debug"
    log_format = "json"
    drain_timeout = 5

    [upstream.default]
    url = "HTTPS://PM.example.com:443/rspm/"
    mount = "/pm/"
    scheme = "basic"
    ca_file = "company.pem"
    client_cert = "~/cert.pem"
    client_key = "/etc/key.pem"
    headers = { X-Ingress = "open" }
    proxy = "http://proxy.example.com:3128/"
    uploads = true
    api = "none"
    file_hosts = ["files.example.com", "http://mirror:8080"]
    connect_timeout = "500ms"
    read_timeout = "1m30s"
    max_connections = 7
    sign_in = "never"

    [[upstream.default.credentials]]
    from = "file"
    path = "token"
    repos = ["pypi-internal"]
    use = "read"
    """

    found = settings_of(text)

    assert found.listen == (TcpAddress("127.0.0.1", 8000), UnixAddress(HOME / "ppm.sock"))
    assert found.access == Access(AccessRule.LISTED, ("alice",), (1001,))
    assert found.allowed_hosts == ("proxy.internal", "ppm:80")
    assert (found.log_level.value, found.log_format.value, found.drain_timeout) == ("debug", "json", 5.0)
    (upstream,) = found.upstreams
    assert (upstream.name, upstream.url, upstream.mount) == ("default", URL, "/pm")
    assert (upstream.scheme, upstream.api, upstream.sign_in) == (Scheme.BASIC, ApiAccess.NONE, SignIn.NEVER)
    assert upstream.ca_file == Path("/etc/ppmproxy/company.pem")
    assert (upstream.client_cert, upstream.client_key) == (HOME / "cert.pem", Path("/etc/key.pem"))
    assert upstream.headers == (("X-Ingress", "open"),)
    assert (upstream.proxy, upstream.uploads) == ("http://proxy.example.com:3128", True)
    assert [str(origin) for origin in upstream.file_hosts] == ["https://files.example.com", "http://mirror:8080"]
    assert (upstream.connect_timeout, upstream.read_timeout, upstream.max_connections) == (0.5, 90.0, 7)
    (credential,) = upstream.credentials
    assert (credential.source, credential.path) == ("file", Path("/etc/ppmproxy/token"))
    assert (credential.repos, credential.use) == (("pypi-internal",), Use.READ)
    assert upstream.configured


# --- layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "flags", "level", "source"),
    [
        (None, {}, {}, "info", "default"),
        ('log_level = "error"', {}, {}, "error", f"file {FILE}"),
        ('log_level = "error"', {"PPMPROXY_LOG_LEVEL": "debug"}, {}, "debug", "environment PPMPROXY_LOG_LEVEL"),
        (None, {"PPMPROXY_LOG_LEVEL": "debug"}, {"log_level": "warning"}, "warning", "flag --log-level"),
        ('log_level = "error"', {}, {"log_level": None}, "error", f"file {FILE}"),
    ],
)
def test_later_layers_override_earlier_ones(text, environ, flags, level, source):
    found = loaded(text, environ, flags)

    assert found.settings.log_level is LogLevel(level)
    assert shown(found, "log_level") == (f'"{level}"', source)


def test_layers_override_each_other_key_by_key():
    text = f'[upstream.work]\nurl = "{URL}"\nscheme = "basic"\n'

    upstream = only_upstream(text, {"PPMPROXY_SCHEME": "bearer", "PPMPROXY_API": "none"}, {"api": "read"})

    assert (upstream.name, upstream.url, upstream.scheme, upstream.api) == (
        "work",
        URL,
        Scheme.BEARER,
        ApiAccess.READ,
    )


def test_a_mistake_is_an_error_even_where_it_is_overridden():
    assert "log_level" in mistake('log_level = "loud"', flags={"log_level": "info"})


def test_every_key_that_the_environment_may_set_can_be_set_by_it():
    environ = {
        "PPMPROXY_LISTEN": "127.0.0.1:1, [::1]:2,unix:/run/x",
        "PPMPROXY_ACCESS": "alice,1001",
        "PPMPROXY_ALLOWED_HOSTS": "a,b:1",
        "PPMPROXY_DRAIN_TIMEOUT": "3",
        "PPMPROXY_URL": URL,
        "PPMPROXY_CA_FILE": "ca.pem",
        "PPMPROXY_HEADERS": '{ X-A = "b" }',
        "PPMPROXY_UPLOADS": "YES",
        "PPMPROXY_FILE_HOSTS": "a.example.com,b.example.com",
        "PPMPROXY_MAX_CONNECTIONS": "3",
        "PPMPROXY_CREDENTIALS": '[{ from = "env", variable = "X" }]',
    }

    found = settings_of(None, environ)

    assert [str(address) for address in found.listen] == ["127.0.0.1:1", "[::1]:2", "unix:/run/x"]
    assert found.access == Access(AccessRule.LISTED, ("alice",), (1001,))
    assert found.allowed_hosts == ("a", "b:1")
    assert found.drain_timeout == 3.0
    (upstream,) = found.upstreams
    assert (upstream.url, upstream.ca_file, upstream.uploads) == (URL, Path("ca.pem"), True)
    assert upstream.headers == (("X-A", "b"),)
    assert [origin.host for origin in upstream.file_hosts] == ["a.example.com", "b.example.com"]
    assert upstream.max_connections == 3
    assert upstream.credentials[0].variable == "X"


def test_an_empty_variable_clears_a_value_of_the_file():
    text = 'url = "https://a.example.com"\nca_file = "x.pem"\nfile_hosts = ["b"]'

    upstream = only_upstream(text, {"PPMPROXY_CA_FILE": "", "PPMPROXY_FILE_HOSTS": ""})

    assert (upstream.ca_file, upstream.file_hosts) == (None, ())


def test_an_empty_url_is_an_error_rather_than_the_public_default():
    assert "PPMPROXY_URL is empty" in mistake(environ={"PPMPROXY_URL": ""})


# --- upstreams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        (f'upstream = "{URL}"', {}, {}),
        (f'url = "{URL}"', {}, {}),
        (f'[upstream.default]\nurl = "{URL}"', {}, {}),
        (f'upstream.default = {{ url = "{URL}" }}', {}, {}),
        (None, {"PPMPROXY_UPSTREAM": URL}, {}),
        (None, {"PPMPROXY_URL": URL}, {}),
        (None, {"PACKAGEMANAGER_ADDRESS": URL}, {}),
        (None, {}, {"upstream": URL}),
        (None, {}, {"url": URL}),
        ('upstream = "https://other.example.com"', {}, {"url": URL}),
        ('[upstream.default]\nurl = "https://other.example.com"', {"PPMPROXY_UPSTREAM": URL}, {}),
        (f'url = "{URL}"', {"PACKAGEMANAGER_ADDRESS": "https://other.example.com"}, {}),
        ("", {"PPMPROXY_URL": URL, "PACKAGEMANAGER_ADDRESS": "https://other.example.com"}, {}),
        (None, {"PACKAGEMANAGER_ADDRESS": "not a URL"}, {"url": URL}),
    ],
)
def test_one_upstream_can_be_named_in_each_of_these_ways(text, environ, flags):
    upstream = only_upstream(text, environ, flags)

    assert (upstream.name, upstream.url, upstream.mount, upstream.configured) == ("default", URL, "/", True)


def test_the_vendors_variable_comes_last_and_is_named_as_the_source():
    found = loaded('scheme = "basic"', {"PACKAGEMANAGER_ADDRESS": URL})

    assert shown(found, "upstream.default.url") == (f'"{URL}"', "environment PACKAGEMANAGER_ADDRESS")


def test_the_vendors_variable_also_serves_a_table_without_url():
    assert only_upstream("[upstream.work]", {"PACKAGEMANAGER_ADDRESS": URL}).url == URL


def test_an_empty_vendors_variable_is_ignored():
    assert only_upstream(environ={"PACKAGEMANAGER_ADDRESS": ""}).configured is False


def test_the_vendors_variable_is_named_when_it_is_wrong():
    assert mistake(environ={"PACKAGEMANAGER_ADDRESS": "pm.example.com"}).startswith("PACKAGEMANAGER_ADDRESS is ")


def test_other_keys_do_not_make_the_public_default_a_configured_upstream():
    upstream = only_upstream('scheme = "basic"', {"PPMPROXY_READ_TIMEOUT": "5s"})

    assert (upstream.url, upstream.configured, upstream.read_timeout) == (PUBLIC_URL, False, 5.0)


def test_the_public_upstream_is_given_no_credential_even_when_somebody_names_it():
    assert not only_upstream(f'url = "{PUBLIC_URL}"').configured


def test_credentials_may_stand_at_the_top_with_one_upstream():
    upstream = only_upstream(f'url = "{URL}"\n[[credentials]]\nfrom = "netrc"\n')

    assert [credential.source for credential in upstream.credentials] == ["netrc"]


def test_credentials_without_an_upstream_are_refused():
    assert "has no upstream" in mistake('[[credentials]]\nfrom = "netrc"')


def test_an_empty_list_of_credentials_is_the_standard_chain():
    assert only_upstream("credentials = []").credentials is None


@pytest.mark.parametrize(
    ("names", "mounts"),
    [
        (["default"], ["/"]),
        (["work"], ["/"]),
        (["default", "lab"], ["/", "/lab"]),
        (["lab", "default"], ["/lab", "/"]),
        (["work", "lab"], ["/work", "/lab"]),
    ],
)
def test_mounts_follow_from_the_names(names, mounts):
    text = "".join(f'[upstream.{name}]\nurl = "https://{name}.example.com"\n' for name in names)

    upstreams = settings_of(text).upstreams

    assert [upstream.name for upstream in upstreams] == names
    assert [upstream.mount for upstream in upstreams] == mounts


def test_a_mount_may_lie_below_another():
    text = TWO + 'mount = "/pypi/lab"'

    assert [upstream.mount for upstream in settings_of(text).upstreams] == ["/", "/pypi/lab"]


@pytest.mark.parametrize("mount", ["/", "/lab/"])
def test_two_equal_mounts_are_an_error(mount):
    text = TWO + f'[upstream.third]\nurl = "https://third.example.com"\nmount = "{mount}"\n'

    message = mistake(text)

    assert "line 7: upstream.third.mount" in message
    assert "the mount of" in message


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        ('scheme = "basic"\n' + TWO, {}, {}),
        ('credentials = [{ from = "none" }]\n' + TWO, {}, {}),
        (TWO, {"PPMPROXY_SCHEME": "basic"}, {}),
        (TWO, {"PPMPROXY_UPSTREAM": URL}, {}),
        (TWO, {}, {"sign_in": "never"}),
    ],
)
def test_with_several_upstreams_a_key_outside_their_tables_is_an_error_that_says_so(text, environ, flags):
    message = mistake(text, environ, flags)

    assert "does not name one of the 2 upstreams" in message
    assert "[upstream.default], [upstream.lab]" in message


def test_the_cache_s_keys_at_the_top_are_for_every_upstream_that_has_not_its_own():
    text = "cache_recheck = 5\n" + TWO + "\ncache_recheck = 7\n"

    in_file = settings_of(text).upstreams
    overruled = settings_of(text, {"PPMPROXY_CACHE_RECHECK": "9s"}).upstreams

    assert [upstream.cache_recheck for upstream in in_file] == [5, 7]
    assert [upstream.cache_recheck for upstream in overruled] == [9, 9]


def test_with_several_upstreams_keys_of_the_daemon_may_come_from_anywhere():
    assert settings_of(TWO, {"PPMPROXY_LOG_LEVEL": "error"}).log_level is LogLevel.ERROR


@pytest.mark.parametrize("text", ["[upstream.default]", "[upstream.lab]", TWO + "[upstream.third]"])
def test_an_upstream_without_url_is_an_error(text):
    assert "has no url" in mistake(text)


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        (f'url = "{URL}"\n[upstream.default]\nurl = "{URL}"', {}, {}),
        (f'scheme = "basic"\n[upstream.default]\nurl = "{URL}"\nscheme = "basic"', {}, {}),
        (f'upstream = "{URL}"\nurl = "{URL}"', {}, {}),
        (None, {"PPMPROXY_URL": URL, "PPMPROXY_UPSTREAM": URL}, {}),
        (None, {}, {"url": URL, "upstream": URL}),
    ],
)
def test_two_keys_for_one_setting_in_one_layer_are_an_error(text, environ, flags):
    assert "repeats " in mistake(text, environ, flags)


# --- contradictions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0:7760", "[::]:7760", "10.0.0.1:7760", "proxy.internal:7760", "0:7760"])
@pytest.mark.parametrize("access", ['"same-user"', '["alice"]', None])
def test_an_address_beyond_loopback_needs_access_any(address, access):
    text = f'listen = ["127.0.0.1:7760", "{address}"]\n' + (f"access = {access}" if access else "")

    message = mistake(text)

    assert "line 1: listen[2]" in message
    assert "let everybody who reaches the address use your token" in message


def test_an_address_beyond_loopback_is_fine_with_access_any():
    assert settings_of(None, {"PPMPROXY_ACCESS": "any"}, {"listen": "0.0.0.0:7760"}).listen == (
        TcpAddress("0.0.0.0", 7760),
    )


def test_the_error_for_exposure_by_a_flag_names_the_flag():
    assert mistake(flags={"listen": "0.0.0.0:7760"}).startswith("--listen[1] ")


def test_a_client_certificate_may_hold_its_key_itself():
    upstream = only_upstream(f'url = "{URL}"\nclient_cert = "/both.pem"')

    assert (upstream.client_cert, upstream.client_key) == (Path("/both.pem"), None)


@pytest.mark.parametrize("cert", ["", 'client_cert = ""'])
def test_a_client_key_without_a_certificate_is_an_error(cert):
    assert "is set without client_cert" in mistake(f'url = "{URL}"\nclient_key = "/key.pem"\n{cert}')


# --- config show ----------------------------------------------------------------------------------------------------


def test_every_key_of_every_upstream_is_shown_once():
    entries = loaded(TWO).entries

    names = [entry.key for entry in entries]
    assert len(names) == len(set(names))
    assert {"listen", "upstream.default.url", "upstream.lab.credentials"} <= set(names)
    assert "upstream.default.upstream" not in names


def test_the_shown_settings_load_as_the_same_settings():
    effective = loaded(TWO + 'read_timeout = "90s"\n[[upstream.lab.credentials]]\nfrom = "file"\npath = "t"\n')

    text = "\n".join(f"{entry.key} = {entry.value}" for entry in effective.entries)

    assert settings_of(text) == effective.settings


def test_a_value_that_may_be_secret_is_shown_masked():
    text = f"""
    url = "{URL}"
    headers = {{ X-Key = "s3cret" }}
    proxy = "http://user:s3cret@proxy.example.com:3128"
    [[credentials]]
    from = "command"
    argv = ["vault", "s3cret"]
    """

    effective = loaded(text)

    assert "s3cret" not in repr(effective)
    assert shown(effective, "upstream.default.headers")[0] == '{ "X-Key" = "****" }'
    assert shown(effective, "upstream.default.proxy")[0] == '"http://****@proxy.example.com:3128"'
    assert shown(effective, "upstream.default.credentials")[0] == '[{ from = "command", argv = ["vault", "****"] }]'


# --- arbitrary input ------------------------------------------------------------------------------------------------


def toml_of(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_string(key)} = {toml_of(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    return toml_string(value) if isinstance(value, str) else str(value).lower()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = TEXT | st.sampled_from(
    [
        "from",
        "file",
        "path",
        "command",
        "argv",
        "any",
        "127.0.0.1:1",
        "unix:/x",
        "https://a",
        "http://[::1]",
        "a@b",
        "1m",
    ]
)
SCALARS = WORDS | st.integers() | st.booleans() | st.floats() | st.just("1979-05-27")
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


@pytest.mark.parametrize("key", [*(key.name for key in KEYS), "unknown"])
@given(value=VALUES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_value_in_a_file_raises_anything_but_a_config_error(key, value):
    text = f"{key} = {toml_of(value)}\n"
    parse_document(text, FILE)  # the generator writes TOML

    try:
        loaded(text)
    except ConfigError as error:
        assert str(error).startswith(FILE)  # noqa: PT017 - most values are mistakes, some are not
        assert error.hint  # noqa: PT017


@pytest.mark.parametrize("key", [key.name for key in KEYS])
@given(text=WORDS | VALUES.map(toml_of))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_text_in_a_variable_raises_anything_but_a_config_error(key, text):
    try:
        loaded(None, {f"PPMPROXY_{key.upper()}": text})
    except ConfigError as error:
        assert str(error).startswith(f"PPMPROXY_{key.upper()}")  # noqa: PT017
        assert error.hint  # noqa: PT017


@given(text=st.text(max_size=80) | st.text("[]{}=\"'.,#\n \t\rab0:-\\", max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_file_at_all_raises_anything_but_a_config_error(text):
    try:
        loaded(text)
    except ConfigError as error:
        assert str(error).startswith(FILE)  # noqa: PT017
