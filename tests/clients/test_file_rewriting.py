"""Claims about one project file: what of it is rewritten, and that a half-written one is left alone."""

from pathlib import Path

import pytest

from ppmproxy.clients.editing.apply import BrokenText
from ppmproxy.clients.file_rewriting import canonical_files, local_files, proxy_references
from ppmproxy.config.model import Settings, Upstream

SETTINGS = Settings(upstreams=(Upstream(url="https://pm.example.com/rspm", configured=True),))
OURS, THEIRS = "http://127.0.0.1:7760", "https://pm.example.com/rspm"
FILES = {
    "pyproject.toml": '[[tool.uv.index]]\nname = "ppm"\nurl = "{base}/pypi/latest/simple/"\nexplicit = true\n',
    "Pipfile": '[[source]]\nname = "ppm"\nurl = "{base}/pypi/latest/simple/"\nverify_ssl = true\n',
    "tool.py": '# /// script\n# [[tool.uv.index]]\n# url = "{base}/pypi/latest/simple/"\n# ///\nprint("x")\n',
    "tool.py.lock": '[[package]]\nsource = {{ registry = "{base}/pypi/latest/simple/" }}\n',
    "renv.lock": '{{"R": {{"Repositories": [{{"Name": "CRAN", "URL": "{base}/cran/latest"}}]}}}}\n',
    "packrat.lock": "PackratFormat: 1.4\nRepos: CRAN={base}/cran/latest,\n  X=https://x.example.com\n",
    "pkg.lock": '{{"packages": [{{"ref": "dplyr", "sources": ["{base}/cran/latest/src/contrib/dplyr_1.tar.gz"]}}]}}\n',
    "manifest.json": '{{"packages": {{"dplyr": {{"Repository": "{base}/cran/latest"}}}}}}\n',
    "pixi.lock": "environments:\n  default:\n    indexes:\n    - {base}/pypi/latest/simple/\n",
    "pex.lock": '{{"pex_version": "2", "locked_resolves": [{{"url": "{base}/pypi/latest/packages/a.whl"}}]}}\n',
    "constraints.txt": "-i {base}/pypi/latest/simple/\n{trusted}six==1\n",
}


def text_of(name, base):
    trusted = "--trusted-host 127.0.0.1\n" if base == OURS else ""
    return FILES[name].format(base=base, trusted=trusted).encode()


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_every_kind_goes_both_ways_byte_for_byte(name):
    path = Path("project") / name

    canonical = canonical_files(SETTINGS).of(path, text_of(name, OURS))
    local = local_files(SETTINGS).of(path, text_of(name, THEIRS))

    assert canonical.data == text_of(name, THEIRS)
    assert local.data == text_of(name, OURS)
    assert canonical.urls == local.urls == 1
    assert list(proxy_references(path, canonical.data, SETTINGS)) == []
    assert list(proxy_references(path, local.data, SETTINGS))


def test_of_a_script_only_the_header_is_rewritten():
    code = f'URL = "{OURS}/pypi/"\n'.encode()
    script = text_of("tool.py", OURS) + code

    assert canonical_files(SETTINGS).of(Path("tool.py"), script).data == text_of("tool.py", THEIRS) + code
    assert list(proxy_references(Path("tool.py"), script, SETTINGS)) == [(3, f"{OURS}/pypi/latest/simple/")]


def test_a_requirements_file_that_keeps_its_urls_gets_no_option():
    text = f"-i {OURS}/pypi/latest/simple/\n".encode()

    assert local_files(SETTINGS).of(Path("requirements.txt"), text).data == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("renv.lock", '{{"R": "{base}/x'),
        ("pkg.lock", '{{"a": "{base}/x'),
        ("tool.py.lock", 'x = "{base}/x'),
        ("manifest.json", '{{"a": "{base}/x", '),
    ],
)
def test_a_half_written_file_is_not_rewritten(name, text):
    with pytest.raises(BrokenText, match=r"not (JSON|TOML)"):
        canonical_files(SETTINGS).of(Path(name), text.format(base=OURS).encode())
