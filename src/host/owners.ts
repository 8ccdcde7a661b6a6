// Users and groups of this host, and the owners of files.
import { chmod, lchown, lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Owners } from '../core.ts'

/** Numbers by name, of passwd(5) or group(5). Users that a daemon makes up as needed aren't in it: systemd gives their folders to them at each start. */
export async function numbersByName(file: '/etc/passwd' | '/etc/group'): Promise<Map<string, number>> {
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'))
  return new Map(lines.flatMap(([name, , number]) => (name && /^\d+$/.test(number ?? '') ? [[name, Number(number)]] : [])))
}

/** Gives everything at and below a path that nobody else can reach to the owners' numbers of this host. */
export async function renumber(path: string, { users, groups }: Owners): Promise<void> {
  const [newUser, newGroup] = [new Map(users), new Map(groups)]
  // Numbers may change places: what has two names is given once.
  const done = new Set<number>()
  const walk = async (at: string): Promise<void> => {
    const stat = await lstat(at)
    const [uid, gid] = [newUser.get(stat.uid) ?? stat.uid, newGroup.get(stat.gid) ?? stat.gid]
    if ((uid !== stat.uid || gid !== stat.gid) && !done.has(stat.ino)) {
      if (stat.nlink > 1 && !stat.isDirectory()) done.add(stat.ino)
      await lchown(at, uid, gid)
      // Another owner costs a file its setuid bits.
      if (!stat.isSymbolicLink() && (stat.mode & 0o7000) !== 0) await chmod(at, stat.mode & 0o7777)
    }
    if (stat.isDirectory()) for (const entry of await readdir(at)) await walk(join(at, entry))
  }
  await walk(path)
}
