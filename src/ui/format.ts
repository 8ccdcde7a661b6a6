// Sizes, times and ages as text.
import type { Iso } from '../core.ts'

const sizes = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
/** "412 MB", "1.2 GB": decimal units, as on disks. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return '–'
  let value = bytes
  let size = 0
  while (value >= 999.5 && size < sizes.length - 1) {
    value /= 1000
    size += 1
  }
  return `${size === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} ${sizes[size]}`
}

/** "20,412". Without Intl, which is slow to load. */
export function formatCount(count: number): string {
  return String(count).replaceAll(/\B(?=(?:\d{3})+$)/g, ',')
}

/** "0.4 s", "12 s", "4 min 12 s", "2 h 5 min". */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** "0 ms", "850 ms", from 1 s as formatSeconds: for downtimes. */
export function formatPause(seconds: number): string {
  return seconds < 0.9995 ? `${Math.round(seconds * 1000)} ms` : formatSeconds(seconds)
}

/** "just now", "3 h ago", "12 d ago"; "in 5 h" for times in the future. */
export function formatAge(time: Iso, now: Date): string {
  const seconds = (now.getTime() - Date.parse(time)) / 1000
  const span = Math.abs(seconds)
  if (span < 60) return seconds >= 0 ? 'just now' : 'in a moment'
  const steps: [number, string][] = [
    [60, 'min'],
    [3600, 'h'],
    [86_400, 'd'],
  ]
  const [size, unit] = steps.findLast(([size], i) => span >= size * (i === 2 ? 2 : 1)) ?? [60, 'min']
  const words = `${Math.floor(span / size)} ${unit}`
  return seconds >= 0 ? `${words} ago` : `in ${words}`
}

/** "today 04:12", "yesterday 03:51", "Fri 20 Nov 02:44", with the year if it isn't this one. Local time. */
export function formatTime(time: Iso, now: Date): string {
  return dayAndClock(time, now).join(' ')
}

/** `formatTime` in two parts: day, and time of day. */
export function dayAndClock(time: Iso, now: Date): [string, string] {
  const date = new Date(time)
  const clock = date.toTimeString().slice(0, 5)
  const days = Math.round((startOfDay(now) - startOfDay(date)) / 86_400_000)
  if (days === 0) return ['today', clock]
  if (days === 1) return ['yesterday', clock]
  const year = date.getFullYear() === now.getFullYear() ? '' : ` ${date.getFullYear()}`
  return [`${weekdays[date.getDay()]} ${date.getDate()} ${months[date.getMonth()]}${year}`, clock]
}
const weekdays = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** Replaces the ISO 8601 times in a message by `formatTime`. */
export function timesInWords(text: string, now: Date): string {
  return text.replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)/g, (time) => formatTime(time, now))
}

function startOfDay(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime()
}
