"""Claims about the layers of settings, what contradicts, and what is shown."""

from pathlib import Path

import pytest
from loaded_settings import FILE, HOME, loaded, mistake, only_upstream, settings_of, shown

from ppmproxy.auth.credential import Use
from ppmproxy.auth.policy import Scheme
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.config.model import Access, AccessRule, ApiAccess, LogLevel, Settings, SignIn

URL = "https://pm.example.com/rspm"


TWO = f'[upstream.default]\nurl = "{URL}"\n[upstream.lab]\nurl = "https://lab.example.com"\n'


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
