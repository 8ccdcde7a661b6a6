// Everything a disaster recovery needs to know before it begins: a snapshot for each service, its plan, the room for all of them. Changes nothing.
import type { Path, Unit } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { mapConcurrent } from '../execute.ts'
import { spareBytes } from '../host/space.ts'
import { enabledUnits, unknownUnits } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import { emptiedBy, type PlannedRestore, planInPlace, requireEmptyable, requireMounted } from '../restore/inplace.ts'
import { mountNotes } from '../restore/notes.ts'
import { requirePrivileged } from '../restore/privileged.ts'
import { neededRoom } from '../restore/room.ts'
import { type Site, serviceOf } from '../site.ts'
import { requireHost } from '../snapshots/hosts.ts'
import { isRestoreOpen } from '../state/journal.ts'
import { chooseSnapshots } from './choose.ts'
import type { Choice, Earlier, RecoveryFacts, RecoveryWish } from './facts.ts'
import { preflight } from './preflight.ts'
import { withKnownTrees } from './trees.ts'

/** Nightly backups of different services lie closer together than this. */
const farApartMs = 36 * 3_600_000

/** Restores that are planned at the same time: each call of restic derives its key with scrypt, which takes a core and 64 MB. */
const planningJobs = 4

/**
 * Chooses a snapshot for each service (the newest complete one not later than `at`; a partial one only with `partial`) and plans its restore.
 * A service that can't be restored gets `skip`. @throws Failure `interrupted`
 */
export async function gatherRecoveryFacts(
  site: Site,
  wish: RecoveryWish,
  signal: AbortSignal,
  earlier: Earlier = { chosen: [], done: [] },
): Promise<RecoveryFacts> {
  const names = namesOf(site, wish).filter((name) => !earlier.done.includes(name))
  const repositories = [...new Set(names.map((name) => site.manifest.services[name]?.repository ?? 'main'))]
  const calls = repositories.map(async (repository) => [repository, await site.restic(repository).snapshots({ signal }).catch(asFailure)] as const)
  const snapshots = new Map(await Promise.all(calls))
  const reachable = [...snapshots].flatMap(([repository, answer]) => (answer instanceof Failure ? [] : [[repository, answer] as const]))
  if (wish.host !== site.manifest.host && reachable.length > 0) requireHost(wish.host, reachable)
  const chosen = await chooseSnapshots(site, wish, names, snapshots, earlier.chosen)
  let { choices: plannable, planned } = await planAll(site, wish, chosen, signal)
  // Together they may need more than there is, though each of them fits.
  if (lacksRoom(plannable, planned)) ({ choices: plannable, planned } = await planAll(site, wish, chosen, signal, true))
  if (signal.aborted) throw new Failure('interrupted', 'interrupted: nothing was touched')
  const { choices, room } = skipWithoutRoom(plannable, planned, wish.ignoreSpace)
  return { choices, room, spread: spreadOf(site, choices), planned, checks: await preflight(site, { snapshots, choices, room, planned }) }
}

/** Plans the restore of each choice; one that can't be planned gets `skip`. */
async function planAll(
  site: Site,
  wish: RecoveryWish,
  chosen: Choice[],
  signal: AbortSignal,
  closely = false,
): Promise<{ choices: Choice[]; planned: Map<string, PlannedRestore> }> {
  const wanted = chosen.flatMap(({ name, snapshot }) =>
    snapshot ? [{ snapshot, repository: site.manifest.services[name]?.repository ?? 'main' }] : [],
  )
  const siteWithTrees = await withKnownTrees(site, wanted, signal)
  const planned = new Map<string, PlannedRestore>()
  const choices = await mapConcurrent(chosen, planningJobs, async (choice): Promise<Choice> => {
    const { name, snapshot } = choice
    // An unfinished restore is finished by the plan in its journal.
    if (snapshot === null || (await isRestoreOpen(site.state, name))) return choice
    try {
      const beside = { ignoreSpace: wish.ignoreSpace, enabled: await enabledOf(site, name) }
      const plan = await planInPlace(siteWithTrees, name, snapshot, [], signal, beside, closely)
      requireEmptyable(plan, wish.emptyMounts ? emptiedBy(plan.facts) : [])
      requireMounted(plan, wish.ontoUnmounted)
      requirePrivileged(name, plan.facts.privileged, wish.allowPrivileged ? 'all' : [])
      planned.set(name, plan)
      return { ...choice, mounts: mountNotes(plan.facts), privileged: plan.facts.privileged }
    } catch (error) {
      const { code, message } = asFailure(error)
      return { ...choice, skip: { code, message, of: 'service' } }
    }
  })
  return { choices, planned }
}

/** What the boot would start of a service's units: on a host that lost its data they may have failed, or somebody has stopped them. */
export function enabledOf(site: Site, name: string): Promise<Unit[]> {
  return enabledUnits(unitsOf(name, serviceOf(site, name)))
}

function spreadOf(site: Site, choices: Choice[]): RecoveryFacts['spread'] {
  const times = choices.flatMap(({ name, snapshot, skip }) => (snapshot && !skip && site.manifest.services[name]?.enable ? [snapshot.time] : []))
  times.sort((a, b) => Date.parse(a) - Date.parse(b))
  const [oldest] = times
  const newest = times.at(-1)
  return oldest && newest ? { oldest, newest, farApart: Date.parse(newest) - Date.parse(oldest) > farApartMs } : null
}

/** The site with a manifest from which units that systemd doesn't know are removed. */
export async function withKnownUnits(site: Site): Promise<Site> {
  const services = Object.entries(site.manifest.services).map(async ([name, service]) => {
    const units = unitsOf(name, service)
    const unknown = await unknownUnits(units)
    return [name, { ...service, units: units.filter((unit) => !unknown.includes(unit)) }] as const
  })
  const withoutPrototype = Object.assign(Object.create(null), Object.fromEntries(await Promise.all(services)))
  return { ...site, manifest: { ...site.manifest, services: withoutPrototype } }
}

function namesOf(site: Site, { only, except }: RecoveryWish): string[] {
  return Object.keys(site.manifest.services).filter((name) => (only.length === 0 || only.includes(name)) && !except.includes(name))
}

function lacksRoom(choices: Choice[], planned: Map<string, PlannedRestore>): boolean {
  return skipWithoutRoom(choices, new Map(planned), false).choices.some(({ skip }, i) => skip !== choices[i]?.skip)
}

/** Each restore was planned with all the free room. In their order, those that no longer fit get `skip`. */
function skipWithoutRoom(choices: Choice[], planned: Map<string, PlannedRestore>, ignoreSpace: boolean): Pick<RecoveryFacts, 'choices' | 'room'> {
  const room = new Map<Path, { mount: Path; needed: number; free: number }>()
  const withoutRoom = new Map<string, Choice['skip']>()
  for (const { name } of inOrder(choices)) {
    const facts = planned.get(name)?.facts
    if (!facts) continue
    const needed = Object.entries(neededRoom(facts))
    for (const [mount] of needed) room.set(mount, room.get(mount) ?? { mount, needed: 0, free: facts.free[mount] ?? 0 })
    const full = needed.find(([mount, bytes]) => sumOf(room, mount) + bytes + spareBytes > (room.get(mount)?.free ?? 0))
    for (const [mount, bytes] of needed) (room.get(mount) as { needed: number }).needed += bytes
    if (!full || ignoreSpace) continue
    const message = `${name}: ${full[0]} has no room for its ${full[1]} bytes after the services before it: left alone (--ignore-space begins all the same)`
    withoutRoom.set(name, { code: 'no-space', message, of: 'service' })
  }
  for (const name of withoutRoom.keys()) planned.delete(name)
  return { choices: choices.map((choice) => ({ ...choice, skip: withoutRoom.get(choice.name) ?? choice.skip })), room: [...room.values()] }
}

function sumOf(room: Map<Path, { needed: number }>, mount: Path): number {
  return room.get(mount)?.needed ?? 0
}

/** In the order in which they are restored. */
function inOrder(choices: Choice[]): Choice[] {
  const ordered: Choice[] = []
  const isPlaced = (name: string) => ordered.some((choice) => choice.name === name)
  while (ordered.length < choices.length) {
    const isWaitedFor = (name: string) => choices.some((choice) => choice.name === name) && !isPlaced(name)
    const next = choices.find(({ name, after }) => !isPlaced(name) && !after.some(isWaitedFor))
    // Only with a circle in restoreAfter, which the manifest's checks refuse.
    if (!next) return choices
    ordered.push(next)
  }
  return ordered
}
