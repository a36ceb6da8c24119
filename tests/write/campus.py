"""Three services that decide over a query, as published at dcb.events: unique names, seats in courses, invoices without gaps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from syncline import EventService, Query, QueryItem, Rejected

# -- user names that nobody else has -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Register:
    name: str
    email: str


@dataclass(frozen=True)
class Release:
    name: str


@dataclass(frozen=True)
class Registered:
    name: str
    email: str


@dataclass(frozen=True)
class Released:
    name: str


def decide_name(owner: str, command: Register | Release) -> Iterator[Registered | Released]:
    match command:
        case Register(name, email) if not owner:
            yield Registered(name, email)
        case Register(name):
            raise Rejected(f"the name {name!r} is taken")
        case Release(name) if owner:
            yield Released(name)


def evolve_name(owner: str, event: Registered | Released) -> str:
    return event.email if isinstance(event, Registered) else ""


names = EventService(
    "names",
    commands=Register | Release,
    events=Registered | Released,
    initial="",
    decide=decide_name,
    evolve=evolve_name,
    query=lambda command: Query((QueryItem(tags=(f"name:{command.name}",)),)),
    tags=lambda event: [f"name:{event.name}"],
)

# -- seats in courses: no more than there are, and no student in too many ----------------------------------------------

MOST_COURSES = 3


@dataclass(frozen=True)
class Offer:
    course: str
    seats: int


@dataclass(frozen=True)
class Join:
    course: str
    student: str


@dataclass(frozen=True)
class Leave:
    course: str
    student: str


@dataclass(frozen=True)
class Offered:
    course: str
    seats: int


@dataclass(frozen=True)
class Joined:
    course: str
    student: str


@dataclass(frozen=True)
class Left:
    course: str
    student: str


@dataclass(frozen=True)
class Lists:
    """What a command needs to know: the seats of its course, and who is in which course as far as it matters."""

    seats: dict[str, int]
    members: frozenset[tuple[str, str]] = frozenset()

    def of_course(self, course: str) -> int:
        return sum(each == course for each, _ in self.members)

    def of_student(self, student: str) -> int:
        return sum(each == student for _, each in self.members)


def decide_seat(lists: Lists, command: Offer | Join | Leave) -> Iterator[Offered | Joined | Left]:
    match command:
        case Offer(course, seats):
            if lists.seats.get(course) != seats:
                yield Offered(course, seats)
        case Join(course) if course not in lists.seats:
            raise Rejected(f"there is no course {course!r}")
        case Join(course, student) if (course, student) in lists.members:
            return
        case Join(course) if lists.of_course(course) >= lists.seats[course]:
            raise Rejected(f"course {course!r} is full")
        case Join(course, student) if lists.of_student(student) >= MOST_COURSES:
            raise Rejected(f"{student!r} is in {MOST_COURSES} courses")
        case Join(course, student):
            yield Joined(course, student)
        case Leave(course, student):
            if (course, student) in lists.members:
                yield Left(course, student)


def evolve_seat(lists: Lists, event: Offered | Joined | Left) -> Lists:
    match event:
        case Offered(course, seats):
            return replace(lists, seats={**lists.seats, course: seats})
        case Joined(course, student):
            return replace(lists, members=lists.members | {(course, student)})
        case Left(course, student):
            return replace(lists, members=lists.members - {(course, student)})


def query_of_seat(command: Offer | Join | Leave) -> Query:
    items = [QueryItem(tags=(f"course:{command.course}",))]
    if isinstance(command, Join):
        items.append(QueryItem(("Joined", "Left"), (f"student:{command.student}",)))
    return Query(tuple(items))


def tags_of_seat(event: Offered | Joined | Left) -> Iterator[str]:
    yield f"course:{event.course}"
    if not isinstance(event, Offered):
        yield f"student:{event.student}"


seats = EventService(
    "seats",
    commands=Offer | Join | Leave,
    events=Offered | Joined | Left,
    initial=Lists({}),
    decide=decide_seat,
    evolve=evolve_seat,
    query=query_of_seat,
    tags=tags_of_seat,
)

# -- invoice numbers without gaps, each invoice in a stream of its own -------------------------------------------------


@dataclass(frozen=True)
class Bill:
    order: str
    cents: int


@dataclass(frozen=True)
class Billed:
    order: str
    number: int
    cents: int


def decide_number(last: int, command: Bill) -> Iterator[Billed]:
    yield Billed(command.order, last + 1, command.cents)


invoices = EventService(
    "invoices",
    key="order",
    commands=Bill,
    events=Billed,
    initial=0,
    decide=decide_number,
    evolve=lambda last, event: event.number,
    query=lambda command: Query((QueryItem(types=("Billed",)),)),
    tags=lambda event: (),
)
