// The dump function of each database engine. Each engine has a file of its own in this folder.
import type { Engine } from '../manifest/engines.ts'
import type { Manifest } from '../manifest/types.gen.ts'
import { dumpPostgres } from './postgres.ts'

/**
 * Dumps databases, each of one instant and while it is in use, as files of root's into a folder that is there for this engine alone. What is
 * no whole dump is an error. `openDirNoFollow`: descriptors that children keep open.
 * @throws Failure with codes of the engine's own, `disk-full`, `interrupted`
 */
type Dump = (manifest: Manifest, databases: string[], folder: string, options: { signal: AbortSignal; inheritFds: number[] }) => Promise<void>

export const dumpers: Record<Engine, Dump> = {
  postgres: ({ postgresql }, databases, folder, options) => dumpPostgres(postgresql, databases, folder, options),
}
