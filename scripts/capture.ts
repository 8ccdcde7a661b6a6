// Runs commands on the demo's services at a real terminal of 80 columns, and writes what it showed into README.md.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { plainEnvironment, run } from '../src/host/shell.ts'
import { keys, terminal } from '../test/lib/terminal.ts'
import { change, makeData, makeHome, startWriter } from './services.ts'

/** By the name in the marker. `until`: what a screen shows that waits for an answer; before it, keys for each screen that asks. */
const captures: Record<string, { args: string[]; walk?: [screen: string, typed: string][]; until?: string | RegExp }> = {
  // First: the others show what it saved.
  backup: { args: ['backup', '--all'] },
  status: { args: ['status'] },
  list: { args: ['list', 'notes'], until: 'Leave' },
  walk: {
    args: ['list', 'photos'],
    walk: [
      ['? Snapshots of photos', keys.enter],
      ['❯ Walk its files', keys.enter],
      ['Restore this folder', keys.enter],
      ['IMG', `${keys.space}${keys.down}${keys.down}${keys.space}`],
    ],
    until: /◉[^❯]*❯◉/,
  },
  restore: { args: ['restore', 'photos', '--snapshot', 'latest', '--in-place', '--dry-run'] },
}

const home = makeHome('/srv', '.cache/tools/restic-trixie/restic')
await makeData(home)
const writer = await startWriter(home.database)
await backup()
await change(home)
const texts = new Map<string, string>()
for (const name of Object.keys(captures)) texts.set(name, await capture(name))
await writer.stop()

if (existsSync('README.md'))
  writeFileSync('README.md', readFileSync('README.md', 'utf8').replace(/(<!-- capture:(.*?) -->\n).*?(<!-- \/capture -->)/gs, fill))
for (const [name, text] of texts) process.stdout.write(`${name}:\n${text}\n`)

function fill(whole: string, begin: string, name: string, end: string): string {
  const text = texts.get(name)
  if (text === undefined) process.stderr.write(`README.md: no capture "${name}"; there are ${[...texts.keys()].join(', ')}\n`)
  return text === undefined ? whole : `${begin}\`\`\`console\n${text}\n\`\`\`\n${end}`
}

async function capture(name: string): Promise<string> {
  const { args, walk = [], until } = captures[name] ?? { args: [] }
  const shown = terminal([home.cli, ...args], { rows: 18 })
  for (const [screen, typed] of walk) {
    await shown.waitFor(screen)
    shown.type(typed)
  }
  if (until !== undefined) {
    await shown.waitFor(until)
    shown.type(keys.ctrlC)
  }
  const text = until === undefined ? null : shown.screen()
  await shown.exit
  return [`$ atelier-backup ${args.join(' ')}`, text ?? shown.all()].join('\n')
}

async function backup(): Promise<void> {
  const { exit, stderr } = await run([home.cli, 'backup', '--all'], { env: plainEnvironment() })
  if (exit !== 0) throw new Error(`the backup failed: ${stderr}`)
}
