"""Who may ask: bearer tokens with roles and claims, from a file or the environment. Never shows a secret.

What is kept is the SHA-256 of each token. A token that is shown is hashed and compared with every one kept, in constant time, so
that how long an answer takes tells nothing.
"""

import hashlib
import hmac
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from syncline.errors import Fault, InvalidDefinition
from syncline.http_config import TOKENS_VARIABLE
from syncline.serve.caller import ROLES, Authenticate, Caller

LEAST_LENGTH = 16

_KEYS = ("name", "sha256", "secret", "roles", "claims", "expires")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True, repr=False)
class KnownToken:
    """A token as it is kept: its digest, who shows it, and until when (seconds since 1970) it is valid."""

    digest: bytes
    caller: Caller
    expires_at: float | None


def load_tokens(path: str | None) -> list[KnownToken]:
    """The tokens of a file and of the environment. Raises InvalidDefinition with all faults; none shows a secret."""
    faults: list[Fault] = []
    found: list[KnownToken] = []
    if path is not None:
        try:
            found += _parse(Path(path).read_text("utf-8"), path, faults)
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(path, 0, f"the file of tokens cannot be read: {error}"))
    if text := os.environ.get(TOKENS_VARIABLE):
        found += _parse(text, f"${TOKENS_VARIABLE}", faults)
    names = [token.caller.name for token in found]
    faults += [Fault(path or "", 0, f"two tokens are named '{name}'; rename one") for name in {*names} if names.count(name) > 1]
    if faults:
        raise InvalidDefinition(faults)
    return found


def checking(tokens: Sequence[KnownToken], clock: Callable[[], float]) -> Authenticate:
    """Tells who shows one of these tokens; None for any other, and for one that is no longer valid."""

    def authenticate(shown: str) -> Caller | None:
        digest = hashlib.sha256(shown.encode("utf-8", "surrogateescape")).digest()
        found: KnownToken | None = None
        for token in tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        is_valid = found is not None and (found.expires_at is None or clock() < found.expires_at)
        return found.caller if found is not None and is_valid else None

    return authenticate


def _parse(text: str, file: str, faults: list[Fault]) -> list[KnownToken]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(file, 0, f"not TOML: {str(error).partition('(')[0].strip()}; write one [[token]] for each"))
        return []
    entries = values.get("token")
    if not isinstance(entries, list) or not entries or set(values) != {"token"}:
        faults.append(Fault(file, 0, "no token; write one [[token]] for each, with name, sha256 and roles"))
        return []
    return [known for entry in entries if (known := _token(entry, file, faults)) is not None]


def _token(entry: object, file: str, faults: list[Fault]) -> KnownToken | None:
    entry = entry if isinstance(entry, Mapping) else {}
    name = entry.get("name")
    shown = f"token '{name}'" if isinstance(name, str) and name else "a token without a name"
    before = len(faults)

    def fault(message: str) -> None:
        faults.append(Fault(file, 0, f"{shown}: {message}"))

    if not isinstance(name, str) or not name:
        fault('write name = "…", by which logs call who shows it')
    for key in sorted(set(entry) - set(_KEYS)):
        fault(f"unknown key '{key}'; known are {', '.join(_KEYS)}")
    roles = entry.get("roles")
    if not isinstance(roles, list) or not roles or not all(role in ROLES for role in roles):
        fault(f'write roles = ["read"], of {", ".join(ROLES)}')
    claims = entry.get("claims", {})
    if not isinstance(claims, Mapping) or not all(isinstance(claim, str | int) for claim in claims.values()):
        fault("write claims = { customer_id = 7 }, with texts and whole numbers")
    digest, expires_at = _digest(entry, fault), _expires_at(entry.get("expires"), fault)
    if len(faults) > before or digest is None:
        return None
    return KnownToken(digest, Caller(str(name), frozenset(roles or ()), dict(claims)), expires_at)


def _digest(entry: Mapping[str, object], fault: Callable[[str], None]) -> bytes | None:
    sha256, secret = entry.get("sha256"), entry.get("secret")
    if (sha256 is None) == (secret is None):
        fault('write either sha256 = "…" (of the token, in hexadecimal digits) or secret = "${VARIABLE}"')
        return None
    if sha256 is not None:
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            fault("'sha256' is not 64 lower-case hexadecimal digits; `printf %s TOKEN | sha256sum` prints them")
            return None
        return bytes.fromhex(sha256)
    if not isinstance(secret, str):
        fault("'secret' is no text")
        return None
    if (reference := _REFERENCE.fullmatch(secret)) is not None:
        if reference[1] not in os.environ:
            fault(f"${{{reference[1]}}} is not set in the environment")
            return None
        secret = os.environ[reference[1]]
    if len(secret) < LEAST_LENGTH:
        fault(f"the token is shorter than {LEAST_LENGTH} characters, and can be guessed; `openssl rand -hex 32` makes one")
        return None
    return hashlib.sha256(secret.encode()).digest()


def _expires_at(value: object, fault: Callable[[str], None]) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    fault("'expires' is no date; write expires = 2027-01-01T00:00:00Z")
    return None
