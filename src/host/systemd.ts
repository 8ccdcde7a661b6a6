// systemd, as far as backups and restores need it.
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, rm, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { run } from './shell.ts'

/** Whether systemd runs this host: sd_booted(3). */
export function hasSystemd(): boolean {
  return existsSync('/run/systemd/system')
}

/** Whether systemd gave this process a file system view of its own: a unit's `ProtectSystem=` and the like. */
export async function isSandboxed(): Promise<boolean> {
  if (!hasSystemd()) return false
  const view = (pid: string) => readlink(`/proc/${pid}/ns/mnt`).catch(() => null)
  const [ours, hosts] = await Promise.all([view('self'), view('1')])
  return hosts !== null && ours !== hosts
}

/**
 * What to put before a command so that it runs in a unit of its own, with our streams and its exit code as ours. Told to end, it ends the unit;
 * killed outright it can't: `stopTransientUnit`.
 */
export function inTransientUnit(unit: Unit, env: Record<string, string>): string[] {
  const guard = `trap 'systemctl stop -- "$0"' TERM; "$@" & wait "$!"`
  const environment = Object.entries(env).map(([name, value]) => `--setenv=${name}=${value}`)
  const options = ['--quiet', '--wait', '--pipe', '--collect', '--expand-environment=no', '--property=TimeoutStopSec=8', `--unit=${unit}`]
  return ['bash', '-c', guard, unit, 'systemd-run', ...options, ...environment, '--']
}

/** Ends a unit of `inTransientUnit`, if there is one, with all its processes. */
export async function stopTransientUnit(unit: Unit): Promise<void> {
  if (hasSystemd()) await run(['systemctl', 'stop', '--', unit])
}

export interface UnitState {
  unit: Unit
  /** All of its names: an alias starts it as well. */
  names: Unit[]
  /** `not-found`: systemd doesn't know it, which is something else than "not running". */
  load: string
  active: string
  /** Of services: `simple`, `oneshot` … */
  type: string
  controlGroup: string
  execStart: string
  /** What would start it again, and what is stopped with it. */
  hanging: Unit[]
}

/** The state of units, in one call, in the order asked for. */
async function unitStates(units: Unit[]): Promise<UnitState[]> {
  if (units.length === 0) return []
  const { exit, stdout, stderr } = await run([
    'systemctl',
    'show',
    '--property=Id,Names,LoadState,ActiveState,Type,ControlGroup,ExecStart,TriggeredBy,RequiredBy,BoundBy,ConsistsOf',
    '--',
    ...units,
  ])
  if (exit !== 0) throw new Failure('systemd-failed', `systemctl show failed: ${stderr.trim()}`)
  return stdout
    .trim()
    .split('\n\n')
    .map((block, i) => {
      const of = properties(block)
      return {
        unit: units[i] ?? of.Id ?? '',
        names: of.Names?.split(' ').filter(Boolean) ?? [],
        load: of.LoadState ?? '',
        active: of.ActiveState ?? '',
        type: of.Type ?? '',
        controlGroup: of.ControlGroup ?? '',
        execStart: of.ExecStart ?? '',
        hanging: [of.TriggeredBy, of.RequiredBy, of.BoundBy, of.ConsistsOf].flatMap((names) => names?.split(' ').filter(Boolean) ?? []),
      }
    })
}

/** Those of some units that systemd doesn't know: all of them where it doesn't run. */
export async function unknownUnits(units: Unit[]): Promise<Unit[]> {
  return hasSystemd() ? (await unitStates(units)).filter(isUnknown).map(({ unit }) => unit) : units
}

/** How units that systemd knows stand: `active`, `inactive`, `failed` … ; none where it doesn't run. `rests`: done with its work, it isn't meant to run on. */
export async function activeStates(units: Unit[]): Promise<{ unit: Unit; state: string; rests: boolean }[]> {
  if (!hasSystemd()) return []
  const known = (await unitStates(units)).filter((state) => !isUnknown(state))
  return known.map(({ unit, active, type }) => ({ unit, state: active, rests: type === 'oneshot' && active === 'inactive' }))
}

function isUnknown({ load }: UnitState): boolean {
  return load === 'not-found' || load === 'bad-setting' || load === 'error'
}

/** @throws Failure `unknown-unit` */
function requireKnown(service: string, states: UnitState[]): void {
  const unknown = states.filter(isUnknown).map(({ unit }) => unit)
  if (unknown.length > 0)
    throw new Failure(
      'unknown-unit',
      `${service}: systemd doesn't know ${unknown.join(', ')}: name the units that use its data in "units" ([] if none does)`,
    )
}

/** What stands in the way of stopping units: they themselves, what would start them again (sockets, timers, paths) and what goes down with them. */
export interface UnitsAtWork {
  units: Unit[]
  /** Those of them, and of what hangs on them, that run now: to be started again. */
  running: Unit[]
}

/**
 * Looks at units that are to be stopped. Touches nothing.
 * @throws Failure `no-systemd`, `unknown-unit`, `masked-unit`, `stops-itself`
 */
export async function unitsAtWork(service: string, units: Unit[]): Promise<UnitsAtWork> {
  if (units.length === 0) return { units, running: [] }
  if (!hasSystemd())
    throw new Failure(
      'no-systemd',
      `${service}: ${units.join(', ')} can't be stopped, since systemd doesn't run here: set units = [] if nothing uses the data`,
    )
  const declared = await unitStates(units)
  requireKnown(service, declared)
  const all = new Map(declared.map((state) => [state.unit, state]))
  for (let wave = declared; wave.length > 0; ) {
    const next = [...new Set(wave.flatMap(({ hanging }) => hanging))].filter((unit) => !all.has(unit))
    // What doesn't run needs neither stopping nor starting, and nothing of it can be in the way.
    wave = (await unitStates(next)).filter((state) => state.load === 'loaded' && isActive(state))
    for (const state of wave) all.set(state.unit, state)
  }
  const involved = [...all.values()]
  const masked = involved.filter((state) => state.load === 'masked' && isActive(state)).map(({ unit }) => unit)
  if (masked.length > 0)
    throw new Failure(
      'masked-unit',
      `${service}: ${masked.join(', ')} runs although it is masked, and couldn't be started again: unmask it, or stop it, first`,
    )
  const own = await ownUnit()
  if (own !== null && all.has(own))
    throw new Failure(
      'stops-itself',
      `${service}: stopping ${units.join(', ')} would stop ${own}, in which this runs: order it with After= alone, without Requires=, BindsTo= or PartOf=`,
    )
  return { units: involved.map(({ unit }) => unit), running: involved.filter(isActive).map(({ unit }) => unit) }
}

function isActive({ active }: UnitState): boolean {
  return active !== 'inactive' && active !== 'failed'
}

/** How long units may take to stop: seconds, or until `signal` is aborted. */
export interface StopTimeout {
  seconds: number
  signal?: AbortSignal
}

/**
 * Stops units and confirms it: inactive, and no process left in their control groups. One whose own time limit is longer, or none, is given up;
 * it goes on stopping, for nobody can call that back: `startUnits` lets it start again then.
 * @throws Failure `stop-failed`, `interrupted`
 */
export async function stopUnits(service: string, units: Unit[], { seconds, signal }: StopTimeout): Promise<void> {
  if (units.length === 0) return
  const triggers = units.filter((unit) => /\.(socket|timer|path)$/.test(unit))
  const end = performance.now() + seconds * 1000
  // Its end is asked for in any case: systemd has the job by then.
  const stop = (names: Unit[]) =>
    run(['systemctl', 'stop', '--', ...names], { timeoutSeconds: Math.max(0.5, (end - performance.now()) / 1000), ...(signal && { signal }) })
  // First what would start the others again: a client that knocks in between would cancel their stop.
  if (triggers.length > 0) await stop(triggers)
  const { exit, stderr, interrupted, timedOut } = await stop(units)
  if (interrupted) throw new Failure('interrupted', `${service}: interrupted while ${units.join(', ')} stopped`)
  const states = await unitStates(units)
  const stopping = states.filter(({ active }) => active === 'deactivating').map(({ unit }) => unit)
  if (timedOut && stopping.length > 0)
    throw new Failure(
      'stop-failed',
      `${service}: ${stopping.join(', ')} didn't stop within ${seconds} s (stopTimeoutSec), and is still at it: it starts again as soon as it has stopped; look with: systemctl status ${stopping.join(' ')}`,
    )
  const still = states.filter((state) => isActive(state)).map(({ unit }) => unit)
  for (const state of states) if (!still.includes(state.unit) && (await hasProcesses(state.controlGroup))) still.push(state.unit)
  if (exit !== 0 || still.length > 0)
    throw new Failure(
      'stop-failed',
      `${service}: ${(still.length > 0 ? still : units).join(', ')} didn't stop${stderr.trim() ? `: ${stderr.trim()}` : ''}; look with: systemctl status ${units.join(' ')}`,
    )
}

/** Masks stand where systemd.unit(5) lets them win: what `mask --runtime` makes is nothing beside a unit file in /etc, where NixOS has them. */
const masks = '/run/systemd/system.control'

/** The names that `stopAndMask` is to mask: of what runs programs or starts what does, except those that somebody else has masked there. */
export async function maskableUnits(units: Unit[]): Promise<Unit[]> {
  const states = await unitStates(units)
  const names = states.flatMap(({ unit, names }) => [unit, ...names]).filter((unit) => /\.(service|socket|timer|path|automount)$/.test(unit))
  const free = await Promise.all([...new Set(names)].map(async (unit) => ((await isMasked(unit)) ? [] : [unit])))
  return free.flat()
}

/**
 * Stops units, confirms it, and masks `names` until `unmaskUnits` or a reboot: no client, timer, dependency or rebuild starts them meanwhile.
 * Not masked first: without its unit file a service would be stopped in another way than it says.
 * @throws Failure `stop-failed`, `interrupted`
 */
export async function stopAndMask(service: string, units: Unit[], names: Unit[], patience: StopTimeout): Promise<void> {
  for (let left = 3; ; left--) {
    await stopUnits(service, units, patience)
    await maskUnits(names)
    const awake = (await unitStates(units)).filter(isActive).map(({ unit }) => unit)
    if (awake.length === 0) return
    await unmaskUnits(names)
    if (left === 0) throw new Failure('stop-failed', `${service}: ${awake.join(', ')} was started again each time it had stopped`)
  }
}

/** Masks units as they are, running or not. */
export async function maskUnits(names: Unit[]): Promise<void> {
  if (names.length === 0) return
  await mkdir(masks, { recursive: true })
  for (const name of names) if (!(await isMasked(name))) await symlink('/dev/null', join(masks, name))
  await reload()
}

/** Takes masks of ours away. Returns those that were still there: none after a reboot. */
export async function unmaskUnits(names: Unit[]): Promise<Unit[]> {
  const there: Unit[] = []
  for (const name of names) if (await isMasked(name)) there.push(name)
  for (const name of there) await rm(join(masks, name))
  if (there.length > 0) await reload()
  return there
}

async function isMasked(name: Unit): Promise<boolean> {
  return (await readlink(join(masks, name)).catch(() => null)) === '/dev/null'
}

async function reload(): Promise<void> {
  const { exit, stderr } = await run(['systemctl', 'daemon-reload'])
  if (exit !== 0) throw new Failure('systemd-failed', `systemctl daemon-reload failed: ${stderr.trim()}`)
}

/**
 * `later`: once the boot has come so far. One that is being stopped still is waited for, `patience` seconds; after that it starts by itself, as
 * soon as it can, and so does what waits for it. @throws Failure `start-failed`; `stop-failed` for such a one, unless that is told already (`patience` 0)
 */
export async function startUnits(service: string, units: Unit[], { later = false, patience = 60 } = {}): Promise<void> {
  const stopping = later ? [] : await stillStopping(units, patience)
  const kindOf = (unit: Unit) => unit.slice(unit.lastIndexOf('.') + 1)
  const named = (isOne: (kind: string) => boolean) => units.filter((unit) => isOne(kindOf(unit)))
  const sockets = named((kind) => kind === 'socket')
  // A socket is refused whose service is there already: one that was closed before a stop that failed, or was cut short.
  if (stopping.length === 0 && !(await unitStates(sockets)).every(isActive)) await run(['systemctl', 'stop', '--', ...units])
  const waves = [
    { names: sockets, options: [] },
    { names: named((kind) => kind !== 'socket' && kind !== 'target'), options: [] },
    // Alone: a target would start all that it wants, also what somebody has stopped.
    { names: named((kind) => kind === 'target'), options: ['--job-mode=ignore-dependencies'] },
  ]
  let failed: Failure | null = null
  for (const { names, options } of waves.filter((wave) => wave.names.length > 0)) {
    const limit = stopping.length > 0 ? { timeoutSeconds: 5 } : {}
    const { exit, stderr, timedOut } = await run(['systemctl', 'start', ...(later ? ['--no-block'] : []), ...options, '--', ...names], limit)
    if (exit === 0 || timedOut) continue
    const look = `journalctl -u ${names.join(' -u ')} -n 50`
    failed ??= new Failure('start-failed', `${service}: ${names.join(', ')} didn't start: ${stderr.trim().split('\n')[0]}; look with: ${look}`)
  }
  if (failed) throw failed
  if (stopping.length > 0 && patience > 0)
    throw new Failure('stop-failed', `${service}: ${stopping.join(', ')} is being stopped still, and starts again as soon as it has`)
}

/** How to start what a run had stopped that ends with `failure`: what didn't stop in its time has been waited for already. */
export function afterStop(failure: Failure | null | undefined): { patience?: number } {
  return failure?.code === 'stop-failed' ? { patience: 0 } : {}
}

/** Those that are on their way down, after so many seconds at most. */
async function stillStopping(units: Unit[], seconds: number): Promise<Unit[]> {
  for (const end = performance.now() + seconds * 1000; ; await sleep(200)) {
    const stopping = (await unitStates(units)).filter(({ active }) => active === 'deactivating').map(({ unit }) => unit)
    if (stopping.length === 0 || performance.now() >= end) return stopping
  }
}

/** Of a unit or of those below it, which it may have made for its own children. */
async function hasProcesses(controlGroup: string): Promise<boolean> {
  if (!controlGroup) return false
  for (const root of ['/sys/fs/cgroup', '/sys/fs/cgroup/unified', '/sys/fs/cgroup/systemd']) {
    const below = await readdir(root + controlGroup, { recursive: true }).catch(() => [])
    for (const file of below.filter((name) => basename(name) === 'cgroup.procs'))
      if ((await readFile(`${root}${controlGroup}/${file}`, 'utf8').catch(() => '')).trim()) return true
  }
  return false
}

/** The service in which this process runs, or null: a person started it. */
async function ownUnit(): Promise<Unit | null> {
  return /\/([^/\n]+\.service)$/m.exec(await readFile('/proc/self/cgroup', 'utf8'))?.[1] ?? null
}

/** Starts a unit and waits for its end. Returns whether it succeeded. An aborted wait leaves the unit running. */
export async function startAndWait(unit: Unit, signal: AbortSignal): Promise<boolean> {
  const { exit } = await run(['systemctl', 'start', '--wait', '--', unit], { signal })
  return exit === 0
}

/** The command that a unit's ExecStart runs, as one line, or null where systemd or the unit is missing. */
export async function execStartOf(unit: Unit): Promise<string | null> {
  if (!hasSystemd()) return null
  const [state] = await unitStates([unit])
  return state?.load === 'loaded' ? (/argv\[\]=(.*?) ;/.exec(state.execStart)?.[1] ?? null) : null
}

/** What `systemctl show` says of one unit. Of a property with several lines the last. */
export function properties(block: string): Record<string, string> {
  return Object.fromEntries(block.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
}
