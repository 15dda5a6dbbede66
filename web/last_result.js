// What a node showed when it last ran for the same inputs. ComfyUI does not send it again for a node whose result it
// still has, so a page that is opened anew asks the history, which lives as long as those results.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

const ENTRIES = 30

/**
 * @param {object} node
 * @param {string} key  of its `ui` output
 * @returns {Promise<any | null>} the first element of it; null where the node has not run with everything as it is now
 */
export async function lastResult(node, key) {
  const { output: prompt } = await app.graphToPrompt()
  const id = String(node.id)
  if (!prompt[id]) return null
  const wanted = before(prompt, id)
  const history = await (await api.fetchApi(`/history?max_items=${ENTRIES}`)).json()
  for (const entry of Object.values(history).reverse()) {
    const shown = entry.outputs?.[id]?.[key]
    const ran = entry.prompt[2]
    if (shown?.length && ran[id] && before(ran, id) === wanted) return shown[0]
  }
  return null
}

/** A node and all that its result depends on, as text that is equal where they are. */
function before(prompt, id) {
  const needed = {}
  const waiting = [id]
  while (waiting.length) {
    const name = waiting.pop()
    if (name in needed || !prompt[name]) continue
    const { class_type: kind, inputs } = prompt[name]
    needed[name] = [kind, Object.entries(inputs).sort(([a], [b]) => (a < b ? -1 : 1))]
    for (const value of Object.values(inputs)) if (Array.isArray(value)) waiting.push(String(value[0]))
  }
  return JSON.stringify(Object.entries(needed).sort(([a], [b]) => (a < b ? -1 : 1)))
}
