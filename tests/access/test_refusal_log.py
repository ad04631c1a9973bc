"""Claims about the log of refused users: one line with the path, and one with a number, for each user and minute."""

import asyncio

import pytest
import real_users
from proxy_client import request_head, wait_until

from ppmproxy.access import refusal_log
from ppmproxy.access.refusal_log import RefusalLog

two_users = real_users.two_users


class Lines(list):
    """What a logger was asked to write."""

    def warning(self, event, **fields):
        self.append((event, fields))


async def test_the_first_request_of_a_user_in_a_minute_is_logged_and_the_others_are_counted():
    lines, logged = Lines(), []
    refusals = RefusalLog(lines)

    for uid in (1001, 1001, 1002, 1001, None, None):
        refusals.record(uid, lambda uid=uid: logged.append(uid))
    refusals.close()

    assert logged == [1001, 1002, None]
    assert lines == [
        ("requests_refused", {"uid": 1001, "count": 2, "seconds": 60.0}),
        ("requests_refused", {"uid": None, "count": 1, "seconds": 60.0}),
    ]


async def test_after_a_minute_the_next_request_is_the_first_again(monkeypatch):
    monkeypatch.setattr(refusal_log, "WINDOW", 0.01)
    lines, logged = Lines(), []
    refusals = RefusalLog(lines)

    refusals.record(1001, lambda: logged.append("first"))
    refusals.record(1001, lambda: logged.append("second"))
    await wait_until(lambda: lines)
    refusals.record(1001, lambda: logged.append("third"))
    refusals.close()

    assert logged == ["first", "third"]
    assert [fields["count"] for _, fields in lines] == [1]


@pytest.mark.real
async def test_another_user_writes_two_lines_a_minute_into_the_log(two_users, package_manager, proxy, logs):
    running = await proxy(await package_manager())
    user = two_users[0]

    for number in range(20):
        path = f"/pypi/latest/simple/{number}{'x' * 400}/"
        await asyncio.to_thread(user.told, request_head(path).decode(), ["127.0.0.1", running.port])
    await asyncio.to_thread(user.told, "no HTTP\r\n\r\n", ["127.0.0.1", running.port])
    await running.daemon.stop()

    assert [line["path"][:21] for line in logs.events("request")] == ["/pypi/latest/simple/0"]
    assert [(line["uid"], line["count"]) for line in logs.events("requests_refused")] == [(user.uid, 20)]
