"""What is known of PostgreSQL's functions, operators and types: those that give the same for the same arguments, whatever the
settings of the session. Pure values; the tests compare them with the catalog of a server.
"""

from collections.abc import Mapping

from sqlglot import exp

from syncline.read.maintain.postgres_types import FLOATS, INTEGERS, STAMPS, TEXTS

IMMUTABLE = frozenset({
    "abs", "acos", "age", "all", "any", "array", "array_append", "array_cat", "array_length", "array_lower", "array_ndims",
    "array_position", "array_prepend", "array_remove", "array_replace", "array_upper", "ascii", "asin", "atan", "atan2", "avg",
    "bit_and", "bit_length", "bit_or", "bit_xor", "bool_and", "bool_or", "btrim", "cardinality", "case", "cast", "cbrt", "ceil",
    "chr", "coalesce", "concat", "concat_ws", "cos", "count", "cume_dist", "date_trunc", "decode", "degrees",
    "dense_rank", "encode", "every", "exists", "exp", "extract", "first_value", "floor", "gcd", "greatest", "initcap",
    "isfinite", "json_array_length", "json_extract_path", "json_extract_path_text", "json_typeof", "jsonb_array_length",
    "jsonb_extract_path", "jsonb_extract_path_text", "jsonb_path_exists", "jsonb_path_match", "jsonb_strip_nulls",
    "jsonb_typeof", "justify_days", "justify_hours", "justify_interval", "lag", "last_value", "lcm", "lead", "least", "left",
    "length", "ln", "log", "lower", "lpad", "ltrim", "make_date", "make_interval", "make_time", "make_timestamp", "max", "md5",
    "min", "min_scale", "mod", "nth_value", "ntile", "nullif", "num_nonnulls", "num_nulls", "octet_length", "overlay",
    "percent_rank", "pi", "position", "power", "quote_ident", "radians", "rank", "regexp_count", "regexp_instr", "regexp_like",
    "regexp_replace", "regexp_substr", "repeat", "replace", "reverse", "right", "round", "row_number", "rpad", "rtrim", "scale",
    "sha224", "sha256", "sha384", "sha512", "sign", "sin", "split_part", "sqrt", "starts_with", "stddev", "stddev_pop",
    "stddev_samp", "strpos", "substring", "sum", "tan", "translate", "trim", "trim_scale", "trunc", "upper",
    "var_pop", "var_samp", "variance", "width_bucket",
})  # fmt: skip
"""Functions whose every form is immutable, but for forms over types that `postgres_refuse` refuses by themselves."""

OTHER_NAMES = frozenset({"substr", "char_length", "character_length", "ceiling", "pow"})
"""Further names of functions in `IMMUTABLE`, which are written back by the first."""

ORDERED = frozenset({
    "any_value", "array_agg", "json_agg", "json_arrayagg", "json_object_agg", "json_objectagg", "jsonb_agg", "jsonb_object_agg",
    "mode", "multirange_agg", "percentile_cont", "percentile_disc", "range_agg", "string_agg", "xmlagg",
})  # fmt: skip
"""Aggregates whose value depends on the order in which rows are read."""

CHANGING = frozenset({
    "clock_timestamp", "current_catalog", "current_database", "current_date", "current_role", "current_schema",
    "current_setting", "current_time", "current_timestamp", "current_user", "currval", "gen_random_uuid", "inet_client_addr",
    "lastval", "localtime", "localtimestamp", "nextval", "now", "pg_backend_pid", "pg_current_xact_id", "random",
    "random_normal", "session_user", "setseed", "statement_timestamp", "timeofday", "transaction_timestamp", "txid_current",
    "user", "uuidv4", "uuidv7", "version",
})  # fmt: skip
"""Functions whose value changes although no row does."""

MANY = frozenset({
    "generate_series", "generate_subscripts", "json_array_elements", "json_array_elements_text", "json_each",
    "json_object_keys", "json_to_recordset", "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_each",
    "jsonb_object_keys", "jsonb_path_query", "jsonb_to_recordset", "regexp_matches", "regexp_split_to_table", "string_to_table",
    "unnest",
})  # fmt: skip
"""Functions that return several rows."""

INSTEAD: Mapping[str, str] = {
    "date_part": "EXTRACT(field FROM …)",
    "date_bin": "date_trunc(unit, …)",
    "div": "trunc(a / b)",
    "to_char": "EXTRACT, lpad and ||, or format it when reading",
    "to_date": "make_date(year, month, day)",
    "to_timestamp": "make_timestamp(…)",
    "to_number": "CAST(… AS numeric(p, s))",
    "format": "||",
    "array_to_string": "the array itself, put together when reading",
    "to_json": "the columns, put together when reading",
    "to_jsonb": "the columns, put together when reading",
    "jsonb_build_object": "the columns, put together when reading",
    "json_build_object": "the columns, put together when reading",
    "row_to_json": "the columns, put together when reading",
    "string_to_array": "split_part",
}
"""What to write for some functions that are refused."""

OPERATORS = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Pow, exp.Neg, exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor,
    exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.DPipe, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE,
    exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ, exp.And, exp.Or, exp.Not, exp.Between, exp.In, exp.Like, exp.ILike, exp.Escape,
    exp.RegexpLike, exp.RegexpILike, exp.SimilarTo, exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract,
    exp.JSONBExtractScalar, exp.JSONBContains, exp.JSONBContainsTopKey, exp.JSONBContainsAnyTopKeys,
    exp.JSONBContainsAllTopKeys, exp.JSONBDeleteAtPath,
    exp.JSONBPathExists, exp.ArrayContainsAll, exp.ArrayContainedBy,
    exp.ArrayOverlaps, exp.Bracket, exp.AtTimeZone, exp.Collate, exp.Tuple, exp.Paren, exp.Case, exp.Cast, exp.Exists,
    exp.Array, exp.Any, exp.All, exp.Xor, exp.Slice,
)  # fmt: skip

STRUCTURE = (
    exp.Select, exp.Subquery, exp.SetOperation, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.With, exp.CTE,
    exp.Distinct, exp.Table, exp.TableAlias, exp.Alias, exp.Identifier, exp.Column, exp.Star, exp.Window, exp.WindowSpec,
    exp.Order, exp.Ordered, exp.Filter, exp.WithinGroup, exp.Literal, exp.Null, exp.Boolean, exp.DataType,
    exp.DataTypeParam, exp.Interval,
    exp.IntervalSpan, exp.JSONPath, exp.JSONPathPart, exp.If, exp.Lateral, exp.Placeholder, exp.Parameter, exp.Limit,
    exp.Fetch, exp.Offset, exp.Values,
)  # fmt: skip
"""Parts of a query that compute nothing themselves."""

TYPES = {
    *INTEGERS, *TEXTS, *FLOATS, *STAMPS, "character", "bpchar", "boolean", "numeric", "uuid", "bytea", "jsonb", "json",
    "interval", "time without time zone", "time with time zone", "inet", "cidr", "macaddr", "oid", "bit", "bit varying",
}  # fmt: skip
