// Normalised paths: the form in which they are compared and used everywhere else.

/** Removes doubled and trailing slashes. */
export function cleanPath(path: string): string {
  return path.replaceAll(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
}

/** The parent folders of a clean path, nearest first, without `/`. */
export function ancestors(path: string): string[] {
  const parts = path.split('/').slice(1, -1)
  return parts.map((_, i) => `/${parts.slice(0, parts.length - i).join('/')}`)
}

/** Clean paths without duplicates. A path inside another one stays: with a symbolic link in between it may be elsewhere. */
export function cleanPaths(paths: string[]): string[] {
  return [...new Set(paths.map(cleanPath))]
}
