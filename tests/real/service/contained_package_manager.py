"""The fake Package Manager in a container, at https://packagemanager.example.com, run by the image's own Python.

    python package_manager.py FOLDER

The folder has wheels to offer and the token to demand; the certificate to trust is written there, and an identity token
that it exchanges. Each request that it gets becomes one line of JSON.
"""

import asyncio
import json
import sys
import time
import zipfile
from pathlib import Path

from ppmproxy.testing.package_manager import (
    CertificateAuthority,
    Distribution,
    FakePackageManager,
    IdentityProviderTrust,
    jwt,
)

NAME = "packagemanager.example.com"
AUDIENCE = "packagemanager"


def distribution(path):
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Distribution(path.name, path.read_bytes(), metadata=archive.read(name))


async def main(folder):
    authority = CertificateAuthority()
    server = FakePackageManager(
        authority=authority,
        host="0.0.0.0",
        port=443,
        certificate_for=(NAME,),
        token=(folder / "token").read_text(),
        trusts=(IdentityProviderTrust(AUDIENCE),),
    )
    (folder / "identity").mkdir(exist_ok=True)
    claims = {"aud": AUDIENCE, "sub": "system:serviceaccount:default:build", "exp": time.time() + 3600}
    (folder / "identity" / "token").write_text(jwt(claims))
    for path in sorted(folder.glob("*.whl")):
        server.add(distribution(path))
    async with server:
        authority.write_pem(folder / "ca.new")
        (folder / "ca.new").rename(folder / "ca.pem")
        print(json.dumps({"event": "serving"}), flush=True)
        told = 0
        while True:
            for seen in server.requests[told:]:
                line = {"event": "asked", "method": seen.method, "path": seen.path}
                print(json.dumps({**line, "with_token": seen.authorization is not None}), flush=True)
            told = len(server.requests)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
