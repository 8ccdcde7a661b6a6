// The bench's picture; its figures are the bench's own business.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { plot } from '../../scripts/bench-plot.ts'

const line = (name: string, factor: number) => ({ name, points: [1, 10, 1000].map((x): [number, number] => [x, x * factor]) })
const panels = ['one', 'two'].map((title) => ({ title, unit: 's', lines: [line('ours', 0.01), line('theirs', 0.02)] }))

test('each series is drawn within its panel, greater values to the right and above', () => {
  const picture = plot(panels)
  expect(picture.match(/<text[^>]*font-weight="bold">/g)).toHaveLength(2)
  const lines = [...picture.matchAll(/<polyline points="([^"]*)"/g)].map(([, points = '']) =>
    points.split(' ').map((point) => point.split(',').map(Number)),
  )
  expect(lines).toHaveLength(4)
  for (const points of lines) {
    expect(points).toHaveLength(3)
    for (const [i, [x = 0, y = 0]] of points.entries()) {
      const [before = 0, above = Number.POSITIVE_INFINITY] = points[i - 1] ?? []
      expect([x > before, y < above, x < 300, y > 0]).toEqual([true, true, true, true])
    }
  }
})

test('the page on speed has the place that the bench writes to', () => {
  expect(readFileSync('scripts/docs/speed.md', 'utf8')).toMatch(/<!-- bench -->\n[\s\S]*<!-- \/bench -->/)
})
