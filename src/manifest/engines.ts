// Database engines, each found by the field of a service that names its databases: what the manifest must know of them. How they dump: host/engines.ts.
import type { Service } from './types.gen.ts'

interface Named {
  /** The server's own units, which must run while its databases are dumped and exchanged. */
  server: RegExp
}

export const engines = {
  postgres: { server: /^postgresql(-setup|@.*)?[.](service|target)$/ },
} satisfies Partial<Record<keyof Service, Named>>

export type Engine = keyof typeof engines
export const engineNames = Object.keys(engines) as Engine[]

/** What a service declares: of each engine that it uses, the databases' names. */
export function declaredDatabases(service: Pick<Service, Engine>): { engine: Engine; databases: string[] }[] {
  return engineNames.map((engine) => ({ engine, databases: service[engine] })).filter(({ databases }) => databases.length > 0)
}
