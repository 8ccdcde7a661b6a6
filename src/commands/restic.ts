// `restic`: runs restic with this host's repository, secrets and cache.
import { type Input, textFlag } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  // Ctrl-C reaches restic by the terminal itself.
  return site.restic(textFlag(input, 'repository') ?? 'main').passthrough(input.args)
}
