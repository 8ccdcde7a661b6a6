// A time limit for one call, as a signal that aborts it.

/** Aborted together with `signal`, or after a minute: restic itself tries for a quarter of an hour to reach a repository that doesn't answer. */
export function withTimeout(signal: AbortSignal): AbortSignal {
  // Not AbortSignal.timeout within AbortSignal.any: Node 20 collects it as garbage, and it never fires.
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(new DOMException('no answer within a minute', 'TimeoutError')), 60_000)
  timer.unref()
  const abort = () => limit.abort(signal.reason)
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true, signal: limit.signal })
  return limit.signal
}
