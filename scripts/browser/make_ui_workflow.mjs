// Makes the workflow that a user opens (UI format) from one in the API format, in a real browser.
//
//   npm install --prefix .dawn/browser playwright-core
//   node scripts/browser/make_ui_workflow.mjs --server http://127.0.0.1:8188 \
//       --api workflows/api/dawn_talking_head.json --ui workflows/dawn_talking_head.json \
//       [--upload FILE]... [--shots FOLDER] [--open] [--run] [--nodes2]
//
// It loads the API file, lays the nodes out from left to right, saves the graph, opens the saved file anew and
// checks that it means the same prompt and misses no node. --upload puts files into the server's input folder
// first; --open leaves the saved file as it is and only opens it; --run queues it and waits; --nodes2 shows the newer node design. Screenshots: loaded.png, result.png.
// Needs Chromium (CHROMIUM=/path, default /usr/bin/chromium) and a running ComfyUI with this plugin.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const { chromium } = createRequire(path.join(root, '.dawn/browser/'))('playwright-core')

const { values: options } = parseArgs({
  options: {
    server: { type: 'string', default: 'http://127.0.0.1:8188' },
    api: { type: 'string' },
    ui: { type: 'string' },
    upload: { type: 'string', multiple: true, default: [] },
    shots: { type: 'string', default: path.join(root, '.dawn/shots') },
    open: { type: 'boolean', default: false },
    run: { type: 'boolean', default: false },
    nodes2: { type: 'boolean', default: false }
  }
})
const prompt = JSON.parse(fs.readFileSync(options.api, 'utf8'))

// ------------------------------------------------------------------ the server

async function send(route, body) {
  const response = await fetch(options.server + route, { method: 'POST', body })
  assert.ok(response.ok, `${route}: ${response.status} ${await response.text()}`)
}

async function getJson(route) {
  return (await fetch(options.server + route)).json()
}

async function upload(file) {
  const form = new FormData()
  form.append('image', new Blob([fs.readFileSync(file)]), path.basename(file))
  form.append('overwrite', 'true')
  await send('/upload/image', form)
}

async function waitUntilIdle(page) {
  for (;;) {
    const queue = await getJson('/queue')
    if (!queue.queue_running.length && !queue.queue_pending.length) return
    await page.waitForTimeout(500)
  }
}

// ------------------------------------------------------------------ the page

async function openPage(browser, complaints) {
  const page = await browser.newPage({ viewport: { width: 2600, height: 1300 } })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(options.server, { waitUntil: 'domcontentloaded' })
  await page.waitForFunction(
    () => window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100,
    null,
    { timeout: 60000 }
  )
  await page.waitForTimeout(1500) // the frontend still opens its first, empty workflow
  await page.keyboard.press('Escape') // and on a new server a dialog with templates
  return page
}

/** Runs in the page: columns from left to right, each node just left of the first that needs it. */
function layOut() {
  const TITLE = 30, GAP_X = 70, GAP_Y = 60, WIDTH = 300
  const PICTURE_HEIGHT = 330 // for nodes that show a picture or a video once it is there
  const graph = window.app.graph
  const nodes = graph._nodes
  const links = Object.values(Object.fromEntries(graph.links instanceof Map ? graph.links : Object.entries(graph.links)))
  const sources = (node) => links.filter((link) => link.target_id === node.id).map((link) => graph.getNodeById(link.origin_id))
  const targets = (node) => links.filter((link) => link.origin_id === node.id).map((link) => graph.getNodeById(link.target_id))

  const column = new Map()
  const columnOf = (node) => {
    if (!column.has(node)) column.set(node, Math.max(-1, ...sources(node).map(columnOf)) + 1)
    return column.get(node)
  }
  nodes.forEach(columnOf)
  for (const node of nodes) {
    if (!sources(node).length && targets(node).length) column.set(node, Math.min(...targets(node).map(columnOf)) - 1)
  }

  for (const node of nodes) {
    const [width, height] = node.computeSize()
    const shows = /^(Load(Image|Video)|Preview|Save(Image|Video|Animated))/.test(node.type)
    node.setSize([Math.max(width, WIDTH), shows ? Math.max(height, PICTURE_HEIGHT) : height])
  }

  let x = 40
  const columns = Math.max(...column.values()) + 1
  const isLeaf = (node) => !targets(node).length // below the others, out of the way of their links
  const middle = (node) => node.pos[1] + node.size[1] / 2
  const wish = (node) => {
    const placed = sources(node).filter((source) => columnOf(source) < columnOf(node))
    return placed.length ? placed.reduce((sum, source) => sum + middle(source), 0) / placed.length : 0
  }
  for (let index = 0; index < columns; index++) {
    const members = nodes
      .filter((node) => columnOf(node) === index)
      .sort((a, b) => isLeaf(a) - isLeaf(b) || wish(a) - wish(b) || a.id - b.id)
    let y = 40
    for (const node of members) {
      node.pos = [x, y + TITLE]
      y += TITLE + node.size[1] + GAP_Y
    }
    x += Math.max(0, ...members.map((node) => node.size[0])) + GAP_X
  }
  graph.setDirtyCanvas(true, true)
}

/** Runs in the page: an example gives the same clip each time, and its steps stay cached. */
function keepSeeds() {
  for (const node of window.app.graph._nodes) {
    for (const widget of node.widgets ?? []) if (widget.name === 'control_after_generate') widget.value = 'fixed'
  }
}

async function loadApi(page) {
  const name = path.basename(options.ui, '.json')
  await page.evaluate(([api, title]) => window.app.loadApiJson(api, title), [prompt, name])
  await page.waitForTimeout(1000)
  await page.evaluate(keepSeeds)
  await page.evaluate(layOut)
  await fitView(page)
  return page.evaluate(() => window.app.graph.serialize())
}

async function openSaved(page) {
  const name = path.basename(options.ui, '.json')
  const saved = JSON.parse(fs.readFileSync(options.ui, 'utf8'))
  await page.evaluate(([ui, title]) => window.app.loadGraphData(ui, true, true, title), [saved, name])
  await page.waitForTimeout(1500)
  const missing = await page.evaluate(() =>
    window.app.graph._nodes.map((node) => node.type).filter((type) => !window.LiteGraph.registered_node_types[type])
  )
  assert.deepEqual(missing, [], 'the server lacks nodes of this workflow')
}

async function fitView(page) {
  await page.evaluate(() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView'))
  await page.waitForTimeout(700) // it moves there smoothly
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
  for (const [id, node] of Object.entries(meaning(before))) {
    assert.equal(after[id]?.class_type, node.class_type, `node ${id}`)
    for (const [key, value] of Object.entries(node.inputs)) {
      if (!(key in after[id].inputs)) console.log(`note: the browser drops ${node.class_type}.${key}`)
      else assert.deepEqual(after[id].inputs[key], value, `node ${id} (${node.class_type}).${key}`)
    }
  }
}

async function run(page) {
  await page.evaluate(() => window.app.queuePrompt(0, 1))
  await page.waitForTimeout(1000)
  await waitUntilIdle(page)
  await page.waitForTimeout(2000) // until the page has loaded the results
  const [entry] = Object.values(await getJson('/history?max_items=1'))
  const failure = entry.status.messages.find(([kind]) => kind === 'execution_error')?.[1]
  assert.equal(entry.status.status_str, 'success', `node ${failure?.node_type}: ${failure?.exception_message}`)
  console.log('ran:', JSON.stringify(entry.outputs))
}

// ------------------------------------------------------------------ the job

for (const file of options.upload) await upload(file)
await send('/settings/Comfy.TutorialCompleted', 'true')
await send('/settings/Comfy.VueNodes.Enabled', String(options.nodes2))
fs.mkdirSync(options.shots, { recursive: true })

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync']
    .concat(['--disable-background-networking', '--disable-component-update'])
})
try {
  const complaints = []
  const page = await openPage(browser, complaints)
  if (!options.open) fs.writeFileSync(options.ui, JSON.stringify(await loadApi(page), null, 2) + '\n')

  await openSaved(page)
  compare(prompt, meaning((await page.evaluate(() => window.app.graphToPrompt())).output))
  await fitView(page)
  await page.screenshot({ path: path.join(options.shots, 'loaded.png') })
  if (options.run) {
    await run(page)
    await page.screenshot({ path: path.join(options.shots, 'result.png') })
  }
  for (const complaint of new Set(complaints)) console.log('page error:', complaint)
  console.log(`saved ${options.ui}; screenshots in ${options.shots}`)
} finally {
  await browser.close()
}
