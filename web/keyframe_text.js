// The text of the keyframes, read and changed in place: what is not changed stays as it was typed, comments and lines
// that are not understood among it. The rules are those of dawn_model/head_motion/keyframes.py.

export const FPS = 25
export const RANGES = { yaw: [-90, 90], pitch: [-90, 90], roll: [-90, 90], eyes: [0, 2], blink: [0, 1] }

const FRAME = 1 / FPS
const SAME_MOMENT = FRAME / 2 // seconds
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g
const NUMBER = String.raw`[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?`
const ENTRY = new RegExp(String.raw`^(${NUMBER})([sf]?)((?:[\s,]+\w+\s*=\s*${NUMBER})+)[\s,]*$`)
const ASSIGNMENT = new RegExp(String.raw`(\w+)\s*=\s*(${NUMBER})`, 'g')

/**
 * @typedef {{ axis: string, value: number, start: number, end: number }} Setting  where its number stands in the text
 * @typedef {{ start: number, end: number, timeEnd: number, unit: string, seconds: number, settings: Setting[] }} Entry
 */

/**
 * The entries that can be read, as they follow each other in the text; others are left out.
 *
 * @param {string} text
 * @returns {Entry[]}
 */
export function readKeyframes(text) {
  const entries = []
  for (const [start, end] of pieces(text)) {
    const entry = readEntry(text.slice(start, end), start)
    if (entry) entries.push(entry)
  }
  return entries
}

/**
 * The text with one axis set at one moment: in the entry of that moment where there is one, else in a new one.
 *
 * @param {string} text
 * @param {number} seconds
 * @param {string} axis
 * @param {number} value
 */
export function setKeyframe(text, seconds, axis, value) {
  const entries = readKeyframes(text)
  const here = entries.find((entry) => Math.abs(entry.seconds - seconds) < SAME_MOMENT)
  if (here) {
    const setting = here.settings.find((each) => each.axis === axis)
    if (setting) return replace(text, setting.start, setting.end, format(value))
    return replace(text, here.end, here.end, ` ${axis}=${format(value)}`)
  }
  const words = `${format(seconds)}s ${axis}=${format(value)}`
  const next = entries.find((entry) => entry.seconds > seconds)
  if (next) return replace(text, next.start, next.start, `${words}; `)
  const last = entries.at(-1)
  if (last) return replace(text, last.end, last.end, `; ${words}`)
  return text.trim() ? `${text.replace(/\s+$/, '')}\n${words}` : words
}

/**
 * The text with an entry at another time, in the unit that it was written in, and one of its axes at another value.
 * It stays between its neighbors, because the text is in order of time.
 *
 * @param {string} text
 * @param {number} index  of the entry
 * @param {string} axis
 * @param {number} seconds
 * @param {number} value
 * @param {number} end  of the clip, in seconds
 */
export function moveKeyframe(text, index, axis, seconds, value, end) {
  const entries = readKeyframes(text)
  const entry = entries[index]
  const least = index > 0 ? entries[index - 1].seconds + FRAME : 0
  const most = index + 1 < entries.length ? entries[index + 1].seconds - FRAME : end
  const moment = least <= most ? Math.min(most, Math.max(least, seconds)) : entry.seconds
  const setting = entry.settings.find((each) => each.axis === axis)
  const changed = replace(text, setting.start, setting.end, format(value))
  if (Math.abs(moment - entry.seconds) < 1e-6) return changed
  const time = entry.unit === 'f' ? `${Math.round(moment * FPS)}f` : `${format(moment)}${entry.unit}`
  return replace(changed, entry.start, entry.timeEnd, time) // the time stands before the setting
}

/** The text without one axis of an entry; without the entry where it set nothing else. */
export function removeKeyframe(text, index, axis) {
  const entry = readKeyframes(text)[index]
  if (entry.settings.length > 1) {
    const { end } = entry.settings.find((each) => each.axis === axis)
    const before = text.slice(0, end).replace(new RegExp(String.raw`[\s,]*${axis}\s*=\s*\S*$`), '')
    return before + text.slice(end)
  }
  const after = text.slice(entry.end).replace(/^[ \t]*;[ \t]*/, '')
  if (after.length < text.length - entry.end) return text.slice(0, entry.start) + after
  return text.slice(0, entry.start).replace(/;?[ \t]*$/, '') + after
}

/** [start, end] of what stands between semicolons, line ends and comments, without the space around it. */
function* pieces(text) {
  for (const [from, to] of spans(text, LINE_END, 0, text.length)) {
    const comment = text.slice(from, to).indexOf('#')
    for (const [start, end] of spans(text, /;/g, from, comment < 0 ? to : from + comment)) {
      const words = text.slice(start, end)
      if (words.trim()) yield [end - words.trimStart().length, start + words.trimEnd().length]
    }
  }
}

function* spans(text, separator, from, to) {
  let start = from
  for (const match of text.slice(from, to).matchAll(separator)) {
    yield [start, from + match.index]
    start = from + match.index + match[0].length
  }
  yield [start, to]
}

/** @returns {Entry | null} */
function readEntry(words, offset) {
  const match = ENTRY.exec(words)
  if (!match) return null
  const [, time, unit, assignments] = match
  const timeEnd = offset + time.length + unit.length
  const settings = [...assignments.matchAll(ASSIGNMENT)].map((found) => {
    const end = timeEnd + found.index + found[0].length
    return { axis: found[1], value: Number(found[2]), start: end - found[2].length, end }
  })
  const known = settings.every(({ axis, value }) => RANGES[axis]?.[0] <= value && value <= RANGES[axis][1])
  const twice = new Set(settings.map(({ axis }) => axis)).size < settings.length
  const seconds = unit === 'f' ? Number(time) / FPS : Number(time)
  if (!known || twice || seconds < 0) return null
  const end = settings.at(-1).end
  return { start: offset, end, timeEnd, unit, seconds, settings }
}

function replace(text, start, end, words) {
  return text.slice(0, start) + words + text.slice(end)
}

/** Without digits that nobody reads. */
function format(number) {
  return String(Number(number.toFixed(2)))
}
