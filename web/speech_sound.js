// The sound that DAWN Encode Audio heard, for the timeline of a node behind it.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { lastResult } from './last_result.js'

/** @typedef {{ url: string, peaks: Float32Array }} Sound  peaks: the loudest sample, 0..1, of each of equal parts */

const ENCODER = 'DawnEncodeAudio'
const PEAKS = 600
const heard = new WeakMap() // node → what its last run wrote: { filename, subfolder, type }

/**
 * The sound of the nearest DAWN Encode Audio before a node; null where there is none that has run.
 *
 * @returns {Promise<Sound | null>}
 */
export async function soundBefore(node) {
  const encoder = encoderBefore(node)
  const file = encoder && (heard.get(encoder) ?? (await lastResult(encoder, 'dawn_sound')))
  if (!file) return null
  const url = api.apiURL(`/view?${new URLSearchParams(file)}`)
  const bytes = await (await fetch(url)).arrayBuffer()
  const { OfflineAudioContext } = window
  const samples = (await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes)).getChannelData(0)
  return { url, peaks: peaksOf(samples) }
}

function encoderBefore(node) {
  const seen = new Set()
  const waiting = [node]
  while (waiting.length) {
    const next = waiting.shift()
    if (!next || seen.has(next)) continue
    seen.add(next)
    if (next.comfyClass === ENCODER) return next
    next.inputs?.forEach((_, slot) => waiting.push(next.getInputNode(slot)))
  }
  return null
}

function peaksOf(samples) {
  const peaks = new Float32Array(PEAKS)
  for (let i = 0; i < samples.length; i++) {
    const part = Math.floor((i * PEAKS) / samples.length)
    peaks[part] = Math.max(peaks[part], Math.abs(samples[i]))
  }
  return peaks
}

app.registerExtension({
  name: 'dawn.speechSound',
  nodeCreated(node) {
    if (node.comfyClass !== ENCODER) return
    const executed = node.onExecuted
    node.onExecuted = function (output) {
      executed?.apply(this, arguments)
      if (output?.dawn_sound?.length) heard.set(node, output.dawn_sound[0])
    }
  }
})
