// The checks before a disaster recovery, as data: shown above the confirmation, and part of --dry-run --json.

import { type Check, checkClock, checkSecrets, judgeRepository } from '../checks/check.ts'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { spareBytes } from '../host/space.ts'
import type { Snapshot } from '../restic/types.ts'
import type { PlannedRestore } from '../restore/inplace.ts'
import type { Site } from '../site.ts'
import type { Choice, PreflightCheck } from './facts.ts'

interface Facts {
  /** By repository. */
  snapshots: Map<string, Snapshot[] | Failure>
  choices: Choice[]
  room: { mount: Path; needed: number; free: number }[]
  planned: Map<string, PlannedRestore>
}

/** Never throws. */
export async function preflight(site: Site, { snapshots, choices, room, planned }: Facts): Promise<PreflightCheck[]> {
  const repositories = [...snapshots].map(async ([name, answer]) => {
    const location = await site
      .restic(name)
      .location()
      .catch(() => '')
    const failure = answer instanceof Failure ? answer : null
    return [...(site.credentials.size > 0 ? [] : await checkSecrets(site, name)), ...judgeRepository(name, location, failure)]
  })
  const all = [...snapshots.values()].flatMap((answer) => (answer instanceof Failure ? [] : answer))
  const general = [...(await Promise.all(repositories)).flat(), ...(await checkClock(all)), ...room.map(judgeRoom)]
  return [
    ...general.map((check) => ({ ...check, service: null })),
    ...choices.flatMap((choice) => (choice.skip?.of === 'repository' ? [] : [{ ...judgeChoice(choice), service: choice.name }])),
    ...[...planned].map(judgeOwners),
    ...[...planned].map(
      ([
        name,
        {
          facts: { units },
        },
      ]) => ({
        ...{ name: 'units', service: name, ok: true, remedy: null },
        message: units.length === 0 ? `${name}: no unit uses its data` : `${name}: systemd knows ${units.join(', ')}`,
      }),
    ),
  ]
}

function judgeRoom({ mount, needed, free }: Facts['room'][number]): Check {
  const ok = needed + spareBytes <= free
  return {
    name: 'room',
    ok,
    message: `${mount}: ${needed} bytes are needed, and ${spareBytes} to spare; ${free} are free`,
    remedy: ok ? null : 'make room, or recover some services now and others later: --only',
  }
}

/** Whether a service can be restored. The check is named after the part that prevents it. */
function judgeChoice({ name, snapshot, skip, notes }: Choice): Check {
  if (!skip && snapshot) return { name: 'snapshot', ok: true, message: [`${name}: of ${snapshot.time}`, ...notes].join('; '), remedy: null }
  const code = skip?.code ?? ''
  return { name: partOf[code] ?? 'plan', ok: false, message: skip?.message ?? name, remedy: remedies[code] ?? null }
}
const partOf: Record<string, string> = {
  'unknown-snapshot': 'snapshot',
  'only-partial': 'snapshot',
  protected: 'snapshot',
  'unknown-unit': 'units',
  'no-systemd': 'units',
  'no-space': 'room',
}
const remedies: Record<string, string> = {
  'unknown-snapshot': 'try another time (--at) or another host (--host), or declare its former name in formerNames',
  'only-partial': '--partial restores the newest of them',
  protected: '--overwrite restores it anyway; the data that is there now is kept',
  'unknown-unit': 'rebuild with the service first; on a rescue system --without-units ignores units that systemd does not know',
  'no-systemd': '--without-units ignores units that systemd does not know',
  'no-space': 'make room, or recover some services now and others later: --only; or begin all the same: --ignore-space',
  'would-empty': '--empty-mounts empties it; the data that is in it now is kept',
  'not-mounted': 'mount it; --onto-unmounted restores it onto the disk below',
  'special-files': '--allow-privileged restores it all the same, if you trust it',
}

/** Whether the users and groups that own the data exist on this host, by name. */
function judgeOwners([service, { facts }]: [string, PlannedRestore]): PreflightCheck {
  const names = facts.strangers.join(', ')
  if (names === '') return { name: 'users', service, ok: true, message: `${service}: all owners of its data exist here`, remedy: null }
  return {
    ...{ name: 'users', service, ok: false },
    message: `${service}: ${names} owned some of its data, and doesn't exist here`,
    remedy: 'rebuild with the service first (that creates its user); otherwise its files keep the numeric owner of the lost host',
  }
}
