"""Claims about storage that fails: every client gets its file, the first one late at most, and a person reads why."""

import asyncio
import hashlib
import os
import sys
import time

import pytest
from cached_upstream import word
from downloads import MAY_DOWNLOAD
from faulty_storage import FaultyStorage, cut, hang, html, redirect_to_html, s3_error, stop_in_the_middle, trickle
from processes import plain_environment, run_program
from proxy_client import wait_until
from storages import s3_variables

from ppmproxy.cache.stores.opening import store_for
from ppmproxy.cache.stores.protocol import key_of
from ppmproxy.cli.doctor.checks import Outcome
from ppmproxy.cli.doctor.shared_cache import shared_cache_checks
from ppmproxy.config.model import CacheUrlMode, Settings
from ppmproxy.testing.package_manager import wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]  # Ceph takes a minute to start on a busy machine

URL, TIMEOUT = "s3://wheels/team", 2.0
SLACK = 20.0  # seconds that a busy machine may add; what hangs does so for ever, or for the 30 s of obstore


@pytest.fixture
async def faulty(use):
    async with FaultyStorage() as server:
        use(server.storage)
        yield server


def key(data):
    return f"team/{key_of(hashlib.sha256(data).hexdigest())}"


def paths(it, count):
    files = [it.server.add(wheel("hello", f"{n}.0", payload=os.urandom(20_000))) for n in range(2, count + 2)]
    return [(f"/pypi/latest/packages/{file.id}/{file.filename}", file.data) for file in files]


async def timed(it, path):
    began = time.monotonic()
    reply = await it.running.get(path)
    return reply, time.monotonic() - began


READING = {
    "hangs": hang,
    "stops in the middle of a file": stop_in_the_middle,
    "sends one byte at a time": trickle,
    "cuts its answer": cut,
    "answers 500": s3_error(500, "InternalError"),
    "answers 503 SlowDown": s3_error(503, "SlowDown"),
    "refuses the credentials": s3_error(403, "AccessDenied"),
    "says that the credentials have expired": s3_error(400, "ExpiredToken"),
    "says that this machine's clock is wrong": s3_error(403, "RequestTimeTooSkewed"),
    "does not know the key id": s3_error(403, "InvalidAccessKeyId"),
}


@pytest.mark.usefixtures("lasting_pause")
@pytest.mark.parametrize("fault", READING)
async def test_a_storage_that(machine, faulty, observed, logs, fault):
    faulty.faults["GET"] = faulty.faults["HEAD"] = READING[fault]
    it = await machine("first", cache_url=URL, cache_url_timeout=TIMEOUT)
    wanted = paths(it, 6)
    await it.page()

    first, took = await timed(it, it.path)
    later = [await timed(it, path) for path, _ in wanted]

    assert first.body == it.file.data
    assert [reply.body for reply, _ in later] == [data for _, data in wanted]
    assert took < 2 * TIMEOUT + SLACK
    assert len(faulty.did("GET")) <= 2  # the first, which obstore may try once more
    (said,) = logs.events("shared_cache_paused")
    observed(f"it {fault}", f"files from the Package Manager, the first after {TIMEOUT:g} s at most; `{said['why']}`")
    assert said["hint"]
    assert "<Error>" not in said["why"] + said["hint"]
    assert max(seconds for _, seconds in later) < SLACK


async def test_thirty_clients_at_once_wait_no_longer_than_one(machine, faulty, observed, logs):
    faulty.faults["GET"] = hang
    it = await machine("first", cache_url=URL, cache_url_timeout=TIMEOUT)
    wanted = paths(it, 30)
    await it.page()

    began = time.monotonic()
    replies = await asyncio.gather(*(it.running.get(path) for path, _ in wanted))
    took = time.monotonic() - began

    observed("it hangs, and 30 clients ask at once", f"all of them wait for the same {TIMEOUT:g} s")
    assert [reply.body for reply in replies] == [data for _, data in wanted]
    assert took < TIMEOUT + SLACK
    assert len(logs.events("shared_cache_paused")) == 1


@pytest.mark.parametrize("answer", [html, redirect_to_html], ids=["a web page", "a redirect to one"])
async def test_what_answers_every_request_with(machine, faulty, observed, logs, answer):
    faulty.faults["GET"] = faulty.faults["HEAD"] = answer
    it = await machine("first", cache_url=URL)
    wanted = paths(it, 8)
    await it.page()

    replies = [await it.running.get(path) for path, _ in wanted]

    name = "a web page" if answer is html else "a redirect to a web page"
    observed(f"it answers with {name}", "never sent; after three such answers it is not asked any more")
    assert [reply.body for reply in replies] == [data for _, data in wanted]
    assert len(logs.events("shared_cache_paused")) == 1


@pytest.mark.usefixtures("lasting_pause")
async def test_a_storage_that_refuses_writes(machine, faulty, observed, logs):
    faulty.faults["PUT"] = s3_error(403, "AccessDenied")
    it = await machine("first", cache_url=URL)
    wanted = paths(it, 10)
    faulty.objects[key(it.file.data)] = it.file.data
    await it.page()
    replies = [await it.running.get(path) for path, _ in wanted]
    await wait_until(lambda: logs.events("shared_cache_upload_failed"))

    shared = await it.get()
    await it.running.daemon.stop()

    observed("it refuses writes", "reading goes on; said once, with what to allow")
    assert [reply.body for reply in replies] == [data for _, data in wanted]
    assert word(shared) == "hit; detail=shared"
    assert len(logs.events("shared_cache_upload_failed")) == 1
    assert len(faulty.did("PUT")) <= 4


async def test_a_storage_that_vanishes_between_two_requests(machine, faulty, observed, logs):
    it = await machine("first", cache_url=URL)
    wanted = paths(it, 4)
    faulty.objects[key(it.file.data)] = it.file.data
    await it.page()
    first = await it.get()
    await faulty.vanish()

    later = [await timed(it, path) for path, _ in wanted]

    observed("it vanishes", "files from the Package Manager, none of them late")
    assert word(first) == "hit; detail=shared"
    assert [reply.body for reply, _ in later] == [data for _, data in wanted]
    assert max(seconds for _, seconds in later) < SLACK
    assert len(logs.events("shared_cache_paused")) == 1


async def test_a_file_that_is_deleted_between_head_and_get(machine, faulty, observed):
    """Another machine saw it there and did not upload it; then a lifecycle rule took it."""
    it = await machine("first", cache_url=URL)
    faulty.objects[key(it.file.data)] = it.file.data
    faulty.faults["GET"] = s3_error(404, "NoSuchKey")
    await it.page()

    reply = await it.get()

    observed("a lifecycle rule deletes a file between HEAD and GET", "the file, from the Package Manager")
    assert (reply.body, word(reply)) == (it.file.data, "fwd=uri-miss; stored")


async def test_a_poisoned_file(machine, faulty, observed, logs):
    it = await machine("first", cache_url=URL)
    faulty.objects[key(it.file.data)] = bytes(len(it.file.data))
    await it.page()

    reply = await it.get()
    await it.running.daemon.stop()

    observed("the right key has wrong bytes of the right size", "never sent; reported; replaced")
    assert reply.body == it.file.data
    assert len(logs.events("shared_blob_wrong")) == 1
    assert faulty.objects[key(it.file.data)] == it.file.data


async def test_uploads_that_take_long_delay_no_client_and_end_with_the_drain_timeout(machine, faulty, observed):
    faulty.faults["PUT"] = hang
    it = await machine("first", cache_url=URL, drain_timeout=1.0)
    wanted = paths(it, 5)
    await it.page()

    replies = [await timed(it, path) for path, _ in wanted]
    began = time.monotonic()
    await it.running.daemon.stop()
    ended = time.monotonic() - began

    observed("uploads hang", "no client waits; the daemon ends within its drain_timeout")
    assert [reply.body for reply, _ in replies] == [data for _, data in wanted]
    assert max(seconds for _, seconds in replies) < SLACK
    assert 0.9 < ended < 1.0 + SLACK


async def test_it_is_used_again_once_it_is_well(machine, faulty, observed, monkeypatch, logs):
    monkeypatch.setattr("ppmproxy.cache.pause.FIRST", 0.5)
    faulty.faults["GET"] = s3_error(500, "InternalError")
    it = await machine("first", cache_url=URL)
    wanted = paths(it, 100)
    await it.page()
    await it.get()
    faulty.faults.clear()
    remaining = iter(wanted)

    async def resumed():
        while not logs.events("shared_cache_resumed"):
            path, data = next(remaining)
            assert (await it.running.get(path)).body == data
            await asyncio.sleep(0.25)

    await asyncio.wait_for(resumed(), 60)
    path, data = next(remaining)
    faulty.objects[key(data)] = data
    reply = await it.running.get(path)

    observed("it is well again", "found in the background, without a client that waits")
    assert word(reply) == "hit; detail=shared"


SECRETS = {"AWS_SECRET_ACCESS_KEY": "c2VjcmV0LW9m/and+more", "AWS_SESSION_TOKEN": "the-session-of-these-tests"}


async def test_secrets_of_the_provider_are_in_nothing_that_is_shown(machine, faulty, logs, use):
    use(faulty.storage, **SECRETS)
    faulty.faults["GET"] = s3_error(403, "AccessDenied")
    it = await machine("first", cache_url=URL)
    await it.page()
    await it.get()

    shown = logs.text + "".join([(await it.running.get(f"/-/{page}")).text() for page in ("status", "metrics")])

    assert [value for value in SECRETS.values() if value in shown] == []
    assert [value for value in SECRETS.values() if value in logs.redactor.text(f"a log says {value}.")] == []


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_command_under_exec_finds_none_of_them_unless_that_is_asked_for(
    faulty, package_manager, ca_file, tmp_path, keeps
):
    server = await package_manager()
    own = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(ca_file), "PPMPROXY_TOKEN": server.token}
    own |= {"PPMPROXY_CACHE": "true", "PPMPROXY_CACHE_URL": URL, "PPMPROXY_CACHE_URL_TIMEOUT": "1m"}
    own["PPMPROXY_LISTEN"] = "127.0.0.1:0"
    environ = plain_environment(tmp_path, **own, **{**faulty.storage.environ, **SECRETS})
    command = [sys.executable, "-m", "ppmproxy", "exec", *(["--keep-token"] if keeps else []), "--"]
    ask = "import os; print(sorted(name for name in os.environ if name.startswith('AWS_')))"

    end = await run_program([*command, sys.executable, "-c", ask], environ, tmp_path)

    assert end.code == 0, end.output
    assert ("AWS_SECRET_ACCESS_KEY" in end.output) is keeps
    assert "AWS_REGION" in end.output


async def test_doctor_says_what_is_refused(faulty):
    faulty.faults["GET"] = s3_error(403, "AccessDenied")

    (result,) = await shared_cache_checks(Settings(cache_url=URL), os.environ)

    assert result.outcome is Outcome.WARNING
    assert "list the bucket" in result.fix
    assert await finds_nothing_once_it_is_mended(faulty)


async def finds_nothing_once_it_is_mended(faulty, **settings):
    """Whether doctor finds nothing after the fix, which is for the storage's administrator."""
    faulty.faults.clear()
    (result,) = await shared_cache_checks(Settings(cache_url=URL, **settings), os.environ)
    return result.outcome is Outcome.OK


async def test_doctor_finds_nothing_once_the_extra_is_installed(faulty, monkeypatch):
    with monkeypatch.context() as before:
        before.setitem(sys.modules, "obstore", None)
        (result,) = await shared_cache_checks(Settings(cache_url=URL), os.environ)
    assert result.outcome is Outcome.FAILED
    assert "install the extra ppmproxy[shared-cache]" in result.fix

    assert await finds_nothing_once_it_is_mended(faulty)


async def test_doctor_finds_nothing_once_a_storage_that_does_not_answer_is_reached(faulty):
    faulty.faults["PUT"] = hang

    (result,) = await shared_cache_checks(Settings(cache_url=URL), os.environ)

    assert (result.outcome, result.fix) == (Outcome.WARNING, "check the network to it")
    assert await finds_nothing_once_it_is_mended(faulty)


async def test_doctor_finds_nothing_once_what_gave_other_bytes_is_out_of_the_way(faulty):
    async def other(request):
        if "list-type" in request.query:
            del faulty.faults["GET"]
            listed = await faulty._answered(request)
            faulty.faults["GET"] = other
            return listed
        return await html(request)

    faulty.faults["GET"] = other

    (result,) = await shared_cache_checks(Settings(cache_url=URL), os.environ)

    assert result.fix == "find out what stands between it and here; wrong bytes are never served"
    assert await finds_nothing_once_it_is_mended(faulty)


async def test_another_account_of_a_real_gateway_is_refused_and_that_is_said(machine, storages, use, logs, observed):
    ceph = storages("ceph")
    port = int(ceph.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])
    use(ceph, **s3_variables(port, "AKother", "SKother-secret"))
    it = await machine("first", cache_url=ceph.at("of-others"))
    await it.page()

    reply = await it.get()

    (said,) = logs.events("shared_cache_paused")
    observed("a real gateway refuses the account", f"files from the Package Manager; `{said['why']}`")
    assert reply.body == it.file.data
    assert "refuses the credentials" in said["why"]


async def test_doctor_tells_writing_from_reading(faulty):
    faulty.faults["PUT"] = s3_error(403, "AccessDenied")

    (result,) = await shared_cache_checks(Settings(cache_url=URL), os.environ)

    assert result.outcome is Outcome.WARNING
    assert "none are uploaded" in result.what
    assert 'cache_url_mode = "read"' in result.fix
    (reading,) = await shared_cache_checks(Settings(cache_url=URL, cache_url_mode=CacheUrlMode.READ), os.environ)
    assert reading.outcome is Outcome.OK
    assert await finds_nothing_once_it_is_mended(faulty)


async def test_a_command_under_exec_leaves_its_downloads_to_other_jobs(faulty, package_manager, ca_file, tmp_path):
    """The proxy of a job ends with it, and uploads before."""
    server = await package_manager()
    file = server.add(wheel("hello", payload=os.urandom(200_000)))
    own = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(ca_file), "PPMPROXY_TOKEN": server.token}
    own |= {"PPMPROXY_CACHE": "true", "PPMPROXY_CACHE_URL": URL, "PPMPROXY_CACHE_URL_TIMEOUT": "1m"}
    own["PPMPROXY_LISTEN"] = "127.0.0.1:0"
    environ = plain_environment(tmp_path, **own, **faulty.storage.environ)
    paths = ["/pypi/latest/simple/hello/", f"/pypi/latest/packages/{file.id}/{file.filename}"]
    ask = (
        "import os, urllib.request as r\n"
        "base = os.environ['PIP_INDEX_URL'].partition('/pypi/')[0]\n"
        f"for path in {paths}: assert r.urlopen(base + path).read()"
    )

    end = await run_program(
        [sys.executable, "-m", "ppmproxy", "exec", "--", sys.executable, "-c", ask], environ, tmp_path
    )

    assert end.code == 0, end.output
    assert faulty.objects == {key(file.data): file.data}


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "AWS_CA_BUNDLE", None])
async def test_a_storage_behind_a_company_s_authority_is_trusted_as_the_package_manager_is(
    use, authority, ca_file, monkeypatch, variable
):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    async with FaultyStorage(authority.server_context(("localhost", "127.0.0.1"))) as server:
        use(server.storage, **({variable: str(ca_file)} if variable else {}))

        (result,) = await shared_cache_checks(Settings(cache_url=URL, cache_url_mode=CacheUrlMode.READ), os.environ)

    assert (result.outcome is Outcome.OK) is (variable is not None), result
    assert variable is not None or "certificate that is not trusted" in result.what, result


@pytest.mark.parametrize(("is_plain", "connections"), [(True, 3), (False, 1)], ids=["http", "https"])
async def test_a_connection_is_kept_only_where_a_new_one_costs_a_handshake_of_tls(
    use, authority, ca_file, is_plain, connections
):
    context = None if is_plain else authority.server_context(("localhost", "127.0.0.1"))
    async with FaultyStorage(context) as server:
        use(server.storage, AWS_CA_BUNDLE=str(ca_file))
        store = store_for(Settings(cache_url=URL), os.environ)
        for _ in range(3):
            assert await store.size(key(b"not there")) is None

    assert len(server.clients) == connections
