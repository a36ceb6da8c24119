"""The shop followed by Syncline within this process: the same store, feeds and relay as `syncline run` opens.

`Relay.step` is one round of the loop that `syncline run` repeats: probe every source, read marks and current rows, apply them
to mirrors and view, move the checkpoint; and every 0.25 s one sync of the read store and the deletion of applied marks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shop import READ_MODEL, SERVICES, VIEW, VIEW_NAME, Shop

from syncline.config import load_config
from syncline.defining import definer
from syncline.move.relay import Relay
from syncline.services import FollowedService
from syncline.stores.roles import read_role


def write_project(shop: Shop, *, view: str = VIEW, name: str = VIEW_NAME, capture: str = "triggers") -> Path:
    """Writes syncline.toml and the view into the shop's folder. Returns the path of syncline.toml."""
    folder = shop.folder
    sections = [
        f'[service.{service}]\ndatabase = "{shop.source(service)}"\ncapture = "{capture}"\n'
        f"tables = [{', '.join(repr(table) for table in tables)}]\n"
        for service, tables in SERVICES.items()
    ]
    sections.append(f'[read_model.{READ_MODEL}]\ndatabase = "{shop.read_store}"\nviews = "views/*.sql"\n')
    (folder / "views").mkdir(exist_ok=True)
    (folder / "views" / f"{name}.sql").write_text(view)
    path = folder / "syncline.toml"
    path.write_text("\n".join(sections))
    return path


@contextmanager
def opened_relay(folder: Path, on_event: Callable[[str], None] = lambda event: None) -> Iterator[Relay]:
    """The relay of the project in `folder`, not yet started."""
    config = load_config(folder / "syncline.toml")
    (model,) = config.read_models
    services = [FollowedService(service) for service in config.services]
    store = read_role(model.database).open_store(model.database, model.name)
    try:
        store.take_over("benchmark")
        captures = {service.name: service.capture for service in services}
        relay = Relay(store, services, definer(model.views, captures), on_event=on_event)
        try:
            yield relay
        finally:
            relay.close()
    finally:
        store.close()


def catch_up(relay: Relay) -> None:
    """Rounds until nothing is left to load, build or apply. Fails when a service does."""
    while relay.step() or not relay.is_settled():
        for following in relay.following.values():
            if following.subscription.state == "failed":
                raise SystemExit(f"{following.service.name}: {following.subscription.error}")
