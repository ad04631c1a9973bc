"""Claims about `logs`: in no form and by no way does a token reach the log."""

import asyncio
import base64
import io
import json
import re
import sys
import warnings
from urllib.parse import quote, quote_plus, unquote

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from logged_lines import LIBRARY, Odd, Terminal, log_to, logged, with_exception

from ppmproxy.auth.secret import MASK, Secret
from ppmproxy.config.model import LogFormat

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJwYWNrYWdlbWFuYWdlciIsImp0aSI6IjEyMyJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
ODD = """a/b+c=d&e"f'g\\h%41:i{j},k<l>"""
BOTH = [LogFormat.JSON, LogFormat.CONSOLE]
TOKENS = st.one_of(
    st.just(JWT),
    st.just(ODD),
    st.text("abcdefXYZ0189-._~+/=\"'\\&%<>:;,{}[]()!#$@^`|?", min_size=8, max_size=40).filter(
        lambda t: len(set(t)) > 5
    ),
)


def shows(token, text):
    """Whether somebody who reads the text can get at the token; found out by decoding, not by how it is masked."""
    readings = {text, unquote(text), unquote(unquote(text))}
    readings |= {re.sub(r"\\(.)", r"\1", reading) for reading in readings}
    if any(token in reading for reading in readings):
        return True
    digits = [run for reading in readings for run in re.findall(r"[A-Za-z0-9+/_-]{8,}", reading)]
    for run in digits:
        plain = run.replace("-", "+").replace("_", "/")
        for start in range(4):
            part = plain[start:]
            if token.encode() in base64.b64decode(part[: len(part) // 4 * 4]):
                return True
            if token.encode() in base64.b64decode(part + "A" * (-len(part) % 4)):
                return True
    return False


# --- in which forms a token shows up ----------------------------------------------------------------------------------

FORMS = {
    "raw": str,
    "in a header": "Authorization: Bearer {}".format,
    "in a URL": "https://__token__:{}@pm.example.com/x".format,
    "basic": lambda token: "Basic " + base64.b64encode(f"__token__:{token}".encode()).decode(),
    "basic of somebody else": lambda token: "Basic " + base64.b64encode(f"alice:{token}".encode()).decode(),
    "basic with a line feed": lambda token: base64.b64encode(f"__token__:{token}\n".encode()).decode(),
    "base64": lambda token: base64.b64encode(token.encode()).decode(),
    "base64 for URLs": lambda token: base64.urlsafe_b64encode(token.encode()).decode().rstrip("="),
    "base64 within base64 text": lambda token: base64.b64encode(b'{"token":"' + token.encode() + b'"}').decode(),
    "percent-encoded": lambda token: quote(token, safe=""),
    "percent-encoded but for slashes": quote,
    "percent-encoded in lower case": lambda token: re.sub("%..", lambda found: found[0].lower(), quote(token, safe="")),
    "in a form": quote_plus,
    "basic, percent-encoded": lambda token: quote(base64.b64encode(f"__token__:{token}".encode()).decode(), safe=""),
    "JSON": lambda token: json.dumps({"access_token": token}),
    "repr": repr,
    "repr of headers": lambda token: repr([("Authorization", f"Bearer {token}"), ("it's", '"quoted"')]),
    "repr of bytes": lambda token: repr(b"Authorization: Bearer " + token.encode()),
    "twice in a row": lambda token: token + token,
    "amid words": "before{}after".format,
}


@settings(max_examples=60)
@given(token=TOKENS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_form_of_a_token_reaches_the_log(form, token):
    text = form(token)

    line = logged(lambda: structlog.get_logger().info("event", field=text), token)

    assert shows(token, text)
    assert not shows(token, line)
    assert MASK in line


def test_the_parts_of_a_jwt_that_are_secret_do_not_reach_the_log_one_by_one():
    _, payload, signature = JWT.split(".")

    line = logged(lambda: structlog.get_logger().info("event", payload=payload, signature=signature), JWT)

    assert payload not in line
    assert signature not in line


# --- by which ways a token gets into the log --------------------------------------------------------------------------


def with_note(token):
    error = ValueError("no")
    error.__notes__ = [f"the token was {token}"]
    structlog.get_logger().error("event", exc_info=error)


async def forgotten(token):
    """What asyncio says of a task that failed and that nobody waited for."""

    async def fail():
        raise ValueError(token)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    loop.call_exception_handler({"message": "unheard", "exception": task.exception(), "task": task})


def warned(token):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"said {token}", stacklevel=1)


WAYS = {
    "event": lambda token: structlog.get_logger().info(token),
    "positional": lambda token: structlog.get_logger().info("said %s", token),
    "field": lambda token: structlog.get_logger().info("event", field=token),
    "name of a field": lambda token: structlog.get_logger().info("event", **{token: 1}),
    "list": lambda token: structlog.get_logger().info("event", field=["a", ("b", token)]),
    "set": lambda token: structlog.get_logger().info("event", field={token}),
    "dict": lambda token: structlog.get_logger().info("event", field={"a": {"b": [{"c": token}]}}),
    "key": lambda token: structlog.get_logger().info("event", field={token: 1, (token, 1): 2, 7: 3, None: 4}),
    "bytes": lambda token: structlog.get_logger().info("event", field=token.encode()),
    "bytearray": lambda token: structlog.get_logger().info("event", field=[bytearray(token.encode())]),
    "object": lambda token: structlog.get_logger().info("event", field=Odd(token)),
    "objects": lambda token: structlog.get_logger().info("event", field=[Odd(token), {"a": Odd(token)}]),
    "secret": lambda token: structlog.get_logger().info("event", field=Secret(token)),
    "error": lambda token: structlog.get_logger().info("event", field=ValueError(token)),
    "bound": lambda token: structlog.get_logger().bind(field=token).info("event"),
    "traceback": lambda token: with_exception(lambda _: structlog.get_logger().exception("event"), token),
    "exc_info": lambda token: with_exception(lambda e: structlog.get_logger().error("event", exc_info=e), token),
    "note": with_note,
    "stdlib": lambda token: LIBRARY.warning("said " + token),
    "stdlib args": lambda token: LIBRARY.warning("said %s and %r", token, [token]),
    "stdlib bytes": lambda token: LIBRARY.warning("said %r", token.encode()),
    "stdlib dict": lambda token: LIBRARY.warning("said %(a)r", {"a": token}),
    "stdlib extra": lambda token: LIBRARY.warning("event", extra={"field": {"a": [token]}, "other": Odd(token)}),
    "stdlib traceback": lambda token: with_exception(lambda _: LIBRARY.exception("event"), token),
    "stdlib stack": lambda token: LIBRARY.warning("said %s", token, stack_info=True),
    "stdlib message": lambda token: LIBRARY.warning(ValueError(token)),
    "warning": warned,
    "asyncio": lambda token: asyncio.run(forgotten(token)),
    "crash": lambda token: with_exception(lambda error: sys.excepthook(type(error), error, error.__traceback__), token),
}


@settings(max_examples=40, deadline=None)
@given(token=TOKENS)
@pytest.mark.parametrize("log_format", BOTH)
@pytest.mark.parametrize("session", WAYS.values(), ids=WAYS)
def test_by_no_way_does_a_token_reach_the_log(session, log_format, token):
    line = logged(lambda: session(token), token, log_format=log_format)

    assert not shows(token, line)
    assert MASK in line


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.just("clean"), st.just(JWT), st.just(ODD),
                   st.just(ODD.encode()), st.builds(Odd, st.just(ODD)), st.just(quote(ODD)))  # fmt: skip
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from(["a", JWT, ODD, 7, None, (ODD, 1), ODD.encode()]), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(value=NESTED, log_format=st.sampled_from(BOTH))
def test_however_deep_a_token_lies_it_does_not_reach_the_log(value, log_format):
    line = logged(lambda: structlog.get_logger().info("event", field=value), JWT, ODD, log_format=log_format)

    assert not shows(JWT, line)
    assert not shows(ODD, line)


def test_a_token_is_masked_from_the_moment_it_is_known():
    stream = io.StringIO()
    with log_to(stream) as redactor:
        structlog.get_logger().info("before", field=JWT)
        redactor.add(Secret(JWT))
        structlog.get_logger().info("after", field=JWT)

    before, after = map(json.loads, stream.getvalue().splitlines())
    assert (before["field"], after["field"]) == (JWT, MASK)


def test_a_coloured_line_shows_no_token_either():
    written = Terminal()
    with log_to(written, JWT, log_format=LogFormat.CONSOLE):
        structlog.get_logger().info(JWT, field={"a": JWT})

    assert not shows(JWT, written.getvalue())
