"""What differs between the databases in whose SQL views are written: a value for each, and nothing else asks which one it is.

Pure. `dialects.py` has the two values; the rest of the compiler is about SELECTs, and gets everything that is a database's own
from here.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sqlglot import exp

from syncline.messages import Column
from syncline.read.maintain.schema import Classes, Source

if TYPE_CHECKING:
    from syncline.read.maintain.query import Block


@dataclass(frozen=True, slots=True)
class Kind:
    """How an expression's values are stored and compared. Exact: values that are equal are identical."""

    declared_type: str
    collation: str
    classes: Classes
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Match:
    """`mine = theirs`, where `mine` is of a table that is being joined, both as SQL; NULL matches NULL unless `is_not_null`."""

    mine: str
    theirs: str
    is_not_null: bool


@dataclass(frozen=True, slots=True)
class KeyMatch:
    """A part of P over its table, and the column of the table of keys that it must be the same as, NULL or not."""

    expression: exp.Expr
    key: exp.Column
    is_not_null: bool


class Dialect(ABC):
    """One kind of database: how its SQL is read and written, what its values are, what it alone must refuse."""

    name: ClassVar[str]
    """As sqlglot calls it."""
    knows_outputs_everywhere: ClassVar[bool]
    """Whether an output's name stands for its expression in all of WHERE, GROUP BY and HAVING; else just alone in GROUP BY."""

    def sql(self, node: exp.Expr) -> str:
        """A tree as this database's SQL."""
        return node.sql(self.name, comments=False)

    @abstractmethod
    def read(self, sql: str) -> exp.Query:
        """One query as a tree, each star with its line. Raises UnsupportedQuery where it cannot be read as what it says."""

    @abstractmethod
    def spells(self, written: str, name: str) -> bool:
        """Whether a name as it stands in a tree means the column of this name."""

    @abstractmethod
    def written(self, name: str) -> str:
        """How a view must write a column's name, for messages."""

    @abstractmethod
    def refuse_node(self, node: exp.Expr) -> None:
        """Raises UnsupportedQuery for what this database has, or does not always compute alike, anywhere in a query."""

    @abstractmethod
    def refuse_block(self, block: "Block") -> None:
        """Raises UnsupportedQuery for what this database does with the values of one SELECT, whose names are resolved."""

    @abstractmethod
    def complete(self, block: "Block") -> None:
        """Rewrites what this database would not accept of a block once its tables are stored ones."""

    @abstractmethod
    def kind_of(self, block: "Block", expression: exp.Expr) -> Kind:
        """The kind of an expression of the block, without its alias."""

    @abstractmethod
    def is_exact_column(self, source: Source, name: str) -> bool:
        """Whether values of a source's column that are equal are identical."""

    @abstractmethod
    def is_same_kind(self, one: Column, other: Column) -> bool:
        """Whether two columns store and compare values alike, so that equal means the same."""

    @abstractmethod
    def family(self, kind: Kind) -> str:
        """What the values of all branches of a compound must share."""

    @abstractmethod
    def shown_kind(self, kind: Kind) -> str:
        """A kind's type for a message."""

    @abstractmethod
    def inexact_advice(self, kind: Kind, shown: str) -> tuple[str, str]:
        """Why equal values of this kind differ, and what to write for `shown` instead."""

    @abstractmethod
    def cast_advice(self, shown: str) -> str:
        """What gives values of different types one type."""

    @abstractmethod
    def may_mix(self, kinds: Sequence[Kind]) -> tuple[str, str] | None:
        """Why values of these kinds, each of them exact, may be equal and differ, and what to write; None if they may not."""

    @abstractmethod
    def adds_by_order(self, kind: Kind) -> bool:
        """Whether the last digits of a sum of such values depend on the order in which they are added."""

    @abstractmethod
    def may_fail(self, block: "Block", expression: exp.Expr) -> str | None:
        """Why an expression cannot be looked up: it may raise an error for some values, or cannot be indexed. None if it can."""

    @abstractmethod
    def collation(self, node: exp.Collate) -> str:
        """The collation that is named there, as SQL."""

    @abstractmethod
    def hop(self, table: str, alias: str, conditions: Sequence[str]) -> str:
        """SQL that joins a table to those before it, from which it is reached by equalities."""

    @abstractmethod
    def matched(self, table: str, alias: str, matches: Sequence[Match]) -> str:
        """The same where NULL may match NULL."""

    @abstractmethod
    def join_owner(self, owner: exp.Expr, matches: Sequence[KeyMatch]) -> tuple[exp.Join, list[exp.Expr]]:
        """Joins the table that owns P to its keys: as a join, and conditions for WHERE."""

    @abstractmethod
    def keep_plan(self, select: exp.Select) -> None:
        """Rewrites a restricted SELECT, with the same meaning, such that the planner does not leave the way by the keys."""

    @abstractmethod
    def named_keys(self, expressions: Sequence[exp.Expr]) -> list[exp.Expr]:
        """Parts of the partition key as outputs of the query for all keys."""

    @abstractmethod
    def slots(self, identities: Sequence[Sequence[tuple["Block", exp.Expr]]]) -> list[list[exp.Expr]]:
        """What tells the rows of each branch of a compound apart, padded with NULL so that all have the same columns."""
