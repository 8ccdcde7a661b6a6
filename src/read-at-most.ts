// Reads a file of which it isn't known what it is: a device or a pipe may never end.
import { open } from './fs.ts'

/** The file's bytes. Of more than `most` bytes only a part comes back, which is longer than `most`. @throws as open(2) and read(2) do */
export async function readAtMost(file: string, most: number): Promise<Buffer> {
  const handle = await open(file, 'r')
  try {
    const parts: Buffer[] = []
    for (let size = 0; size <= most; ) {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(1 << 16))
      if (bytesRead === 0) break
      parts.push(buffer.subarray(0, bytesRead))
      size += bytesRead
    }
    return Buffer.concat(parts)
  } finally {
    await handle.close()
  }
}
