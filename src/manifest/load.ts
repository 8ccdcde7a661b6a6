// Reads a manifest file: the manifest with every default filled in, or an error that says what to correct.
import { hostname } from 'node:os'
import type { $ZodIssue } from 'zod/v4/core'
import { Failure } from '../errors.ts'
import { readAtMost } from '../read-at-most.ts'
import { printable } from '../text.ts'
import { JsonError, parseJson } from './json.ts'
import { cleanPaths } from './paths.ts'
import { ManifestInvalid, problemsOf } from './problems.ts'
import { manifestExpectations, manifestSchema } from './schema.gen.ts'
import { semanticProblems } from './semantics.ts'
import type { Manifest } from './types.gen.ts'
import { version1Expectations, version1Schema } from './version1.gen.ts'
import { isVersion1, upgraded } from './version1.ts'

/** @throws Failure `manifest-missing`, `manifest-unreadable`, `manifest-invalid` (a ManifestInvalid, with all problems) */
export async function loadManifest(file: string): Promise<Manifest> {
  const bytes = await readAtMost(file, mostBytes).catch((error: NodeJS.ErrnoException) => {
    throw notRead(file, error)
  })
  if (bytes.length > mostBytes) throw new ManifestInvalid(file, [`more than ${mostBytes >> 20} MiB: no manifest is that large`])
  return readManifest(utf8(bytes, file), file)
}

/** 200 services with all their fields take less than 1 MiB. */
const mostBytes = 16 << 20

/**
 * Services and repositories come without a prototype: a service called `constructor` is there only if declared.
 * @throws ManifestInvalid
 */
export function readManifest(text: string, file: string, host = hostname()): Manifest {
  const value = json(text, file)
  const version1 = isVersion1(value)
  const current = version1 ? upgraded(shape(version1Schema, version1Expectations, value, `${file} (version 1)`), host) : value
  const manifest = shape(manifestSchema, manifestExpectations, current, file)
  const problems = semanticProblems(manifest)
  if (problems.length > 0) throw new ManifestInvalid(file, problems)
  return normal(manifest)
}

function utf8(bytes: Buffer, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ManifestInvalid(file, ['not UTF-8 text'])
  }
}

function json(text: string, file: string): unknown {
  try {
    return parseJson(text)
  } catch (error) {
    throw error instanceof JsonError ? new ManifestInvalid(file, [error.message]) : error
  }
}

interface Validator<T> {
  safeParse(value: unknown): { success: true; data: T } | { success: false; error: { issues: $ZodIssue[] } }
}

function shape<T>(validator: Validator<T>, expectations: Record<string, string>, value: unknown, file: string): T {
  const result = validator.safeParse(value)
  if (result.success) return result.data
  throw new ManifestInvalid(file, problemsOf(result.error.issues, value, expectations))
}

function normal(manifest: Manifest): Manifest {
  const services = Object.entries(manifest.services).map(([name, service]) => [
    name,
    { ...service, paths: cleanPaths(service.paths), sqlite: cleanPaths(service.sqlite) },
  ])
  return { ...manifest, services: bare(Object.fromEntries(services)), repositories: bare(manifest.repositories) }
}

function bare<T extends object>(names: T): T {
  return Object.assign(Object.create(null), names)
}

function notRead(file: string, error: NodeJS.ErrnoException): Failure {
  const name = printable(file)
  const options = { cause: error }
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR')
    return new Failure(
      'manifest-missing',
      `no manifest at ${name}: the NixOS module writes it on rebuild; --manifest or ATELIER_BACKUP_MANIFEST names another file`,
      options,
    )
  if (error.code === 'EACCES' || error.code === 'EPERM')
    return new Failure('manifest-unreadable', `no permission to read ${name}: run this as root, for example with sudo`, options)
  return new Failure('manifest-unreadable', `${name} can't be read (${error.code})`, options)
}
