// `backup`: one service, several, or all, by their systemd units if these run this manifest, otherwise in this process.
import { setTimeout as sleep } from 'node:timers/promises'
import { runBackup } from '../backup/run.ts'
import { type Event, type Result, resultOf } from '../core.ts'
import { defaultManifest } from '../defaults.ts'
import { Failure } from '../errors.ts'
import { mapConcurrent } from '../execute.ts'
import { readIfThere } from '../host/files.ts'
import { execStartOf, startAndWait } from '../host/systemd.ts'
import { type Site, serviceOf } from '../site.ts'
import { statePath } from '../state/install.ts'
import { readRunning } from '../state/running.ts'
import { formatTime } from '../ui/format.ts'
import { chooseMany } from '../ui/prompt.ts'
import { type Watcher, withReport } from '../views/report.ts'
import { type Input, isSet, textFlag } from './command.ts'

export async function run(input: Input): Promise<number> {
  const jobs = jobsFlag(input)
  const site = await input.site()
  const names = await wanted(site, input)
  const byUnit = new Set<string>()
  await mapConcurrent(names, 8, async (name) => void ((await isRunByUnit(site, name)) && byUnit.add(name)))
  const hint =
    byUnit.size > 0
      ? 'Ctrl-C leaves them running; atelier-backup status shows them.'
      : 'Ctrl-C stops it; data that is saved already stays in the repository.'
  return withReport(names, { json: input.json, hint }, (watcher) =>
    mapConcurrent(names, jobs, async (name) => {
      const result = byUnit.has(name)
        ? await followUnit(site, name, watcher, input.signal)
        : await runBackup(site, name, { signal: input.signal, ...watcher })
      watcher.result(result)
      return result
    }),
  )
}

/** @throws Failure `usage` */
export function jobsFlag(input: Input): number {
  const text = textFlag(input, 'jobs') ?? '2'
  if (/^[1-9][0-9]?$/.test(text)) return Number(text)
  throw new Failure('usage', `--jobs takes a number from 1 to 99, not ${JSON.stringify(text)}`)
}

async function wanted(site: Site, input: Input): Promise<string[]> {
  const enabled = Object.keys(site.manifest.services).filter((name) => site.manifest.services[name]?.enable)
  const named = [...new Set(input.args)]
  for (const name of named) serviceOf(site, name)
  if (named.length > 0 && isSet(input, 'all')) throw new Failure('usage', "--all and names of services can't be used together")
  if (named.length > 0) return named
  if (enabled.length === 0) throw new Failure('usage', `no service is enabled in ${site.manifestFile}`)
  if (isSet(input, 'all')) return enabled
  const choices = enabled.map((name) => ({ name, value: name }))
  return chooseMany('Back up', choices, 'the names of services, or --all')
}

function unitOf(name: string): string {
  return `restic-backups-${name}.service`
}

/** Whether the service's unit would run `run` with this manifest. */
async function isRunByUnit(site: Site, name: string): Promise<boolean> {
  const command = await execStartOf(unitOf(name))
  if (command === null || !/ run /.test(command)) return false
  return (/--manifest[= ](\S+)/.exec(command)?.[1] ?? defaultManifest) === site.manifestFile
}

/** Starts the unit and follows its events. Ctrl-C stops following; the unit keeps running. */
async function followUnit(site: Site, name: string, watcher: Watcher, signal: AbortSignal): Promise<Result> {
  const file = `${statePath(site.state, 'running', name)}.ndjson`
  const running = await readRunning(site.state, name).catch(() => null)
  if (running)
    watcher.output(`${name}: a ${running.kind} has been running since ${formatTime(running.started, site.now())} (pid ${running.pid}): following it`)
  // The file holds the events of the previous run, unless that run is still active.
  const events = async () => (await readIfThere(file).catch(() => null)) ?? ''
  const before = running ? '' : await events()
  const unit = unitOf(name)
  const begun = performance.now()
  let ended = false
  const ending = startAndWait(unit, signal)
    .catch(() => false)
    .finally(() => {
      ended = true
    })
  let seen = 0
  let result: Result | null = null
  const read = async () => {
    const text = await events()
    if (text === before && seen === 0) return
    const lines = text.split('\n').slice(0, -1)
    for (const line of lines.slice(seen)) {
      const event = eventOf(line)
      if (event === null) continue
      if (event.type === 'report') result = event.services[0] ?? null
      else watcher.emit(event)
    }
    seen = lines.length
  }
  while (!ended) {
    await read()
    await Promise.race([sleep(200), ending])
  }
  const good = await ending
  await read()
  if (result !== null) return result
  const seconds = (performance.now() - begun) / 1000
  if (signal.aborted) {
    const message = `${name}: ${unit} keeps running; see: atelier-backup status ${name}`
    return resultOf(name, new Failure('interrupted', message), { seconds })
  }
  return resultOf(name, good ? null : new Failure('unit-failed', `${name}: ${unit} failed; see: journalctl -u ${unit} -n 50`), { seconds })
}

/** Null: not an event. After a power cut a line may be incomplete. */
function eventOf(line: string): Event | null {
  try {
    return JSON.parse(line) as Event
  } catch {
    return null
  }
}
