"""A client of the fake Package Manager that asks it directly."""

import aiohttp
from yarl import URL


class Client:
    """Sends the valid token by default; keeps no cookie, follows no redirect, decodes nothing."""

    def __init__(self, package_manager):
        self.package_manager = package_manager

    async def get(self, url, method="GET", token=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("Authorization", f"Bearer {token or self.package_manager.token}")
        headers.setdefault("Accept-Encoding", "identity")
        headers = {name: value for name, value in headers.items() if value is not None}
        context = self.package_manager.client_context() if self.package_manager.tls else False
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as s,
            s.request(method, URL(url, encoded=True), headers=headers, allow_redirects=False) as response,
        ):
            return response.status, response.headers, await response.read()
