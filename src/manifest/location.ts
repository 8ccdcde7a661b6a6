// Secrets in the location of a repository.

/**
 * Whether it holds a password that works, as in `rest:https://user:password@host/` or `rclone:remote,pass=x:path`: other users can read the manifest
 * and command lines. nix/semantics.nix asks the same.
 */
export function holdsPassword(location: string): boolean {
  if (location.startsWith('rclone:')) return /[,:](?:\w*(?:pass|password|secret|token|_key)\d*|key)=(?:[^"'/]|["'][^/])/i.test(location)
  return /:\/\/[^/?#]*:[^/?#]*@/.test(location)
}

/** User and password in a location: the text from `begin` to the @ at `end`. */
export interface Userinfo {
  begin: number
  end: number
  text: string
}

/**
 * As Go's net/url takes them: up to the last @ before the first /, ? or #. Of a URL that Go refuses, restic prints all; there they are taken up to
 * the last @ of all. Without a URL (`sftp:user:password@host:/path`) only what has a password.
 */
function userinfoIn(location: string): Userinfo | null {
  const slashes = location.indexOf('://')
  const begin = slashes >= 0 ? slashes + 3 : (/^(?:sftp|rest|s3|swift):(?=[^:@/]*:[^/]*@)/.exec(location)?.[0].length ?? -1)
  if (begin < 0) return null
  const rest = location.slice(begin)
  const authority = /^[^/?#]*/.exec(rest)?.[0] ?? ''
  const refused = slashes >= 0 && !(authorityOfGo.test(authority) && !/%(?![0-9a-f]{2})|[\0-\x20\x7f]/i.test(rest))
  // Go takes the digits of an unencoded "user:12/34@host" for a port, whose end nobody can know for sure: better too much is hidden.
  const unsure = !authority.includes('@') && /:\d+$/.test(authority)
  const end = (refused || unsure ? rest : authority).lastIndexOf('@')
  return end < 0 ? null : { begin, end: begin + end, text: rest.slice(0, end) }
}
const authorityOfGo = /^(?:[\w.~!$&'()*+,;=:@%-]*@)?(?:[\w.-]*|\[[\w.:%-]*\])(?::\d*)?$/

/** The password in a location, as it is written there; "" if there is none. A user without a password in an http URL may be a token. */
export function passwordIn(location: string): string {
  const text = userinfoIn(location)?.text ?? ''
  const colon = text.indexOf(':')
  return colon >= 0 ? text.slice(colon + 1) : /https?:\/\//i.test(location) ? text : ''
}

/** The location, or a text that holds one URL, without its password; as long as there is one. */
export function withoutPassword(location: string): string {
  const found = userinfoIn(location)
  if (!found || passwordIn(location) === '') return location
  const colon = found.text.indexOf(':')
  return `${location.slice(0, found.begin)}${colon < 0 ? '' : `${found.text.slice(0, colon)}:`}***${location.slice(found.end)}`
}
