"""Values as parameters of statements: text that PostgreSQL reads as whatever type the statement needs there. Pure."""

_TEXT = ("text", "character", "name", "varchar", "bpchar")


def as_parameter(value: object) -> str | None:
    """A value that travels, so that its place in the statement decides its type, and nothing is converted on the way."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    return repr(value) if isinstance(value, float) else str(value)


def escaped(sql: str) -> str:
    """SQL as part of a statement that has parameters: a percent sign as itself."""
    return sql.replace("%", "%%")


def is_text(declared_type: str) -> bool:
    """Whether a type is ordered by a collation."""
    return declared_type.startswith(_TEXT) and not declared_type.endswith("]")
