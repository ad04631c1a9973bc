"""Claims about the import of aiohttp: it reads no authorities, and other TLS contexts have theirs."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, json, ssl, sys
loading = ssl.SSLContext.load_default_certs, ssl.SSLContext.set_default_verify_paths
importlib.import_module(sys.argv[1])
from aiohttp import connector
contexts = connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED
is_restored = loading == (ssl.SSLContext.load_default_certs, ssl.SSLContext.set_default_verify_paths)
print(json.dumps([[context.cert_store_stats()["x509"] for context in contexts], is_restored]))
"""


@pytest.mark.parametrize("module", ["ppmproxy.cli.run", "ppmproxy.cli.daemon_thread"])
def test_what_starts_a_daemon_imports_aiohttp_without_the_authorities(module):
    command = [sys.executable, "-c", PROGRAM, module]
    printed = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout

    assert json.loads(printed) == [[0, 0], True]
