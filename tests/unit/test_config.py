"""`syncline.toml`: what it means, and that every fault is told with its line, all at once."""

import os
from pathlib import Path

import pytest

from syncline.config import Config, Names, ServiceConfig, default_names, load_config
from syncline.errors import InvalidDefinition
from syncline.toml_lines import find_lines

SERVICE = """
[service.orders]
database = "sqlite:///orders.db"
capture = "triggers"
tables = ["orders", "order_lines"]
"""
READ_MODEL = """
[read_model.shop]
database = "sqlite:///read.db"
views = "views/*.sql"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_view(tmp_path, "order_board", "-- key: order_id\nSELECT o.order_id FROM orders.orders o")
    return tmp_path


def write_view(folder: Path, name: str, text: str) -> None:
    (folder / "views").mkdir(exist_ok=True)
    (folder / "views" / f"{name}.sql").write_text(text)


def loaded(folder: Path, text: str) -> Config:
    (folder / "syncline.toml").write_text(text)
    return load_config(folder / "syncline.toml")


def faults(folder: Path, text: str) -> list[str]:
    """All faults, without the folder's name."""
    with pytest.raises(InvalidDefinition) as raised:
        loaded(folder, text)
    return [str(fault).replace(f"{folder}{os.sep}", "") for fault in raised.value.faults]


def test_services_and_read_models_with_their_lines(folder: Path) -> None:
    config = loaded(folder, SERVICE + READ_MODEL)
    assert config.path == str(folder / "syncline.toml")
    assert config.services == (ServiceConfig("orders", str(folder / "orders.db"), "triggers", ("orders", "order_lines"), line=2),)
    [model] = config.read_models
    assert (model.name, model.database, model.line) == ("shop", str(folder / "read.db"), 7)
    assert model.services == ("orders",)
    [view] = model.views
    assert (view.name, view.file) == ("order_board", str(folder / "views" / "order_board.sql"))


def test_a_polled_service_says_when_it_is_swept(folder: Path) -> None:
    polled = '\n[service.billing]\ndatabase = "sqlite:////var/lib/billing.db"\ncapture = "polling"\ntables = "*"\n'
    config = loaded(folder, SERVICE + polled + 'every_s = 2\nchanged_at = "updated_at"\nfull_every_s = 30.5' + READ_MODEL)
    assert config.services[1] == ServiceConfig(
        "billing", "/var/lib/billing.db", "polling", ("*",), 2.0, "updated_at", 30.5, line=7
    )
    assert config.read_models[0].services == ("orders",)


def test_a_variable_is_taken_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/srv/data")
    config = loaded(folder, SERVICE.replace("sqlite:///orders.db", "sqlite:///${PLACE}/orders.db") + READ_MODEL)
    assert config.services[0].database == "/srv/data/orders.db"


def test_a_variable_that_is_not_set_is_refused_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLACE", raising=False)
    assert faults(folder, SERVICE.replace("orders.db", "${PLACE}/orders.db") + READ_MODEL) == [
        "syncline.toml:3: ${PLACE} is not set in the environment; set it, or write the value here"
    ]


def test_all_faults_of_all_files_are_told_at_once(folder: Path) -> None:
    write_view(folder, "bad", "-- keys: a\nSELECT a FROM s.t")
    text = """
[service.orders]
databse = "sqlite:///orders.db"
capture = "trigers"
tables = []
push = "nats://nats1:4222"

[service.billing]
database = "postgresql://billing:secret@db1"
capture = "wal"
tables = ["invoice", "Invoice"]

[read-model.shop]
database = "sqlite:///read.db"

[http]
listen = "127.0.0.1:8765"

[read_model.shop]
database = "read.db"
views = "views/*.sql"
"""
    assert faults(folder, text) == [
        "syncline.toml:2: [service.orders]: 'database' is missing; write for example database = \"sqlite:///orders.db\"",
        "syncline.toml:3: unknown key 'databse'; did you mean 'database'?",
        "syncline.toml:4: unknown capture 'trigers'; did you mean 'triggers'?",
        "syncline.toml:5: 'tables' is []; write a list of table names, or \"*\" for all with a primary key",
        "syncline.toml:6: 'push' is not in this version; remove the line, changes are then pulled",
        "syncline.toml:9: 'postgresql://billing@db1' names no database; write it after the host: "
        "postgresql://role@host:5432/orders",
        "syncline.toml:11: table 'Invoice' is named twice; remove one",
        "syncline.toml:11: table 'invoice' is named twice; remove one",
        "syncline.toml:13: unknown section 'read-model'; did you mean 'read_model'?",
        "syncline.toml:20: 'read.db' is not a database URL; write \"sqlite:///read.db\" for a file",
        "views/bad.sql:1: unknown option 'keys:'; did you mean 'key:'?",
        "views/bad.sql:2: the view has no key; write the columns that identify one of its rows in a comment above the "
        "SELECT, for example `-- key: order_id` (a view of exactly one row has an empty one: `-- key:`)",
    ]


@pytest.mark.parametrize("capture", ["events", "outbox"])
def test_a_service_of_events_is_told_to_be_placed_in_an_app(folder: Path, capture: str) -> None:
    assert faults(folder, SERVICE.replace('"triggers"', f'"{capture}"') + READ_MODEL) == [
        f"syncline.toml:4: capture '{capture}' is that of a service whose events are classes in Python: place it in an App, and "
        "give that to the command line with --app; here, use 'triggers' or 'polling'"
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite://orders.db", 'has two slashes; write "sqlite:///orders.db"'),
        ("sqlite://", "has two slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///orders.db?mode=ro", "has options after '?'"),
        ("mysql://db1/orders", "'mysql://' is no database that Syncline knows"),
        ("postgresql+psycopg://u:secret@db1/x", "'postgresql+psycopg://' names a driver; write postgresql://"),
        ("", "'database' is '', not a text"),
    ],
)
def test_a_url_that_names_no_sqlite_file_is_refused(folder: Path, url: str, expected: str) -> None:
    [fault] = faults(folder, SERVICE.replace("sqlite:///orders.db", url) + READ_MODEL)
    assert fault.startswith("syncline.toml:3: ")
    assert expected in fault
    assert "secret" not in fault


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("every_s = 1", "'every_s' belongs to capture 'polling', not 'triggers'; remove the line"),
        ('changed_at = "x"', "'changed_at' belongs to capture 'polling', not 'triggers'; remove the line"),
    ],
)
def test_the_times_of_sweeps_belong_to_polling(folder: Path, keys: str, expected: str) -> None:
    assert faults(folder, SERVICE + keys + READ_MODEL) == [f"syncline.toml:6: {expected}"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("every_s = 0", "'every_s' is 0, not a number of seconds above 0; write for example every_s = 5"),
        ("every_s = true", "'every_s' is True, not a number of seconds above 0; write for example every_s = 5"),
        ("every_s = inf", "'every_s' is inf, not a number of seconds above 0; write for example every_s = 5"),
        (
            "full_every_s = 9",
            "'full_every_s' needs 'changed_at': without it every sweep is full; remove the line or name the column",
        ),
        (
            'full_every_s = 1\nchanged_at = "x"',
            "'full_every_s' is 1, less than 'every_s' = 5; make it at least as long",
        ),
    ],
)
def test_the_times_of_sweeps_are_sensible(folder: Path, keys: str, expected: str) -> None:
    text = SERVICE.replace("triggers", "polling") + keys + READ_MODEL
    assert faults(folder, text) == [f"syncline.toml:6: {expected}"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Orders", "is not a name"),
        ("a__b", "contains '__'"),
        ("a_", "ends with '_'"),
        ("main", "SQLite's own name"),
        ("syncline_x", "begins with 'syncline_'"),
    ],
)
def test_a_service_name_that_would_make_tables_ambiguous_is_refused(folder: Path, name: str, expected: str) -> None:
    [fault] = faults(folder, SERVICE.replace("service.orders", f"service.{name}") + READ_MODEL)
    assert fault.startswith("syncline.toml:2: ")
    assert expected in fault


def test_a_read_store_that_is_a_source_is_refused(folder: Path) -> None:
    [fault] = faults(folder, SERVICE + READ_MODEL.replace("read.db", "./views/../orders.db"))
    assert fault == ("syncline.toml:8: this is the database of service 'orders'; give the read store one of its own")


def test_the_same_file_under_two_names_is_recognised(folder: Path) -> None:
    (folder / "orders.db").touch()
    os.link(folder / "orders.db", folder / "read.db")
    [fault] = faults(folder, SERVICE + READ_MODEL)
    assert "this is the database of service 'orders'" in fault


def test_two_services_of_one_file_are_told_to_be_one(folder: Path) -> None:
    [fault] = faults(folder, SERVICE + SERVICE.replace("service.orders", "service.billing") + READ_MODEL)
    assert fault.startswith("syncline.toml:8: service 'billing' has the same database as service 'orders'")
    assert "name the tables of both in the 'tables' of 'orders'" in fault


def test_two_read_models_of_one_file_are_refused(folder: Path) -> None:
    [fault] = faults(folder, SERVICE + READ_MODEL + READ_MODEL.replace("read_model.shop", "read_model.other"))
    assert "read model 'shop' has the same database" in fault


def test_a_pattern_that_matches_no_view_is_refused(folder: Path) -> None:
    [fault] = faults(folder, SERVICE + READ_MODEL.replace("views/*.sql", "queries/*.sql"))
    assert fault.startswith("syncline.toml:9: no view: no file matches 'queries/*.sql'")


def test_two_views_of_one_name_are_refused(folder: Path) -> None:
    (folder / "views" / "more").mkdir()
    (folder / "views" / "more" / "order_board.sql").write_text("-- key: a\nSELECT a FROM orders.orders")
    [fault] = faults(folder, SERVICE + READ_MODEL.replace("views/*.sql", "views/**/*.sql"))
    assert "a view named 'order_board' is defined in " in fault
    assert fault.endswith("already; rename one")


def test_an_empty_file_says_which_sections_it_needs(folder: Path) -> None:
    assert faults(folder, "") == [
        "syncline.toml: there is no [service.NAME] section; write one, for example [service.orders]",
        "syncline.toml: there is no [read_model.NAME] section; write one, for example [read_model.shop]",
    ]


def test_what_should_be_a_section_and_is_a_value_is_refused(folder: Path) -> None:
    assert faults(folder, 'service = "orders"' + READ_MODEL) == [
        "syncline.toml:1: 'service' is not a section; write one, for example [service.orders]"
    ]
    [fault] = faults(folder, '[service]\norders = "x"' + READ_MODEL)
    assert fault == "syncline.toml:2: 'service.orders' is 'x'; write a section [service.orders] with its keys below"


def test_a_missing_file_and_one_that_is_not_toml_say_so(folder: Path) -> None:
    with pytest.raises(InvalidDefinition, match="there is no such file; `syncline init` writes one"):
        load_config(folder / "nowhere.toml")
    [fault] = faults(folder, SERVICE + "tables = [")
    assert fault.startswith("syncline.toml:6: not TOML: ")


def test_names_for_completion_need_no_valid_configuration(folder: Path) -> None:
    write_view(folder, "other", "")
    text = '[service.a]\n[service.b]\n[read_model.x]\nviews = "views/*.sql"\n'
    (folder / "syncline.toml").write_text(text)
    assert default_names(folder / "syncline.toml") == (["a", "b"], ["order_board", "other"], [])
    (folder / "syncline.toml").write_text(text + 'queries = "views/oth*.sql"\n')
    assert default_names(folder / "syncline.toml").queries == ["other"]
    assert default_names(folder / "nowhere.toml") == Names()


def test_the_line_of_a_key_is_found_among_strings_arrays_and_comments() -> None:
    text = (
        '# [service.fake]\n[service."orders"]\na = """\nb = 1\n[x]\n""" # c = 1\n'
        "d = [\n  'e = 1',\n  { f = 1 },\n]\ng.h = '''x''' \n[ i . j ]\nk={ l = 1 }"
    )
    lines = find_lines(text)
    assert {".".join(path): line for path, line in lines.lines.items()} == {
        "service": 2, "service.orders": 2, "service.orders.a": 3, "service.orders.d": 7, "service.orders.g": 11,
        "service.orders.g.h": 11, "i": 12, "i.j": 12, "i.j.k": 13,
    }  # fmt: skip
    assert lines.line_of(("i", "j", "k", "l")) == 13
    assert lines.line_of(("unheard", "of")) == 0


def test_a_postgresql_database_is_known_by_one_spelling_of_its_url(folder: Path) -> None:
    service = SERVICE.replace("sqlite:///orders.db", "postgres://me:secret@db1:5433/orders?sslmode=require")
    [found] = loaded(folder, service + READ_MODEL).services
    assert found.database == "postgresql://me:secret@db1:5433/orders?sslmode=require"


def test_capture_by_wal_is_refused_for_an_sqlite_file(folder: Path) -> None:
    [fault] = faults(folder, SERVICE.replace('"triggers"', '"wal"') + READ_MODEL)
    assert fault == ("syncline.toml:4: capture 'wal' is PostgreSQL's, and this is an SQLite file; use 'triggers' or 'polling'")


def test_two_tables_that_views_would_call_alike_are_refused(folder: Path) -> None:
    service = SERVICE.replace("sqlite:///orders.db", "postgresql://db1/orders").replace('"order_lines"]', '"old.orders"]')
    assert any("named twice; views name it without its schema" in fault for fault in faults(folder, service + READ_MODEL))


def test_two_roles_at_one_database_are_one_database(folder: Path) -> None:
    one, other = "postgresql://a:x@DB1/orders", "postgresql://b:y@db1:5432/orders?sslmode=require"
    [fault] = faults(folder, SERVICE.replace("sqlite:///orders.db", one) + READ_MODEL.replace("sqlite:///read.db", other))
    assert "this is the database of service 'orders'" in fault


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("orders", "read model 'orders' and service 'orders' would be one schema of the read store; rename one"),
        ("public", "'public' would be a schema of the read store"),
        ("pg_shop", "'pg_shop' would be a schema of the read store"),
    ],
)
def test_schemas_of_a_read_store_on_postgresql_belong_to_one(folder: Path, name: str, expected: str) -> None:
    model = READ_MODEL.replace("read_model.shop", f"read_model.{name}").replace("sqlite:///read.db", "postgresql://db1/read")
    [fault] = faults(folder, SERVICE + model)
    assert expected in fault
