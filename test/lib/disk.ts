// A file system of a test's own: an image in a file, mounted by a loop device.
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { has, isRoot } from './needs.ts'

export const canMountDisks = isRoot && has('mkfs.btrfs') && has('mkfs.xfs')

export type FileSystem = 'btrfs' | 'xfs' | 'ext4'

/** Makes the image `file` of so many MiB. Takes little room until it is written to. */
export function makeImage(file: string, type: FileSystem, size = 320): void {
  writeFileSync(file, '')
  truncateSync(file, size * (1 << 20))
  execFileSync(`mkfs.${type}`, ['-q', file], { stdio: 'ignore' })
}

/** Makes a disk and mounts it at `folder`; gives what unmounts it. */
export function mountDisk(folder: string, type: FileSystem): () => void {
  mkdirSync(folder, { recursive: true })
  const image = `${folder}.image`
  makeImage(image, type)
  execFileSync('mount', ['-o', 'loop', image, folder])
  return () => {
    execFileSync('umount', ['--recursive', folder])
    rmSync(image)
  }
}
