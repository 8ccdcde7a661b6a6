// scripts/generate [--check]
import { writeFile } from 'node:fs/promises'
import { stale } from './generate.ts'

try {
  const check = process.argv.includes('--check')
  for (const [path, content] of await stale('.')) {
    if (!check) await writeFile(path, content)
    console.log(check ? `${path} is stale: run scripts/generate` : `${path} written`)
    if (check) process.exitCode = 1
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
