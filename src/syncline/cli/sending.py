"""`syncline send`: a command from the command line to the service that handles it."""

import sys
from typing import TYPE_CHECKING, Any

import click

from syncline.cli.printing import print_json
from syncline.cli.program import DONE, complete_command, config_option, json_option, opened

if TYPE_CHECKING:
    from syncline.messages import Receipt


@click.command()
@click.argument("name", shell_complete=complete_command)
@click.argument("payload", metavar="JSON", default="-")
@click.option("--id", "command_id", metavar="ID", help="Sending it again with this id does nothing and prints the same.")
@click.option("--expected-version", metavar="N", type=click.IntRange(min=0), help="Only if its stream is at this version.")
@click.option("--correlation-id", metavar="ID", help="The conversation that it belongs to.")
@click.option("--causation-id", metavar="ID", help="The message that caused it.")
@click.option("--metadata", metavar="KEY=TEXT", multiple=True, help="Stored with its events; repeatable.")
@config_option
@json_option
def send(
    name: str,
    payload: str,
    command_id: str | None,
    expected_version: int | None,
    correlation_id: str | None,
    causation_id: str | None,
    metadata: tuple[str, ...],
    as_json: bool,
) -> int:
    """Sends the command NAME with the payload JSON (an object; `-`, the default, reads it from stdin).

    Prints the token of what it did, for `read --at-least`; what that was stands on stderr.

    Exits 1 when the command is rejected or others were first, 2 when its payload is not of its shape.
    """
    pairs = [_pair(each) for each in metadata]
    with opened() as (_, app):
        command = app.command(name, sys.stdin.read() if payload == "-" else payload)
        receipt = app.send(
            command,
            command_id=command_id,
            expected_version=expected_version,
            correlation_id=correlation_id,
            causation_id=causation_id,
            metadata=dict(pairs) or None,
        )
    if as_json:
        print_json(_as_object(receipt))
    else:
        click.echo(_told(receipt), err=True)
        click.echo(str(receipt.token))
    return DONE


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise click.UsageError(f"--metadata is '{text}', expected KEY=TEXT")
    return key, value


def _told(receipt: "Receipt") -> str:
    if not receipt.stream:
        return f"done (command id {receipt.command_id})"
    names = ", ".join(type(event).__name__ for event in receipt.events) or "nothing to be done"
    return f"{receipt.stream} is at version {receipt.version}: {names} (command id {receipt.command_id})"


def _as_object(receipt: "Receipt") -> dict[str, Any]:
    from syncline.codec import as_plain

    return {
        "command_id": receipt.command_id,
        "token": receipt.token,
        "stream": receipt.stream or None,
        "version": receipt.version or None,
        "events": [{"name": type(event).__name__, "data": as_plain(event)} for event in receipt.events],
    }
