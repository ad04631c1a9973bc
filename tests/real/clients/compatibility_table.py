"""The table of clients in ppmproxy/clients/README.md, made from the results of their tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

BEGIN, END = "<!-- clients:begin -->", "<!-- clients:end -->"
COLUMNS = ("install", "lock", "upload", "error shown", "`exec --intercept`")
YES = "yes"
NONE = "\N{EN DASH}"
INTERCEPT = COLUMNS[-1]

# What each client is tested for; it has no command for the others, or they were not tried.
ROWS: Mapping[str, tuple[str, ...]] = {
    "pip": ("install", "lock", "error shown", INTERCEPT),
    "pip 22.3.1": ("install", "error shown", INTERCEPT),
    "uv": COLUMNS,
    "Poetry": COLUMNS,
    "PDM": COLUMNS,
    "Hatch": COLUMNS,
    "pipenv": ("install", "lock", "error shown", INTERCEPT),
    "pip-tools": ("install", "lock", "error shown", INTERCEPT),
    "twine": ("upload", "error shown", INTERCEPT),
    "flit": ("upload", "error shown", INTERCEPT),
    "maturin": ("upload", "error shown", INTERCEPT),
    "uv 0.7.19": ("install", "error shown"),
    "pipx": ("install", "error shown"),
    "pex": ("install", "error shown"),
    "johnnydep": ("install", "error shown"),
    "R": ("install", "error shown", INTERCEPT),
    "remotes": ("install",),
    "renv": ("install", "lock", INTERCEPT),
}

Cell = tuple[str, str]  # client and column


def cells(found: Iterable[tuple[str, str, str]]) -> dict[Cell, str]:
    """The words of each cell; where several tests stand behind one, what is not a plain yes."""
    words: dict[Cell, set[str]] = {}
    for client, column, said in found:
        words.setdefault((client, column), set()).add(said)
    return {cell: "; ".join(sorted(said - {YES})) or YES for cell, said in words.items()}


def is_whole(known: Mapping[Cell, str]) -> bool:
    """Whether there is a result for every cell."""
    return known.keys() >= {(client, column) for client, columns in ROWS.items() for column in columns}


def table(known: Mapping[Cell, str]) -> str:
    """The table in Markdown, without a line break at its end."""
    lines = [("client", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    lines += [(client, *(known.get((client, column), NONE) for column in COLUMNS)) for client in ROWS]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_table(text: str, made: str) -> str:
    """A text with this table between its markers; `ValueError` when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{BEGIN} and {END} are not there")
    return f"{before}{begin}\n{made}\n{end}{after}"
