// DAWN Prepare Portrait's preview, with a number on every face: a click chooses a face (face_index), a drag draws a box
// round one that was not found (box). Both write into the node's own inputs, so workflows and the API know the same.

import { app } from '../../scripts/app.js'
import { Picture, setWidget, widgetNamed } from './node_preview.js'

const NODE = 'DawnPreparePortrait'
const LEAST_DRAG = 0.02 // of the picture's width; less is a click
const HINT = 'Click a face, or drag a box from brows to chin round one that was not found.'
const COLORS = { chosen: '#ffc828', other: '#ffffff', drawn: '#5adcff' }

/**
 * @typedef {{ box: number[] }} Face  x, y, width and height in shares of the picture
 * @typedef {{ width: number, height: number, index: number, faces: Face[] }} Found  of the first picture, in pixels
 */

class FacePicker {
  constructor(node) {
    this.node = node
    this.found = null
    this.index = 0
    this.picture = new Picture(node, 'faces', HINT, (context, width, height) => this.draw(context, width, height))
    const canvas = this.picture.canvas
    canvas.addEventListener('pointerdown', (event) => this.begin(event))
    canvas.addEventListener('pointermove', (event) => this.drag(event))
    canvas.addEventListener('pointerup', (event) => this.end(event))
    this.picture.addButton('Clear box', () => setWidget(node, 'box', ''), () => Boolean(widgetNamed(node, 'box')?.value))
  }

  /** @param {{ images: object[], dawn_faces: Found[] }} output  of the node that ran */
  show(output) {
    this.found = output.dawn_faces[0]
    this.index = this.found.index
    this.picture.load(output.images[0])
  }

  begin(event) {
    if (!this.found) return
    event.preventDefault()
    event.stopPropagation()
    this.picture.canvas.setPointerCapture(event.pointerId)
    this.start = this.stop = this.picture.place(event)
  }

  drag(event) {
    if (!this.start) return
    event.stopPropagation()
    this.stop = this.picture.place(event)
    this.picture.redraw()
  }

  end(event) {
    if (!this.start) return
    event.stopPropagation()
    const [x, y, width, height] = this.drawn()
    if (width > LEAST_DRAG && height > LEAST_DRAG) {
      const sizes = [this.found.width, this.found.height, this.found.width, this.found.height]
      setWidget(this.node, 'box', [x, y, width, height].map((share, i) => Math.round(share * sizes[i])).join(', '))
    } else {
      this.choose(this.stop)
    }
    this.start = this.stop = null
    this.picture.redraw()
  }

  /** The smallest face under the pointer: small faces may lie within the box of a large one. */
  choose([x, y]) {
    const under = this.found.faces
      .map(({ box }, index) => ({ index, box }))
      .filter(({ box }) => x >= box[0] && y >= box[1] && x <= box[0] + box[2] && y <= box[1] + box[3])
      .sort((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3])
    if (!under.length) return
    this.index = under[0].index
    setWidget(this.node, 'face_index', under[0].index)
  }

  drawn() {
    const [[a, b], [c, d]] = [this.start, this.stop]
    return [Math.min(a, c), Math.min(b, d), Math.abs(a - c), Math.abs(b - d)]
  }

  draw(context, width, height) {
    const line = Math.max(2, width / 250)
    this.found.faces.forEach(({ box }, index) => {
      const color = index === this.index ? COLORS.chosen : COLORS.other
      this.frame(context, box, width, height, color, line)
      const size = Math.max(14, width / 22)
      const [x, y] = [box[0] * width, box[1] * height]
      context.font = `bold ${size}px sans-serif`
      context.fillStyle = color
      context.fillRect(x, y, size * 1.1, size * 1.2)
      context.fillStyle = '#000000'
      context.fillText(String(index), x + size * 0.25, y + size)
    })
    if (this.start) this.frame(context, this.drawn(), width, height, COLORS.drawn, line)
  }

  frame(context, [x, y, w, h], width, height, color, line) {
    context.strokeStyle = color
    context.lineWidth = line
    context.strokeRect(x * width, y * height, w * width, h * height)
  }
}

app.registerExtension({
  name: 'dawn.facePicker',
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return
    const picker = new FacePicker(node)
    const executed = node.onExecuted
    node.onExecuted = function (output) {
      executed?.apply(this, arguments)
      if (output?.dawn_faces?.length && output.images?.length) picker.show(output)
    }
  }
})
