"""Files of clients, as their owner has them, before `ppmproxy configure`."""

PYPROJECT = '# mine\r\n[project]\r\nname = "x"  # keep\r\nversion = "0"\r\n'


MINE = {
    "pip": "# mine\n[global]\ntimeout=60\n\nindex-url = https://u:s3cret@old.example.com/simple\n",
    "uv": '# mine\n[[index]]\nurl = "https://old.example.com/simple"\ndefault = true\n\n[pip]\nx = "y"',
    "poetry": PYPROJECT,
    "pdm": '[pypi]\nverify_ssl = true\nurl = "https://old.example.com/simple"\n',
    "pipenv": '[[source]]\nurl = "https://public.example.org/simple"\nname = "pypi"\n\n[packages]\nidna = "*"\n',
    "r": 'options(repos = c(CRAN = "https://old.example.com"))',
    "positron": '{\n    // mine\n    "editor.wordWrap": "on",\n}\n',
}


FILES = {
    "pip": ".config/pip/pip.conf",
    "uv": ".config/uv/uv.toml",
    "poetry": "pyproject.toml",
    "pdm": ".config/pdm/config.toml",
    "pipenv": "Pipfile",
    "r": ".Rprofile",
    "positron": ".config/Positron/User/settings.json",
}


def written(home, client, data=None):
    """The client's file, with what its owner has in it."""
    path = home / FILES[client]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MINE[client].encode() if data is None else data)
    path.chmod(0o640)
    return path


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
