// A running ComfyUI as a user sees it: its server, and its page in Chromium without a window.
// Needs `npm install --prefix .dawn/browser playwright-core` and Chromium (CHROMIUM=/path, default /usr/bin/chromium).

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const { chromium } = createRequire(path.join(ROOT, '.dawn/browser/'))('playwright-core')

export class Server {
  constructor(url) {
    this.url = url
  }

  async send(route, body) {
    const response = await fetch(this.url + route, { method: 'POST', body })
    assert.ok(response.ok, `${route}: ${response.status} ${await response.text()}`)
  }

  async get(route) {
    return (await fetch(this.url + route)).json()
  }

  async upload(file) {
    const form = new FormData()
    form.append('image', new Blob([fs.readFileSync(file)]), path.basename(file))
    form.append('overwrite', 'true')
    await this.send('/upload/image', form)
  }

  /** Settings of a user who has seen the tutorial; `nodes2` is the newer node design. */
  async settle(nodes2) {
    await this.send('/settings/Comfy.TutorialCompleted', 'true')
    await this.send('/settings/Comfy.VueNodes.Enabled', String(nodes2))
  }
}

export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync']
      .concat(['--disable-background-networking', '--disable-component-update'])
  })
}

export async function openPage(browser, server, complaints) {
  const page = await browser.newPage({ viewport: { width: 2600, height: 1300 } })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(server.url, { waitUntil: 'domcontentloaded' })
  await page.waitForFunction(
    () => window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100,
    null,
    { timeout: 60000 }
  )
  await page.waitForTimeout(1500) // the frontend still opens its first, empty workflow
  await page.keyboard.press('Escape') // and on a new server a dialog with templates
  return page
}

/** Opens a prompt in the API format. An example gives the same clip each time, so seeds stay as they are. */
export async function loadApi(page, prompt, name) {
  await page.evaluate(([api, title]) => window.app.loadApiJson(api, title), [prompt, name])
  await page.waitForTimeout(1000)
  await page.evaluate(() => {
    for (const node of window.app.graph._nodes) {
      for (const widget of node.widgets ?? []) if (widget.name === 'control_after_generate') widget.value = 'fixed'
    }
  })
}

export async function fitView(page) {
  await page.evaluate(() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView'))
  await page.waitForTimeout(700) // it moves there smoothly
}

/** Queues what the page shows and waits for its results there; fails as the job fails. */
export async function run(page, server) {
  await page.evaluate(() => window.app.queuePrompt(0, 1))
  await page.waitForTimeout(1000)
  for (;;) {
    const queue = await server.get('/queue')
    if (!queue.queue_running.length && !queue.queue_pending.length) break
    await page.waitForTimeout(500)
  }
  await page.waitForTimeout(2000) // until the page has loaded the results
  const [entry] = Object.values(await server.get('/history?max_items=1'))
  const failure = entry.status.messages.find(([kind]) => kind === 'execution_error')?.[1]
  assert.equal(entry.status.status_str, 'success', `node ${failure?.node_type}: ${failure?.exception_message}`)
  console.log('ran:', JSON.stringify(entry.outputs))
}

/** Runs in the page: columns from left to right, each node just left of the first that needs it. */
export function layOut(graph = window.app.graph) {
  const TITLE = 30, GAP_X = 70, GAP_Y = 60, WIDTH = 300
  const PICTURE_HEIGHT = 330 // of nodes that show what they are given
  const RESULT_HEIGHT = 290 // more for nodes that show below their widgets what they made
  const nodes = graph._nodes
  const links = Object.values(Object.fromEntries(graph.links instanceof Map ? graph.links : Object.entries(graph.links)))
  const known = (found) => found.filter(Boolean) // a subgraph's own inputs and outputs are no nodes
  const sources = (node) =>
    known(links.filter((link) => link.target_id === node.id).map((link) => graph.getNodeById(link.origin_id)))
  const targets = (node) =>
    known(links.filter((link) => link.origin_id === node.id).map((link) => graph.getNodeById(link.target_id)))

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
    const given = /^(Load(Image|Video)|Preview|MaskPreview|SaveImage)/.test(node.type)
    const made = /^(SaveVideo|DawnSampleMotion|DawnPlotPoseBlink)/.test(node.type)
    node.setSize([Math.max(width, WIDTH), made ? height + RESULT_HEIGHT : given ? Math.max(height, PICTURE_HEIGHT) : height])
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
  graph.setDirtyCanvas?.(true, true)
}
