// The view of a workflow that brings none, in Nodes 2.0. ComfyUI 0.3.75 would fit it while the nodes are being drawn, and
// take where they then are on the screen for their places: out of their groups, and over one another.

import { app } from '../../scripts/app.js'

const SPREAD = 1.2 // what Nodes 2.0 makes of a layout for the classic design

app.registerExtension({
  name: 'dawn.firstView',
  beforeConfigureGraph(workflow) {
    const nodes = workflow.nodes ?? []
    const wanted = window.LiteGraph?.vueNodesMode && !workflow.extra?.ds
    if (!wanted || !nodes.some(({ type }) => type?.startsWith('Dawn'))) return
    const [left, top] = [0, 1].map((axis) => Math.min(...nodes.map(({ pos }) => pos[axis])))
    const [right, bottom] = [0, 1].map((axis) => Math.max(...nodes.map(({ pos, size }) => pos[axis] + size[axis])))
    const { ds } = app.canvas
    ds.fitToBounds([left, top, SPREAD * (right - left), SPREAD * (bottom - top)])
    workflow.extra = { ...workflow.extra, ds: { scale: ds.scale, offset: [...ds.offset] } }
  }
})
