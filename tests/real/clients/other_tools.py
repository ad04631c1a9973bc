"""Clients that show less of an error, that an option alone points at the proxy, or that something else starts."""

from __future__ import annotations

from dataclasses import replace

from client_tools import PROJECT, UV, Tool

OLD_UV_VERSION = "0.7.19"  # the last one that shows the status alone
OLD_UV = replace(
    UV, name=f"uv {OLD_UV_VERSION}", requirements=(f"uv=={OLD_UV_VERSION}",), binary="uv", lock=(), upload=""
)
PIPX = Tool("pipx", ("pipx",), "pipx", environ={"PIP_INDEX_URL": "@INDEX@"}, install=("install example-app",))
PEX = Tool("pex", ("pex",), "pex", install=(f"--no-pypi -i @INDEX@ {PROJECT} -o {PROJECT}.pex",))
JOHNNYDEP = Tool(
    "johnnydep",
    ("johnnydep",),
    script="from johnnydep.cli import main; main()",
    install=(f"--index-url @INDEX@ {PROJECT} --fields version_latest",),
)
NOTEBOOK = Tool(
    "notebook",
    ("nbclient", "ipykernel", "pip"),
    script="from nbclient.cli import main; main()",
    install=("first.ipynb",),
)
OTHERS = (OLD_UV, PIPX, PEX, JOHNNYDEP)
