// Database engines, each under the manifest's field for its databases. How databases are dumped: host/engines.ts.
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

/** The databases that a service declares, by engine. */
export function declaredDatabases(service: Pick<Service, Engine>): { engine: Engine; databases: string[] }[] {
  return engineNames.map((engine) => ({ engine, databases: service[engine] })).filter(({ databases }) => databases.length > 0)
}
