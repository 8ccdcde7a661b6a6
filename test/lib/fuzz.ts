// fast-check, repeatable: each run of the tests has one seed, printed by setup.ts; FC_SEED=N repeats it.
import fc from 'fast-check'

fc.configureGlobal({ seed: Number(process.env.FC_SEED) })
export default fc

/** How often a property is tried: a number that takes seconds; in a soak many times that. */
export function runs(few: number): number {
  return process.env.ATELIER_SOAK ? few * 20 : few
}

/** The limit of a test that tries a property: none in a soak. Milliseconds. */
export const fuzzTimeout = process.env.ATELIER_SOAK ? 3_600_000 : 120_000
