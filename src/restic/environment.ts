// The environment that restic starts with: built from nothing, with secrets as names of files, or as a person typed them.
import type { Path } from '../core.ts'
import { plainEnvironment } from '../host/shell.ts'

/** How to open a repository. Field names as in the manifest. */
export interface ResticEnvironment {
  repository: string | null
  repositoryFile: Path
  passwordFile: Path
  /** Used instead of `repository`, `repositoryFile` and `passwordFile`. A password is text, or a file that holds it. */
  credentials: { location: string; password: string | { file: Path } } | null
  cacheDir: Path
  /** The parsed environment file. RESTIC_REPOSITORY* and RESTIC_PASSWORD* in it are dropped: the manifest decides, and restic refuses two of them together. */
  variables: Record<string, string>
}

export function resticEnvironment({
  repository,
  repositoryFile,
  passwordFile,
  credentials,
  cacheDir,
  variables,
}: ResticEnvironment): Record<string, string> {
  const allowed = Object.entries(variables).filter(([name]) => !/^RESTIC_(REPOSITORY|PASSWORD)/.test(name))
  return {
    ...plainEnvironment(),
    ...Object.fromEntries(allowed),
    ...(credentials
      ? {
          RESTIC_REPOSITORY: credentials.location,
          ...(typeof credentials.password === 'string'
            ? { RESTIC_PASSWORD: credentials.password }
            : { RESTIC_PASSWORD_FILE: credentials.password.file }),
        }
      : {
          ...(repository === null ? { RESTIC_REPOSITORY_FILE: repositoryFile } : { RESTIC_REPOSITORY: repository }),
          RESTIC_PASSWORD_FILE: passwordFile,
        }),
    RESTIC_CACHE_DIR: cacheDir,
    RESTIC_PROGRESS_FPS: '2',
  }
}

/**
 * Variables of an `EnvironmentFile=`, parsed like systemd since version 254: a comment ends with its line, a line that assigns no valid name is ignored,
 * and the last assignment to a name wins.
 * Source: systemd.exec(5), "EnvironmentFile="; the states are those of parse_env_file_internal() in systemd's src/basic/env-file.c.
 */
export function parseEnvironmentFile(text: string): Record<string, string> {
  const found: [string, string][] = []
  let state: State = 'pre-key'
  let assignment: Assignment = { key: '', value: '', trailing: 0 }
  const assign = () => {
    const { key, value, trailing } = assignment
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(key.trim())) found.push([key.trim(), value.slice(0, value.length - trailing)])
  }
  for (const character of text) {
    const next: State = states[state](character, assignment)
    if (next === 'pre-key' && valueStates.includes(state)) assign()
    if (next === 'pre-key') assignment = { key: '', value: '', trailing: 0 }
    state = next
  }
  if (valueStates.includes(state)) assign()
  return Object.fromEntries(found)
}

type State = 'pre-key' | 'key' | 'pre-value' | 'value' | 'escape' | 'single' | 'double' | 'double-escape' | 'comment' | 'comment-escape'
/** `trailing`: the number of unquoted, unescaped whitespace characters at the end of `value`. */
interface Assignment {
  key: string
  value: string
  trailing: number
}

const valueStates: State[] = ['pre-value', 'value', 'escape', 'single', 'double', 'double-escape']
const newline = (c: string) => c === '\n' || c === '\r'
const whitespace = (c: string) => newline(c) || c === ' ' || c === '\t'
const quotes: Record<string, State> = { "'": 'single', '"': 'double', '\\': 'escape' }

/** Each state handles one character and returns the next state. */
const states: Record<State, (c: string, to: Assignment) => State> = {
  'pre-key': (c, to) => {
    if (c === '#' || c === ';') return 'comment'
    if (whitespace(c)) return 'pre-key'
    to.key += c
    return 'key'
  },
  key: (c, to) => {
    if (newline(c)) return 'pre-key'
    if (c === '=') return 'pre-value'
    to.key += c
    return 'key'
  },
  'pre-value': (c, to) => {
    if (newline(c)) return 'pre-key'
    if (whitespace(c)) return 'pre-value'
    return quotes[c] ?? take(c, to, 'value')
  },
  value: (c, to) => {
    if (newline(c)) return 'pre-key'
    if (c === '\\') return keep(to, 'escape')
    if (!whitespace(c)) return take(c, to, 'value')
    to.trailing += 1
    to.value += c
    return 'value'
  },
  escape: (c, to) => (newline(c) ? 'value' : take(c, to, 'value')),
  single: (c, to) => (c === "'" ? 'pre-value' : take(c, to, 'single')),
  double: (c, to) => (c === '"' ? 'pre-value' : c === '\\' ? 'double-escape' : take(c, to, 'double')),
  'double-escape': (c, to) => (c === '\n' ? 'double' : take('"\\`$'.includes(c) ? c : `\\${c}`, to, 'double')),
  comment: (c) => (newline(c) ? 'pre-key' : c === '\\' ? 'comment-escape' : 'comment'),
  'comment-escape': (c) => (newline(c) ? 'pre-key' : 'comment'),
}

function take(text: string, to: Assignment, next: State): State {
  to.value += text
  return keep(to, next)
}

function keep(to: Assignment, next: State): State {
  to.trailing = 0
  return next
}
