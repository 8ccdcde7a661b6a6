// A strict JSON parser: errors have line and column; duplicate keys and `__proto__`, which JavaScript would drop, are errors.
import { quoted } from './problems.ts'

/** @throws JsonError */
export function parseJson(text: string): unknown {
  let at = 0
  const value = read(0)
  const end = next()
  if (end.kind !== '') expected('the end of the file', end)
  return value

  function read(depth: number): unknown {
    const token = next()
    if (depth > 100) fail('nested more than 100 levels deep', token)
    if (token.kind === '{') return object(depth)
    if (token.kind === '[') return list(depth)
    return token.kind === 'scalar' ? JSON.parse(token.text) : expected('a value', token)
  }

  function object(depth: number): unknown {
    const fields: Record<string, unknown> = {}
    if (peek().kind === '}') return skip(fields)
    for (;;) {
      const token = next()
      if (!token.text.startsWith('"') || token.kind !== 'scalar') expected('a key in quotes', token)
      const key = JSON.parse(token.text) as string
      if (key === '__proto__') fail('"__proto__" can\'t be a key', token)
      if (Object.hasOwn(fields, key)) fail(`duplicate key ${quoted(key)}`, token)
      const colon = next()
      if (colon.kind !== ':') expected('":"', colon)
      fields[key] = read(depth + 1)
      const after = next()
      if (after.kind === '}') return fields
      if (after.kind !== ',') expected('"," or "}"', after)
    }
  }

  function list(depth: number): unknown {
    const entries: unknown[] = []
    if (peek().kind === ']') return skip(entries)
    for (;;) {
      entries.push(read(depth + 1))
      const after = next()
      if (after.kind === ']') return entries
      if (after.kind !== ',') expected('"," or "]"', after)
    }
  }

  function peek(): Token {
    const start = at
    const token = next()
    at = start
    return token
  }

  function skip<T>(value: T): T {
    next()
    return value
  }

  function next(): Token {
    tokens.lastIndex = at
    const [all = '', space = '', mark, scalar, rest = ''] = tokens.exec(text) ?? []
    at += all.length
    return { kind: mark ?? (scalar === undefined ? rest : 'scalar'), text: mark ?? scalar ?? rest, start: at - all.length + space.length }
  }

  function expected(what: string, token: Token): never {
    return fail(`expected ${what}, found ${described(token.text)}`, token)
  }

  function fail(message: string, token: Token): never {
    const before = text.slice(0, token.start).split('\n')
    throw new JsonError(`line ${before.length}, column ${[...(before.at(-1) ?? '')].length + 1}: ${message}`)
  }
}

/** The message begins with line and column. */
export class JsonError extends Error {}

/** A token for an error message. The text of a string isn't shown: it may be a secret. */
function described(token: string): string {
  if (token === '') return 'the end of the file'
  if (!token.startsWith('"')) return quoted(token)
  return /"$/.test(token.slice(1)) ? 'a string' : "a string that isn't closed, or holds a line break or an unknown escape"
}

/** `kind`: the punctuation itself, `scalar`, or the invalid text; empty at the end of the file. */
interface Token {
  kind: string
  text: string
  start: number
}

const string = String.raw`"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"`
const number = String.raw`-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?`
/** White space, then punctuation, a scalar, or invalid text up to the next white space or punctuation. */
const tokens = new RegExp(`([ \\t\\n\\r]*)(?:([{}[\\],:])|(${string}|(?:${number}|true|false|null)(?![\\w.+-]))|([^\\s{}[\\],:]*))`, 'y')
