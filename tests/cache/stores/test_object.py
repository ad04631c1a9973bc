"""Claims about object storage that need none: what is said without the extra, and which endpoints may be plain http.

The real stores are in tests/real/shared_cache.
"""

import sys

import pytest

from ppmproxy.cache.stores.object import ObjectStore, _explained, _is_plain
from ppmproxy.cache.stores.opening import store_for
from ppmproxy.config.model import Settings
from ppmproxy.errors import ConfigError


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "gs://bucket", "az://container"])
def test_without_the_extra_the_error_says_what_to_install(monkeypatch, url):
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigError) as caught:
        store_for(Settings(cache_url=url), {})

    assert "extra shared-cache" in str(caught.value)
    assert "install the extra ppmproxy[shared-cache]" in caught.value.hint


async def test_a_folder_takes_no_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "obstore", None)

    store = store_for(Settings(cache_url=f"file://{tmp_path}"), {})

    assert not isinstance(store, ObjectStore)
    await store.close()


@pytest.mark.parametrize(
    ("scheme", "environ", "is_plain"),
    [
        ("s3", {}, False),
        ("s3", {"AWS_ENDPOINT_URL": "https://s3.example.com"}, False),
        ("s3", {"AWS_ENDPOINT_URL": "http://s3.example.com"}, True),
        ("s3", {"AWS_ENDPOINT_URL_S3": "https://s3.example.com", "AWS_ENDPOINT_URL": "http://other"}, False),
        ("s3", {"AWS_ENDPOINT_URL": "http://s3.example.com", "AWS_SSE_CUSTOMER_KEY_BASE64": "a2V5"}, False),
        ("s3", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SSE_CUSTOMER_KEY_BASE64": "a2V5"}, True),
        ("az", {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:10000/account"}, True),
        ("az", {"AZURE_STORAGE_ENDPOINT": "http://storage.example.com"}, False),
        ("gs", {"GOOGLE_BASE_URL": "http://storage.example.com"}, False),
    ],
)
def test_plain_http_is_for_signed_requests_and_for_loopback(scheme, environ, is_plain):
    assert _is_plain(scheme, environ) is is_plain


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("<Code>NoSuchBucket</Code>", "does not exist"),
        ("<Code>RequestTimeTooSkewed</Code>", "refuses this machine's clock"),
        ("<Code>ExpiredToken</Code>", "refuses the credentials: they have expired"),
        ("<Code>SlowDown</Code>", "asks for fewer requests"),
        ("Server returned error status code: 503 Service Unavailable", "answers with status 503"),
        ("tcp connect error", "does not answer as it should"),
        ("Connect(...)", "cannot be reached"),
    ],
)
def test_a_message_of_the_library_is_worded_anew(message, what):
    said, hint = _explained(RuntimeError(f"Generic S3 error: Error performing GET http://host/key?X-Amz: {message}"))

    assert said == what
    assert hint
    assert "X-Amz" not in said + hint
