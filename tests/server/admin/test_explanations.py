"""Claim: every code that a request can end with is explained."""

import ppmproxy.server.dispatcher
import ppmproxy.server.handler  # noqa: F401 - and some more
from ppmproxy.errors import PpmProxyError, UsageError
from ppmproxy.server.admin.explanations import DOCTOR, EXPLANATIONS, explanation_of
from ppmproxy.server.request_record import CLIENT_LEFT, CLIENT_STALLED, DRAIN_TIMEOUT

NOT_OF_REQUESTS = {UsageError.code, "config", "cannot-listen", "service", "cache-unusable", "shared-cache"}


def kinds_of(error):
    yield error
    for kind in error.__subclasses__():
        yield from kinds_of(kind)


def test_every_code_that_a_request_can_end_with_is_explained():
    codes = {kind.code for kind in kinds_of(PpmProxyError) if kind.__module__.startswith("ppmproxy.")}

    assert (codes | {CLIENT_LEFT, CLIENT_STALLED, DRAIN_TIMEOUT}) - NOT_OF_REQUESTS - set(EXPLANATIONS) == set()


def test_a_code_of_a_later_version_leads_to_doctor():
    assert explanation_of("new-code") == DOCTOR
