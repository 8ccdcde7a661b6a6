// Paths as they are compared, and as all other rooms get them.

/** Without doubled and trailing slashes. */
export function cleanPath(path: string): string {
  return path.replaceAll(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
}

/** All folders above a clean path, nearest first, without `/`. */
export function ancestors(path: string): string[] {
  const parts = path.split('/').slice(1, -1)
  return parts.map((_, i) => `/${parts.slice(0, parts.length - i).join('/')}`)
}

/** Clean paths, each once. One inside another stays: a symbolic link on its way may lead elsewhere. */
export function cleanPaths(paths: string[]): string[] {
  return [...new Set(paths.map(cleanPath))]
}
