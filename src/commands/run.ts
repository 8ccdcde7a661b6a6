// `run`, for the timers: backs up one service in this process. Its events are written to the state folder, where `backup` follows them.
import { cleanUp } from '../backup/cleanup.ts'
import { runBackup } from '../backup/run.ts'
import { Failure } from '../errors.ts'
import { lockOf, serviceOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { printable } from '../text.ts'
import { reportOne } from '../views/report.ts'
import { type Input, isSet } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const [name = ''] = input.args
  serviceOf(site, name)
  if (isSet(input, 'cleanup')) {
    await makeState(site.state)
    const lock = await lockOf(site, name).catch((error: unknown) => {
      // The run is still active: there is nothing to clean up.
      if (error instanceof Failure && error.code === 'busy') return null
      throw error
    })
    if (lock !== null && (await cleanUp(site, name, (line) => void process.stderr.write(`${printable(line)}\n`))))
      process.stderr.write(`${name}: cleaned up after a run that was killed\n`)
    lock?.release()
    return 0
  }
  return reportOne(name, { json: input.json }, (watcher) => runBackup(site, name, { signal: input.signal, ...watcher }))
}
