"""The story of an order, or of anything else with an id: what happened in every service, by the events that belong together."""

from collections.abc import Iterable
from dataclasses import dataclass

from syncline.config import ServiceConfig
from syncline.errors import StoreError
from syncline.stores.roles import StoryEvent, log_role

MOST_ROUNDS = 4
MOST_EVENTS = 500
NEWEST = 200_000
"""How far back in each log events are looked for that no index finds: those that belong to the story by their metadata alone."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a service, as part of a story."""

    service: str
    event: StoryEvent


@dataclass(frozen=True, slots=True)
class Story:
    """Events by time, each once. `unreadable` names services whose log could not be read; cut short: there are more."""

    told: tuple[Told, ...]
    unreadable: tuple[str, ...]
    is_cut_short: bool


def tell(services: Iterable[ServiceConfig], id_: str) -> Story:
    """What happened to `id_`: a stream, the key by which a service's streams are named, a command, or a correlation.

    What caused one of its events, and what its events caused, belongs to it too, in every service that has an event log.
    """
    logs = [service for service in services if service.capture == "events"]
    found: dict[tuple[str, int], Told] = {}
    unreadable: dict[str, None] = {}
    asked: set[str] = set()
    wanted = {id_}
    for round_ in range(MOST_ROUNDS):
        for service in logs:
            # The stream of a key is named after its service; only what was asked for is a key.
            ids = {*wanted, *(f"{service.name}-{each}" for each in wanted if round_ == 0)}
            try:
                events = log_role(service.database).story_events(service.database, ids, newest=NEWEST, limit=MOST_EVENTS)
            except StoreError:
                unreadable[service.name] = None
                continue
            found |= {(service.name, event.position): Told(service.name, event) for event in events}
        asked |= wanted
        wanted = {each for told in found.values() for each in _ids_of(told.event)} - asked
        if not wanted or len(found) >= MOST_EVENTS:
            break
    by_time = sorted(found.values(), key=lambda told: (told.event.at, told.service, told.event.position))
    return Story(tuple(by_time[:MOST_EVENTS]), tuple(unreadable), len(by_time) >= MOST_EVENTS)


def _ids_of(event: StoryEvent) -> set[str]:
    ids = (event.command_id, event.metadata.get("correlation_id"), event.metadata.get("causation_id"))
    return {each for each in ids if isinstance(each, str) and each}
