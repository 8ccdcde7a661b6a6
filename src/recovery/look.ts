// What a disaster recovery may know before it begins: a snapshot for each service, its plan, the room for all of them. Nothing is touched.
import { readdir } from 'node:fs/promises'
import type { Iso, Path } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import { mapConcurrent } from '../execute.ts'
import { lstatIfThere } from '../host/files.ts'
import { holdTables } from '../host/postgres-load.ts'
import { unknownUnits } from '../host/systemd.ts'
import { holdsPassword } from '../manifest/location.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { uninterruptible } from '../restore/databases.ts'
import { emptiedBy, type PlannedRestore, planInPlace, requireEmptyable } from '../restore/inplace.ts'
import { mountNotes, neededRoom, passedNotes, spareBytes } from '../restore/plan.ts'
import type { Site } from '../site.ts'
import { requireHost } from '../snapshots/hosts.ts'
import {
  eligible,
  elsewhereWords,
  hasShrunk,
  hostsElsewhere,
  isComplete,
  newestFirst,
  passedOver,
  type Size,
  snapshotsOf,
} from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { readJournal } from '../state/journal.ts'
import { pinnedRepository, readRecord } from '../state/records.ts'
import { shellWord } from '../text.ts'
import { type PreflightCheck, preflight } from './preflight.ts'
import { withKnownTrees } from './trees.ts'

/** `at`: the newest not later than that. `partial`: partial snapshots count where there is no complete one. `withoutUnits`: units that systemd doesn't know are passed over. `emptyMounts`: what is mounted where a snapshot knows of nothing is emptied. */
export interface RecoveryWish {
  host: string
  at: Iso | null
  only: string[]
  except: string[]
  overwrite: boolean
  partial: boolean
  withoutUnits: boolean
  emptyMounts: boolean
}

/** What will happen to one service. `skip` says why it is left alone; `of` whose fault that is; `next` what brings it back, or `host` which other one has it. */
export interface Choice {
  name: string
  snapshot: Snapshot | null
  skip: { code: Code; message: string; of: 'repository' | 'service'; next?: string; host?: string } | null
  /** Services of this recovery that come first. */
  after: string[]
  notes: string[]
  /** What happens to mounts otherwise than by an exchange; missing before it is planned. */
  mounts?: string[]
  /** It holds so much less than the complete one before it that somebody should look. */
  shrunk?: Size & { before: Size & { id: string } }
  /** That newer snapshots don't count; missing where none is chosen. */
  passed?: string[]
}

export interface RecoveryFacts {
  choices: Choice[]
  checks: PreflightCheck[]
  /** What lands on each filesystem beside what is there, and what is free. Bytes. */
  room: { mount: Path; needed: number; free: number }[]
  /** Between the oldest and the newest of the snapshots chosen (of services that aren't disabled); null: none is. */
  spread: { oldest: Iso; newest: Iso; farApart: boolean } | null
  /** By name, for what is restored. */
  planned: Map<string, PlannedRestore>
}

export interface Before {
  chosen: Choice[]
  done: string[]
}

/** Services that are saved each night are at most so far apart. */
const farApartMs = 36 * 3_600_000

/**
 * Chooses a snapshot for each service: the newest complete one (not later than `at`), a partial one only by consent; and plans its restore.
 * What can't be done stands in `skip`. `before`: what an interrupted part has chosen, and has done: chosen once, a snapshot stays chosen, and
 * what is done isn't looked at. @throws Failure `interrupted`
 */
export async function gatherRecoveryFacts(
  site: Site,
  wish: RecoveryWish,
  signal: AbortSignal,
  before: Before = { chosen: [], done: [] },
): Promise<RecoveryFacts> {
  const names = namesOf(site, wish).filter((name) => !before.done.includes(name))
  const repositories = [...new Set(names.map((name) => site.manifest.services[name]?.repository ?? 'main'))]
  // Whoever restores wants to know it. Asked now, it takes a core that has nothing else to do yet.
  for (const repository of repositories)
    if ((await pinnedRepository(site.state, repository).catch(() => '')) === null)
      site
        .restic(repository)
        .sameId({ signal })
        .catch(() => {})
  const asked = repositories.map(async (repository) => [repository, await site.restic(repository).snapshots({ signal }).catch(asFailure)] as const)
  const snapshots = new Map(await Promise.all(asked))
  const answered = [...snapshots].flatMap(([repository, answer]) => (answer instanceof Failure ? [] : [[repository, answer] as const]))
  if (wish.host !== site.manifest.host && answered.length > 0) requireHost(wish.host, answered)
  const elsewhere = callsForOthers(site, wish.host, names, snapshots)
  const install = await installIdIfThere(site.state)
  const chosen = await Promise.all(
    names.map(async (name): Promise<Choice> => {
      const known = before.chosen.find((choice) => choice.name === name && choice.snapshot !== null)
      const service = site.manifest.services[name] as Service
      const after = afterOf(service, names)
      if (known) return { ...known, skip: null, after }
      const next = elsewhere.get(service.repository)
      const choice = await chooseFor(site, name, service, wish, snapshots.get(service.repository) ?? [], install)
      return { ...choice, skip: choice.skip && next ? notGiven(name, service.repository, next) : choice.skip, after }
    }),
  )
  const wanted = chosen.flatMap(({ name, snapshot }) =>
    snapshot ? [{ snapshot, repository: site.manifest.services[name]?.repository ?? 'main' }] : [],
  )
  const knowing = await withKnownTrees(site, wanted, signal)
  const planned = new Map<string, PlannedRestore>()
  const plannable = await mapConcurrent(chosen, planningJobs, async (choice): Promise<Choice> => {
    const { name, snapshot } = choice
    // One that is unfinished is finished, by its own plan.
    if (snapshot === null || (await readJournal(site.state, name).then(Boolean, () => true))) return choice
    try {
      const plan = await planInPlace(knowing, name, snapshot, [], signal)
      requireEmptyable(plan, wish.emptyMounts ? emptiedBy(plan.facts) : [])
      planned.set(name, plan)
      return { ...choice, mounts: mountNotes(plan.facts) }
    } catch (error) {
      const { code, message } = asFailure(error)
      return { ...choice, skip: { code, message, of: 'service' } }
    }
  })
  if (signal.aborted) throw new Failure('interrupted', 'interrupted: nothing was touched')
  const { choices, room } = fitted(plannable, planned)
  const times = choices.flatMap(({ name, snapshot, skip }) => (snapshot && !skip && site.manifest.services[name]?.enable ? [snapshot.time] : []))
  times.sort((a, b) => Date.parse(a) - Date.parse(b))
  const [oldest] = times
  const newest = times.at(-1)
  return {
    choices,
    room,
    spread: oldest && newest ? { oldest, newest, farApart: Date.parse(newest) - Date.parse(oldest) > farApartMs } : null,
    planned,
    checks: await preflight(site, { snapshots, choices, room, planned }),
  }
}

/**
 * By repository: the call that recovers what is saved there, where a person gave what opens another one, and this machine doesn't have its secrets.
 * The manifest stands in each of them.
 */
function callsForOthers(site: Site, host: string, names: string[], snapshots: Map<string, Snapshot[] | Failure>): Map<string, string> {
  const calls = [...snapshots].flatMap(([repository, answer]): [string, string][] => {
    if (site.given.size === 0 || site.given.has(repository) || !(answer instanceof Failure) || answer.code !== 'secrets-unreadable') return []
    const its = names.filter((name) => site.manifest.services[name]?.repository === repository)
    const { repository: location = null, environmentFile = null } = site.manifest.repositories[repository] ?? {}
    // One that holds a password isn't typed, nor shown; a name alone may be a token.
    const shown = location === null || holdsPassword(location) || /https?:\/\/[^/@]+@/i.test(location) ? 'LOCATION' : shellWord(location)
    const credentials = environmentFile === null || /^(local:|\/|sftp:)/.test(location ?? '') ? [] : ['--environment-file FILE']
    const words = ['atelier-backup dr --from-repository --repository', shown, '--password-file FILE', ...credentials, '--host', shellWord(host)]
    return [[repository, [...words, ...its.map((name) => `--only ${name}`)].join(' ')]]
  })
  return new Map(calls)
}

function notGiven(name: string, repository: string, next: string): NonNullable<Choice['skip']> {
  const message = `${name}: it is saved in the repository ${repository}, and what opens that one wasn't given: type next: ${next}`
  return { code: 'not-given', message, of: 'repository', next }
}

/** restic's scrypt takes a core and 64 MB each time. */
const planningJobs = 4

/** The manifest as it can be carried out here: units that systemd doesn't know are left out. */
export async function withKnownUnits(site: Site): Promise<Site> {
  const services = Object.entries(site.manifest.services).map(async ([name, service]) => {
    const units = unitsOf(name, service)
    const unknown = await unknownUnits(units)
    return [name, { ...service, units: units.filter((unit) => !unknown.includes(unit)) }] as const
  })
  const bare = Object.assign(Object.create(null), Object.fromEntries(await Promise.all(services)))
  return { ...site, manifest: { ...site.manifest, services: bare } }
}

/** In the order in which they come back. */
function inOrder(choices: Choice[]): Choice[] {
  const ordered: Choice[] = []
  const isPlaced = (name: string) => ordered.some((choice) => choice.name === name)
  while (ordered.length < choices.length) {
    const isWaitedFor = (name: string) => choices.some((choice) => choice.name === name) && !isPlaced(name)
    const next = choices.find(({ name, after }) => !isPlaced(name) && !after.some(isWaitedFor))
    // The manifest has no circles.
    if (!next) return choices
    ordered.push(next)
  }
  return ordered
}

function namesOf(site: Site, { only, except }: RecoveryWish): string[] {
  return Object.keys(site.manifest.services).filter((name) => (only.length === 0 || only.includes(name)) && !except.includes(name))
}

function afterOf({ restoreAfter }: Service, names: string[]): string[] {
  return restoreAfter.filter((other) => names.includes(other))
}

async function chooseFor(
  site: Site,
  name: string,
  service: Service,
  wish: RecoveryWish,
  all: Snapshot[] | Failure,
  install: string | null,
): Promise<Omit<Choice, 'after'>> {
  const skip = (code: Code, message: string, more: { of?: 'repository'; host?: string } = {}) => ({
    name,
    snapshot: null,
    skip: { code, message, of: 'service' as const, ...more },
    notes: [],
  })
  if (all instanceof Failure) return skip(all.code, all.message, { of: 'repository' })
  const record = await readRecord(site.state, name).catch(asFailure)
  const origin = record instanceof Failure ? null : record.origin
  const subject = { name, service, host: wish.host, origin: wish.host === site.manifest.host ? origin : null, install }
  const until = snapshotsOf(all, subject).filter(({ time }) => wish.at === null || Date.parse(time) <= Date.parse(wish.at))
  const upTo = eligible(until, subject)
  const [newest] = newestFirst(upTo)
  const complete = newestFirst(upTo).find(isComplete)
  if (record instanceof Failure && !wish.overwrite && (await holdsData(site, service)))
    return skip(
      'protected',
      `${name}: whether its data lives here can't be told (${record.message}): left alone; --overwrite restores it all the same`,
    )
  if (origin !== null && !wish.overwrite && (await holdsData(site, service)))
    return skip(
      'protected',
      `${name}: it lives here (${origin.how} since ${origin.since.slice(0, 10)}): left alone; --overwrite restores it all the same`,
    )
  if (!newest) {
    const [other] = hostsElsewhere(all, subject)
    return skip(
      'unknown-snapshot',
      `${name}: no snapshots on ${wish.host}${wish.at ? ' at that time or before it' : ''}${elsewhereWords(all, subject)}`,
      other === undefined ? {} : { host: other },
    )
  }
  const passed = passedNotes(passedOver(until, subject, complete ?? newest))
  if (complete) {
    const before = newestFirst(upTo).find((snapshot) => isComplete(snapshot) && Date.parse(snapshot.time) < Date.parse(complete.time))
    const notes = complete === newest ? [] : ['a newer one is partial']
    return { name, snapshot: complete, skip: null, notes, passed, ...shrunkSince(complete, before, service) }
  }
  if (wish.partial) return { name, snapshot: newest, skip: null, notes: ['only partial snapshots exist'], passed }
  return skip('only-partial', `${name}: only partial snapshots exist, the newest of ${newest.time}: left alone; --partial takes it`)
}

/** The host that noticed it when it saved may be gone. */
function shrunkSince({ files, bytes }: Snapshot, before: Snapshot | undefined, { shrinkThreshold }: Service): Pick<Choice, 'shrunk'> {
  if (!before || !hasShrunk({ files, bytes }, before, shrinkThreshold)) return {}
  return { shrunk: { files, bytes, before: { id: before.id, files: before.files, bytes: before.bytes } } }
}

/** Whether anything of a service is there to be lost. */
async function holdsData(site: Site, { paths, sqlite, postgres }: Service): Promise<boolean> {
  for (const path of [...paths, ...sqlite]) {
    const stat = await lstatIfThere(path)
    if (!stat) continue
    const entries = stat.isDirectory() ? await readdir(path) : [path]
    if (entries.length > 0) return true
  }
  // What can't be seen may be there.
  return postgres.length > 0 && holdTables(site.manifest.postgresql, postgres, uninterruptible()).catch(() => true)
}

/** Each has room alone; together they may not. Those that don't fit any more, in their order, are left alone. */
function fitted(choices: Choice[], planned: Map<string, PlannedRestore>): Pick<RecoveryFacts, 'choices' | 'room'> {
  const room = new Map<Path, { mount: Path; needed: number; free: number }>()
  const short = new Map<string, Choice['skip']>()
  for (const { name } of inOrder(choices)) {
    const facts = planned.get(name)?.facts
    if (!facts) continue
    const needed = Object.entries(neededRoom(facts))
    for (const [mount] of needed) room.set(mount, room.get(mount) ?? { mount, needed: 0, free: facts.free[mount] ?? 0 })
    const full = needed.find(([mount, bytes]) => sumOf(room, mount) + bytes + spareBytes > (room.get(mount)?.free ?? 0))
    for (const [mount, bytes] of needed) (room.get(mount) as { needed: number }).needed += bytes
    if (!full) continue
    const message = `${name}: ${full[0]} has no room for its ${full[1]} bytes beside what comes before it: left alone`
    short.set(name, { code: 'no-space', message, of: 'service' })
  }
  for (const name of short.keys()) planned.delete(name)
  return { choices: choices.map((choice) => ({ ...choice, skip: short.get(choice.name) ?? choice.skip })), room: [...room.values()] }
}

function sumOf(room: Map<Path, { needed: number }>, mount: Path): number {
  return room.get(mount)?.needed ?? 0
}
