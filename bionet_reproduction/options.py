"""A plan's fields as options of the command line: every one of them can be set."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any


def flat(plan: Any, prefix: str = "") -> dict[str, Any]:
    """Return all fields by option name; fields of a recipe within the plan as ``recipe.field``."""
    found: dict[str, Any] = {}
    for name, value in _entries(plan).items():
        option = f"{prefix}{name.replace('_', '-')}"
        found |= flat(value, f"{option}.") if _entries(value) else {option: value}
    return found


def _entries(value: Any) -> dict[str, Any]:
    """The fields of a recipe, or the recipes by name in a mapping; nothing for all else."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: getattr(value, entry.name) for entry in fields(value)}
    if isinstance(value, Mapping) and all(is_dataclass(each) for each in value.values()):
        return dict(value)
    return {}


def pairs(words: list[str]) -> dict[str, str]:
    """Read ``--name value`` and ``--name=value`` from what is left of a command line.

    Raises
    ------
    ValueError
        For a word that belongs to no option, or an option without a value.
    """
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"{word!r} belongs to no option")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ValueError(f"the option --{name} needs a value")
            value = rest.pop(0)
        found[name] = value
    return found


def changed(plan: Any, given: Mapping[str, str]) -> Any:
    """Return the plan with other values in some of its fields.

    Parameters
    ----------
    plan : Plan
    given : mapping of str to str
        From option names, as :func:`flat` has them, to values as they are typed.

    Raises
    ------
    ValueError
        For a field that the plan does not have, or a value of another kind than the one there.
    """
    known = flat(plan)
    for name, text in given.items():
        if name not in known:
            raise ValueError(f"the plan has no field {name!r}; there are {', '.join(known)}")
        plan = _with(plan, name.split("."), _read(name, text, known[name]))
    return plan


def _with(recipe: Any, path: list[str], value: Any) -> Any:
    entries = _entries(recipe)
    name = next(name for name in entries if name.replace("_", "-") == path[0])
    inner = value if len(path) == 1 else _with(entries[name], path[1:], value)
    return {**recipe, name: inner} if isinstance(recipe, Mapping) else replace(recipe, **{name: inner})


def _read(name: str, text: str, now: Any) -> Any:
    """The value that a text stands for, of the kind of the one it replaces."""
    if isinstance(now, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(now, tuple) and not isinstance(value, (tuple, list)):
        value = (value,)
    if not _alike(value, now):
        raise ValueError(f"--{name} is of the kind of {now!r}, got {text!r}")
    return _like(value, now)


def _alike(value: Any, now: Any) -> bool:
    if now is None or value is None:
        return True
    if isinstance(now, bool) or isinstance(value, bool):
        return isinstance(now, bool) and isinstance(value, bool)
    if isinstance(now, float):
        return isinstance(value, (int, float))
    if isinstance(now, tuple):
        return isinstance(value, (tuple, list)) and all(map(_alike, value, _patterns(value, now)))
    if isinstance(now, Mapping):
        return isinstance(value, Mapping)
    return isinstance(value, type(now))


def _like(value: Any, now: Any) -> Any:
    if isinstance(now, float) and value is not None:
        return float(value)
    if isinstance(now, tuple):
        return tuple(map(_like, value, _patterns(value, now)))
    return tuple(value) if isinstance(value, list) else value


def _patterns(values: Any, now: tuple[Any, ...]) -> list[Any]:
    """For each of `values` the entry that it has to be like: a list has one kind, a record one an entry."""
    if len(now) == len(values) and len({type(entry) for entry in now}) > 1:
        return list(now)
    return [now[0] if now else None] * len(values)
