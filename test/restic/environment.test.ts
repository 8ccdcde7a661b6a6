import { afterEach, describe, expect, it } from 'vitest'
import { parseEnvironmentFile, resticEnvironment } from '../../src/restic/environment.ts'

// Each row is what systemd ≥ 254 makes of the text. Source: systemd.exec(5) and test-env-file.c in systemd's src/test.
describe('[secret.4] an EnvironmentFile is read as systemd reads it', () => {
  it.each<[what: string, text: string, expected: Record<string, string>]>([
    ['plain', 'A=b\nC=d\n', { A: 'b', C: 'd' }],
    ['no newline at the end', 'A=b', { A: 'b' }],
    ['CRLF', 'A=b\r\nC=d\r\n', { A: 'b', C: 'd' }],
    ['empty values', 'A=\nB=""\nC=', { A: '', B: '', C: '' }],
    ['blanks around name and value go', '  A  =  b c  \n', { A: 'b c' }],
    ['comments', '# A=1\n; B=2\n  # C=3\nD=4', { D: '4' }],
    ['a comment ends with its line, backslash or not', '# one \\\nA=1', { A: '1' }],
    ['# within a value is none', 'A=b # c\nB="#"', { A: 'b # c', B: '#' }],
    ['the last assignment wins', 'A=1\nA=2', { A: '2' }],
    ['an empty value wins, too', 'A=1\nA=', { A: '' }],
    ['single quotes keep everything', "A='a \\ \"b $c\\n'", { A: 'a \\ "b $c\\n' }],
    ['single quotes span lines', "A='a\nb'\nC=d", { A: 'a\nb', C: 'd' }],
    ['double quotes: escapes of what the shell escapes', 'A="\\"\\\\\\`\\$"', { A: '"\\`$' }],
    ['double quotes: other backslashes stay', 'A="\\n\\t\\x"', { A: '\\n\\t\\x' }],
    ['double quotes: an escaped newline goes, a plain one stays', 'A="a\\\nb\nc"', { A: 'ab\nc' }],
    ['unquoted backslashes take the next character literally', 'A=\\a\\ \\"\\\\b', { A: 'a "\\b' }],
    ['an escaped blank at the end stays', 'A=b\\ \nB=b\\  \n', { A: 'b ', B: 'b ' }],
    ['a continued line', 'A=a\\\nb\nC=d', { A: 'ab', C: 'd' }],
    ['what follows a quoted part is appended', 'A="a"b\nB="a" \'b\' "c"\nC="a" b ', { A: 'ab', B: 'abc', C: 'ab' }],
    ['quotes within an unquoted value are plain', 'A=it\'s "so"', { A: 'it\'s "so"' }],
    ['blanks in quotes stay', 'A=" a "\nB=\' \'', { A: ' a ', B: ' ' }],
    ['nothing is expanded', 'A=1\nB=$A `id` $(id)', { A: '1', B: '$A `id` $(id)' }],
    ['= in a value', 'A=b=c==', { A: 'b=c==' }],
    ['no assignment', 'A\nB C\n=d\nE=f', { E: 'f' }],
    ['a name without a value at the end', 'A=b\nC', { A: 'b' }],
    ['export isn’t known', 'export A=b\nC=d', { C: 'd' }],
    ['names that aren’t', '1A=b\nA-B=c\nä=d\n_A1=e', { _A1: 'e' }],
    ['an unclosed quote takes the rest', 'A="b\nC=d', { A: 'b\nC=d' }],
    ['a backslash at the very end', 'A=b\\', { A: 'b' }],
    ['no line is continued before its =', 'A\\\nB=c', { B: 'c' }],
    ['beyond ASCII', 'A=ä😀', { A: 'ä😀' }],
    [
      'names of Object.prototype',
      '__proto__=x\nconstructor=y',
      Object.fromEntries([
        ['__proto__', 'x'],
        ['constructor', 'y'],
      ]),
    ],
  ])('%s', (_, text, expected) => {
    expect(Object.entries(parseEnvironmentFile(text))).toEqual(Object.entries(expected))
  })
})

describe('restic’s environment', () => {
  const saved = { ...process.env }
  afterEach(() => {
    process.env = { ...saved }
  })
  const files = { repositoryFile: '/run/repo', passwordFile: '/run/password', cacheDir: '/cache' }

  it('[secret.1] is built from nothing', () => {
    process.env = { PATH: '/bin', HOME: '/h', TMPDIR: '/t', RESTIC_HOST: 'x', RESTIC_PASSWORD: 'x', AWS_SECRET_ACCESS_KEY: 'x', LD_PRELOAD: 'x' }
    expect(resticEnvironment({ ...files, credentials: null, repository: null, variables: { B2_ACCOUNT_ID: 'id' } })).toEqual({
      PATH: '/bin',
      HOME: '/h',
      TMPDIR: '/t',
      LANG: 'C.UTF-8',
      B2_ACCOUNT_ID: 'id',
      RESTIC_REPOSITORY_FILE: '/run/repo',
      RESTIC_PASSWORD_FILE: '/run/password',
      RESTIC_CACHE_DIR: '/cache',
      RESTIC_PROGRESS_FPS: '2',
    })
  })

  it('which repository and which password is the manifest’s to say', () => {
    const names = [
      'RESTIC_REPOSITORY',
      'RESTIC_REPOSITORY_FILE',
      'RESTIC_PASSWORD',
      'RESTIC_PASSWORD_FILE',
      'RESTIC_PASSWORD_COMMAND',
      'RESTIC_CACHE_DIR',
    ]
    const variables = Object.fromEntries(names.map((name) => [name, 'theirs']))
    const environment = resticEnvironment({ ...files, credentials: null, repository: '/mnt/r', variables })
    expect(environment).toMatchObject({ RESTIC_REPOSITORY: '/mnt/r', RESTIC_PASSWORD_FILE: '/run/password', RESTIC_CACHE_DIR: '/cache' })
    expect(Object.values(environment)).not.toContain('theirs')
    expect(environment).not.toHaveProperty('RESTIC_REPOSITORY_FILE')
  })
})
