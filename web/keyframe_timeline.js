// DAWN Edit Pose & Blink's timeline: the speech, the curves of the last run, and the keyframes of the text above. A
// click writes a keyframe into that text, a drag moves one, a click with Shift removes one. The text stays the truth.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { FPS, RANGES, moveKeyframe, readKeyframes, removeKeyframe, setKeyframe } from './keyframe_text.js'
import { lastResult } from './last_result.js'
import { soundBefore } from './speech_sound.js'

/**
 * @typedef {{ frames: number, yaw: number[], pitch: number[], roll: number[], eyes: number[] }} Track
 *   what the node's last run gave: degrees from the portrait's pose as seen, and how far the eyes are open (1 as they
 *   are in the portrait, 0 shut); of a long clip every n-th frame
 * @typedef {{ index: number, axis: string, x: number, y: number }} Marker  index: of the entry in the text
 */

const NODE = 'DawnEditPoseBlink'
const HEIGHT = 230 // of the element, in pixels of a canvas at 100 %
const MARGIN = 12 // that the classic design leaves round an element, above and below
const COLORS = { yaw: '#ff7a6e', pitch: '#70d68c', roll: '#68a8ff', eyes: '#ffaad2', blink: '#f0f0f0' }
const LANES = { speech: [0, 0.2], angles: [0.22, 0.72], eyes: [0.75, 0.92] } // shares of the height; time below
const STEPS = { yaw: 0.5, pitch: 0.5, roll: 0.5, eyes: 0.05, blink: 0.05 }
const LEAST_ANGLE = 20 // degrees that are shown at least, to either side
const MOST_OPEN = 1.25 // eyes that are shown at most
const REACH = 8 // pixels from a marker that still take hold of it
const BEFORE_RUN = 'Run once, then click here to write keyframes.'
const HINT = 'Click: keyframe · drag: move · Shift+click: remove'

class KeyframeTimeline {
  constructor(node) {
    this.node = node
    this.widget = node.widgets.find((widget) => widget.name === 'keyframes')
    this.chosen = { angles: 'yaw', eyes: 'blink' } // what a click in that lane writes
    this.track = this.sound = this.held = null
    this.playhead = 0 // seconds
    this.audio = new Audio()
    this.build()
    const typed = this.widget.callback
    this.widget.callback = (...given) => {
      typed?.apply(this.widget, given)
      this.draw()
    }
  }

  build() {
    this.element = document.createElement('div')
    this.element.className = 'dawn-timeline'
    // Nodes 2.0 does not ask for getMinHeight below, so the element has a height of its own as well.
    this.element.style.cssText = `display: flex; flex-direction: column; gap: 4px; width: 100%; height: 100%; min-height: ${HEIGHT}px`
    this.canvas = document.createElement('canvas')
    this.canvas.style.cssText = 'flex: 1 1 0; min-height: 0; width: 100%; cursor: crosshair; touch-action: none'
    this.bar = document.createElement('div')
    this.bar.style.cssText = 'display: flex; gap: 4px; align-items: center; flex-wrap: wrap; font: 11px sans-serif'
    this.playButton = this.button('▶', () => (this.playing ? this.pause() : this.play()))
    this.playButton.title = 'Play'
    this.axisButtons = Object.keys(RANGES).map((axis) => {
      const button = this.button(axis, () => {
        this.chosen[laneOf(axis)] = axis
        this.draw()
      })
      button.style.color = COLORS[axis]
      return button
    })
    this.hint = document.createElement('span')
    this.hint.style.cssText = 'opacity: 0.7; margin-left: 4px'
    this.bar.append(this.hint)
    this.element.append(this.canvas, this.bar)
    this.canvas.addEventListener('pointerdown', (event) => this.press(event))
    this.canvas.addEventListener('pointermove', (event) => this.drag(event))
    this.canvas.addEventListener('pointerup', (event) => this.release(event))
    const options = { serialize: false, getMinHeight: () => HEIGHT + 2 * MARGIN }
    const widget = this.node.addDOMWidget('timeline', 'dawn_timeline', this.element, options)
    widget.serialize = false // no input: neither prompts nor saved workflows hold it
    this.watcher = new ResizeObserver(() => this.draw())
    this.watcher.observe(this.canvas)
  }

  button(label, action) {
    const button = document.createElement('button')
    button.textContent = label
    button.style.cssText = 'font: inherit; cursor: pointer; background: #2a2d34; border-radius: 4px; padding: 1px 6px'
    button.addEventListener('pointerdown', (event) => event.stopPropagation())
    button.addEventListener('click', action)
    this.bar.append(button)
    return button
  }

  /** @param {Track} track */
  async show(track) {
    this.pause()
    this.track = track
    this.playhead = 0
    this.sound = null
    this.draw()
    try {
      this.sound = await soundBefore(this.node)
    } catch (error) {
      console.warn('DAWN: the sound can not be shown', error)
    }
    if (this.sound) this.audio.src = this.sound.url
    this.draw()
  }

  get seconds() {
    return this.track.frames / FPS
  }

  get text() {
    return String(this.widget.value ?? '')
  }

  write(text) {
    this.widget.value = text
    this.widget.callback(text, app.canvas, this.node)
    this.node.graph?.setDirtyCanvas(true, true)
  }

  // --- pointer ---

  press(event) {
    event.stopPropagation()
    if (!this.track || event.button !== 0) return
    event.preventDefault()
    this.canvas.setPointerCapture(event.pointerId)
    const [x, y] = this.place(event)
    const marker = this.markerAt(x, y)
    if (marker && event.shiftKey) {
      this.write(removeKeyframe(this.text, marker.index, marker.axis))
    } else if (marker) {
      this.held = { ...marker, reach: this.angleReach() } // the scale must not change under the pointer
    } else {
      const lane = ['angles', 'eyes'].find((name) => LANES[name][0] <= y && y <= LANES[name][1])
      if (lane) this.add(this.chosen[lane], x, y)
      else this.seek(x * this.seconds)
    }
  }

  add(axis, x, y) {
    const value = axis === 'blink' ? 1 : this.valueAt(axis, y)
    this.write(setKeyframe(this.text, this.momentAt(x), axis, value))
  }

  drag(event) {
    event.stopPropagation()
    if (!this.held) return
    const [x, y] = this.place(event)
    const { index, axis } = this.held
    const end = this.lastMoment()
    this.write(moveKeyframe(this.text, index, axis, this.momentAt(x), this.valueAt(axis, y), end))
  }

  release(event) {
    event.stopPropagation()
    this.held = null
    this.draw()
  }

  /** Where an event points, in shares of the canvas. */
  place(event) {
    const area = this.canvas.getBoundingClientRect()
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height]
  }

  lastMoment() {
    return (this.track.frames - 1) / FPS
  }

  /** Seconds, at a frame. */
  momentAt(x) {
    return Math.min(this.lastMoment(), Math.max(0, Math.round(x * this.track.frames) / FPS))
  }

  valueAt(axis, y) {
    const [top, bottom] = LANES[laneOf(axis)]
    const [low, high] = this.shownRange(axis)
    const value = low + ((bottom - y) / (bottom - top)) * (high - low)
    const [least, most] = RANGES[axis]
    return Math.min(most, Math.max(least, Math.round(value / STEPS[axis]) * STEPS[axis]))
  }

  // --- what is where ---

  shownRange(axis) {
    if (laneOf(axis) === 'eyes') return axis === 'blink' ? [MOST_OPEN, 0] : [0, MOST_OPEN] // shut is below
    const reach = this.held?.reach ?? this.angleReach()
    return [-reach, reach]
  }

  /** Degrees to either side: all curves and keyframes fit. */
  angleReach() {
    let most = LEAST_ANGLE
    for (const axis of ['yaw', 'pitch', 'roll']) {
      for (const value of this.track?.[axis] ?? []) most = Math.max(most, Math.abs(value))
    }
    for (const { settings } of readKeyframes(this.text)) {
      for (const { axis, value } of settings) if (laneOf(axis) === 'angles') most = Math.max(most, Math.abs(value))
    }
    return most * 1.1
  }

  heightOf(axis, value) {
    const [top, bottom] = LANES[laneOf(axis)]
    const [low, high] = this.shownRange(axis)
    const share = Math.min(1, Math.max(0, (value - low) / (high - low)))
    return bottom - share * (bottom - top)
  }

  /** @returns {Marker[]} */
  markers() {
    return readKeyframes(this.text).flatMap(({ seconds, settings }, index) =>
      settings.map(({ axis, value }) => ({ index, axis, x: seconds / this.seconds, y: this.heightOf(axis, value) }))
    )
  }

  markerAt(x, y) {
    const { clientWidth: width, clientHeight: height } = this.canvas
    const far = (marker) => Math.hypot((marker.x - x) * width, (marker.y - y) * height)
    const near = this.markers().filter((marker) => far(marker) <= REACH)
    return near.sort((a, b) => far(a) - far(b))[0]
  }

  // --- playing ---

  get playing() {
    return Boolean(this.clock)
  }

  play() {
    if (!this.track) return
    if (this.playhead >= this.lastMoment()) this.playhead = 0
    const began = performance.now() - 1000 * this.playhead
    if (this.sound) {
      this.audio.currentTime = this.playhead
      this.audio.play().catch((error) => console.warn('DAWN: the sound does not play', error))
    }
    const tick = () => {
      this.playhead = this.sound && !this.audio.paused ? this.audio.currentTime : (performance.now() - began) / 1000
      if (this.playhead >= this.seconds || this.audio.ended || !this.element.isConnected) return this.pause()
      this.clock = requestAnimationFrame(tick)
      this.draw()
    }
    this.clock = requestAnimationFrame(tick)
    this.playButton.textContent = '❚❚'
  }

  pause() {
    cancelAnimationFrame(this.clock)
    this.clock = null
    this.audio.pause()
    this.playButton.textContent = '▶'
    this.draw()
  }

  seek(seconds) {
    this.pause()
    this.playhead = Math.min(this.seconds, Math.max(0, seconds))
    this.draw()
  }

  // --- drawing ---

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas
    if (!width || !height) return
    const ratio = 2 // sharp also where the graph is zoomed in
    this.canvas.width = width * ratio
    this.canvas.height = height * ratio
    const context = this.canvas.getContext('2d')
    context.scale(ratio, ratio)
    for (const [top, bottom] of Object.values(LANES)) {
      context.fillStyle = '#1e2128'
      context.fillRect(0, top * height, width, (bottom - top) * height)
    }
    this.hint.textContent = this.track ? HINT : BEFORE_RUN
    for (const button of this.axisButtons) {
      const axis = button.textContent
      button.style.border = `1px solid ${this.chosen[laneOf(axis)] === axis ? COLORS[axis] : 'transparent'}`
    }
    if (!this.track) return
    this.drawSpeech(context, width, height)
    this.drawScale(context, width, height)
    for (const axis of ['yaw', 'pitch', 'roll', 'eyes']) this.drawCurve(context, axis, width, height)
    for (const marker of this.markers()) this.drawMarker(context, marker, width, height)
    context.fillStyle = '#ffffff'
    context.fillRect((this.playhead / this.seconds) * width - 0.5, 0, 1, LANES.eyes[1] * height)
  }

  drawSpeech(context, width, height) {
    if (!this.sound) return
    const [top, bottom] = LANES.speech
    const [middle, half] = [((top + bottom) / 2) * height, ((bottom - top) / 2) * height]
    const step = width / this.sound.peaks.length
    context.fillStyle = '#7884a0'
    this.sound.peaks.forEach((peak, index) => {
      context.fillRect(index * step, middle - peak * half, step, Math.max(1, 2 * peak * half))
    })
  }

  drawScale(context, width, height) {
    context.fillStyle = '#8a909e'
    context.font = '9px sans-serif'
    const zero = this.heightOf('yaw', 0) * height
    context.fillRect(0, zero, width, 0.5)
    const reach = Math.floor((this.held?.reach ?? this.angleReach()) / 1.1)
    for (const degrees of [-reach, reach]) context.fillText(`${degrees}°`, 2, this.heightOf('yaw', degrees) * height + 3)
    const every = [0.5, 1, 2, 5, 10, 30, 60].find((each) => (each / this.seconds) * width > 34) ?? 120
    for (let moment = 0; moment < this.seconds; moment += every) {
      const x = (moment / this.seconds) * width
      context.fillRect(x, LANES.eyes[1] * height, 0.5, 4)
      context.fillText(`${moment}s`, x + 2, height - 3)
    }
  }

  drawCurve(context, axis, width, height) {
    const values = this.track[axis]
    context.strokeStyle = COLORS[axis]
    context.lineWidth = this.chosen[laneOf(axis)] === axis ? 1.6 : 0.8
    context.beginPath()
    values.forEach((value, index) => {
      context.lineTo(((index + 0.5) / values.length) * width, this.heightOf(axis, value) * height)
    })
    context.stroke()
  }

  drawMarker(context, { axis, x, y }, width, height) {
    context.beginPath()
    context.arc(x * width, y * height, 4.5, 0, 2 * Math.PI)
    context.fillStyle = COLORS[axis]
    context.fill()
    context.strokeStyle = '#000000'
    context.lineWidth = 1
    context.stroke()
  }
}

function laneOf(axis) {
  return axis === 'eyes' || axis === 'blink' ? 'eyes' : 'angles'
}

app.registerExtension({
  name: 'dawn.keyframeTimeline',
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return
    const timeline = new KeyframeTimeline(node)
    const executed = node.onExecuted
    node.onExecuted = function (output) {
      executed?.apply(this, arguments)
      if (output?.dawn_track?.length) timeline.show(output.dawn_track[0])
    }
    const finished = async () => {
      const track = timeline.track ? null : await lastResult(node, 'dawn_track')
      if (track) timeline.show(track)
    }
    api.addEventListener('execution_success', finished)
    const removed = node.onRemoved
    node.onRemoved = function () {
      removed?.apply(this, arguments)
      api.removeEventListener('execution_success', finished)
      timeline.pause()
      timeline.watcher.disconnect()
    }
  }
})
