// Users and groups of this host, and the owners of files.
import type { Owners } from '../core.ts'
import { chmod, constants, lchown, lstat, open, readdir, readFile } from '../fs.ts'
import { inside } from './files.ts'

/** Ids by name, from passwd(5) or group(5). Dynamic users aren't listed there: systemd gives their folders to them at each start. */
export async function numbersByName(file: '/etc/passwd' | '/etc/group'): Promise<Map<string, number>> {
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'))
  return new Map(lines.flatMap(([name, , number]) => (name && /^\d+$/.test(number ?? '') ? [[name, Number(number)]] : [])))
}

/** Changes the owners at and below `path` to this host's ids of the same names. No other user may be able to reach `path`. */
export async function renumber(path: string, { users, groups }: Owners): Promise<void> {
  const [newUser, newGroup] = [new Map(users), new Map(groups)]
  // Two ids may be exchanged: a file with several hard links must be changed only once.
  const done = new Set<number>()
  const walk = async (at: string): Promise<void> => {
    const stat = await lstat(at)
    const [uid, gid] = [newUser.get(stat.uid) ?? stat.uid, newGroup.get(stat.gid) ?? stat.gid]
    if ((uid !== stat.uid || gid !== stat.gid) && !done.has(stat.ino)) {
      if (stat.nlink > 1 && !stat.isDirectory()) done.add(stat.ino)
      await lchown(at, uid, gid)
      // chown clears the setuid and setgid bits.
      if (!stat.isSymbolicLink() && (stat.mode & 0o7000) !== 0) await chmod(at, stat.mode & 0o7777)
    }
    if (!stat.isDirectory()) return
    // Through a handle: a path of more than 4,096 bytes can't be used as a whole.
    const held = await open(at, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
    try {
      for (const entry of await readdir(inside(held, '.'))) await walk(inside(held, entry))
    } finally {
      await held.close()
    }
  }
  await walk(path)
}
