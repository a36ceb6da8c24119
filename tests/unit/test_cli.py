"""The command line by itself, with a stand-in for the App: what is passed on, printed, and answered as exit status."""

import json
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from syncline.app import App, CheckReport, Progress, ViewReport
from syncline.cli import main
from syncline.cli.printing import as_age, as_table
from syncline.cli.progress import ProgressPrinter
from syncline.cli.questions import read
from syncline.cli.status import status_text
from syncline.errors import (
    DeadToken,
    Fault,
    InvalidDefinition,
    NotFound,
    NotReady,
    StaleRead,
    SynclineError,
    Unavailable,
    UnsupportedQuery,
)
from syncline.messages import Position, Token
from syncline.move.freshness import FeedStatus, Status, ViewStatus
from syncline.read.reader import ReadResult
from syncline.read.verify import Difference, VerifyReport

TOKEN = Token({"orders": Position("i1", 7)})
FEED = FeedStatus("shop", "orders", "triggers", "live", "i1", 7, 0, 0.25, True, "", None, {})
VIEW = ViewStatus("shop", "order_board", "live", 3, 1, "", None, 0.25)
ROWS = ReadResult(("order_id", "customer"), [(1, "Ada"), (20, None)], TOKEN, 0.25, True, ())
NOTHING = VerifyReport((), (("orders.orders", 3), ("order_board", 3)), False, TOKEN)
DRIFT = VerifyReport((Difference("order_board", (1,), "missing", "gone"),), (("order_board", 3),), False, TOKEN)

CONFIG = """
[service.orders]
database = "sqlite:///orders.db"
capture = "triggers"
tables = "*"
[read_model.shop]
database = "sqlite:///read.db"
views = "views/*.sql"
"""


class StandIn:
    """An App whose answers are set by the test; an answer that is an exception is raised."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, list[Any]] = {}
        self.is_closed = False
        self.sagas = types.SimpleNamespace(names=())

    def __call__(self, config: Any) -> "StandIn":
        self.config = config
        return self

    def answer(self, verb: str, *values: Any) -> None:
        self.answers[verb] = list(values)

    def close(self) -> None:
        self.is_closed = True

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        assert hasattr(App, verb), f"App has no '{verb}'"

        def called(*args: Any, **options: Any) -> Any:
            self.calls.append((verb, args, options))
            values = self.answers.get(verb, [None])
            value = values.pop(0) if len(values) > 1 else values[0]
            if isinstance(value, BaseException):
                raise value
            return value(*args, **options) if callable(value) else value

        return called


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    stand_in = StandIn()
    module = types.ModuleType("syncline.app")
    module.App = stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "syncline.app", module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "order_board.sql").write_text("-- key: order_id\nSELECT order_id FROM orders.orders")
    (tmp_path / "views" / "lines.sql").write_text("-- key: order_id, line\nSELECT order_id, line FROM orders.lines")
    (tmp_path / "views" / "total.sql").write_text("-- key:\nSELECT COUNT(*) AS n FROM orders.orders")
    (tmp_path / "syncline.toml").write_text(CONFIG)
    return stand_in


def syncline(*args: str) -> Result:
    result = CliRunner().invoke(main, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_help_names_every_command() -> None:
    text = syncline("--help").stdout
    for name in ("init", "check", "run", "sync", "status", "read", "query", "token", "verify", "rebuild", "uninstall"):
        assert f"\n  {name} " in text


def test_every_command_has_help_and_takes_a_configuration_file_and_json() -> None:
    for name, command in main.commands.items():
        assert syncline(name, "--help").exit_code == 0
        options = {option for parameter in command.params for option in parameter.opts}
        assert name == "completion" or {"--config", "--json"} - ({"--config"} if name == "demo" else set()) <= options


def test_neither_help_nor_completion_imports_what_it_does_not_need() -> None:
    import subprocess

    program = (
        "import sys; from syncline.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print([m for m in ('rich', 'sqlglot', 'sqlite3', 'syncline.app', 'syncline.config') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_the_version_is_printed() -> None:
    assert syncline("--version").stdout.startswith("syncline ")


@pytest.mark.parametrize(
    "args", [("bogus",), ("read",), ("status", "--nope"), ("read", "v", "--where", "x"), ("query", "q", "x"), ()]
)
def test_wrong_use_exits_2_and_says_why(args: tuple[str, ...]) -> None:
    result = syncline(*args)
    assert result.exit_code == 2
    assert not args or "error: " in result.stderr


def test_wrong_use_with_json_is_a_json_error() -> None:
    result = syncline("status", "--nope", "--json")
    assert json.loads(result.stdout)["error"]["type"] == "WrongUse"


def test_the_configuration_is_named_before_or_after_the_command(app: StandIn, tmp_path: Path) -> None:
    app.answer("status", Status((), (), "not running"))
    (tmp_path / "syncline.toml").rename(tmp_path / "other.toml")
    assert syncline("--config", "other.toml", "status").exit_code == 0
    assert syncline("status", "--config", "other.toml").exit_code == 0
    assert syncline("--config", "nowhere.toml", "status", "--config", "other.toml").exit_code == 0
    result = syncline("status")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: syncline.toml: there is no such file; `syncline init` writes one")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no view 'x'"), 1),
        (NotReady("still building"), 1),
        (StaleRead("orders", 5, 7, 2.0, "The relay is not running."), 1),
        (DeadToken("orders", "i0", "i1"), 1),
        (Unavailable("orders.db is locked"), 1),
        (InvalidDefinition([Fault("a.sql", 3, "one"), Fault("b.sql", 4, "two")]), 2),
        (UnsupportedQuery("LIMIT", "not exact", "Remove it.", line=3, file="a.sql"), 2),
    ],
)
def test_every_error_is_told_without_a_traceback(app: StandIn, error: SynclineError, status: int) -> None:
    app.answer("rows", error)
    result = syncline("read", "order_board", "--json")
    assert result.exit_code == status
    assert result.stderr == "error: " + str(error).replace("\n", "\n       ") + "\n"
    told = json.loads(result.stdout)["error"]
    assert (told["type"], told["message"]) == (type(error).__name__, str(error))
    assert app.is_closed


def test_fields_of_an_error_are_in_its_json(app: StandIn) -> None:
    app.answer("rows", StaleRead("orders", 5, 7, 2.0, "The relay is not running."))
    told = json.loads(syncline("read", "order_board", "--json").stdout)["error"]
    assert (told["service"], told["reached"], told["wanted"], told["timeout_s"]) == ("orders", 5, 7, 2.0)
    app.answer("check", InvalidDefinition([Fault("a.sql", 3, "one")]))
    told = json.loads(syncline("check", "--json").stdout)["error"]
    assert told["faults"] == [{"file": "a.sql", "line": 3, "message": "one"}]


def test_rows_are_an_aligned_table_and_their_age_is_on_stderr(app: StandIn) -> None:
    app.answer("rows", ROWS)
    result = syncline("read", "order_board")
    assert result.stdout.splitlines() == ["order_id  customer", "--------  --------", "       1  Ada", "      20  NULL"]
    assert result.stderr == f"2 rows, at most 0.250 s old; token {TOKEN}\n"


def test_rows_as_json_are_objects_with_what_is_known_of_their_age(app: StandIn) -> None:
    app.answer("rows", ReadResult(("a", "b"), [(1, b"\x00\xff")], TOKEN, None, False, ("a note",)))
    assert json.loads(syncline("read", "order_board", "--json").stdout) == {
        "columns": ["a", "b"],
        "rows": [{"a": 1, "b": "00ff"}],
        "token": str(TOKEN),
        "staleness_s": None,
        "exact": False,
        "notes": ["a note"],
        "marked": [],
    }
    assert "of unknown age" in syncline("read", "order_board").stderr
    assert "inexact: " in syncline("read", "order_board").stderr
    assert "note: a note" in syncline("read", "order_board").stderr


def test_all_that_a_read_asks_for_is_passed_on(app: StandIn) -> None:
    app.answer("rows", ROWS)
    result = syncline(
        "read", "order_board", "--where", "status=a=b", "--where", "x=", "--at-least", str(TOKEN), "--timeout-s", "2",
        "--max-staleness-s", "3", "--order-by=-a", "--order-by", "b", "--limit", "4", "--read-model", "shop",
    )  # fmt: skip
    assert result.exit_code == 0
    assert app.calls == [
        (
            "rows",
            ("order_board",),
            {
                "key": None,
                "where": [("status", "a=b"), ("x", "")],
                "at_least": Token({"orders": Position("i1", 7)}),
                "timeout_s": 2.0,
                "max_staleness_s": 3.0,
                "limit": 4,
                "order_by": ("-a", "b"),
                "read_model": "shop",
            },
        )
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("n>=5", ("n", ">=", "5")), ("n<5", ("n", "<", "5")), ("n != a=b", ("n", "!=", " a=b")), ("n==", ("n", "="))],
)
def test_rows_are_asked_for_by_comparisons(app: StandIn, written: str, meant: tuple[str, ...]) -> None:
    app.answer("rows", ROWS)
    assert syncline("read", "order_board", "--where", written).exit_code == 0
    assert app.calls[0][2]["where"] == [meant]


@pytest.mark.parametrize(
    ("args", "key"),
    [
        (("order_board", "a,b"), ["a,b"]),
        (("order_board", "--", "-5"), ["-5"]),
        (("lines", "7,1"), ["7", "1"]),
        (("lines", "7", "1"), ["7", "1"]),
        (("lines", '"a,b",c'), ["a,b", "c"]),
        (("unknown", "a,b"), ["a,b"]),
    ],
)
def test_a_key_is_one_text_for_each_column(app: StandIn, args: tuple[str, ...], key: list[str]) -> None:
    app.answer("rows", ROWS)
    assert syncline("read", *args).exit_code == 0
    assert list(app.calls[0][2]["key"]) == key


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("lines", "7"), "found 1 value, but the key of 'lines' is order_id, line: 2 values"),
        (("order_board", "7", "8"), "found 2 values, but the key of 'order_board' is order_id: 1 value"),
        (("total", "7"), "found 1 value, but the key of 'total' has no column: leave KEY out"),
    ],
)
def test_a_key_of_another_length_is_refused(app: StandIn, args: tuple[str, ...], expected: str) -> None:
    result = syncline("read", *args)
    assert (result.exit_code, app.calls) == (2, [])
    assert expected in result.stderr


def test_a_key_without_a_row_exits_1_and_a_view_without_rows_does_not(app: StandIn) -> None:
    app.answer("rows", ReadResult(("order_id",), [], TOKEN, 0.0, True, ()))
    result = syncline("read", "order_board", "9")
    assert result.exit_code == 1
    assert "error: view 'order_board' has no row with key 9" in result.stderr
    assert syncline("read", "order_board").exit_code == 0


def test_a_damaged_token_is_refused_before_anything_is_opened(app: StandIn) -> None:
    result = syncline("read", "order_board", "--at-least", str(TOKEN)[:-2])
    assert (result.exit_code, app.calls) == (2, [])
    assert "is not a consistency token" in result.stderr


def test_only_the_token_is_printed(app: StandIn) -> None:
    app.answer("token", TOKEN)
    assert syncline("token", "orders").stdout == f"{TOKEN}\n"
    assert json.loads(syncline("token", "orders", "--json").stdout) == {"service": "orders", "token": str(TOKEN)}


def test_status_shows_feeds_views_and_relay(app: StandIn) -> None:
    loading = FeedStatus("shop", "crm", "polling", "loading", "", None, None, None, False, "", None, {"crm.c": "5 of 9"})
    app.answer("status", Status((FEED, loading), (VIEW,), "running (pid 123)"))
    result = syncline("status")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "relay: running (pid 123)",
        "",
        "read model  service  capture   state    position  lag  age",
        "----------  -------  --------  -------  --------  ---  -----------  ------------------------------------------------",
        "shop        orders   triggers  live            7    0  0.250 s old",
        "shop        crm      polling   loading         -    -               crm.c: 5 of 9; inexact until the next full sweep",
        "",
        "read model  view         state  rows  generation  age",
        "----------  -----------  -----  ----  ----------  -----------",
        "shop        order_board  live      3           1  0.250 s old",
    ]
    assert json.loads(syncline("status", "--json").stdout)["feeds"][0]["position"] == 7


def test_status_exits_1_when_something_has_failed(app: StandIn) -> None:
    failed = ViewStatus("shop", "order_board", "failed", None, 1, "", "no such column", None)
    app.answer("status", Status((FEED,), (failed,), "not running"))
    result = syncline("status")
    assert result.exit_code == 1
    assert "no such column" in result.stdout


def test_a_watched_status_without_a_terminal_prints_what_changes_until_ctrl_c(app: StandIn) -> None:
    behind = FeedStatus("shop", "orders", "triggers", "catching up", "i1", 5, 2, 1.0, True, "", None, {})
    app.answer("status", *(Status((feed,), (VIEW,), "running") for feed in (behind, behind, FEED)), KeyboardInterrupt())
    result = syncline("status", "--watch", "--interval-s", "0.05")
    assert result.exit_code == 0
    said = [line.split("  ")[1] for line in result.stdout.splitlines()]
    assert said[:2] == ["shop orders: catching up at 5, 2 behind", "shop order_board: live, 3 rows"]
    assert re.fullmatch(r"shop orders: live at 7; \d+\.\d/s", said[2])
    assert len(said) == 3


def test_a_watched_status_as_json_is_one_object_a_line(app: StandIn) -> None:
    now = Status((FEED,), (), "running")
    app.answer("status", now, now, KeyboardInterrupt())
    lines = syncline("status", "--watch", "--json", "--interval-s", "0.05").stdout.splitlines()
    assert [json.loads(line)["relay"] for line in lines] == ["running", "running"]
    assert [json.loads(line)["feeds"][0]["rate"] for line in lines] == [None, 0.0]


def test_a_status_with_rates_has_a_column_for_them() -> None:
    text = status_text(Status((replace(FEED, rate=1500.0),), (replace(VIEW, rate=0.5),), "running"))
    assert text.splitlines()[2].split() == ["read", "model", "service", "capture", "state", "position", "lag", "changes", "age"]
    assert " 1,500/s  0.250 s old" in text
    assert " 0.5/s " in text


def test_verify_exits_1_on_drift_and_names_each_difference(app: StandIn) -> None:
    app.answer("verify", DRIFT)
    result = syncline("verify", "order_board")
    assert result.exit_code == 1
    assert "order_board  1    missing  gone" in result.stdout
    assert "compared 3 rows of 1 relation or view: 1 difference" in result.stdout
    assert len(app.calls) == 1


def test_verify_without_drift_says_how_much_was_compared(app: StandIn) -> None:
    app.answer("verify", NOTHING)
    result = syncline("verify")
    assert (result.exit_code, result.stdout) == (0, "compared 6 rows of 2 relations and views: no difference\n")


@pytest.mark.parametrize(("second", "status"), [(NOTHING, 0), (DRIFT, 1)])
def test_a_repair_is_proven_by_comparing_again(app: StandIn, second: VerifyReport, status: int) -> None:
    app.answer("verify", DRIFT, second)
    assert syncline("verify", "--repair").exit_code == status
    assert [options["repair"] for _, _, options in app.calls if "repair" in options] == [True]
    assert len(app.calls) == 2
    app.answer("verify", DRIFT, second)
    told = json.loads(syncline("verify", "--repair", "--json").stdout)
    assert len(told["report"]["differences"]) == 1
    assert bool(told["remaining"]) == bool(status)


def test_check_explains_each_view(app: StandIn) -> None:
    view = ViewReport(
        "shop", "order_board", ("order_id",), ("order_id",), "keys", ("orders.orders",),
        ("orders.orders: order_id",), ("orders__orders (customer_id)",), ("a SUM above a to-many join",), "SELECT 1",
    )  # fmt: skip
    app.answer("check", CheckReport((view,), ("SQLite 3.40.1 is old",), ()))
    result = syncline("check", "--sql")
    assert result.exit_code == 0
    assert "shop.order_board: changes recompute only what they touch, by order_id" in result.stdout
    assert "warning: a SUM above a to-many join" in result.stdout
    assert "warning: SQLite 3.40.1 is old" in result.stdout
    assert "    SELECT 1" in result.stdout
    assert result.stdout.endswith("syncline.toml: 1 service, 1 read model, 3 views; 2 warnings\n")
    assert json.loads(syncline("check", "--json").stdout)["views"][0]["cost_class"] == "keys"


def test_sync_ends_with_the_status_it_reached(app: StandIn) -> None:
    app.answer("status", Status((FEED,), (VIEW,), "not running"))
    assert syncline("sync", "--once").exit_code == 0
    assert [verb for verb, _, _ in app.calls] == ["sync", "status"]


def test_rebuild_and_uninstall_say_what_was_done(app: StandIn) -> None:
    assert "rebuilt 'order_board'" in syncline("rebuild", "order_board").stdout
    app.answer("uninstall", ["trigger syncline_orders_insert", "table syncline_log"], [])
    result = syncline("uninstall", "orders", "--read-store", "old.db")
    assert result.stdout == "removed trigger syncline_orders_insert\nremoved table syncline_log\n"
    assert app.calls[-1] == ("uninstall", ("orders",), {"read_store": "old.db"})
    assert syncline("uninstall", "orders").stdout.startswith("nothing to remove")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_prints_events_and_stops_cleanly_on_a_signal(app: StandIn, number: signal.Signals) -> None:
    def run(stop: threading.Event, *, on_progress: Callable[[Progress], None], on_event: Callable[[str], None]) -> None:
        on_event("orders: live")
        on_progress(Progress("loading orders.orders", 5, 10, "rows"))
        os.kill(os.getpid(), number)
        assert stop.wait(5)

    app.answer("run", run)
    result = syncline("run")
    assert result.exit_code == 0
    events = [line.split("  ", 1)[1] for line in result.stdout.splitlines()]
    assert events == ["following 1 service, 1 read model, 3 views; Ctrl-C stops", "orders: live", "stopped"]
    assert app.is_closed
    lines = [json.loads(line) for line in syncline("run", "--json").stdout.splitlines()]
    assert [line["event"] for line in lines] == events
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_other_commands_with_130(app: StandIn, number: signal.Signals) -> None:
    app.answer("sync", lambda **_: os.kill(os.getpid(), number))
    assert syncline("sync").exit_code == 130
    assert app.is_closed


def test_run_stops_when_nobody_reads_its_output(app: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(stop: threading.Event, *, on_event: Callable[[str], None], **_: object) -> None:
        monkeypatch.setattr("click.echo", _broken)
        on_event("orders: live")
        assert stop.is_set()

    app.answer("run", run)
    assert syncline("run").exit_code == 141


def _broken(*_: object, **__: object) -> None:
    raise BrokenPipeError


def test_a_mistake_of_the_program_keeps_its_traceback(app: StandIn) -> None:
    app.answer("status", ZeroDivisionError())
    assert isinstance(CliRunner().invoke(main, ["status"]).exception, ZeroDivisionError)


def test_completion_knows_shells_views_and_services(app: StandIn) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_SYNCLINE_COMPLETE" in syncline("completion", shell).stdout
    assert syncline("completion", "tcsh").exit_code == 2
    with read.make_context("read", ["x"], parent=None) as context:
        view, service = read.params[0], main.commands["token"].params[0]
        assert [each.value for each in view.shell_complete(context, "o")] == ["order_board"]
        assert [each.value for each in service.shell_complete(context, "")] == ["orders"]


def test_progress_without_a_terminal_is_an_occasional_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressPrinter() as progress:
        for done in range(0, 1001):
            progress(Progress("loading", done, 1000, "rows"))
    assert capsys.readouterr().err.startswith("loading: done, 1,000 rows in ")


def test_a_table_keeps_wide_and_odd_values_in_line() -> None:
    rows = [("日本", 1.5, b"\x01"), ("a\nb", None, None)]
    assert as_table(("name", "n", "blob"), rows).splitlines() == [
        "name     n  blob",
        "----  ----  -----",
        "日本   1.5  x'01'",
        "a\\nb  NULL  NULL",
    ]
    assert as_table(("a", "long"), [(1, "x" * 30)], width=20) == f"a     1\nlong  {'x' * 30}"
    assert as_table(("a",), []) == "a\n-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "of unknown age"), (0.0042, "0.004 s old"), (3.0, "3.0 s old"), (200, "3.3 min old"), (1e6, "11.6 days old")],
)
def test_an_age_is_told_in_a_fitting_unit(seconds: float | None, text: str) -> None:
    assert as_age(seconds) == text
