// What a repository's location gives away.

/** Whether it holds a password, as in rest:https://user:password@host/: a manifest and command lines are read by others. */
export function holdsPassword(location: string): boolean {
  return /:\/\/[^/@]*:[^/]*@/.test(location)
}
