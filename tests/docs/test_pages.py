"""Pages stay true: links lead somewhere, and every command, option, setting, error and module is described."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from syncline import config, errors
from syncline.cli import main
from syncline.read import view

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "syncline"
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")]
PAGES += [SOURCE / "stores" / "README.md", *sorted(DOCS.rglob("*.md"))]
COMMANDS = sorted(main.commands)
WITHIN = {
    f"{name} {verb}": command
    for name, group in main.commands.items()
    if isinstance(group, click.Group)
    for verb, command in group.commands.items()
}
"""The commands within commands."""

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    for link in _LINK.findall(_prose(page)):
        if "://" in link:
            continue
        place, _, heading = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        if heading:
            assert heading in _anchors(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = {ROOT / "README.md"}, [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        for link in _LINK.findall(_prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert set(PAGES) <= reached


def test_pages_are_short() -> None:
    lines = {page.relative_to(ROOT): page.read_text("utf-8").count("\n") for page in PAGES}
    assert lines[Path("README.md")] <= 150
    assert lines[Path("ARCHITECTURE.md")] <= 200
    assert max(count for page, count in lines.items() if page.match("decisions/0*.md")) <= 40


def test_the_architecture_names_every_module_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    of_stores = (SOURCE / "stores" / "README.md").read_text("utf-8")
    section = text[text.index("## Modules") : text.index("## Threads")] + of_stores[of_stores.index("## For every store") :]
    named = Counter(name.rpartition("/")[2] for name in re.findall(r"\*\*`([\w/]+\.py)`\*\*", section))
    assert named == Counter(module.name for module in SOURCE.rglob("*.py") if module.name != "__init__.py")


@pytest.mark.parametrize("words", ["", *WITHIN, *COMMANDS])
def test_the_command_line_page_shows_the_help_as_it_is(words: str) -> None:
    printed = CliRunner().invoke(main, [*words.split(), "--help"], env={"COLUMNS": "100"}).output
    command = " ".join(["syncline", *words.split()[:1]])
    assert f"```text\n{printed.strip()}\n```" in _section("command-line.md", f"`{command}`")


@pytest.mark.parametrize("command", [*main.commands.values(), *WITHIN.values()], ids=lambda command: command.name)
def test_every_option_says_what_it_does(command: click.Command) -> None:
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert all(option.help for option in options)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_page_describes_no_command_that_is_gone(command: str) -> None:
    assert set(re.findall(r"^## `syncline ([\w-]+)`", _page("command-line.md"), re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("section", ["service", "read_model"])
def test_every_key_of_the_configuration_is_described(section: str) -> None:
    keys = {"service": config._SERVICE_KEYS, "read_model": config._READ_MODEL_KEYS}[section]
    described = set(re.findall(r"^\| `(\w+)` \|", _section("configuration.md", f"`[{section}.NAME]`"), re.MULTILINE))
    later = {key for key in keys if f"the key `{key}`" in _section("configuration.md", "Not in this version")}
    assert described | later == set(keys)


def test_what_a_later_version_brings_is_said_not_to_be_there() -> None:
    text = _section("configuration.md", "Not in this version")
    assert "`push`" in text


def test_the_defaults_of_polling_are_those_of_the_program() -> None:
    text = _page("configuration.md")
    assert f"seconds, default {config.DEFAULT_EVERY_S:g} |" in text
    assert f"seconds, default {config.DEFAULT_FULL_EVERY_S:g} |" in text


def test_the_configuration_that_is_shown_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING", "here")
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", _page("configuration.md"), re.MULTILINE | re.DOTALL)
    (tmp_path / "syncline.toml").write_text(shown)
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "one.sql").write_text("-- key: order_id\nSELECT order_id FROM orders.orders")
    assert [service.name for service in config.load_config(tmp_path / "syncline.toml").services] == ["orders", "billing"]


def test_every_option_of_a_view_file_is_described() -> None:
    described = re.findall(r"^\| `-- (\w+):", _section("views.md", "Options"), re.MULTILINE)
    assert described == list(view.OPTIONS)


def test_every_refused_clause_is_listed() -> None:
    page = _section("views.md", "What is refused")
    missing = sorted(clause for clause in set(_refused_clauses()) if clause not in page)
    assert not missing


def test_every_error_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (DOCS / "operations.md").read_text("utf-8"), re.MULTILINE)
    public = [name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.SynclineError)]
    assert sorted(described) == sorted(public)


def test_every_message_that_is_explained_is_one_of_the_program() -> None:
    said = "\n".join(_texts())
    section = (DOCS / "operations.md").read_text("utf-8").partition("\n## Messages\n")[2].partition("\n## ")[0]
    messages = [
        message for row in re.findall(r"^\| (.*?) \| ", section, re.MULTILINE) for message in re.findall(r"`([^`]+)`", row)
    ]
    assert len(messages) > 30
    unknown = [message for message in messages if not all(part in said for part in message.split("…"))]
    assert not unknown


def test_every_state_is_described() -> None:
    from syncline.move.subscription import TRANSITIONS

    text = (DOCS / "operations.md").read_text("utf-8")
    assert all(f"| {state} |" in text for state in (*TRANSITIONS, "stopped", "not started", "building"))


def test_the_tables_that_are_put_into_a_source_are_described() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert all(f"| `{table}` |" in text for table in _tables("capture.sql"))


@pytest.mark.parametrize("file", ["read.sql", "dead_letters.sql"])
def test_the_tables_of_a_read_store_are_described(file: str) -> None:
    page = _page("read-store.md")
    assert all(f"`{table}`" in page for table in _tables(file))


def test_the_columns_of_the_vector_are_described() -> None:
    page = _page("read-store.md")
    assert all(f"`{column}`" in page for column in _tables("read.sql")["syncline_feed"])


@pytest.mark.parametrize("file", ["events.sql", "table_commands.sql"])
def test_the_tables_and_columns_of_services_are_described(file: str) -> None:
    page = _page("event-log.md")
    for table, columns in _tables(file).items():
        assert f"| `{table}` |" in page
        row = page.partition(f"| `{table}` |")[2].partition("\n")[0]
        section = page.partition(f"\n### `{table}`\n")[2].partition("\n#")[0] or row
        assert all(f"`{column}`" in section for column in columns), table


def _prose(page: Path) -> str:
    """A page without its blocks."""
    return _FENCED.sub("", page.read_text("utf-8"))


def _anchors(page: Path) -> set[str]:
    """The names that headings have as targets of links."""
    headings = (heading.replace("`", "").lower() for heading in _HEADING.findall(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def _tables(file: str) -> dict[str, list[str]]:
    """The tables that a file of SQL makes, each with its columns."""
    sql = (SOURCE / "stores" / "sqlite" / file).read_text("utf-8")
    made = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\n\)", sql, re.DOTALL)
    assert made, f"{file} makes no table"
    return {table: re.findall(r"^  (\w+) (?:TEXT|INTEGER|REAL)", body, re.MULTILINE) for table, body in made}


def _page(name: str) -> str:
    return (DOCS / "reference" / name).read_text("utf-8")


def _section(name: str, heading: str) -> str:
    """What stands below a heading of the second level, up to the next."""
    _, _, rest = _page(name).partition(f"\n## {heading}\n")
    assert rest, f"{name} has no section '{heading}'"
    return rest.partition("\n## ")[0]


def _texts() -> Iterator[str]:
    """Every text in the program."""
    for module in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def _refused_clauses() -> Iterator[str]:
    """The clauses that are written out where the program raises UnsupportedQuery; of one with a gap, its longest part."""
    for module in (SOURCE / "read" / "maintain").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UnsupportedQuery":
                clause = node.args[0]
                parts = clause.values if isinstance(clause, ast.JoinedStr) else [clause]
                texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
                words = max((text.strip(" '():…") for text in texts), key=len, default="")
                if len(words) > 2:
                    yield words
