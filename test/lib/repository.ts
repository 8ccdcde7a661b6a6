// Real restic repositories in milliseconds: one `restic init` per process, then copies with ids of their own and a key that costs no scrypt.
import { createCipheriv, createDecipheriv, createHash, randomBytes, scryptSync } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { plainEnvironment, run } from '../../src/host/shell.ts'

/** Shape of a repository in the manifest. */
export interface TestRepository {
  repository: string
  repositoryFile: string
  passwordFile: string
  environmentFile: null
  initialize: boolean
  retryLock: string
}

/**
 * The restics to test with: ATELIER_RESTICS (separated by colons), else those that scripts/test put under .cache/tools, else the one on PATH.
 * With CI=true both supported versions must be there.
 */
export function resticPrograms(): string[] {
  const found = process.env.ATELIER_RESTICS?.split(':').filter(Boolean) ?? toolCache()
  if (process.env.CI === 'true' && found.length < 2)
    throw new Error('the tests need two versions of restic: run scripts/test, or name them in ATELIER_RESTICS')
  return found.length ? found : ['restic']
}

/** An empty repository with an id of its own at `folder`/repository, and its password file beside it. */
export async function makeRepository(folder: string, { password = 'correct horse' } = {}): Promise<TestRepository> {
  const { masterKey, polynomial } = await template()
  const repository = join(folder, 'repository')
  for (const name of ['data', 'index', 'keys', 'locks', 'snapshots']) mkdirSync(join(repository, name), { recursive: true })
  const config = { version: 2, id: randomBytes(32).toString('hex'), chunker_polynomial: polynomial }
  writeFileSync(join(repository, 'config'), encrypt(master(masterKey), JSON.stringify(config)), { mode: 0o400 })
  const key = wrap(masterKey, password)
  writeFileSync(join(repository, 'keys', createHash('sha256').update(key).digest('hex')), key, { mode: 0o400 })
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 })
  return { repository, repositoryFile: join(folder, 'no-such-file'), passwordFile, environmentFile: null, initialize: false, retryLock: '0s' }
}

/** Leaves a lock as a restic elsewhere would, that isn't done or was killed. */
export async function lockRepository(
  { repository }: TestRepository,
  {
    hostname = 'elsewhere',
    pid = 4242,
    exclusive = true,
    time = new Date(),
  }: { hostname?: string; pid?: number; exclusive?: boolean; time?: Date } = {},
): Promise<void> {
  const { masterKey } = await template()
  const lock = { time: time.toISOString(), exclusive, hostname, username: 'someone', pid }
  const data = encrypt(master(masterKey), JSON.stringify(lock))
  writeFileSync(join(repository, 'locks', createHash('sha256').update(data).digest('hex')), data)
}

/** Writes snapshots into a repository of restic's own making: thousands in seconds. Source: "Snapshots" in restic's design document. */
export function forgeSnapshots(repository: string, password: string, snapshots: object[]): void {
  const [name = ''] = readdirSync(join(repository, 'keys'))
  const file = JSON.parse(readFileSync(join(repository, 'keys', name), 'utf8'))
  const key = master(JSON.parse(decrypt(userKey(password, file), Buffer.from(file.data, 'base64'))))
  for (const snapshot of snapshots) {
    const data = encrypt(key, JSON.stringify(snapshot))
    writeFileSync(join(repository, 'snapshots', createHash('sha256').update(data).digest('hex')), data)
  }
}

function toolCache(): string[] {
  const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
  const folder = join(root, '.cache/tools')
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .map((name) => join(folder, name, 'restic'))
    .filter((program) => program.includes('/restic-') && existsSync(program))
    .sort()
}

interface MasterKey {
  mac: { k: string; r: string }
  encrypt: string
}
/** How restic keeps a key: 32 bytes for AES-256, 16 for Poly1305's AES-128, 16 for its r. Source: "Keys, Encryption and MAC" in restic's design document. */
interface Key {
  aes: Buffer
  k: Buffer
  r: Buffer
}

let made: Promise<{ masterKey: MasterKey; polynomial: string }> | undefined
function template() {
  made ??= initialise()
  return made
}

async function initialise() {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-template-'))
  try {
    const env = { ...plainEnvironment(), RESTIC_REPOSITORY: join(folder, 'r'), RESTIC_CACHE_DIR: join(folder, 'cache'), RESTIC_PASSWORD: 'template' }
    const { exit, stderr } = await run([resticPrograms()[0] ?? 'restic', 'init', '--repository-version', '2'], { env })
    if (exit !== 0) throw new Error(`restic init: ${stderr}`)
    const [name = ''] = readdirSync(join(folder, 'r/keys'))
    const file = JSON.parse(readFileSync(join(folder, 'r/keys', name), 'utf8'))
    const masterKey = JSON.parse(decrypt(userKey('template', file), Buffer.from(file.data, 'base64')))
    const config = JSON.parse(decrypt(master(masterKey), readFileSync(join(folder, 'r/config'))))
    return { masterKey, polynomial: config.chunker_polynomial }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A key file whose scrypt is the cheapest there is: each call of restic saves 0.6 s. */
function wrap(masterKey: MasterKey, password: string): string {
  const parameters = { kdf: 'scrypt', N: 2, r: 1, p: 1, salt: randomBytes(64).toString('base64') }
  const data = encrypt(userKey(password, parameters), JSON.stringify(masterKey)).toString('base64')
  return JSON.stringify({ created: new Date().toISOString(), username: 'test', hostname: 'test', ...parameters, data })
}

function userKey(password: string, { N, r, p, salt }: { N: number; r: number; p: number; salt: string }): Key {
  const bytes = scryptSync(password, Buffer.from(salt, 'base64'), 64, { N, r, p, maxmem: 256 * 1024 * 1024 })
  return { aes: bytes.subarray(0, 32), k: bytes.subarray(32, 48), r: bytes.subarray(48) }
}

function master({ mac, encrypt: aes }: MasterKey): Key {
  return { aes: Buffer.from(aes, 'base64'), k: Buffer.from(mac.k, 'base64'), r: Buffer.from(mac.r, 'base64') }
}

function decrypt(key: Key, data: Buffer): string {
  const cipher = createDecipheriv('aes-256-ctr', key.aes, data.subarray(0, 16))
  return cipher.update(data.subarray(16, -16)).toString()
}

function encrypt(key: Key, text: string): Buffer {
  const iv = randomBytes(16)
  const ciphertext = createCipheriv('aes-256-ctr', key.aes, iv).update(text)
  const s = createCipheriv('aes-128-ecb', key.k, null).setAutoPadding(false).update(iv)
  return Buffer.concat([iv, ciphertext, poly1305(ciphertext, key.r, s)])
}

/** RFC 8439, 2.5.1; Node offers it only inside ChaCha20. */
function poly1305(message: Buffer, rBytes: Buffer, sBytes: Buffer): Buffer {
  const number = (bytes: Buffer) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
  const r = number(rBytes) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let at = 0; at < message.length; at += 16) {
    const block = Buffer.concat([message.subarray(at, at + 16), Buffer.from([1])])
    sum = ((sum + number(block)) * r) % ((1n << 130n) - 5n)
  }
  const tag = (sum + number(sBytes)) & ((1n << 128n) - 1n)
  return Buffer.from(tag.toString(16).padStart(32, '0'), 'hex').reverse()
}
