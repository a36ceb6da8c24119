"""What can be imported is what is said to be: public names at run time, for type checkers, and in the reference."""

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import syncline
import syncline.testing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")
MODULES = [syncline, syncline.testing]


@pytest.mark.parametrize("name", syncline.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(syncline, name).__module__.startswith("syncline.")


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Projection'"):
        _ = syncline.Projection


def test_type_checkers_see_the_names_that_there_are() -> None:
    tree = ast.parse(Path(str(syncline.__file__)).read_text("utf-8"))
    (block,) = [each for each in tree.body if isinstance(each, ast.If)]
    seen = {(alias.asname, each.module) for each in block.body if isinstance(each, ast.ImportFrom) for alias in each.names}
    assert seen == {(name, f"syncline.{module}") for name, module in syncline._MODULE_OF.items()}


def test_the_public_names_are_sorted_and_shown() -> None:
    assert sorted(syncline.__all__) == dir(syncline)
    assert len(syncline.__all__) <= 40


@pytest.mark.parametrize("module", MODULES, ids=[module.__name__ for module in MODULES])
def test_every_public_name_states_its_guarantee(module: ModuleType) -> None:
    without = [name for name in module.__all__ if inspect.isroutine(it := getattr(module, name)) and not it.__doc__]
    without += [name for name in module.__all__ if isinstance(it := getattr(module, name), type) and _is_generated(it)]
    assert not without


def test_the_reference_describes_every_public_name_and_no_other() -> None:
    headings = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
    in_headings = {name for heading in headings for name in re.findall(r"`(\w+)`", heading)}
    expected, tested = (_section(heading) for heading in ("Expect", "Test"))
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", expected + tested, re.MULTILINE)
    in_tables = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert in_headings | in_tables == {*syncline.__all__, *syncline.testing.__all__}
    assert not in_headings & in_tables


@pytest.mark.parametrize("kind", [syncline.App, syncline.Receipt, syncline.Outbox])
def test_the_reference_names_every_member(kind: type) -> None:
    section = PAGE.partition(f"### `{kind.__name__}`")[2].partition("\n### ")[0]
    fields = getattr(kind, "__dataclass_fields__", {})
    members = {name for name in (*vars(kind), *fields) if not name.startswith("_")} - {"event_codec", "published"}
    assert not {name for name in members if not re.search(rf"\b{name}\b", section)}


@pytest.mark.parametrize("name", ["EventService", "TableService", "Outbox", "View", "Relation", "Polling"])
def test_the_reference_names_every_parameter(name: str) -> None:
    parameters = [each for each in inspect.signature(getattr(syncline, name)).parameters if not each.startswith("_")]
    call = re.search(rf"`{name}\(([^`]*)\)`", PAGE)
    assert call is not None
    assert re.findall(r"(\w+)(?:=[^,]*)?(?:, |,\s+|$)", call[1].replace('("*",)', "x").replace("()", "x")) == parameters


def _is_generated(kind: type) -> bool:
    """Whether a class has no docstring but the one that `dataclass` writes."""
    return not kind.__doc__ or kind.__doc__.startswith(f"{kind.__name__}(")


def _section(heading: str) -> str:
    _, _, rest = PAGE.partition(f"\n## {heading}\n")
    assert rest, heading
    return rest.partition("\n## ")[0]
