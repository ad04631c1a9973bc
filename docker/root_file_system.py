"""The root file system of the image: ppmproxy, the Python it runs on, the libraries both load, and nothing else.

The build stage runs it with the Python of ppmproxy's own virtual
environment, as `root_file_system.py FOLDER`; it needs the standard library, `ldd` and `ldconfig`.

There is no shell, no package manager and no pip, so there is nothing to start from a broken-into process but Python.
Every time stamp is SOURCE_DATE_EPOCH and there is none in the byte code, so that the same inputs make the same layers.
"""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

UID = 65532  # no user of any distribution; "nonroot" in other images
HOME = Path("/home/ppmproxy")
SBOM = Path("/usr/share/sbom/ppmproxy.cdx.json")

# What ppmproxy never imports, and what cannot work without the files that are left out.
NOT_NEEDED = shutil.ignore_patterns(
    "__pycache__", "site-packages", "dist-packages", "config-*", "*.a", "test", "tests", "idlelib", "ensurepip", "venv",
    "lib2to3", "pydoc_data", "tkinter", "turtledemo", "turtle.py", "_tkinter*", "_test*", "_ctypes_test*", "xxlimited*",
    "dbm", "_dbm*", "_gdbm*", "curses", "_curses*", "readline*", "EXTERNALLY-MANAGED",
    "pygments*", "markdown_it*", "mdurl*",
)  # fmt: skip
# What rich loads for code and Markdown alone, neither of which ppmproxy draws.
UNUSED_PACKAGES = ("pygments", "markdown-it-py", "mdurl")
ALSO_LOADED = ("libgcc_s.so.1",)  # by glibc itself, when a thread ends
COPIED = ("/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/etc/ssl/certs", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
ENVIRONMENT = Path(sys.prefix)
PACKAGES = Path(sysconfig.get_path("purelib"))
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)")


def main() -> None:
    """Make the file system in the folder that the command line names."""
    root = Path(sys.argv[1])
    keep_top_level_links(root)
    copy_python(root)
    copy_ppmproxy(root)
    for name in COPIED:
        copy_tree(Path(name), root) if Path(name).is_dir() else copy_file(Path(name), root)
    copy_trust(root)
    for library in libraries(root):
        copy_file(library, root)
    subprocess.run(["/sbin/ldconfig", "-r", root], check=True)
    shutil.rmtree(root / "var", ignore_errors=True)  # ldconfig's own cache
    write_users(root)
    compile_all(root)
    write_sbom(root)
    set_times(root, int(os.environ.get("SOURCE_DATE_EPOCH") or 0))


# --- files ------------------------------------------------------------------------------------------------------------


def keep_top_level_links(root: Path) -> None:
    """/lib and its like are links into /usr, on a merged system, and the loader is named through them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        here = Path("/", name)
        if here.is_symlink():
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(here.readlink())


def place_of(path: Path, root: Path) -> Path:
    """Where a file goes: into the same folder, whatever links lead to that."""
    return root / (path.parent.resolve() / path.name).relative_to("/")


def copy_file(path: Path, root: Path) -> None:
    """Copy what a path leads to, to the same path."""
    if path.exists():
        place_of(path, root).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place_of(path, root))


def copy_tree(folder: Path, root: Path) -> None:
    """Copy a folder, with what its links lead to."""
    shutil.copytree(folder, place_of(folder, root), ignore=NOT_NEEDED, dirs_exist_ok=True)


def copy_python(root: Path) -> None:
    """The interpreter and its standard library, where they are; the virtual environment has links to the former."""
    copy_file(Path(sys.executable).resolve(), root)
    copy_tree(STANDARD_LIBRARY, root)
    programs = place_of(ENVIRONMENT / "bin" / "python", root).parent
    programs.mkdir(parents=True)
    for name in ("python", "python3"):
        (programs / name).symlink_to(Path(sys.executable).resolve())


def copy_ppmproxy(root: Path) -> None:
    """The virtual environment: what is installed there, and the one command."""
    copy_file(ENVIRONMENT / "pyvenv.cfg", root)
    copy_file(ENVIRONMENT / "bin" / "ppmproxy", root)
    copy_tree(PACKAGES, root)


def copy_trust(root: Path) -> None:
    """The certificate authorities, where this OpenSSL looks for them."""
    paths = ssl.get_default_verify_paths()
    for name in (paths.openssl_cafile, paths.openssl_capath):
        place = root / name.lstrip("/")
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            is_file = name == paths.openssl_cafile
            place.symlink_to("/etc/ssl/certs/ca-certificates.crt" if is_file else "/etc/ssl/certs")


def libraries(root: Path) -> Iterable[Path]:
    """Every shared library that a program or an extension in there loads, and the loader."""
    programs = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and is_elf(path)]
    loaded = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    found = {Path(name) for name in LIBRARY.findall(loaded)}
    folders = {library.parent for library in found}
    found |= {folder / name for folder in folders for name in ALSO_LOADED if (folder / name).exists()}
    return sorted(library for library in found if not library.is_relative_to(root))


def is_elf(path: Path) -> bool:
    """Whether a file is a program or a library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def write_users(root: Path) -> None:
    """Names for the two numbers, for `ls` and logs; nobody can log in."""
    lines = ("root:x:0:0::/root:/sbin/nologin", f"ppmproxy:x:{UID}:{UID}::{HOME}:/sbin/nologin")
    (root / "etc" / "passwd").write_text("\n".join(lines) + "\n")
    (root / "etc" / "group").write_text(f"root:x:0:\nppmproxy:x:{UID}:\n")
    (root / "tmp").mkdir(mode=0o777)
    (root / "tmp").chmod(0o1777)


def compile_all(root: Path) -> None:
    """Byte code for a file system that is never written to: checked by nothing, so that it loads fast."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for folder in (place_of(STANDARD_LIBRARY, root), place_of(PACKAGES, root)):
        if not compileall.compile_dir(folder, quiet=1, stripdir=root, invalidation_mode=mode, workers=1):
            sys.exit(f"{folder} does not compile")


def set_times(root: Path, moment: int) -> None:
    """One time for everything."""
    for path in (root, *root.rglob("*")):
        os.utime(path, (moment, moment), follow_symlinks=False)


# --- the bill of materials --------------------------------------------------------------------------------------------


def write_sbom(root: Path) -> None:
    """CycloneDX 1.6: what was installed, Python itself, and Debian's packages that libraries came from."""
    own = next(found for found in distributions() if found.metadata["Name"] == "ppmproxy")
    installed = (found for found in distributions() if name_of(found) not in {"ppmproxy", *UNUSED_PACKAGES})
    others = sorted(installed, key=name_of)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**component(own), "type": "application"}},
        "components": [*map(component, others), python_component(), *debian_components(root)],
    }
    place = root / SBOM.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(document, indent=1) + "\n")


def name_of(found: Distribution) -> str:
    """The normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()


def component(found: Distribution) -> dict[str, object]:
    """One installed distribution."""
    name, metadata = name_of(found), found.metadata
    purl = f"pkg:pypi/{name}@{found.version}"
    made: dict[str, object] = {"type": "library", "bom-ref": purl, "name": name, "version": found.version, "purl": purl}
    expression = metadata.get("License-Expression")
    return made | ({"licenses": [{"expression": expression}]} if expression else {})


def python_component() -> dict[str, object]:
    """The interpreter."""
    version = "{}.{}.{}".format(*sys.version_info)
    purl = f"pkg:generic/python@{version}"
    return {"type": "framework", "bom-ref": purl, "name": "python", "version": version, "purl": purl}


def debian_components(root: Path) -> Iterable[dict[str, object]]:
    """The packages of the libraries and of the certificate authorities; their licences are copied."""
    copied = {path.name for path in root.rglob("*.so*")}
    query = ["dpkg-query", "--show", "--showformat", "${binary:Package} ${Version}\n"]
    for line in subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines():
        package, version = line.split()
        files = subprocess.run(["dpkg-query", "--listfiles", package], check=True, capture_output=True, text=True)
        owned = {Path(name).name for name in files.stdout.splitlines() if ".so" in name}
        name = package.partition(":")[0]
        if name == "ca-certificates" or owned & copied:
            purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}"
            copy_file(Path("/usr/share/doc", name, "copyright"), root)
            yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    main()
