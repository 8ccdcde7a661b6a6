// Folders of awkward shapes through what a user does with them: a backup, a look, a restore in place, its rollback.
import { existsSync, mkdirSync } from 'node:fs'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { output } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { attributes, fingerprint } from '../lib/tree.ts'
import { world } from '../lib/world.ts'
import { type FileShape, files } from './files.ts'
import { groups, timeout, unlike } from './sample.ts'

vi.setConfig({ testTimeout: timeout })

describe.skipIf(!isRoot || !has('setfattr'))('folders', () => {
  test.each(groups(files, 8))('[restore.1] [inspect.1] come back as they were, in place and for a look, and back again: %s', async (_, shapes) => {
    const w = await world()
    onTestFinished(() => w.cleanup())
    const made = shapes.map((shape, i) => ({ shape, room: w.path('srv', String(i)), paths: (shape.paths ?? ['data']).map((path) => `${i}/${path}`) }))
    onTestFinished(() => void output(['bash', '-c', `cd ${w.root}; chattr -R -ia srv; for i in srv/*; do umount $i; done; rm -rf srv look`, 'bash']))
    for (const { shape, room } of made) {
      mkdirSync(room, { recursive: true })
      if (shape.disk) output(['mount', '-t', 'tmpfs', '-o', `size=${shape.disk},mode=755`, 'none', room])
      output(['bash', '-euc', `mkdir ${room}/data; cd ${room}/data\n${acl}\n${shape.make}`])
    }
    const declared = made.flatMap(({ paths }) => paths.map((path) => w.path('srv', path)))
    w.manifest({ services: { s: { paths: declared, shrinkThreshold: null } } })
    const look = (root = '') => lookAt(root + w.path('srv'), made)
    const ways = shapes.some(({ privileged }) => privileged) ? ['--allow-privileged'] : []
    const told = shapes.flatMap(({ told }) => told ?? [])

    const saved = look()
    const run = await w.cli(['run', 's'])
    expect.soft([run.exit, unlike(run.stderr, told)]).toEqual([shapes.some(({ partial }) => partial) ? 3 : 0, []])
    expect.soft(changes(look(), saved)).toEqual([])
    const kept = saved.filter(({ lost }) => !lost)
    const came = (entries: Looked[]) =>
      changes(
        entries.filter(({ lost }) => !lost),
        kept,
      )

    const target = w.path('look')
    const looked = await w.cli(['restore', 's', '--target', target])
    expect.soft([looked.exit, looked.stderr, came(look(target))]).toEqual([0, '', []])

    for (const path of declared) output(['bash', '-c', wreck, 'bash', path])
    const wrecked = look()
    expect.soft(changes(wrecked, saved)).not.toEqual([])
    const restored = await w.cli(['restore', 's', '--in-place', '--yes', ...ways])
    expect
      .soft([
        restored.exit,
        unlike(
          restored.stderr,
          ways.map(() => /restores privileged files, as allowed/),
        ),
      ])
      .toEqual([0, []])
    expect.soft(came(look())).toEqual([])
    expect.soft(await w.cli(['restore', 's', '--rollback', '--yes'])).toMatchObject({ exit: 0 })
    expect.soft(changes(look(), wrecked)).toEqual([])
    expect.soft(existsSync(w.path('state/journals/s.json'))).toBe(false)
  })
})

interface Looked {
  /** All that must be the same. */
  text: string
  lost: boolean
  /** KiB on disk; null: not looked at. */
  allocated: number | null
}

/** What is declared of the shapes: entries, attributes, and what each path takes on disk. */
function lookAt(folder: string, made: { shape: FileShape; paths: string[] }[]): Looked[] {
  const shapeOf = (path: string) => made.find(({ paths }) => paths.some((one) => path === one || path.startsWith(`${one}/`)))?.shape
  const looked = (path: string, what: string, allocated: number | null = null): Looked[] => {
    const shape = shapeOf(path)
    return shape ? [{ text: `${shape.title}: ${path} ${what}`, lost: shape.lost?.test(path.replace(/^\d+\//, '')) ?? false, allocated }] : []
  }
  const entries = fingerprint(folder, { ours: false }).map(({ path, ...entry }) => ({ path: path.slice(2), what: Object.values(entry).join(' ') }))
  const there = made.flatMap(({ paths }) => paths).filter((path) => entries.some((entry) => entry.path === path))
  const sizes = output(['bash', '-c', 'cd "$0" && du -sk -- "$@" | cut -f1', folder, ...there]).split('\n')
  return [
    ...entries.flatMap(({ path, what }) => looked(path, what)),
    ...attributes(folder, there).flatMap((text) => looked(text.replace(/^# file: /, '').split('\n')[0] ?? '', text)),
    ...there.flatMap((path, i) => looked(path, 'on disk', Number(sizes[i]))),
  ]
}

/** What is gone and what has come. restic fills holes that are smaller than a chunk of its own: up to 16 MiB more on disk are none. */
function changes(now: Looked[], before: Looked[]): string[] {
  const byText = (looked: Looked[]) => new Map(looked.map((one) => [one.text, one.allocated]))
  const [is, was] = [byText(now), byText(before)]
  const gone = [...was.keys()].filter((text) => !is.has(text)).map((text) => `- ${text}`)
  const come = [...is].flatMap(([text, allocated]) => {
    const then = was.get(text)
    return then === undefined || (allocated ?? 0) > (then ?? 0) + 16_384 ? [`+ ${text} ${allocated ?? ''} ${then ?? ''}`] : []
  })
  return [...gone, ...come]
}

/** As user.acl writes it: acl KIND FILE TAG:PERMISSIONS[:ID]…, TAG u, U (a user), g, G (a group), m, o. Source: linux/posix_acl_xattr.h. */
const acl = `acl() {
  local kind=$1 file=$2 value=0x02000000 entry tag mode id; shift 2
  declare -A tags=([u]=01 [U]=02 [g]=04 [G]=08 [m]=10 [o]=20)
  for entry; do
    IFS=: read -r tag mode id <<<"$entry"
    id=$(printf %08x "\${id:-4294967295}")
    value+=\${tags[$tag]}000\${mode}00\${id:6:2}\${id:4:2}\${id:2:2}\${id:0:2}
  done
  setfattr -n "system.posix_acl_$kind" -v "$value" "$file"
}`

/** Of what a folder holds some is gone, some renamed, some replaced, some another user's; and something is new. */
const wreck = `
if [[ ! -d $1 ]]; then rm -f -- "$1"; echo since >"$1"; exit; fi
cd -- "$1"; n=0
while IFS= read -rd '' file; do
  case $((n++ % 4)) in
    0) rm -rf -- "$file" ;;
    1) mv -- "$file" "since $n" ;;
    2) rm -rf -- "$file"; mkdir -- "$file" && echo since >"$file/since" ;;
    3) chown -h 7:7 -- "$file"; chmod 0750 -- "$file" ;;
  esac
done < <(find . -mindepth 1 -maxdepth 1 -print0 | sort -z)
echo since >since; chown 1:1 .; chmod 0700 .`
