// PostgreSQL: sessions that aren't a superuser's. The code in a dump runs in these.
import { randomBytes } from 'node:crypto'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Failure } from '../errors.ts'
import { chmod, chown, mkdtemp, rm } from '../fs.ts'
import type { PostgresOptions, PostgresServer } from './postgres.ts'
import { run } from './shell.ts'

/**
 * A throw-away login role without rights. SET ROLE and SET SESSION AUTHORIZATION protect nothing in a superuser's session: a function that a
 * CHECK constraint calls can say RESET SESSION AUTHORIZATION. Only a session whose authenticated role is no superuser holds.
 *
 * The role is called `root`, because peer authentication lets in the role with the name of the system user that connects, and no other user can
 * be that one. PostgreSQL's programs still run as the server's user: `relay` connects for them. Where pg_hba.conf asks for a password instead, the
 * role has a random one.
 */
export interface Restricted {
  role: string
  /** The server as the role logs in to it. */
  server: PostgresServer
  /** Only root can write here, and the server's user can enter. */
  folder: string
  /** The server's user. */
  uid: number
}

/** Runs statements as the superuser in the database `postgres`. */
type Superuser = (statements: string) => Promise<string>

const comment = 'atelier-backup: without rights, for the time of a restore'

/** @throws Failure `postgres-rights` if the server doesn't let the role in */
export async function withRestricted<T>(
  server: PostgresServer,
  superuser: Superuser,
  login: (restricted: PostgresServer) => Promise<unknown>,
  options: PostgresOptions,
  work: (restricted: Restricted) => Promise<T>,
): Promise<T> {
  // A role `root` of somebody else stays as it is. Any other name can't come in by peer authentication.
  const taken = await superuser(
    `SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles WHERE rolname = 'root' AND pg_catalog.shobj_description(oid, 'pg_authid') IS DISTINCT FROM '${comment}';`,
  )
  const role = taken === '0' ? 'root' : 'atelier-backup-restore'
  const password = randomBytes(24).toString('hex')
  const uid = Number((await run(['id', '-u', '--', server.user], { signal: options.signal })).stdout)
  const folder = await mkdtemp(join(tmpdir(), 'atelier-pg-'))
  let through: Server | null = null
  try {
    await chmod(folder, 0o711)
    through = await relay(server, folder, uid)
    await superuser(`${made(role)}\n${cleared(role, password)}`)
    const restricted = { role, server: { ...server, socketDir: folder, login: { role, password } }, folder, uid }
    await login(restricted.server).catch((error: unknown) => {
      if (!(error instanceof Failure) || error.code !== 'postgres-unreachable') throw error
      const remedy =
        role === 'root' ? 'pg_hba.conf needs a line "local all root peer"' : 'there is another role root: rename it, or drop it where it is not used'
      throw new Failure(
        'postgres-rights',
        `PostgreSQL: the code in a dump must not run as superuser, and the server lets no role without rights in: ${remedy}`,
        { cause: error },
      )
    })
    return await work(restricted)
  } finally {
    through?.close()
    await rm(folder, { force: true, recursive: true })
    await superuser(`${cleared(role, password)}\nDROP ROLE "${role}";`).catch(() => {})
  }
}

/**
 * A socket in `folder`, for `uid` alone, that is connected to the server by this process: the server sees root's connection. It knows the user who
 * connects from the socket (SO_PEERCRED), and so nobody else can be the role `root`.
 */
async function relay({ socketDir, port }: PostgresServer, folder: string, uid: number): Promise<Server> {
  const name = `.s.PGSQL.${port}`
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ path: join(socketDir, name), allowHalfOpen: true })
    client.pipe(upstream).pipe(client)
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  const socket = join(folder, name)
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(socket, resolve))
  await chmod(socket, 0o600)
  await chown(socket, uid, 0)
  return server
}

function made(role: string): string {
  return `SELECT 'CREATE ROLE "${role}"' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '${role}') \\gexec
COMMENT ON ROLE "${role}" IS '${comment}';`
}

/**
 * Takes everything from the role that code which ran as it may have given it: sessions, members (before PostgreSQL 16 a role can make others its
 * members), settings, another password. Between two owners, too: neither may have what the role has of the other.
 */
export function cleared(role: string, password: string): string {
  return `ALTER ROLE "${role}" NOLOGIN;
DO $$ BEGIN
  WHILE EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE usename = '${role}') LOOP
    PERFORM pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = '${role}';
    PERFORM pg_catalog.pg_sleep(0.02), pg_catalog.pg_stat_clear_snapshot();
  END LOOP;
END $$;
SELECT pg_catalog.format('REVOKE %I FROM %I', a.rolname, b.rolname) FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles a ON a.oid = m.roleid JOIN pg_catalog.pg_roles b ON b.oid = m.member WHERE '${role}' IN (a.rolname, b.rolname) \\gexec
ALTER ROLE "${role}" RESET ALL;
SELECT pg_catalog.format('ALTER ROLE "${role}" IN DATABASE %I RESET ALL', datname) FROM pg_catalog.pg_db_role_setting s
  JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE rolname = '${role}' \\gexec
ALTER ROLE "${role}" SET lc_messages = 'C';
ALTER ROLE "${role}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT CONNECTION LIMIT -1 PASSWORD '${password}';`
}
