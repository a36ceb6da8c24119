"""A TOML file's values, where each stands, and the faults found in it so far: what `config` reads from.

Knows files and types, not what any key means.
"""

import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from syncline.errors import Fault, InvalidDefinition
from syncline.read.sql_file import suggestion
from syncline.toml_lines import TomlLines, find_lines

_VARIABLE = re.compile(r"\$\{([^}]*)\}?")


@dataclass(frozen=True, slots=True)
class TomlSource:
    """The file's values and the lines they stand on, and the faults found so far."""

    file: str
    folder: str
    values: Mapping[str, object]
    lines: TomlLines
    faults: list[Fault]

    def fault(self, path: tuple[str, ...], message: str) -> None:
        self.faults.append(Fault(self.file, self.lines.line_of(path), message))

    def get(self, path: tuple[str, ...]) -> object:
        value: object = self.values
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def names(self, section: str) -> list[str]:
        named = self.get((section,))
        return list(named) if isinstance(named, Mapping) else []

    def refuse_unknown(self, path: tuple[str, ...], known: tuple[str, ...], what: str) -> None:
        found = self.get(path)
        if not isinstance(found, Mapping):
            self.fault(path, f"'{'.'.join(path)}' is {found!r}; write a section [{'.'.join(path)}] with its keys below")
            return
        for name in found:
            if name not in known:
                meant = suggestion(name.replace("-", "_"), known)
                hint = f"did you mean '{meant}'?" if meant else f"known are {', '.join(known)}"
                self.fault((*path, name), f"unknown {what} '{name}'; {hint}")

    def text(self, path: tuple[str, ...], example: str) -> str | None:
        """The text at `path` with its variables filled in; None, and a fault, when there is none."""
        value = self.get(path)
        if isinstance(value, str) and value.strip():
            return self.filled(path, value)
        holder = self.get(path[:-1])
        if isinstance(holder, Mapping):
            found = f"'{path[-1]}' is {value!r}, not a text" if path[-1] in holder else f"'{path[-1]}' is missing"
            self.fault(path, f"[{'.'.join(path[:-1])}]: {found}; write for example {path[-1]} = {example}")
        return None

    def filled(self, path: tuple[str, ...], value: str) -> str | None:
        """`value` with every ${VAR} replaced from the environment; None, and a fault, when one is not set."""
        missing = [name for name in _VARIABLE.findall(value) if name not in os.environ]
        for name in missing:
            self.fault(path, f"${{{name}}} is not set in the environment; set it, or write the value here")
        return None if missing else _VARIABLE.sub(lambda found: os.environ[found[1]], value)

    def seconds(self, path: tuple[str, ...], default: float) -> float:
        value = self.get(path)
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
            return float(value)
        example = f"{path[-1]} = {default:g}"
        self.fault(path, f"'{path[-1]}' is {value!r}, not a number of seconds above 0; write for example {example}")
        return default


def read_toml(path: Path) -> TomlSource:
    """The values of `path`. Raises InvalidDefinition when it cannot be read or is not TOML."""
    file = str(path)
    try:
        text = path.read_text("utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        message = "there is no such file; `syncline init` writes one, `--config FILE` names another"
        raise InvalidDefinition([Fault(file, 0, message)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDefinition([Fault(file, 0, f"the file cannot be read: {error}")]) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise InvalidDefinition([Fault(file, line, f"not TOML: {error}; mend this line")]) from error
    return TomlSource(file, str(path.parent), values, find_lines(text), [])
