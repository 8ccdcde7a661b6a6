// How cost grows, as a picture: small panels side by side, both axes by powers of ten.

export interface Line {
  name: string
  points: [x: number, y: number][]
}
export interface Panel {
  title: string
  lines: Line[]
  unit: string
}

const width = 300
const height = 220
const margin = { left: 46, right: 14, top: 34, bottom: 34 }
const colours = ['#1f6feb', '#8b949e']

export function plot(panels: Panel[]): string {
  const drawn = panels.map((panel, i) => `<g transform="translate(${i * width} 0)">${panelOf(panel)}</g>`)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${panels.length * width} ${height}" font-family="sans-serif" font-size="11" fill="#6e7781">
<title>How cost grows with services, snapshots and files</title>
${drawn.join('\n')}
</svg>
`
}

function panelOf({ title, lines, unit }: Panel): string {
  const all = lines.flatMap(({ points }) => points)
  const x = axis(
    all.map(([value]) => value),
    margin.left,
    width - margin.right,
  )
  const y = axis(
    all.map(([, value]) => value),
    height - margin.bottom,
    margin.top,
  )
  const grid = [
    ...x.marks.map((mark) => `<path d="M${x.at(mark)} ${margin.top}V${height - margin.bottom}"/>`),
    ...y.marks.map((mark) => `<path d="M${margin.left} ${y.at(mark)}H${width - margin.right}"/>`),
  ]
  const labels = [
    ...x.marks.map((mark) => `<text x="${x.at(mark)}" y="${height - margin.bottom + 14}" text-anchor="middle">${short(mark)}</text>`),
    ...y.marks.map((mark) => `<text x="${margin.left - 5}" y="${y.at(mark) + 4}" text-anchor="end">${short(mark)} ${unit}</text>`),
  ]
  const curves = lines.map(({ name, points }, i) => {
    const at = points.map(([a, b]) => [x.at(a), y.at(b)] as const)
    const dots = at.map(([a, b]) => `<circle cx="${a}" cy="${b}" r="2.5"/>`).join('')
    const [, last = 0] = at.at(-1) ?? []
    const label = `<text x="${width - margin.right}" y="${last + (i === 0 ? -7 : 14)}" text-anchor="end">${name}</text>`
    return `<g fill="${colours[i]}"><polyline points="${at.join(' ')}" fill="none" stroke="${colours[i]}" stroke-width="1.5"/>${dots}${label}</g>`
  })
  return `<text x="${margin.left}" y="18" font-weight="bold">${title}</text><g stroke="#d0d7de" stroke-width="0.5">${grid.join('')}</g>${labels.join('')}${curves.join('')}`
}

/** From the power of ten below the least value to the one above the greatest. */
function axis(values: number[], from: number, to: number): { at(value: number): number; marks: number[] } {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  const at = (value: number) => Math.round(10 * (from + ((Math.log10(value) - low) / (high - low)) * (to - from))) / 10
  return { at, marks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)) }
}

function short(value: number): string {
  if (value >= 1_000_000) return `${value / 1_000_000}M`
  return value >= 1000 ? `${value / 1000}k` : String(Number(value.toPrecision(1)))
}
