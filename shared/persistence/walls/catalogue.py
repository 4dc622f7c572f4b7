"""Compares a database with what is declared, and mends it: roles, rights, row-level security and its policies."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.persistence.walls.grants import Right, rights
from shared.persistence.walls.roles import MAY_BECOME, DbRole
from shared.persistence.walls.rows import GLOBAL, TENANT_COLUMN, UNWALLED, Policy, policies

_TOO_STRONG = "rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolinherit"
_WEAK = "NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION NOINHERIT"
_HOW_TO_DECIDE = (
    "it is in no list of shared/persistence/walls/rows.py: add it to TENANT_COLUMN, or to GLOBAL with the reason, and"
    " say in grants.py which roles may do what with it"
)
_ROLES = [role.value for role in DbRole]


@dataclass(frozen=True, slots=True)
class Breach:
    """A place where the database is not as declared, and the statements that mend it; none if a person has to."""

    where: str  # a table or a role
    what: str
    remedy: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class NotEntitled(Exception):
    """The database's user may not do this: whoever owns the tables and may create and alter roles can."""


@contextmanager
def entitled() -> Iterator[None]:
    """Turn what the database refuses to its user into `NotEntitled`."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") == "42501":
            raise NotEntitled from error
        raise


async def mend(connection: AsyncConnection) -> list[Breach]:
    """Bring the database to what is declared; return what no statement can mend. A second time changes nothing.

    Its user owns the tables, and may create roles where one is missing.
    """
    for breach in await breaches(connection):
        for statement in breach.remedy:
            await connection.exec_driver_sql(statement)
    return await breaches(connection)


async def breaches(connection: AsyncConnection) -> list[Breach]:
    """Return every difference between the database and the declaration, in the order in which they are mended."""
    looks = (_roles, _memberships, _row_security, _policies, _rights, _schema, _ownership, _references)
    return [breach for look in looks async for breach in look(connection)]


async def _roles(connection: AsyncConnection) -> AsyncIterator[Breach]:
    query = f"SELECT rolname, {_TOO_STRONG} AS strong FROM pg_roles WHERE rolname = ANY (:roles)"  # noqa: S608  ours
    there = {row.rolname: row.strong for row in await connection.execute(text(query), {"roles": _ROLES})}
    for role in _ROLES:
        if role not in there:
            # Roles are the server's: those who migrate other databases of it may come first.
            made = (
                f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN {_WEAK};"
                " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
            )
            yield Breach(role, "the role is missing", (made,))
        elif there[role]:
            yield Breach(role, "the role may more than a service's", (f"ALTER ROLE {role} {_WEAK}",))


async def _memberships(connection: AsyncConnection) -> AsyncIterator[Breach]:
    query = """
        SELECT m.rolname AS member, g.rolname AS granted FROM pg_auth_members a
        JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
        WHERE m.rolname = ANY (:roles) AND (g.rolname = ANY (:roles) OR g.rolname NOT LIKE 'reinstate\\_%')
    """  # a role that only another version knows is that one's: roles are the server's, and its databases share them
    there = {(row.member, row.granted) for row in await connection.execute(text(query), {"roles": _ROLES})}
    wanted = {(member.value, role.value) for member, roles in MAY_BECOME.items() for role in roles}
    for member, role in sorted(wanted - there):
        yield Breach(member, f"it cannot become {role}", (f"GRANT {role} TO {member}",))
    for member, role in sorted(there - wanted):
        yield Breach(member, f"it can become {role}", (f'REVOKE "{role}" FROM {member}',))


async def _row_security(connection: AsyncConnection) -> AsyncIterator[Breach]:
    query = """
        SELECT relname, relrowsecurity AND relforcerowsecurity AS walled FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
    """
    there = {row.relname: row.walled for row in await connection.execute(text(query))}
    for table, walled in there.items():
        if table in UNWALLED:
            continue
        if table not in TENANT_COLUMN and table not in GLOBAL:
            yield Breach(table, _HOW_TO_DECIDE)
        if not walled:
            force = f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY'
            yield Breach(table, "row-level security is not forced", (force,))
    for table in sorted({*TENANT_COLUMN, *GLOBAL} - {*there}):
        yield Breach(table, "the table is missing; it is declared in shared/persistence/walls/rows.py")


async def _policies(connection: AsyncConnection) -> AsyncIterator[Breach]:
    query = """
        SELECT tablename, policyname, permissive, roles::text[] AS roles, cmd, qual, with_check FROM pg_policies
        WHERE schemaname = current_schema() ORDER BY tablename, policyname
    """
    there = {(row.tablename, row.policyname): row for row in await connection.execute(text(query))}
    wanted = {(policy.table, policy.name): policy for policy in policies()}
    for key, row in there.items():
        if key not in wanted:
            yield Breach(row.tablename, f"nobody declared the policy {row.policyname}", (_dropped(*key),))
    for key, policy in wanted.items():
        if key not in there:
            yield Breach(policy.table, f"the policy {policy.name} is missing", (policy.create(),))
        elif not _is(policy, there[key]):
            yield Breach(policy.table, f"the policy {policy.name} is another", (_dropped(*key), policy.create()))


def _dropped(table: str, policy: str) -> str:
    return f'DROP POLICY "{policy}" ON "{table}"'


def _is(policy: Policy, row: object) -> bool:
    using = None if policy.command == "INSERT" else _plain(policy.condition)
    check = None if policy.command in ("SELECT", "DELETE") else _plain(policy.condition)
    found = tuple(getattr(row, name) for name in ("permissive", "roles", "cmd"))
    conditions = tuple(_plain(one) if (one := getattr(row, name)) else None for name in ("qual", "with_check"))
    role = policy.role.value if policy.role else "public"
    return found == ("PERMISSIVE", [role], policy.command) and conditions == (using, check)


def _plain(condition: str) -> str:
    """Spell a condition without what PostgreSQL adds when it shows one."""
    for added in ("::text", "AS string_to_array", 'AS "nullif"', "memberships."):
        condition = condition.replace(added, "")
    return "".join(one for one in condition.lower() if one not in "() \n\t")


async def _rights(connection: AsyncConnection) -> AsyncIterator[Breach]:
    query = """
        SELECT coalesce(r.rolname, 'public') AS role, c.relname AS table_name, x.privilege_type AS privilege,
            '' AS column_name
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
            AND (x.grantee = 0 OR r.rolname = ANY (:roles))
        UNION ALL
        SELECT coalesce(r.rolname, 'public'), c.relname, x.privilege_type, a.attname
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        CROSS JOIN aclexplode(a.attacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
        WHERE c.relnamespace = current_schema()::regnamespace AND (x.grantee = 0 OR r.rolname = ANY (:roles))
    """
    there = {Right(*row) for row in await connection.execute(text(query), {"roles": _ROLES})}
    wanted = {*rights()}
    for role, table, privilege, columns in _gathered(there - wanted):
        yield Breach(
            table, f"{role} may {privilege}{columns}", (f'REVOKE {privilege}{columns} ON "{table}" FROM {role}',)
        )
    for role, table, privilege, columns in _gathered(wanted - there):
        yield Breach(
            table, f"{role} may not {privilege}{columns}", (f'GRANT {privilege}{columns} ON "{table}" TO {role}',)
        )


def _gathered(several: Collection[Right]) -> Iterator[tuple[str, str, str, str]]:
    """Put the columns of one right into one statement."""
    for role, table, privilege in sorted({one[:3] for one in several}):
        columns = sorted(one.column for one in several if one[:3] == (role, table, privilege))
        if "" in columns:
            yield role, table, privilege, ""
        if named := ", ".join(column for column in columns if column):
            yield role, table, privilege, f" ({named})"


async def _schema(connection: AsyncConnection) -> AsyncIterator[Breach]:
    query = """
        SELECT rolname, has_schema_privilege(oid, current_schema(), 'USAGE') AS may_use,
            has_schema_privilege(oid, current_schema(), 'CREATE') AS may_create, current_schema() AS name
        FROM pg_roles WHERE rolname = ANY (:roles) ORDER BY rolname
    """
    there = {row.rolname: row for row in await connection.execute(text(query), {"roles": _ROLES})}
    schema = (await connection.execute(text("SELECT current_schema()"))).scalar_one()
    for role in _ROLES:
        if role not in there or not there[role].may_use:
            yield Breach(role, "it may not use the schema", (f'GRANT USAGE ON SCHEMA "{schema}" TO {role}',))
        if role in there and there[role].may_create:
            closed = f'REVOKE CREATE ON SCHEMA "{schema}" FROM {role}, PUBLIC'
            yield Breach(role, "it may create tables", (closed,))


async def _ownership(connection: AsyncConnection) -> AsyncIterator[Breach]:
    query = """
        SELECT c.relname, r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
        WHERE r.rolname = ANY (:roles) ORDER BY c.relname
    """
    for row in await connection.execute(text(query), {"roles": _ROLES}):
        yield Breach(row.relname, f"{row.rolname} owns it")


async def _references(connection: AsyncConnection) -> AsyncIterator[Breach]:
    """Foreign keys between tables of tenants that do not take the tenant along."""
    query = """
        SELECT k.conname, t.relname AS table_name, r.relname AS referred,
            (SELECT array_agg(a.attname::text ORDER BY p.place) FROM unnest(k.conkey) WITH ORDINALITY p (number, place)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.number) AS columns,
            (SELECT array_agg(a.attname::text ORDER BY p.place) FROM unnest(k.confkey) WITH ORDINALITY p (number, place)
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.number) AS theirs
        FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
        WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace ORDER BY k.conname
    """
    for row in await connection.execute(text(query)):
        ours, theirs = TENANT_COLUMN.get(row.table_name), TENANT_COLUMN.get(row.referred)
        if ours and theirs and (ours, theirs) not in zip(row.columns, row.theirs, strict=True):
            yield Breach(row.table_name, f"the foreign key {row.conname} does not take the tenant along")
