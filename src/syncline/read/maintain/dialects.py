"""The databases in whose SQL views may be written, by the names that catalogs have for them. Pure values."""

from collections.abc import Mapping
from typing import Final

from syncline.read.maintain.dialect import Dialect
from syncline.read.maintain.postgres_dialect import PostgresDialect
from syncline.read.maintain.sqlite_dialect import SQLiteDialect

DIALECTS: Final[Mapping[str, Dialect]] = {"sqlite": SQLiteDialect(), "postgres": PostgresDialect()}
