"""Responses to a sign-in that no server should send, by the endpoint that sends them."""

GRANT = b'{"device_code": "d", "user_code": "C", "verification_uri": "https://pm.example.com/device", %s}'
IDENTITY = b'{"id_token": %s}'
TOKEN = b'{"access_token": %s}'
DIGITS = b"1" + b"0" * 400
DEEP = b"[" * 100_000

MALFORMED = {
    "a grant nested too deeply": ("device", GRANT % (b'"x": ' + DEEP)),
    "a grant with 5000 digits": ("device", GRANT % (b'"interval": 1' + b"0" * 5000)),
    "a device code with a surrogate": ("device", (GRANT % b'"interval": 5').replace(b'"d"', b'"\\ud800"')),
    "a page that is no address": ("device", (GRANT % b'"interval": 5').replace(b"https://pm", b"https://[pm")),
    "a grant that is a number": ("device", DIGITS),
    "an identity token with a surrogate": ("device_access", IDENTITY % b'"\\ud800"'),
    "an identity token that is a number": ("device_access", IDENTITY % DIGITS),
    "an identity token nested too deeply": ("device_access", IDENTITY % DEEP),
    "an identity token in binary": ("device_access", b"\xff\xfe\x00"),
    "a token with a surrogate": ("token", TOKEN % b'"\\ud800"'),
    "a token that is a number": ("token", TOKEN % DIGITS),
    "a token nested too deeply": ("token", TOKEN % DEEP),
    "an empty token": ("token", TOKEN % b'""'),
}
