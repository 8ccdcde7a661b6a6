// The dump function of each database engine. Each engine has a file of its own in this folder.
import type { Engine } from '../manifest/engines.ts'
import type { Manifest } from '../manifest/types.gen.ts'
import { dumpPostgres } from './postgres.ts'

/**
 * Dumps databases while they are in use, each from one consistent snapshot, as files owned by root into a folder for this engine alone. An
 * incomplete dump is an error. Children inherit `inheritFds`. Gives back what a restore in place of the dumps would lack on this host.
 * @throws Failure with the engine's own codes, `disk-full`, `interrupted`
 */
type Dump = (manifest: Manifest, databases: string[], folder: string, options: { signal: AbortSignal; inheritFds: number[] }) => Promise<string[]>

export const dumpers: Record<Engine, Dump> = {
  postgres: ({ postgresql }, databases, folder, options) => dumpPostgres(postgresql, databases, folder, options),
}
