// The manual page atelier-backup(1), from the table of commands and the schema's defaults: scripts/docs/manual.
import { readFileSync, writeFileSync } from 'node:fs'
import type { Option } from '../../src/commands/command.ts'
import { commands, globalOptions } from '../../src/commands/index.ts'
import { defaultCache, defaultManifest, defaultState } from '../../src/defaults.ts'
import { exits } from '../../src/errors.ts'
import { errors } from './errors.ts'
import { glossary } from './glossary.ts'

const schema = JSON.parse(readFileSync('schema/backup-manifest.schema.json', 'utf8'))
const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
const defaults = (definition: string): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(schema.$defs[definition].properties as Record<string, { default: unknown }>).map(([name, { default: value }]) => [name, value]),
  )
const schedule = defaults('schedule')
const retention = defaults('retention')
const prune = defaults('prune')
const secrets = defaults('repository')

const [file, errorsFile, readme] = process.argv.slice(2)
if (!file || !errorsFile || !readme) throw new Error('usage: node scripts/run.mjs scripts/docs/manual.ts PAGE ERRORS README')
writeFileSync(file, manual())
writeFileSync(errorsFile, errorsPage())
writeFileSync(readme, readFileSync('README.md', 'utf8').replace(/(<!-- glossary -->\n).*(?=<!-- \/glossary -->)/s, `$1${glossaryTable()}`))

function manual(): string {
  const shown = commands.filter(({ hidden }) => !hidden)
  return `${[
    `.TH ATELIER-BACKUP 1 "" "atelier-backup ${version}" "User Commands"`,
    section('NAME', 'atelier-backup \\- restic backups of the services of a NixOS host'),
    section(
      'SYNOPSIS',
      '.B atelier-backup',
      '.br',
      ...shown.flatMap(({ name, arguments: args, options }) => [
        `.B atelier-backup ${name}`,
        [...(options.length > 0 ? ['[options]'] : []), ...(args ? [args] : [])].map(text).join(' '),
        '.br',
      ]),
    ),
    section(
      'DESCRIPTION',
      text(
        "Services are declared in the host's NixOS configuration under atelier.backup.services; a rebuild makes systemd timers and a manifest. This command reads the manifest: it shows the state of each service, backs up, restores, and recovers every service after a disaster. The data is kept by restic, each file at its original absolute path, so that restic alone can restore it.",
      ),
      paragraph('Alone on a terminal it opens a menu. Everything a prompt can ask has an option, and without a terminal nothing is asked.'),
    ),
    section(
      'COMMANDS',
      ...shown.flatMap(({ name, aliases = [], arguments: args, summary, description, options }) => [
        `.SS ${text([[name, ...aliases].join(', '), args].filter(Boolean).join(' '))}`,
        text(description ?? `${sentence(summary)}`),
        ...options.flatMap(optionLines),
      ]),
    ),
    section(
      'OPTIONS',
      text('Before or after a command:'),
      ...globalOptions.flatMap(optionLines),
      ...optionLines({ flags: '-V, --version', description: 'the version' }),
      ...optionLines({ flags: '-h, --help', description: 'help, also for each command' }),
    ),
    section(
      'RESTORE MODES',
      item(
        'inspect (the default)',
        'The snapshot, or the paths named with --path, are restored below a new folder of mode 0700: /tmp/restore-SERVICE-SNAPSHOT, or --target. Live data is not touched.',
      ),
      item(
        '--in-place',
        'The data is fetched and checked beside the live data first; then the units are stopped, and masked until they are started again (in /run/systemd/system.control); a process that still has a file open is named, and nothing is replaced. Old and new data are exchanged by renames; the content of a mount point is exchanged entry by entry, and the ACLs of the mount point itself stay. A file with a mount of its own (as containers and impermanence make them) is not renamed: old and new are copied into the state folder, then its content, owner, mode and times are replaced; extended attributes that the snapshot lacks stay. A filesystem that is mounted inside the data and not in the snapshot is emptied only with --empty-mounts or a typed answer; its data is moved aside. Onto the folder of a disk that fstab or systemd would mount, and that is not mounted, nothing is restored without --onto-unmounted. A mount that is read-only, or a file here and a folder in the snapshot, is refused. Then the units that ran are started and healthCheck is run. If that fails, the old data is put back. The old data is kept for at least seven days (restore.keepOldDays) and until a newer complete backup exists; files that backups exclude are kept. Files belong to the users and groups of the same names, whatever their numbers are here; ACLs keep numbers. PostgreSQL databases are loaded into new ones beside the live ones, which are exchanged together with the files: connections to them end, roles that the server lacks are created (and stay, also after --rollback), roles that are there are left as they are, and the old databases are kept under names that begin with atelier-old. The plan is shown first, and --dry-run stops there.',
      ),
      item(
        '--resume, --rollback',
        'Finish, or undo, an interrupted restore in place. --rollback also undoes a finished one as long as its old data is kept: the newest, or with --at TIME (a minute or a date means its end) the newest that began up to that time; at a terminal you choose from a list. The data that was live until then is kept in turn, so that a second --rollback puts it back. The old data of each restore stays in its folder, which status names; --discard-old deletes all of it.',
      ),
    ),
    section(
      'DISASTER RECOVERY',
      text(
        "What must survive elsewhere: the repository's location, its password and the storage's credentials. Where the secrets aren't in place, since agenix can't decrypt them without the lost host key, dr asks for them; if /etc/ssh is a service, the host key comes back first:",
      ),
      code('atelier-backup dr --from-repository --dry-run\natelier-backup dr --from-repository --only ssh\nnixos-rebuild switch'),
      paragraph('On a fresh install with the same configuration and the secrets in place:'),
      code(
        'atelier-backup doctor\natelier-backup dr                   # --host OLD, if the name has changed\natelier-backup dr --resume          # if something was interrupted or failed',
      ),
      paragraph(
        'Without the configuration, the manifest is taken from the repository, in which backups store it whenever it changed: --from-repository. It is shown, and its commands run only with --run-commands or when they are allowed at the terminal. Locations, secret files, postgresql and stagingDir in it are not used: other repositories are opened only by what is given at the terminal. Units that systemd does not know are ignored with --without-units.',
      ),
      paragraph(
        'First dr checks that secrets are readable, the repository answers, the password opens it, the clock is right, each service has a complete snapshot, units and users are known, and there is room; --dry-run stops there, and with --json gives the checks as data. A service that has only partial snapshots is left alone unless --partial.',
      ),
      paragraph(
        "Each service is restored from its newest complete snapshot, in the order of restoreAfter; one that fails doesn't stop the others. Data that is there is moved aside and kept. A service that was adopted or recovered here already is left alone unless --overwrite.",
      ),
      paragraph(
        'The report shows for each service its snapshot, bytes, seconds, units, health and the next command; a copy is kept below reports in the state folder.',
      ),
      paragraph(
        'Until a service was recovered or adopted, the backups of a fresh install are tagged "unadopted": "latest", dr and retention pass over them. "atelier-backup adopt" makes the backups of this host count.',
      ),
    ),
    section(
      'EXAMPLES',
      ...[
        ['atelier-backup status', 'The state of each service.'],
        ['atelier-backup backup notes photos', 'Back up two services now.'],
        ['atelier-backup restore notes --at 2026-11-20', 'The state at the end of that day, into a new folder below /tmp.'],
        ['atelier-backup restore notes --path /var/lib/notes/attachments --in-place', 'Restore one folder.'],
        ['atelier-backup dr --dry-run', 'What a recovery would do.'],
        ['atelier-backup restic -- snapshots --tag service:notes', "restic itself, with this host's repository and secrets."],
      ].map(([command = '', what = '']) => item(command, what)),
    ),
    section(
      'FILES',
      item(defaultManifest, 'What is declared. Made by the NixOS module.'),
      item(String(secrets.repositoryFile), 'Location of the repository (repositoryFile).'),
      item(String(secrets.passwordFile), 'Its password (passwordFile).'),
      item(String(secrets.environmentFile), "The storage's credentials, as a systemd EnvironmentFile (environmentFile)."),
      item(defaultState, "This install's id, records, locks, journals and reports."),
      item(defaultCache, "restic's cache."),
    ),
    section(
      'ENVIRONMENT',
      item('ATELIER_BACKUP_MANIFEST', `The manifest, unless --manifest is given. Default: ${defaultManifest}.`),
      item('STATE_DIRECTORY', `The state folder, unless --state-dir is given. Default: ${defaultState}.`),
      item('RESTIC_CACHE_DIR, CACHE_DIRECTORY', `restic's cache. Default: ${defaultCache}.`),
      item('NO_COLOR', 'No colours.'),
      item('DEBUG', 'Stack traces of unexpected errors.'),
    ),
    section(
      'EXIT STATUS',
      ...Object.entries({
        0: 'All is well.',
        1: 'Failed; also a restore that was rolled back, or is unfinished.',
        2: 'The command line is wrong, or an answer is needed and there is no terminal.',
        3: 'Partial: something could not be read, or was left alone; the rest was done.',
        4: 'A backup is overdue, unadopted, or was never made.',
        10: 'There is no repository.',
        11: 'The repository, or the service, is locked.',
        12: 'The password is wrong.',
        130: 'Interrupted.',
      }).map(([code, meaning]) => item(code, meaning)),
      paragraph('Of several services, the first of 130, 1, 12, 10, 11, 3, 4, 0 that occurs.'),
    ),
    section(
      'ERRORS',
      text(
        'An error is one line. At a terminal its code follows in brackets (except for a wrong command line and after an interruption); in JSON and in the records it is "code":',
      ),
      ...Object.entries(errors).map(([code, [means, remedy]]) => item(code, `${means} ${remedy}`)),
    ),
    section(
      'BACKUP SCHEDULE',
      text(
        `Each service has a timer, restic-backups-SERVICE.timer. Unless declared otherwise it elapses at ${schedule.onCalendar}, delayed by up to ${schedule.randomizedDelaySec} at random; a start missed while the host was off is made up for.`,
      ),
    ),
    section(
      'RETENTION POLICY',
      text(
        `Unless declared otherwise the last ${retention.last}, ${retention.daily} daily, ${retention.weekly} weekly and ${retention.monthly} monthly snapshots of each service are kept; the rest is forgotten and pruned ${String(prune.onCalendar) === 'Sun 05:00' ? 'on Sundays at 05:00' : `at ${prune.onCalendar}`}, delayed by up to ${prune.randomizedDelaySec}. No snapshot of a service is forgotten while its newest backup failed or is partial. Of the manifests that backups store the newest ten of each host are kept.`,
      ),
    ),
    section('GLOSSARY', ...Object.entries(glossary).map(([word, meaning]) => item(word, meaning))),
    section('SEE ALSO', '.BR restic (1),', '.BR systemd.timer (5),', '.BR systemd.time (7)'),
    section('AUTHORS', text('The atelier-backup authors. The earlier shell version and its manual page are by Kieran Klukas.')),
  ].join('\n')}\n`
}

/** The same table for those who read it in a browser. */
function errorsPage(): string {
  const rows = Object.entries(errors).map(
    ([code, [means, remedy]]) =>
      `| <a id="${code}"></a>\`${code}\` | ${exits[code as keyof typeof exits]} | ${means} | ${remedy.replaceAll('|', '\\|')} |`,
  )
  return `${[
    '# Errors',
    '',
    'An error is one line that says what happened, to which service, and what to do next. At a terminal its code follows in brackets (except for a wrong command line and after an interruption); in JSON and in the records it is `code`. The same list: ERRORS in atelier-backup(1).',
    '',
    '| code | exit | what it means | what to do |',
    '| --- | ---: | --- | --- |',
    ...rows,
  ].join('\n')}\n`
}

function glossaryTable(): string {
  return [
    '| word | what it means here |',
    '| --- | --- |',
    ...Object.entries(glossary).map(([word, meaning]) => `| ${word} | ${meaning} |`),
    '',
  ].join('\n')
}

function section(name: string, ...lines: string[]): string {
  return [`.SH ${name}`, ...lines].join('\n')
}
function code(lines: string): string {
  return `.PP\n.RS\n.nf\n${text(lines)}\n.fi\n.RE`
}
function item(term: string, meaning: string): string {
  return `.TP\n.B ${text(term)}\n${text(meaning)}`
}
function paragraph(words: string): string {
  return `.PP\n${text(words)}`
}
function optionLines({ flags, description, repeatable }: Option): string[] {
  return [item(flags, `${sentence(description)}${repeatable ? ' May be repeated.' : ''}`)]
}
function sentence(words: string): string {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}.`
}

/** For roff: backslashes, hyphens that are typed, and lines that would be requests. */
function text(words: string): string {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^([.'])/gm, '\\&$1')
}
