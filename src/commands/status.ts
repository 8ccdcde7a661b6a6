// `status`: the state of each service.
import { joinExits } from '../core.ts'
import type { Site } from '../site.ts'
import { readHistory } from '../state/records.ts'
import { queryStatus, type ServiceStatus } from '../status/query.ts'
import { waitingFor } from '../ui/progress.ts'
import { print, printJson } from '../ui/terminal.ts'
import { statusView } from '../views/status.ts'
import { detailView } from '../views/status-detail.ts'
import { type Input, isSet } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const local = isSet(input, 'local')
  const query = queryStatus(site, { services: input.args, local, signal: input.signal })
  const status = await (local ? query : waitingFor('asking the repository', query))
  if (input.json) printJson(status, true)
  else print(...statusView(status, site.now(), await detail(site, input, status.services)))
  return joinExits([...status.services.map(({ exit }) => exit), ...status.repositories.map(({ exit }) => exit)])
}

/** Details, if exactly one service was named. */
async function detail(site: Site, { args }: Input, [service, ...others]: ServiceStatus[]): Promise<string[]> {
  if (args.length === 0 || !service || others.length > 0) return []
  const record = await readHistory(site.state, service.name).catch(() => null)
  return detailView(site, service, record?.runs ?? null)
}
