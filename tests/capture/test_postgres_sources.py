"""What of a PostgreSQL database can be followed, what is refused, and which right is missing: each by name, with what to do."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.capture.postgres_follower import PostgresFollower

from syncline.config import ServiceConfig
from syncline.errors import SourceChanged, StoreError
from syncline.messages import Column
from syncline.stores.postgres import source_role
from syncline.stores.postgres.connection import Connection, connect
from syncline.stores.postgres.source import describe, tables
from syncline.testing.postgres import Databases


@pytest.fixture(scope="module")
def database(postgres: Databases) -> str:
    return postgres.create("sources")


@pytest.fixture
def owner(database: str) -> Iterator[Connection]:
    with closing(connect(database)) as connection:
        connection.execute("DROP SCHEMA IF EXISTS syncline, other CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        yield connection


@pytest.fixture
def role(owner: Connection) -> Iterator[str]:
    """A role that may log in, and nothing else."""
    name = f"reader_{secrets.token_hex(4)}"
    owner.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    owner.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def service(database: str, capture: str = "triggers", *names: str) -> ServiceConfig:
    return ServiceConfig("shop", database, capture, names or ("*",), 5.0, None, 60.0, 1)


def url_of(database: str, role: str) -> str:
    parts = urlsplit(database)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


def test_a_table_is_described_with_the_types_that_its_values_travel_as(owner: Connection) -> None:
    owner.execute(
        """CREATE TYPE mood AS ENUM ('glad'); CREATE DOMAIN cents AS numeric(12,2); CREATE TYPE pair AS (a int, b int);
           CREATE COLLATION nocase FROM "C";
           CREATE TABLE "Order Line" (id bigint, "No" smallint, name varchar(20) NOT NULL UNIQUE, price cents, m mood, ms mood[],
             p pair, at timestamptz(3), span interval, tags text[], doc jsonb, loose text COLLATE nocase,
             twice bigint GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY ("No", id))"""
    )
    owner.execute(LOOSEN)
    relation = describe(owner, "shop", "Order Line").relation
    assert relation.columns == (
        Column("id", "bigint", not_null=True),
        Column("No", "smallint", not_null=True),
        Column("name", "character varying(20)", not_null=True),
        Column("price", "numeric(12,2)"),
        Column("m", "text"),
        Column("ms", "text"),
        Column("p", "text"),
        Column("at", "timestamp(3) with time zone"),
        Column("span", "interval"),
        Column("tags", "text[]"),
        Column("doc", "jsonb"),
        Column("loose", "text", "nocase"),
        Column("twice", "bigint"),
    )
    assert (relation.key, relation.unique, relation.dialect, relation.origin) == (("No", "id"), (("name",),), "postgres", "")


def test_a_table_of_another_schema_is_named_with_it(owner: Connection) -> None:
    owner.execute("CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    assert tables(owner) == ["u", "other.t"]
    assert describe(owner, "shop", "other.t").relation.origin == "other"
    with pytest.raises(SourceChanged, match=r"no table 't'; did you mean 'other\.t'\?"):
        describe(owner, "shop", "t")


def test_rows_are_told_apart_by_the_replica_identity_where_there_is_no_primary_key(owner: Connection) -> None:
    owner.execute(
        """CREATE TABLE t (a int NOT NULL, b text NOT NULL, c int); CREATE UNIQUE INDEX t_ab ON t (b, a) INCLUDE (c);
           ALTER TABLE t REPLICA IDENTITY USING INDEX t_ab"""
    )
    assert describe(owner, "shop", "t").relation.key == ("b", "a")


LOOSEN = "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'nocase'"
"""Not every build of PostgreSQL can make a collation by which different texts are equal."""

REFUSED = {
    "CREATE VIEW t AS SELECT 1 AS id": "is a view, expected a table; name the tables that it reads",
    "CREATE MATERIALIZED VIEW t AS SELECT 1 AS id": "is a materialized view",
    "CREATE TEMP TABLE t (id int PRIMARY KEY)": "is a temporary table",
    "CREATE TABLE t (id int)": "has no primary key.*REPLICA IDENTITY USING INDEX",
    "CREATE TABLE t (id int UNIQUE)": "has no primary key",
    "CREATE TABLE t (id int PRIMARY KEY, price money)": "t.price is of type money",
    "CREATE TABLE t (id int PRIMARY KEY, c regclass[])": "t.c is of type regclass",
    'CREATE TABLE t (id int PRIMARY KEY, "Id" int)': "columns that differ only in case, 'id' and 'Id'",
    "CREATE TABLE t (id numeric PRIMARY KEY)": "'id', of its primary key, is of type numeric",
    "CREATE TABLE t (id interval PRIMARY KEY)": "is of type interval",
    "CREATE TABLE t (id int[] PRIMARY KEY)": r"is of type integer\[\]",
    "CREATE TABLE t (id int4range PRIMARY KEY)": "is of type int4range",
    'CREATE COLLATION nocase FROM "C"; CREATE TABLE t (id text COLLATE nocase PRIMARY KEY)': "has the collation nocase, by which",
    "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t PARTITION OF p DEFAULT": "is a partition; name",
    "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE more () INHERITS (t)": "by INHERITS",
    "CREATE TABLE base (x int); CREATE TABLE t (id int PRIMARY KEY) INHERITS (base)": "by INHERITS",
    "CREATE UNLOGGED TABLE t (id int PRIMARY KEY)": "is UNLOGGED: a crash empties it.*SET LOGGED",
    "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE UNLOGGED TABLE one PARTITION OF t FOR VALUES IN (1)": (
        'its partition one is UNLOGGED.*"public"."one" SET LOGGED'
    ),
}


@pytest.mark.parametrize("script", REFUSED)
def test_what_cannot_be_followed_exactly_is_refused_by_name(database: str, owner: Connection, script: str) -> None:
    owner.execute(script)
    owner.execute(LOOSEN)
    if "TEMP" in script:
        with pytest.raises(StoreError, match=REFUSED[script]):
            describe(owner, "shop", "t")
        return
    ((name, reason),) = source_role.look(service(database, "triggers", "t"), briefly=False).refused
    assert name == "t"
    with pytest.raises(StoreError, match=REFUSED[script]):
        raise StoreError(reason)


def test_two_tables_of_one_name_cannot_both_be_followed(database: str, owner: Connection) -> None:
    owner.execute("CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY)")
    found = source_role.look(service(database), briefly=False)
    assert [relation.origin for relation in found.relations] == [""]
    ((name, reason),) = found.refused
    assert name == "other.t" and "'public' and 'other' both have a table of this name" in reason


def test_each_missing_right_is_named_with_the_grant_that_gives_it(
    database: str, owner: Connection, role: str, tmp_path: Path
) -> None:
    """A role without any right gets one after the other, as it is told, until it can follow."""
    owner.execute("CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY, a text); INSERT INTO other.t VALUES (1, 'x')")
    mine = service(url_of(database, role), "triggers", "other.t")
    granted: list[str] = []
    for _ in range(6):
        try:
            found = source_role.look(mine, briefly=False)
            reason = found.refused[0][1] if found.refused else found.warnings[0] if found.warnings else ""
        except StoreError as error:
            reason = str(error)
        if not reason:
            break
        grant = reason[reason.index("GRANT ") :].partition(" lets the role")[0]
        granted.append(grant)
        owner.execute(grant)
    name = database.rpartition("/")[2]
    assert granted == [
        f'GRANT CREATE ON DATABASE "{name}" TO "{role}"',
        f'GRANT USAGE ON SCHEMA "other" TO "{role}"',
        f'GRANT SELECT ON "other"."t" TO "{role}"',
        f'GRANT TRIGGER ON "other"."t" TO "{role}"',
        f'GRANT "postgres" TO "{role}"',
    ]
    owner.execute(f'REVOKE "postgres" FROM "{role}"')
    with closing(PostgresFollower(url_of(database, role), tmp_path / "store.db", "triggers", names=["other.t"])) as follower:
        follower.catch_up()
        owner.execute("UPDATE other.t SET a = 'y'")
        follower.catch_up()
        assert follower.held("t") == [(1, "y")]
        follower.acknowledge()
    assert source_role.uninstall(mine, None)[-1] == "schema syncline"
    assert owner.execute("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").fetchone() == (0,)


def test_a_schema_that_the_role_may_not_use_is_named_where_the_table_is_called_by_its_name_alone(
    database: str, owner: Connection, role: str
) -> None:
    owner.execute("CREATE TABLE t (id int PRIMARY KEY); REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    ((_, reason),) = source_role.look(service(url_of(database, role), "polling", "t"), briefly=False).refused
    assert reason.endswith(f'the role may not use its schema; GRANT USAGE ON SCHEMA "public" TO "{role}"')


def test_writers_need_no_right_on_what_captures_them(database: str, owner: Connection, role: str, tmp_path: Path) -> None:
    owner.execute(f"CREATE TABLE t (id int PRIMARY KEY, a text); GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO {role}")
    owner.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    with closing(PostgresFollower(database, tmp_path / "store.db", "triggers")) as follower:
        follower.catch_up()
        with closing(connect(url_of(database, role))) as writer:
            writer.execute("SET search_path = pg_temp; CREATE TEMP TABLE syncline_new (id int)")
            for statement in (
                "TRUNCATE public.t",
                "INSERT INTO public.t VALUES (1, 'x'), (2, 'y')",
                "UPDATE public.t SET id = -id",
            ):
                writer.execute(statement)
                follower.catch_up()
                follower.assert_mirrors_equal()
            with pytest.raises(Exception, match="permission denied"):
                writer.execute("SELECT * FROM syncline.source")


def test_polling_needs_no_right_but_to_read(database: str, owner: Connection, role: str, tmp_path: Path) -> None:
    owner.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, a text); GRANT SELECT ON t TO {role}; GRANT USAGE ON SCHEMA public TO {role}"
    )
    owner.execute("INSERT INTO t VALUES (1, 'x')")
    assert source_role.look(service(url_of(database, role), "polling"), briefly=False).refused == ()
    with closing(PostgresFollower(url_of(database, role), tmp_path / "store.db", "polling")) as follower:
        follower.catch_up()
        assert follower.held("t") == [(1, "x")]
    assert owner.execute("SELECT to_regnamespace('syncline')").fetchone() == (None,)


def test_row_security_that_would_hide_rows_is_refused(database: str, owner: Connection, role: str) -> None:
    owner.execute(f"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY; GRANT SELECT ON t TO {role}")
    owner.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    ((_, reason),) = source_role.look(service(url_of(database, role), "polling"), briefly=False).refused
    assert f'ALTER ROLE "{role}" BYPASSRLS' in reason


def test_a_value_that_sqlite_does_not_keep_is_refused_with_its_row(database: str, owner: Connection, tmp_path: Path) -> None:
    owner.execute("CREATE TABLE t (id int PRIMARY KEY, f float8); INSERT INTO t VALUES (1, 0.1), (2, '-Infinity'), (3, -0.0)")
    with closing(PostgresFollower(database, tmp_path / "store.db", "triggers")) as follower:
        follower.catch_up()
        follower.assert_mirrors_equal()
        owner.execute("UPDATE t SET f = 'NaN' WHERE id = 2")
        with pytest.raises(StoreError, match="shop.t: column 'f' of the row with id = 2 is NaN"):
            follower.catch_up()


def test_uninstall_takes_out_everything_for_one_read_store_or_for_all(database: str, owner: Connection, tmp_path: Path) -> None:
    owner.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    first = PostgresFollower(database, tmp_path / "first.db", "triggers")
    second = PostgresFollower(database, tmp_path / "second.db", "triggers", names=["t"])
    for follower in (first, second):
        follower.catch_up()
        follower.close()
    count = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"
    assert owner.execute(count).fetchone() == (8,)
    assert source_role.uninstall(service(database), str(tmp_path / "other.db")) == []
    removed = source_role.uninstall(service(database), str(tmp_path / "first.db"))
    assert removed[1:] == ["triggers on public.u"]
    assert owner.execute(count).fetchone() == (4,)
    assert source_role.uninstall(service(database), None)[-1] == "schema syncline"
    assert owner.execute(count).fetchone() == (0,)
    assert source_role.uninstall(service(database), None) == []


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_rows_that_a_policy_hides_are_an_error_not_rows_that_are_gone(
    owner: Connection, role: str, database: str, tmp_path: Path, capture: str
) -> None:
    owner.execute(
        f"""CREATE TABLE account (id int PRIMARY KEY, cents int);
            INSERT INTO account SELECT n, 1 FROM generate_series(1, 9) AS n;
            GRANT SELECT, TRIGGER ON account TO {role}; GRANT USAGE ON SCHEMA public TO {role};
            GRANT CREATE ON DATABASE {owner.info.dbname} TO {role}"""
    )
    follower = PostgresFollower(url_of(database, role), tmp_path / "read.db", capture)
    try:
        follower.catch_up()
        owner.execute("ALTER TABLE account ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON account USING (id < 5)")
        owner.execute("UPDATE account SET cents = 2")
        with pytest.raises(StoreError, match="row security|row-level security"):
            follower.catch_up()
        assert len(follower.held("account")) == 9
    finally:
        follower.close()


EVIL = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE ran (what text, as_role text);
CREATE FUNCTION ran(text) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ($1, current_user) $$;
CREATE FUNCTION printed(mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.ran('to text'); RETURN 'evil'; END $$;
CREATE FUNCTION parsed(text) RETURNS mood LANGUAGE plpgsql AS $$ BEGIN PERFORM public.ran('from text'); RETURN 'sad'; END $$;
CREATE FUNCTION same(mood, mood) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM public.ran('='); RETURN true; END $$;
CREATE FUNCTION later(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM public.ran('>'); RETURN true; END $$;
CREATE FUNCTION format(text, mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.ran('format'); RETURN 'evil'; END $$;
CREATE FUNCTION fits(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM public.ran('check'); RETURN true; END $$;
CREATE CAST (mood AS text) WITH FUNCTION printed(mood);
CREATE CAST (text AS mood) WITH FUNCTION parsed(text) AS IMPLICIT;
CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = later);
CREATE OPERATOR > (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = later);
CREATE DOMAIN small AS int CHECK (public.fits(VALUE));
CREATE TABLE day (m mood, v varchar, s small, n int, PRIMARY KEY (m, v, s));
INSERT INTO day SELECT 'glad', g, g, 1 FROM generate_series(1, 2500) AS g;
TRUNCATE ran
"""
"""What the owner of a type, or whoever may make things in a schema, can have run by a statement that is not careful."""


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_nothing_that_the_owner_of_a_type_made_is_run_with_the_rights_of_the_capture(
    owner: Connection, database: str, tmp_path: Path, capture: str
) -> None:
    owner.execute(EVIL)
    follower = PostgresFollower(database, tmp_path / "read.db", capture, names=["day"])
    try:
        follower.catch_up()
        assert owner.execute("SELECT * FROM ran").fetchall() == []
        owner.execute(
            "INSERT INTO day VALUES ('sad', 'x', 1, 1), ('glad', 'y', 2, 2); UPDATE day SET n = 3 WHERE s = 7; TRUNCATE ran"
        )
        follower.catch_up()
        assert ("sad", "x", 1, 1) in follower.held("day") and ("glad", "7", 7, 3) in follower.held("day")
        assert len(follower.held("day")) == 2502
        assert owner.execute("SELECT * FROM ran").fetchall() == []
    finally:
        follower.close()
