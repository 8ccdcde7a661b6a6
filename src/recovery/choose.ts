// Which snapshot of each service a disaster recovery restores, or why it restores none.
import type { Code } from '../errors.ts'
import { asFailure, Failure } from '../errors.ts'
import { readdir } from '../fs.ts'
import { lstatIfThere } from '../host/files.ts'
import { holdTables } from '../host/postgres-load.ts'
import type { Service } from '../manifest/types.gen.ts'
import { toldLocation } from '../restic/errors.ts'
import type { Snapshot } from '../restic/types.ts'
import { uninterruptible } from '../restore/databases.ts'
import { clockNotes, passedNotes } from '../restore/notes.ts'
import type { Site } from '../site.ts'
import {
  byDate,
  datedLater,
  eligible,
  hasShrunk,
  isComplete,
  newerUnadopted,
  newestFirst,
  otherHosts,
  otherHostsHint,
  snapshotsOf,
} from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { readRecord, savedIn } from '../state/records.ts'
import { shellWord } from '../text.ts'
import type { Choice, RecoveryWish } from './facts.ts'

/**
 * The snapshots to restore of the services `names`. `snapshots`: of each repository, or why it can't be asked. `earlier`: choices of an interrupted
 * recovery; they stay as they are, so that services which belong together come from the same time.
 */
export async function chooseSnapshots(
  site: Site,
  wish: RecoveryWish,
  names: string[],
  snapshots: Map<string, Snapshot[] | Failure>,
  earlier: Choice[],
): Promise<Choice[]> {
  const commands = commandsForOthers(site, wish.host, names, snapshots)
  const install = await installIdIfThere(site.state)
  return Promise.all(
    names.map(async (name): Promise<Choice> => {
      const known = earlier.find((choice) => choice.name === name && choice.snapshot !== null)
      const service = site.manifest.services[name] as Service
      const after = service.restoreAfter.filter((other) => names.includes(other))
      if (known) return { ...known, skip: null, after }
      const next = commands.get(service.repository)
      const choice = await chooseFor(site, name, service, wish, snapshots.get(service.repository) ?? [], install)
      return { ...choice, skip: choice.skip && next ? notGiven(site, name, service.repository, next) : choice.skip, after }
    }),
  )
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
  const order = savedIn(record instanceof Failure ? { runs: [] } : record)
  const subject = { name, service, host: wish.host, origin: wish.host === site.manifest.host ? origin : null, install, order }
  const until = snapshotsOf(all, subject).filter(({ time }) => wish.at === null || Date.parse(time) <= Date.parse(wish.at))
  const upTo = eligible(until, subject)
  // A time is meant as lists show it.
  const sorted = wish.at === null ? newestFirst(upTo, order) : byDate(upTo)
  const [newest] = sorted
  const complete = sorted.find(isComplete)
  if (record instanceof Failure && !wish.overwrite && (await holdsData(site, service)))
    return skip(
      'protected',
      `${name}: its record can't be read, so its data here may be current (${record.message}): left alone; --overwrite restores it anyway`,
    )
  if (origin !== null && !wish.overwrite && (await holdsData(site, service)))
    return skip('protected', `${name}: it lives here (${origin.how} since ${origin.since.slice(0, 10)}): left alone; --overwrite restores it anyway`)
  if (!newest) {
    const [other] = otherHosts(all, subject)
    return skip(
      'unknown-snapshot',
      `${name}: no snapshots on ${wish.host}${wish.at ? ' at that time or before it' : ''}${otherHostsHint(all, subject)}`,
      other === undefined ? {} : { host: other },
    )
  }
  const passed = passedNotes(newerUnadopted(until, subject, complete ?? newest))
  if (complete) {
    const previous = sorted.find((snapshot) => isComplete(snapshot) && Date.parse(snapshot.time) < Date.parse(complete.time))
    const notes = [...(complete === newest ? [] : ['a newer snapshot is partial']), ...clockNotes(complete, datedLater(upTo, subject, complete))]
    return { name, snapshot: complete, skip: null, notes, passed, ...shrunkSince(complete, previous, service) }
  }
  if (wish.partial) return { name, snapshot: newest, skip: null, notes: ['only partial snapshots exist'], passed }
  return skip('only-partial', `${name}: only partial snapshots exist, the newest from ${newest.time}: left alone; --partial restores it`)
}

/** Computed here too: the warning of the backup is in the records of the lost host. */
function shrunkSince({ files, bytes }: Snapshot, previous: Snapshot | undefined, { shrinkThreshold }: Service): Pick<Choice, 'shrunk'> {
  if (!previous || !hasShrunk({ files, bytes }, previous, shrinkThreshold)) return {}
  return { shrunk: { files, bytes, before: { id: previous.id, files: previous.files, bytes: previous.bytes } } }
}

/** Whether any declared path or database of the service holds data on this host. */
async function holdsData(site: Site, { paths, sqlite, postgres }: Service): Promise<boolean> {
  for (const path of [...paths, ...sqlite]) {
    const stat = await lstatIfThere(path)
    if (!stat) continue
    const entries = stat.isDirectory() ? await readdir(path) : [path]
    if (entries.length > 0) return true
  }
  // A server that can't be asked may hold data.
  return postgres.length > 0 && holdTables(site.manifest.postgresql, postgres, uninterruptible()).catch(() => true)
}

/**
 * `dr --from-repository` was given the credentials of one repository. By name, for each other repository: the command that restores the services in it. Every repository of a host stores its manifest.
 */
function commandsForOthers(site: Site, host: string, names: string[], snapshots: Map<string, Snapshot[] | Failure>): Map<string, string> {
  const commands = [...snapshots].flatMap(([repository, answer]): [string, string][] => {
    if (!(answer instanceof Failure) || answer.code !== 'not-given') return []
    const services = names.filter((name) => site.manifest.services[name]?.repository === repository)
    const location = site.manifest.repositories[repository]?.repository ?? null
    // A command that is copied: of what a stranger wrote it holds the path of a folder alone. rclone's locations can be command lines, and a server
    // would be sent credentials.
    const isFolder = location !== null && /^(local:)?\//.test(location) && toldLocation(location) === location
    const shown = isFolder ? shellWord(location) : 'LOCATION'
    const credentials = isFolder || location?.startsWith('sftp:') ? [] : ['--environment-file FILE']
    const words = ['atelier-backup dr --from-repository --repository', shown, '--password-file FILE', ...credentials, '--host', shellWord(host)]
    return [[repository, [...words, ...services.map((name) => `--only ${name}`)].join(' ')]]
  })
  return new Map(commands)
}

function notGiven(site: Site, name: string, repository: string, next: string): NonNullable<Choice['skip']> {
  const location = site.manifest.repositories[repository]?.repository
  const where = location ? ` (the manifest says it is ${toldLocation(location)})` : ''
  const message = `${name}: its repository ${repository} needs a password that wasn't given${where}; type next: ${next}`
  return { code: 'not-given', message, of: 'repository', next }
}
