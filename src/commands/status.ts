// How each service stands.
import { joinExits } from '../core.ts'
import { queryStatus } from '../status/query.ts'
import { waitingFor } from '../ui/progress.ts'
import { print, printJson } from '../ui/terminal.ts'
import { type Input, isSet } from './command.ts'
import { statusView } from './status-view.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const query = queryStatus(site, { services: input.args, local: isSet(input, 'local'), signal: input.signal })
  const status = await waitingFor('asking the repository', query)
  if (input.json) printJson(status, true)
  else print(...statusView(status, site.now()))
  return joinExits([...status.services.map(({ exit }) => exit), ...status.repositories.map(({ exit }) => exit)])
}
