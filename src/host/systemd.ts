// systemd: states of units; stops, starts and masks them.
import { existsSync } from 'node:fs'
import { uptime } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Iso, Path, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { mkdir, readdir, readFile, readlink, rm, symlink } from '../fs.ts'
import { isWithin } from './files.ts'
import { plainEnvironment, run } from './shell.ts'

/** Whether systemd is the init system: sd_booted(3). */
export function hasSystemd(): boolean {
  return existsSync('/run/systemd/system')
}

/** Whether this process runs in a mount namespace of its own, as a unit with `ProtectSystem=` and the like does. */
export async function isSandboxed(): Promise<boolean> {
  if (!hasSystemd()) return false
  const view = (pid: string) => readlink(`/proc/${pid}/ns/mnt`).catch(() => null)
  const [ours, hosts] = await Promise.all([view('self'), view('1')])
  return hosts !== null && ours !== hosts
}

/**
 * Command prefix: the command runs as a transient unit, with our streams; its exit code is passed on. SIGTERM stops the unit, SIGKILL doesn't:
 * then `stopTransientUnit` must.
 */
export function inTransientUnit(unit: Unit, env: Record<string, string>): string[] {
  const guard = `trap 'systemctl stop -- "$0"' TERM; "$@" & wait "$!"`
  const environment = Object.entries(env).map(([name, value]) => `--setenv=${name}=${value}`)
  const options = ['--quiet', '--wait', '--pipe', '--collect', '--expand-environment=no', '--property=TimeoutStopSec=8', `--unit=${unit}`]
  return ['bash', '-c', guard, unit, 'systemd-run', ...options, ...environment, '--']
}

/** Stops a unit of `inTransientUnit` and all its processes, if it exists. */
export async function stopTransientUnit(unit: Unit): Promise<void> {
  if (hasSystemd()) await run(['systemctl', 'stop', '--', unit])
}

export interface UnitState {
  unit: Unit
  /** All its names: it can be started by an alias too. */
  names: Unit[]
  /** systemd's LoadState; `not-found`: systemd doesn't know the unit. */
  load: string
  active: string
  /** Of services: `simple`, `oneshot` … */
  type: string
  controlGroup: string
  execStart: string
  /** systemd's Result of its last run: `success`, `exit-code`, `start-limit-hit` …; empty where there is none. */
  result: string
  /** Its conditions weren't met when it was last started. systemd forgets that, and all times, of a unit that is inactive and needed by none. */
  conditionsUnmet: boolean
  refusesStart: boolean
  refusesStop: boolean
  /** When it last became active, in ms since boot; 0: not known. */
  activeSince: number
  /** Units whose `Upholds=` starts it as soon as it has stopped. */
  upholders: Unit[]
  /** Sockets, timers and paths that start it. */
  triggers: Unit[]
  /** Units whose start starts it. */
  starters: Unit[]
  /** Units that would start it again, and units that are stopped with it. */
  hanging: Unit[]
}

/** The states of units, by one call of systemctl, in the order of `units`. */
async function unitStates(units: Unit[]): Promise<UnitState[]> {
  if (units.length === 0) return []
  const { exit, stdout, stderr } = await run([
    'systemctl',
    'show',
    '--property=Id,Names,LoadState,ActiveState,Type,ControlGroup,ExecStart,Result,ConditionResult,ConditionTimestampMonotonic',
    '--property=ActiveEnterTimestampMonotonic,RefuseManualStart,RefuseManualStop,TriggeredBy,UpheldBy,WantedBy,RequiredBy,RequisiteOf,BoundBy,ConsistsOf,PropagatesStopTo',
    '--',
    ...units,
  ])
  if (exit !== 0) throw new Failure('systemd-failed', `systemctl show failed: ${stderr.trim()}`)
  return stdout
    .trim()
    .split('\n\n')
    .map((block, i) => {
      const of = properties(block)
      const listOf = (names: string | undefined) => names?.split(' ').filter(Boolean) ?? []
      return {
        unit: units[i] ?? of.Id ?? '',
        names: listOf(of.Names),
        load: of.LoadState ?? '',
        active: of.ActiveState ?? '',
        type: of.Type ?? '',
        controlGroup: of.ControlGroup ?? '',
        execStart: of.ExecStart ?? '',
        result: of.Result ?? '',
        conditionsUnmet: of.ConditionResult === 'no' && Number(of.ConditionTimestampMonotonic) > 0,
        refusesStart: of.RefuseManualStart === 'yes',
        refusesStop: of.RefuseManualStop === 'yes',
        activeSince: Number(of.ActiveEnterTimestampMonotonic ?? 0) / 1000,
        upholders: listOf(of.UpheldBy),
        triggers: listOf(of.TriggeredBy),
        starters: [of.WantedBy, of.RequiredBy, of.BoundBy, of.UpheldBy].flatMap(listOf),
        hanging: [of.TriggeredBy, of.UpheldBy, of.RequiredBy, of.RequisiteOf, of.BoundBy, of.ConsistsOf, of.PropagatesStopTo].flatMap(listOf),
      }
    })
}

/** Those of `units` that systemd doesn't know: all of them without systemd. */
export async function unknownUnits(units: Unit[]): Promise<Unit[]> {
  return hasSystemd() ? (await unitStates(units)).filter(isUnknown).map(({ unit }) => unit) : units
}

/** ActiveState (`active`, `failed` …) of those units that systemd knows; none without systemd. `rests`: a oneshot service that has finished. */
export async function activeStates(units: Unit[]): Promise<{ unit: Unit; state: string; rests: boolean }[]> {
  if (!hasSystemd()) return []
  const known = (await unitStates(units)).filter((state) => !isUnknown(state))
  return known.map(({ unit, active, type }) => ({ unit, state: active, rests: type === 'oneshot' && active === 'inactive' }))
}

/**
 * Those of `units` that the boot starts: its target wants or requires them, be it through others. Not those that can't start (masked), nor those that
 * the boot has passed over because of their conditions.
 */
export async function enabledUnits(units: Unit[]): Promise<Unit[]> {
  if (units.length === 0 || !hasSystemd()) return []
  const all = new Map<Unit, UnitState>()
  for (let wave = ['default.target', ...units]; wave.length > 0; ) {
    for (const state of await unitStates(wave)) all.set(state.unit, state)
    wave = [...new Set([...all.values()].flatMap(({ starters }) => starters))].filter((unit) => !all.has(unit))
  }
  const target = all.get('default.target')?.names ?? []
  const isReached = (unit: Unit, seen: Set<Unit>): boolean => {
    if (target.includes(unit)) return true
    if (seen.has(unit)) return false
    seen.add(unit)
    return all.get(unit)?.starters.some((starter) => isReached(starter, seen)) ?? false
  }
  return units.filter((unit) => {
    const state = all.get(unit)
    return state?.load === 'loaded' && !state.conditionsUnmet && isReached(unit, new Set())
  })
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

/** All units that must stop: the declared ones, those that would start them again (sockets, timers, paths) and those that stop with them. */
export interface UnitsAtWork {
  units: Unit[]
  /** Those of them that run now and must be started again. */
  running: Unit[]
}

/**
 * Finds the units that must stop with `units`. Changes nothing. `replaced`: paths that are others when the units start again.
 * @throws Failure `no-systemd`, `unknown-unit`, `masked-unit`, `refuses-manual`, `conditions-unmet`, `stops-itself`
 */
export async function unitsAtWork(service: string, units: Unit[], replaced: Path[] = []): Promise<UnitsAtWork> {
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
    // A unit that doesn't run needs neither a stop nor a start.
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
  const refusing = involved.find((state) => isActive(state) && (state.refusesStart || state.refusesStop))
  if (refusing) {
    const { unit, refusesStop } = refusing
    const setting = refusesStop ? 'RefuseManualStop=yes' : 'RefuseManualStart=yes'
    throw new Failure(
      'refuses-manual',
      `${service}: ${unit} runs, and can't be ${refusesStop ? 'stopped' : 'started again'} by anybody (${setting}): nothing was stopped. Remove that setting from the unit, or name other units in "units"`,
    )
  }
  const own = await ownUnit()
  if (own !== null && all.has(own))
    throw new Failure(
      'stops-itself',
      `${service}: stopping ${units.join(', ')} would stop ${own}, in which this runs: order it with After= alone, without Requires=, BindsTo= or PartOf=`,
    )
  const running = involved.filter(isActive).map(({ unit }) => unit)
  const [unmet] = (await unmetConditions(service, running)).filter(({ path }) => !replaced.some((data) => isWithin(path, data)))
  if (unmet)
    throw new Failure(
      'conditions-unmet',
      `${service}: ${unmet.unit} runs, and could not be started again: its ${unmet.condition} isn't met now; nothing was stopped. See to it, remove it from the unit, or name other units in "units"`,
    )
  return { units: involved.map(({ unit }) => unit), running }
}

/**
 * Conditions and assertions of these units that aren't met now. Without negated ones (`!`): what a unit makes while it runs, such as a pid file, goes
 * when it stops. What this can't tell is noticed after the start. ConditionResult of `systemctl show` is that of the last start.
 */
async function unmetConditions(service: string, units: Unit[]): Promise<{ unit: Unit; condition: string; path: Path }[]> {
  if (units.length === 0) return []
  // In our sandbox paths may be missing or read-only.
  const prefix = (await isSandboxed()) ? inTransientUnit(`atelier-backup-conditions-${service}.service`, plainEnvironment()) : []
  // It says of each condition whether it is met, up to the first that isn't; of those with `|` one will do. A unit that could start is left out.
  const each = 'for unit; do said=$(systemd-analyze condition --unit="$unit" 2>&1) || printf "%s\\n" "$said"; done'
  const { stdout } = await run([...prefix, 'bash', '-c', each, 'bash', ...units], { timeoutSeconds: 60 })
  const failed = [...stdout.matchAll(/^(\S+): ((?:Condition|Assert)\w+=([^!|].*)) failed\.$/gm)]
  return failed.map(([, unit = '', condition = '', path = '']) => ({ unit, condition, path }))
}

function isActive({ active }: UnitState): boolean {
  return active !== 'inactive' && active !== 'failed'
}

/** Units may take this long to stop: `seconds`, or until `signal` is aborted. */
export interface StopTimeout {
  seconds: number
  signal?: AbortSignal
}

/**
 * Stops units and verifies it: inactive, and no process left in their control groups. A unit that takes longer than `seconds` is an error; its
 * stop job goes on, since it can't be cancelled, and `startUnits` queues its start behind it.
 * @throws Failure `stop-failed`, `interrupted`
 */
export async function stopUnits(service: string, units: Unit[], { seconds, signal }: StopTimeout): Promise<void> {
  if (units.length === 0) return
  const upholders = (await unitStates(units)).flatMap((state) => state.upholders)
  const starters = units.filter((unit) => /\.(socket|timer|path)$/.test(unit) || upholders.includes(unit))
  const end = performance.now() + seconds * 1000
  // At least half a second, also after the deadline: systemd must have received the job.
  const stop = (names: Unit[]) =>
    run(['systemctl', 'stop', '--', ...names], { timeoutSeconds: Math.max(0.5, (end - performance.now()) / 1000), ...(signal && { signal }) })
  // Who starts others first: otherwise a client that connects meanwhile would cancel the stop of the service.
  if (starters.length > 0) await stop(starters)
  const { exit, stderr, interrupted, timedOut } = await stop(units)
  if (interrupted) throw new Failure('interrupted', `${service}: interrupted while ${units.join(', ')} stopped`)
  const states = await unitStates(units)
  const stopping = states.filter(({ active }) => active === 'deactivating').map(({ unit }) => unit)
  if (timedOut && stopping.length > 0)
    throw new Failure(
      'stop-failed',
      `${service}: ${stopping.join(', ')} didn't stop within ${seconds} s (stopTimeoutSec) and is still stopping: it starts again as soon as it has stopped; look with: systemctl status ${stopping.join(' ')}`,
    )
  const still = states.filter((state) => isActive(state)).map(({ unit }) => unit)
  for (const state of states) if (!still.includes(state.unit) && (await hasProcesses(state.controlGroup))) still.push(state.unit)
  if (exit !== 0 || still.length > 0)
    throw new Failure(
      'stop-failed',
      `${service}: ${(still.length > 0 ? still : units).join(', ')} didn't stop${stderr.trim() ? `: ${stderr.trim()}` : ''}; look with: systemctl status ${units.join(' ')}`,
    )
}

/** Masks here win over unit files in /etc, where NixOS has them; those of `mask --runtime` don't. Source: systemd.unit(5). */
const masks = '/run/systemd/system.control'

/** The names that `stopAndMask` must mask: of units that run programs or start such units, except those that are masked already. */
export async function maskableUnits(units: Unit[]): Promise<Unit[]> {
  const states = await unitStates(units)
  const names = states.flatMap(({ unit, names }) => [unit, ...names]).filter((unit) => /\.(service|socket|timer|path|automount)$/.test(unit))
  const free = await Promise.all([...new Set(names)].map(async (unit) => ((await isMasked(unit)) ? [] : [unit])))
  return free.flat()
}

/**
 * Stops units, verifies it, and masks `names` until `unmaskUnits` or a reboot: no client, timer, dependency or rebuild starts them meanwhile.
 * It masks after the stop: a masked service has no unit file, so its ExecStop= and KillMode= would be ignored.
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

/** Masks units, running or not. */
export async function maskUnits(names: Unit[]): Promise<void> {
  if (names.length === 0) return
  await mkdir(masks, { recursive: true })
  for (const name of names) if (!(await isMasked(name))) await symlink('/dev/null', join(masks, name))
  await reload()
}

/** Removes our masks. Returns those that still existed: none after a reboot. */
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

/** A unit that a run stopped, and was to start again. `since`: when that run began. `down`: it didn't run at that run's end. */
export interface StoppedUnit {
  unit: Unit
  since: Iso
  down: boolean
}

/**
 * Those of these units that don't run though they should, each with the reason: those that have failed, and those that were `down` and haven't been
 * started since. One that ran again and is inactive now was stopped by somebody. A oneshot service that has succeeded isn't down, nor one that waits
 * for its socket, timer or path, nor, after a reboot, one that didn't start by itself.
 */
export async function downUnits<U extends StoppedUnit>(units: U[]): Promise<(U & { why: string })[]> {
  if (units.length === 0 || !hasSystemd()) return []
  const states = await unitStates(units.map(({ unit }) => unit))
  const running = new Set(states.filter(isActive).map(({ unit }) => unit))
  // CLOCK_MONOTONIC, as systemd's: it doesn't count the time that the host was suspended.
  const zero = Date.now() - Number(process.hrtime.bigint() / 1_000_000n)
  return units.flatMap((stopped, i) => {
    const state = states[i] as UnitState
    const { load, active, type, result, conditionsUnmet, triggers, activeSince } = state
    if (isActive(state) || load !== 'loaded') return []
    if (active === 'failed') return [{ ...stopped, why: `it failed: ${result}` }]
    if (!stopped.down || (!conditionsUnmet && (type === 'oneshot' || triggers.some((trigger) => running.has(trigger))))) return []
    const since = Date.parse(stopped.since)
    if (zero + activeSince > since || since < Date.now() - uptime() * 1000) return []
    return [{ ...stopped, why: conditionsUnmet ? "its conditions aren't met" : "it has ended, or its conditions aren't met" }]
  })
}

/** What is remembered of units that the run begun at `since` has stopped, at its end. */
export async function stoppedUnits(units: Unit[], since: Iso): Promise<StoppedUnit[]> {
  const down = await downUnits(units.map((unit) => ({ unit, since: new Date().toISOString(), down: true }))).catch(() => [])
  const isDown = (unit: Unit) => down.some((one) => one.unit === unit)
  return units.map((unit) => ({ unit, since, down: isDown(unit) }))
}

/**
 * Starts units. `later`: only queues the start jobs, so that systemd runs them in boot order. Waits up to `patience` seconds for units that are
 * still stopping; after that their start jobs stay queued. @throws Failure `start-failed`; `stop-failed` if one is still stopping, unless
 * `patience` is 0: the caller has reported it already
 */
export async function startUnits(service: string, units: Unit[], { later = false, patience = 60 } = {}): Promise<void> {
  const stopping = later ? [] : await stillStopping(units, patience)
  // systemd counts our starts like those after a crash: without this, a backup a day uses up a StartLimitBurst= of several.
  if (units.length > 0) await run(['systemctl', 'reset-failed', '--', ...units])
  const kindOf = (unit: Unit) => unit.slice(unit.lastIndexOf('.') + 1)
  const named = (isOne: (kind: string) => boolean) => units.filter((unit) => isOne(kindOf(unit)))
  const sockets = named((kind) => kind === 'socket')
  // systemd refuses to start a socket whose service runs: that is so if the socket was stopped, but the stop of its service failed.
  if (stopping.length === 0 && !(await unitStates(sockets)).every(isActive)) await run(['systemctl', 'stop', '--', ...units])
  const waves = [
    { names: sockets, options: [] },
    { names: named((kind) => kind !== 'socket' && kind !== 'target'), options: [] },
    // Without its dependencies: a target would start everything that it wants, also what an administrator has stopped.
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
  // systemctl says nothing of conditions that aren't met.
  if (!later && stopping.length === 0) await requireRunning(service, units)
  if (stopping.length > 0 && patience > 0)
    throw new Failure('stop-failed', `${service}: ${stopping.join(', ')} is still stopping, and starts again as soon as it has stopped`)
}

/** For one that was stopped by an earlier run. */
export function downMessage({ unit, since, why }: StoppedUnit & { why?: string }): string {
  return `${unit}, which was stopped at ${since} and ran before, doesn't run${why ? ` (${why})` : ''}: systemctl start ${unit}`
}

/** `isNew`: they were started a moment ago; otherwise somebody may have stopped one meanwhile. @throws Failure `start-failed` */
export async function requireRunning(service: string, units: Unit[], isNew = true): Promise<void> {
  const down = await downUnits(units.map((unit) => ({ unit, since: new Date().toISOString(), down: isNew })))
  if (down.length === 0) return
  const words = down.map(({ unit, why }) => `${unit} was started and doesn't run (${why})`)
  throw new Failure('start-failed', `${service}: ${words.join(', ')}; look with: systemctl status ${down.map(({ unit }) => unit).join(' ')}`)
}

/** Options for `startUnits` after a run that failed: if a unit didn't stop in time, the run has waited for it already. */
export function afterStop(failure: Failure | null | undefined): { patience?: number } {
  return failure?.code === 'stop-failed' ? { patience: 0 } : {}
}

/** The units that are still stopping when all have stopped or `seconds` have passed. */
async function stillStopping(units: Unit[], seconds: number): Promise<Unit[]> {
  for (const end = performance.now() + seconds * 1000; ; await sleep(200)) {
    const stopping = (await unitStates(units)).filter(({ active }) => active === 'deactivating').map(({ unit }) => unit)
    if (stopping.length === 0 || performance.now() >= end) return stopping
  }
}

/** Whether a unit's control group, or one below it, contains a process. */
async function hasProcesses(controlGroup: string): Promise<boolean> {
  if (!controlGroup) return false
  for (const root of ['/sys/fs/cgroup', '/sys/fs/cgroup/unified', '/sys/fs/cgroup/systemd']) {
    const below = await readdir(root + controlGroup, { recursive: true }).catch(() => [])
    for (const file of below.filter((name) => basename(name) === 'cgroup.procs'))
      if ((await readFile(`${root}${controlGroup}/${file}`, 'utf8').catch(() => '')).trim()) return true
  }
  return false
}

/** The service that this process belongs to, or null if a person started it. */
async function ownUnit(): Promise<Unit | null> {
  return /\/([^/\n]+\.service)$/m.exec(await readFile('/proc/self/cgroup', 'utf8'))?.[1] ?? null
}

/** Starts a unit and waits until it has ended. Returns whether it succeeded. If the wait is aborted, the unit keeps running. */
export async function startAndWait(unit: Unit, signal: AbortSignal): Promise<boolean> {
  const { exit } = await run(['systemctl', 'start', '--wait', '--', unit], { signal })
  return exit === 0
}

/** The command of a unit's ExecStart as one line, or null without systemd or the unit. */
export async function execStartOf(unit: Unit): Promise<string | null> {
  if (!hasSystemd()) return null
  const [state] = await unitStates([unit])
  return state?.load === 'loaded' ? (/argv\[\]=(.*?) ;/.exec(state.execStart)?.[1] ?? null) : null
}

/** The properties in one block of `systemctl show`. If a property has several lines, the last one. */
export function properties(block: string): Record<string, string> {
  return Object.fromEntries(block.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
}
