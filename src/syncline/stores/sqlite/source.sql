-- select_tables --
-- The tables of a service's database that may be followed: not SQLite's own, not the program's, no virtual ones.
SELECT name
  FROM pragma_table_list
 WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE 'syncline~_%' ESCAPE '~'
 ORDER BY name

-- select_table --
-- What kind of table a name is, under the spelling of its owner.
SELECT name, type, strict, wr
  FROM pragma_table_list
 WHERE schema = 'main' AND lower(name) = lower(:name) AND name NOT LIKE 'sqlite~_%' ESCAPE '~'

-- select_sql --
-- A table's own CREATE statement: it tells whether the table is still the one that was followed.
SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(:name)

-- select_columns --
-- Columns in order, with their place in the primary key, their default, and whether they are generated.
SELECT name, type, "notnull", pk, dflt_value, hidden > 1 FROM pragma_table_xinfo(:name) WHERE hidden <> 1

-- select_unique_indexes --
-- Unique indexes, with what they come from and whether they leave rows out.
SELECT name, origin, partial FROM pragma_index_list(:name) WHERE "unique" ORDER BY name

-- select_index_columns --
-- The terms of an index; no name means an expression.
SELECT name, coll FROM pragma_index_xinfo(:name) WHERE key ORDER BY seqno

-- select_index_sql --
-- The CREATE statement of an index.
SELECT sql FROM sqlite_master WHERE type = 'index' AND name = :name
