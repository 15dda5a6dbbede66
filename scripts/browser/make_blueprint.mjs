// Makes a subgraph blueprint, which ComfyUI lists beside the nodes, from a workflow in the API format.
//
//   node scripts/browser/make_blueprint.mjs --server http://127.0.0.1:8188 \
//       --api workflows/api/dawn_talking_head.json --blueprint "subgraphs/DAWN Talking Head (stages).json" \
//       [--upload FILE]... [--shots FOLDER] [--open]
//
// Everything but the nodes that load, save and show becomes the inside. With --open, it finds the saved blueprint in
// the search as a user does, wires it up, runs it, and opens the inside; the server lists blueprints that were there
// when it was asked first. Screenshots: search.png, outside.png, inside.png. What it needs to run: comfy_page.mjs.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'

import { ROOT, Server, fitView, layOut, loadApi, openBrowser, openPage, run } from './comfy_page.mjs'

const { values: options } = parseArgs({
  options: {
    server: { type: 'string', default: 'http://127.0.0.1:8188' },
    api: { type: 'string' },
    blueprint: { type: 'string' },
    upload: { type: 'string', multiple: true, default: [] },
    shots: { type: 'string', default: path.join(ROOT, '.dawn/shots') },
    open: { type: 'boolean', default: false }
  }
})
const prompt = JSON.parse(fs.readFileSync(options.api, 'utf8'))
const name = path.basename(options.blueprint, '.json')

/** Runs in the page: the inside becomes a subgraph, alone in the graph. */
function enclose(title) {
  const { graph } = window.app
  const outside = /^(Load(Image|Audio|Video)$|Save|Preview)/
  const only = (type) => graph._nodes.find((node) => node.type === type)
  // What nobody outside asks for would not be offered outside.
  const render = only('DawnRenderFrames')
  for (const [output, type] of [['images', 'PreviewImage'], ['audio', 'PreviewAudio'], ['fps', 'PreviewAny']]) {
    render.connect(render.findOutputSlot(output), graph.add(window.LiteGraph.createNode(type)), 0)
  }
  const { subgraph, node } = graph.convertToSubgraph(new Set(graph._nodes.filter((node) => !outside.test(node.type))))
  subgraph.name = node.title = title
  node.properties.proxyWidgets = [] // it would show both seeds under one name
  for (const [type, widget, label] of [
    ['DawnLoadModel', 'model', 'model'],
    ['DawnGeneratePoseBlink', 'seed', 'head_seed'],
    ['DawnSampleMotion', 'seed', 'face_seed']
  ]) {
    const owner = subgraph.nodes.find((node) => node.type === type)
    const input = owner.inputs.find((input) => input.widget?.name === widget)
    subgraph.addInput(label, input.type).connect(input, owner)
  }
  for (const other of [...graph._nodes]) if (other !== node) graph.remove(other)
}

/** Finds the blueprint as a user does: a double click on the canvas, its name, Enter. */
async function addFromSearch(page) {
  await page.evaluate(() => window.app.graph.clear())
  await page.mouse.dblclick(1700, 900)
  await page.waitForTimeout(1000)
  await page.keyboard.type(name, { delay: 20 })
  await page.waitForTimeout(1500)
  await page.screenshot({ path: path.join(options.shots, 'search.png') })
  await page.keyboard.press('Enter')
  await page.waitForTimeout(1500)
  const added = await page.evaluate(() => window.app.graph._nodes.map((node) => node.title))
  assert.deepEqual(added, [name], 'the search puts the blueprint into the graph')
}

/** Runs in the page: portrait and speech in, the video saved. */
function wireUp(settings) {
  const { graph } = window.app
  const [node] = graph._nodes
  const add = (type, widget, value) => {
    const other = graph.add(window.LiteGraph.createNode(type))
    other.widgets.find((each) => each.name === widget).value = value
    return other
  }
  add('LoadImage', 'image', settings.image).connect(0, node, node.findInputSlot('image'))
  add('LoadAudio', 'audio', settings.audio).connect(0, node, node.findInputSlot('audio'))
  node.connect(node.outputs.findIndex((output) => output.type === 'VIDEO'), add('SaveVideo', 'filename_prefix', 'video/blueprint'), 0)
}

function widgetsShown(page) {
  return page.evaluate(() => window.app.graph._nodes[0].widgets.map((widget) => [widget.name, widget.value]))
}

const server = new Server(options.server)
for (const file of options.upload) await server.upload(file)
await server.settle(false)
fs.mkdirSync(options.shots, { recursive: true })
fs.mkdirSync(path.dirname(options.blueprint), { recursive: true })
const shot = (page, file) => page.screenshot({ path: path.join(options.shots, file) })

const browser = await openBrowser()
try {
  const complaints = []
  if (!options.open) {
    const page = await openPage(browser, server, complaints)
    await loadApi(page, prompt, name)
    await page.evaluate(layOut)
    await page.evaluate(enclose, name)
    const blueprint = await page.evaluate(() => window.app.graph.serialize())
    fs.writeFileSync(options.blueprint, JSON.stringify(blueprint, null, 2) + '\n')
    console.log(`saved ${options.blueprint}; a server that runs already lists it after a restart`)
  } else {
    const page = await openPage(browser, server, complaints)
    await addFromSearch(page)
    console.log('widgets:', JSON.stringify(await widgetsShown(page)))
    const given = (kind) => Object.values(prompt).find((node) => node.class_type === kind).inputs
    await page.evaluate(wireUp, { ...given('LoadImage'), ...given('LoadAudio') })
    await page.evaluate(layOut)
    await fitView(page)
    await run(page, server)
    await shot(page, 'outside.png')
    await page.evaluate(() => window.app.canvas.openSubgraph(window.app.graph._nodes[0].subgraph))
    await fitView(page)
    await shot(page, 'inside.png')
  }
  for (const complaint of new Set(complaints)) console.log('page error:', complaint)
} finally {
  await browser.close()
}
