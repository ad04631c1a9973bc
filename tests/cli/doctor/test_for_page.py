"""Claims about the checks that the daemon runs: all of them for its page, those of the upstreams for the command."""

from ppmproxy.auth.redaction import Redactor
from ppmproxy.cli.doctor.for_page import checked_facts
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import Settings
from ppmproxy.environment import Environment
from ppmproxy.server.daemon import Daemon
from ppmproxy.server.set_up_checks import CheckRequest

ANY_PORT = (TcpAddress("127.0.0.1", 0), TcpAddress("::1", 0))
OF_UPSTREAMS = {"upstream", "certificate", "clock", "token"}


async def test_a_daemon_on_any_free_port_finds_itself_and_no_fault(server, upstream, logs, tmp_path):
    settings = Settings(listen=ANY_PORT, upstreams=(upstream(server),))
    environment = Environment({"PPMPROXY_TOKEN": server.token, "PIP_CONFIG_FILE": "/dev/null"}, tmp_path)
    daemon = await Daemon.start(settings, environment)
    try:
        everything = await checked_facts(settings, environment, Redactor(), CheckRequest())
        upstreams = await checked_facts(settings, environment, Redactor(), CheckRequest(only_upstreams=True))
    finally:
        await daemon.stop()

    assert {fact.outcome for fact in everything} == {"ok"}, everything
    assert {fact.check for fact in everything} > OF_UPSTREAMS | {"daemon", "port", "direct-index"}
    assert {fact.check for fact in upstreams} == OF_UPSTREAMS


async def test_an_index_that_cannot_be_meant_is_one_fault(server, upstream, tmp_path):
    settings = Settings(listen=ANY_PORT, upstreams=(upstream(server),))
    asked = CheckRequest(repo="what is this", only_upstreams=True)

    environment = Environment({"PPMPROXY_TOKEN": server.token}, tmp_path)

    [fact] = await checked_facts(settings, environment, Redactor(), asked)
    named = await checked_facts(settings, environment, Redactor(), CheckRequest(repo="pypi", only_upstreams=True))

    assert (fact.check, fact.outcome) == ("settings", "failed")
    assert fact.fix == "write it as in the Package Manager's URLs"
    assert {one.outcome for one in named} == {"ok"}
