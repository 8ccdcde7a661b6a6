// What the queries for the status promise by themselves.
import { afterEach, expect, test, vi } from 'vitest'
import { withTimeout } from '../src/timeouts.ts'

afterEach(() => void vi.useRealTimers())

// By a timer that somebody holds: Node 20 collects AbortSignal.timeout within AbortSignal.any, and it never comes.
test('[state.3] after a minute without an answer a repository is given up', () => {
  vi.useFakeTimers()
  const signal = withTimeout(new AbortController().signal)
  vi.advanceTimersByTime(59_000)
  expect(signal.aborted).toBe(false)
  vi.advanceTimersByTime(1000)
  expect(signal.reason).toMatchObject({ name: 'TimeoutError' })
  const interruption = new AbortController()
  const interrupted = withTimeout(interruption.signal)
  interruption.abort('stop')
  expect(interrupted.reason).toBe('stop')
  expect(withTimeout(interruption.signal).reason).toBe('stop')
})
