// "Did you mean …?"

/** The known word that was most likely meant, or null if none is close: at most 3 typos, and in fewer than half of the longer word's characters. */
export function nearest(word: string, known: Iterable<string>): string | null {
  let best: string | null = null
  let fewest = 4
  for (const other of known) {
    const length = Math.max(word.length, other.length)
    if (Math.abs(word.length - other.length) >= fewest) continue
    const slips = distance(word, other)
    if (slips < fewest && slips * 2 < length) [best, fewest] = [other, slips]
  }
  return best
}

/** For the end of a message: the closest known word, or an empty text. */
export function didYouMean(word: string, known: string[]): string {
  const near = nearest(word, known)
  return near === null ? '' : `; did you mean ${near}?`
}

/** Damerau-Levenshtein: letters added, left out, replaced, or two neighbours swapped. */
function distance(a: string, b: string): number {
  let [before, row]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const at = (line: number[], index: number) => line[index] ?? Number.POSITIVE_INFINITY
      const replaced = at(row, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(before, j - 2) + 1 : replaced
      next.push(Math.min(at(row, j) + 1, at(next, j - 1) + 1, replaced, swapped))
    }
    ;[before, row] = [row, next]
  }
  return row[b.length] ?? 0
}
