// Which shapes of a corpus are tried: a sample that another FC_SEED changes, all together; with ATELIER_SOAK each alone, and all together.
import { random } from '../lib/killed.ts'

const soak = Boolean(process.env.ATELIER_SOAK)

/** Of one test; all shapes together take minutes. Milliseconds. */
export const timeout = soak ? 3_600_000 : 300_000

/** Groups of shapes, each with a title. `few`: how many a sample has. */
export function groups<Shape extends { title: string }>(shapes: Shape[], few: number): [title: string, shapes: Shape[]][] {
  if (soak) return [...shapes.map((shape): [string, Shape[]] => [shape.title, [shape]]), ['all together', shapes]]
  const seed = Number(process.env.FC_SEED)
  const order = shapes.map((shape, i) => ({ shape, rank: random(seed + 7919 * i) }))
  const drawn = order.sort((a, b) => a.rank - b.rank).slice(0, few)
  return [[drawn.map(({ shape }) => shape.title).join('; '), drawn.map(({ shape }) => shape)]]
}

/** Lines of `text` that no pattern knows, and patterns that no line has. */
export function unlike(text: string, patterns: RegExp[]): (string | RegExp)[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return [
    ...lines.filter((line) => !patterns.some((pattern) => pattern.test(line))),
    ...patterns.filter((one) => !lines.some((line) => one.test(line))),
  ]
}
