// Secrets in the location of a repository.

/** Whether it holds a password, as in rest:https://user:password@host/: other users can read the manifest and command lines. */
export function holdsPassword(location: string): boolean {
  return /:\/\/[^/@]*:[^/]*@/.test(location)
}
