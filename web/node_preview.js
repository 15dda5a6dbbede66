// A picture on a node that can be drawn on and pointed at, in both node designs; and how its inputs are set.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

const HEIGHT = 240 // of the widget once something is shown, in pixels of an unscaled canvas
const MOST_PIXELS = 1024 // of the canvas's longer side

export function widgetNamed(node, name) {
  return node.widgets?.find((widget) => widget.name === name)
}

/** Set an input as if the user had typed the value. */
export function setWidget(node, name, value) {
  const widget = widgetNamed(node, name)
  if (!widget) return
  widget.value = value
  widget.callback?.(value, app.canvas, node)
  node.graph?.setDirtyCanvas(true, true)
}

/** The address of a file that a node's output names. */
export function fileURL({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: subfolder ?? '', type })}`)
}

/** Add an element to a node below its inputs. It is no input: neither prompts nor saved workflows hold it. */
export function addElement(node, name, element, height) {
  const widget = node.addDOMWidget(name, `dawn_${name}`, element, { serialize: false, getMinHeight: height })
  widget.serialize = false
  return widget
}

export class Picture {
  /**
   * @param {object} node
   * @param {string} name  of the widget
   * @param {string} hint  what can be done, below the picture
   * @param {(context: CanvasRenderingContext2D, width: number, height: number) => void} draw  over the picture
   */
  constructor(node, name, hint, draw) {
    this.node = node
    this.draw = draw
    this.image = null
    this.element = document.createElement('div')
    this.element.className = `dawn-${name}`
    this.element.style.cssText = 'display: none; flex-direction: column; width: 100%; height: 100%; overflow: hidden'
    this.canvas = document.createElement('canvas')
    this.canvas.style.cssText = 'flex: 1 1 0; min-height: 0; width: 100%; object-fit: contain; cursor: crosshair'
    this.caption = document.createElement('div')
    this.caption.style.cssText = 'display: flex; gap: 8px; align-items: center; font: 11px sans-serif; opacity: 0.8; padding: 2px 4px'
    const words = document.createElement('span')
    words.textContent = hint
    words.style.flex = '1'
    this.caption.append(words)
    this.element.append(this.canvas, this.caption)
    this.buttons = []
    addElement(node, name, this.element, () => (this.image ? HEIGHT : 0))
    // Here the classic design starts to load its own preview, and would show it later than this hides it.
    node.onDrawBackground = () => {}
  }

  /** A button in the caption; `wanted` says whether there is something to do. */
  addButton(label, action, wanted) {
    const button = document.createElement('button')
    button.textContent = label
    button.style.cssText = 'font: inherit; cursor: pointer'
    button.addEventListener('pointerdown', (event) => event.stopPropagation())
    button.addEventListener('click', () => {
      action()
      this.redraw()
    })
    this.buttons.push({ button, wanted })
    this.caption.append(button)
  }

  /** Show a file that the node's output names, instead of ComfyUI's own preview of it. */
  load(file) {
    this.hideOwnPreview() // before the page, which waits until now, draws it
    const image = new Image()
    image.onload = () => {
      this.image = image
      this.element.style.display = 'flex'
      this.element.style.minHeight = `${HEIGHT}px`
      const [width, height] = this.node.size
      // Nodes 2.0 makes room by itself.
      if (!window.LiteGraph?.vueNodesMode) this.node.setSize([width, Math.max(height, this.node.computeSize()[1])])
      this.redraw()
    }
    image.src = fileURL(file)
  }

  hideOwnPreview() {
    this.node.hideOutputImages = true
    this.node.imgs = undefined
    delete app.nodeOutputs?.[this.node.id]?.images
  }

  redraw() {
    if (!this.image) return
    const scale = Math.min(1, MOST_PIXELS / Math.max(this.image.naturalWidth, this.image.naturalHeight))
    const width = (this.canvas.width = Math.round(this.image.naturalWidth * scale))
    const height = (this.canvas.height = Math.round(this.image.naturalHeight * scale))
    const context = this.canvas.getContext('2d')
    context.drawImage(this.image, 0, 0, width, height)
    this.draw(context, width, height)
    for (const { button, wanted } of this.buttons) button.style.display = wanted() ? '' : 'none'
  }

  /** Where an event points, in shares of the picture, which the canvas shows whole and in the middle. */
  place(event) {
    const area = this.canvas.getBoundingClientRect()
    const scale = Math.min(area.width / this.canvas.width, area.height / this.canvas.height)
    const left = area.left + (area.width - this.canvas.width * scale) / 2
    const top = area.top + (area.height - this.canvas.height * scale) / 2
    const x = (event.clientX - left) / (this.canvas.width * scale)
    const y = (event.clientY - top) / (this.canvas.height * scale)
    return [Math.min(1, Math.max(0, x)), Math.min(1, Math.max(0, y))]
  }
}
