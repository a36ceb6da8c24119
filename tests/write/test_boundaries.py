"""What dynamic consistency boundaries are for, with several processes in a race: no name twice, no seat too many, no gap."""

import json
import random
from collections import Counter
from pathlib import Path

from tests.write import campus
from tests.write.campus import Bill, Join, Offer, Register
from tests.write.ledger import recorded
from tests.write.sender import in_processes

from syncline import App, SQLite


def test_a_name_is_given_to_one_of_all_who_ask_for_it_in_several_processes(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    batches = [[(f"p{p}-{n}", Register(f"name-{n}", f"p{p}")) for n in range(120)] for p in range(3)]
    outcomes = in_processes(path, "names", batches)
    owners = {each.tags: json.loads(each.data)["email"] for each in recorded(path)}
    assert len(recorded(path)) == len(owners) == 120
    for n in range(120):
        told = [f"p{p}" for p in range(3) if outcomes[f"p{p}-{n}"][0] == "receipt"]
        assert told == [owners[(f"name:name-{n}",)]]
        assert sum(outcomes[f"p{p}-{n}"] == ["Rejected", f"the name 'name-{n}' is taken"] for p in range(3)) == 2


def test_a_course_never_has_more_students_than_seats_nor_a_student_too_many_courses(tmp_path: Path) -> None:
    path, rng = str(tmp_path / "events.db"), random.Random(8)
    with App(campus.seats.on(SQLite(path))) as app:
        for number in range(10):
            app.send(Offer(f"c{number}", 4))
    asked = [Join(f"c{course}", f"s{student}") for course in range(10) for student in range(20)]
    rng.shuffle(asked)
    commands = [(f"{command.course}-{command.student}", command) for command in asked]
    outcomes = in_processes(path, "seats", [commands[number::3] for number in range(3)])
    joined = [json.loads(each.data) for each in recorded(path) if each.name == "Joined"]
    of_course = Counter(each["course"] for each in joined)
    of_student = Counter(each["student"] for each in joined)
    assert max(of_course.values()) == 4
    assert max(of_student.values()) <= campus.MOST_COURSES
    assert len(joined) == sum(outcome[0] == "receipt" for outcome in outcomes.values())
    turned_away = [command for command_id, command in commands if outcomes[command_id][0] == "Rejected"]
    for command in turned_away:
        assert of_course[command.course] == 4 or of_student[command.student] == campus.MOST_COURSES


def test_invoice_numbers_have_no_gap_and_none_is_given_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    batches = [[(f"p{p}-{n}", Bill(f"o-{p}-{n}", n)) for n in range(100)] for p in range(3)]
    outcomes = in_processes(path, "invoices", batches)
    assert {outcome[0] for outcome in outcomes.values()} == {"receipt"}
    assert [json.loads(each.data)["number"] for each in recorded(path)] == list(range(1, 301))
    assert {each.version for each in recorded(path)} == {1}, "each invoice is in the stream of its order"
