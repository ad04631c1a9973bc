"""Gathers the messages of the program from its source: what happened, what to do, and the class of the error."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ppmproxy
from ppmproxy.errors import PpmProxyError

ROOT = Path(ppmproxy.__file__).parent
GAP = "\N{HORIZONTAL ELLIPSIS}"  # a text that cannot be told from the source
MOST = 12  # texts of one argument, by its branches

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Message:
    """One message; a placeholder stands in braces."""

    place: str  # module and line
    kind: str  # the name of the error's class; "" for the location of a setting
    what: str
    hint: str | None  # None: there is none

    @property
    def room(self) -> str:
        return self.place.partition("/")[0]


@functools.cache
def titles() -> dict[str, str]:
    """The title of each class of errors, by name; from the source, because other tests count what is imported."""
    found = {PpmProxyError.__name__: PpmProxyError.title}
    classes = [node for tree in _trees().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while added := [one for one in classes if one.name not in found and _base_of(one) in found]:
        found |= {one.name: _title_of(one) or found[_base_of(one)] for one in added}
    return found


def _base_of(node: ast.ClassDef) -> str:
    return next((base.id for base in node.bases if isinstance(base, ast.Name)), "")


def _title_of(node: ast.ClassDef) -> str:
    """The title that a class sets itself."""
    own = [one.value for one in node.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "title"]
    return str(ast.literal_eval(own[0])) if own else ""


@functools.cache
def _trees() -> dict[str, ast.Module]:
    """The source of each module, by its path below the package."""
    paths = sorted(ROOT.rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@functools.cache
def messages() -> list[Message]:
    """Every error that is made in the source, with all texts that its arguments may have; in the source's order."""
    return sorted(set(_found()), key=lambda message: message.place)


def _found() -> Iterator[Message]:
    names = frozenset(titles())
    for path, tree in _trees().items():
        for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                kind = _kind_of(call, names)
                if kind is not None and call.args and not _is_inner(call, function):
                    yield from _messages(f"{path}:{call.lineno}", kind, call, function, tree)


def _is_inner(call: ast.Call, function: Function) -> bool:
    """Whether the call stands in a function within this one, which has its own turn."""
    inner = (node for node in ast.walk(function) if isinstance(node, Function) and node is not function)
    return any(call is node for other in inner for node in ast.walk(other))


def _kind_of(call: ast.Call, names: frozenset[str]) -> str | None:
    if isinstance(call.func, ast.Name):
        return call.func.id if call.func.id in names else None
    if isinstance(call.func, ast.Attribute) and call.func.attr in {"error", "refused"}:
        of = ast.unparse(call.func.value)
        return "" if "location" in of or of == "top" else None
    return None


def _messages(place: str, kind: str, call: ast.Call, function: Function, tree: ast.Module) -> Iterator[Message]:
    args = list(call.args)
    prefix = ""
    if not kind:
        prefix = "{key} "
        if isinstance(call.func, ast.Attribute) and call.func.attr == "refused":
            args, prefix = args[1:], '{key} is "{value}", '
    for what in _texts(args[0], function, tree):
        for hint in _texts(args[1], function, tree) if len(args) > 1 else [None]:
            yield Message(place, kind, prefix + what, hint)


def _texts(node: ast.expr, function: Function, tree: ast.Module) -> list[str]:
    """The texts that an expression may have."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr():
            return ["".join(_part(part) for part in node.values)]
        case ast.IfExp():
            return [*_texts(node.body, function, tree), *_texts(node.orelse, function, tree)]
        case ast.BinOp(op=ast.Add()):
            first, second = _texts(node.left, function, tree), _texts(node.right, function, tree)
            return [one + other for one in first for other in second][:MOST]
        case ast.Name(id=name):
            found = _assigned(name, function) or _assigned(name, tree)
            texts = [text for value in found for text in _texts(value, function, tree)]
            return list(dict.fromkeys(texts))[:MOST] or [GAP]
    return [GAP]


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    return f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else GAP


def _assigned(name: str, scope: ast.AST) -> list[ast.expr]:
    """What a name is assigned in a scope."""
    body = ast.walk(scope) if isinstance(scope, Function) else ast.iter_child_nodes(scope)
    return [
        node.value
        for node in body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
