// Makes the workflow that a user opens (UI format) from one in the API format, in a real browser.
//
//   node scripts/browser/make_ui_workflow.mjs --server http://127.0.0.1:8188 \
//       --api workflows/api/dawn_talking_head.json --ui "workflows/DAWN - A portrait talks in stages.json" \
//       [--upload FILE]... [--upscaler NODE.INPUT] [--shots FOLDER] [--open] [--run] [--nodes2]
//
// It loads the API file, lays the nodes out from left to right, saves the graph, opens the saved file anew and
// checks that it means the same prompt and misses no node. --upload puts files into the server's input folder
// first; --upscaler offers an upscale model on the wire into that input, bypassed until the user wants it; --open
// leaves the saved file as it is and only opens it; --run queues it and waits; --nodes2 shows the newer node design.
// Screenshots: loaded.png, result.png. What it needs to run: comfy_page.mjs.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'

import { ROOT, Server, fitView, layOut, loadApi, openBrowser, openPage, run } from './comfy_page.mjs'

const { values: options } = parseArgs({
  options: {
    server: { type: 'string', default: 'http://127.0.0.1:8188' },
    api: { type: 'string' },
    ui: { type: 'string' },
    upload: { type: 'string', multiple: true, default: [] },
    upscaler: { type: 'string' },
    shots: { type: 'string', default: path.join(ROOT, '.dawn/shots') },
    open: { type: 'boolean', default: false },
    run: { type: 'boolean', default: false },
    nodes2: { type: 'boolean', default: false }
  }
})
const prompt = JSON.parse(fs.readFileSync(options.api, 'utf8'))
const name = path.basename(options.ui, '.json')

/** Runs in the page: two bypassed nodes on the wire into an input. */
function offerUpscaler([id, input]) {
  const BYPASSED = 4
  const { graph } = window.app
  const target = graph.getNodeById(Number(id))
  const slot = target.findInputSlot(input)
  const source = target.getInputNode(slot)
  const { origin_slot } = target.getInputLink(slot)
  const [loader, upscale] = ['UpscaleModelLoader', 'ImageUpscaleWithModel'].map((type) =>
    graph.add(window.LiteGraph.createNode(type))
  )
  source.connect(origin_slot, upscale, upscale.findInputSlot('image'))
  loader.connect(0, upscale, upscale.findInputSlot('upscale_model'))
  upscale.connect(0, target, slot)
  loader.mode = upscale.mode = BYPASSED
}

/** Runs in the page: below the upscaler, how to use it. */
function explainUpscaler() {
  const { graph } = window.app
  const upscale = graph._nodes.find((node) => node.type === 'ImageUpscaleWithModel')
  const note = graph.add(window.LiteGraph.createNode('Note'))
  note.title = 'With an upscale model'
  note.widgets[0].value =
    'Load Upscale Model and Upscale Image are switched off, so that this workflow runs without a model. For sharper ' +
    'frames put one into models/upscale_models, choose it, select both nodes and press Ctrl+B. Any factor fits.'
  note.setSize([upscale.size[0], 190])
  note.pos = [upscale.pos[0], upscale.pos[1] + upscale.size[1] + 60]
}

async function build(page) {
  await loadApi(page, prompt, name)
  if (options.upscaler) await page.evaluate(offerUpscaler, options.upscaler.split('.'))
  await page.evaluate(layOut)
  if (options.upscaler) await page.evaluate(explainUpscaler)
  await fitView(page)
  return page.evaluate(() => window.app.graph.serialize())
}

async function openSaved(page) {
  const saved = JSON.parse(fs.readFileSync(options.ui, 'utf8'))
  await page.evaluate(([ui, title]) => window.app.loadGraphData(ui, true, true, title), [saved, name])
  await page.waitForTimeout(1500)
  const missing = await page.evaluate(() =>
    window.app.graph._nodes.map((node) => node.type).filter((type) => !window.LiteGraph.registered_node_types[type])
  )
  assert.deepEqual(missing, [], 'the server lacks nodes of this workflow')
}

/** What a prompt means, without titles and without how the browser numbers its links. */
function meaning(api) {
  return Object.fromEntries(
    Object.entries(api).map(([id, node]) => {
      const inputs = Object.entries(node.inputs).map(([key, value]) => [
        key,
        Array.isArray(value) ? [String(value[0]), value[1]] : value
      ])
      return [id, { class_type: node.class_type, inputs: Object.fromEntries(inputs) }]
    })
  )
}

/** Every input of the API file has to come back; the browser may add defaults that the file leaves out. */
function compare(before, after) {
  assert.deepEqual(Object.keys(after).sort(), Object.keys(before).sort(), 'the nodes of both formats')
  for (const [id, node] of Object.entries(meaning(before))) {
    assert.equal(after[id].class_type, node.class_type, `node ${id}`)
    for (const [key, value] of Object.entries(node.inputs)) {
      if (!(key in after[id].inputs)) console.log(`note: the browser drops ${node.class_type}.${key}`)
      else assert.deepEqual(after[id].inputs[key], value, `node ${id} (${node.class_type}).${key}`)
    }
  }
}

const server = new Server(options.server)
for (const file of options.upload) await server.upload(file)
await server.settle(options.nodes2)
fs.mkdirSync(options.shots, { recursive: true })

const browser = await openBrowser()
try {
  const complaints = []
  const page = await openPage(browser, server, complaints)
  if (!options.open) fs.writeFileSync(options.ui, JSON.stringify(await build(page), null, 2) + '\n')

  await openSaved(page)
  compare(prompt, meaning((await page.evaluate(() => window.app.graphToPrompt())).output))
  await fitView(page)
  await page.screenshot({ path: path.join(options.shots, 'loaded.png') })
  if (options.run) {
    await run(page, server)
    await page.screenshot({ path: path.join(options.shots, 'result.png') })
  }
  for (const complaint of new Set(complaints)) console.log('page error:', complaint)
  console.log(`saved ${options.ui}; screenshots in ${options.shots}`)
} finally {
  await browser.close()
}
