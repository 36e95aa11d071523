// What an interactive figure does beyond Bokeh: it draws only what is in view, at the level of
// detail that fits, and zooms by buttons and keys. The columns come with the figure's JSON.
"use strict"
window.patsFigure = (() => {
  const format = new Intl.NumberFormat("en", {maximumSignificantDigits: 4, useGrouping: false})
  const seconds = value => `${format.format(value)} s`
  // A moment, with as many decimals as tell it from others in view.
  const moment = (data, value) => {
    const decimals = Math.ceil(3 - Math.log10(data.range.end - data.range.start))
    return `${Number(value.toFixed(Math.min(Math.max(decimals, 0), 6)))} s`
  }
  const LEVELS = {
    requests: "Each bar is a request.",
    batches: "Each block is a batch, as high as it has members; zoom in for its requests.",
    shares: "Heights are shares of time; zoom in for batches and requests.",
  }
  const ready = new WeakSet()
  let asked = null

  // Bokeh's own arrays cannot be sliced as plain ones can.
  const plain = values => Array.isArray(values) ? values : Float64Array.from(values)
  const longest = ({start, end}) => start.reduce((most, from, k) => Math.max(most, end[k] - from), 0)

  function prepare(data) {
    for (const chart of data.charts)
      for (const kind of ["members", "batches", "switches", "loads"]) {
        const columns = chart[kind]
        for (const name in columns) columns[name] = plain(columns[name])
        columns.longest = longest(columns)
      }
    for (const line of [...data.lines, data.rug])
      for (const name in line.far) line[name] = plain(line[name])
    ready.add(data)
  }

  // The first place in a rising array whose value is at least (or, after, above) what is sought.
  function place(values, sought, after = false) {
    let low = 0, high = values.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (values[middle] < sought || (after && values[middle] === sought)) low = middle + 1
      else high = middle
    }
    return low
  }

  const within = (columns, from, to) =>
    [place(columns.start, from - columns.longest), place(columns.start, to, true)]

  function gather([low, high], row, names) {
    const made = Object.fromEntries(names.map(name => [name, []]))
    for (let k = low; k < high; k++) {
      const cells = row(k)
      if (cells) for (const name of names) made[name].push(cells[name])
    }
    return made
  }

  function member(data, chart, k) {
    const m = chart.members, wait = m.start[k] - m.arrival[k], latency = m.done[k] - m.arrival[k]
    const allowed = m.deadline[k]
    return {
      left: m.start[k], right: m.end[k], top: m.top[k], bottom: m.bottom[k],
      y: (m.top[k] + m.bottom[k]) / 2, key: (m.key ?? m.adapter)[k], arrival: m.arrival[k],
      id: m.id[k],
      name: data.adapters[m.adapter[k]], group: m.group[k] || "–",
      ran: `${m.steps[k]} steps, ${m.skip ? `${m.skip[k]} skipped, ` : ""}quality ${
        format.format(m.quality[k])}`,
      waited: `${moment(data, m.arrival[k])}, waits ${seconds(wait)}`,
      began: `${moment(data, m.start[k])} on ${data.gpus[m.gpu[k]]}`,
      ended: `${moment(data, m.done[k])}, latency ${seconds(latency)}`,
      deadline: Number.isNaN(allowed) ? "none"
        : `${latency > allowed * (1 + 1e-9) ? "missed" : "met"}, ${seconds(allowed)} after arrival`,
      loss: format.format(m.loss[k]), prompt: m.prompt[k] < 0 ? "–" : chart.prompts[m.prompt[k]],
    }
  }

  function batch(data, chart, k) {
    const b = chart.batches, a = b.adapter[k], key = (b.key ?? b.adapter)[k]
    return {
      left: b.start[k], right: b.end[k], top: b.top[k], bottom: b.gpu[k] + data.lane,
      key: key < 0 ? data.ink.length : key, name: a < 0 ? "–" : data.adapters[a],
      at: a < 0 || !b.skip ? "–" : `${b.skip[k]} steps skipped`,
      gpu: data.gpus[b.gpu[k]], began: moment(data, b.start[k]), ended: moment(data, b.end[k]),
      size: b.size[k],
    }
  }

  function change(data, chart, k, sudden) {
    const s = chart.switches
    if ((s.end[k] > s.start[k]) === sudden) return null
    return {
      left: s.start[k], right: s.end[k], x: s.start[k], top: s.gpu[k], bottom: s.gpu[k] + data.lane,
      gpu: data.gpus[s.gpu[k]], began: moment(data, s.start[k]), paid: seconds(s.seconds[k]),
      load: s.load[k] || "nothing", evict: s.evict[k] || "nothing",
    }
  }

  function load(data, chart, k) {
    const l = chart.loads, took = l.end[k] - l.start[k]
    return {
      left: l.start[k], right: l.end[k], top: l.top[k], bottom: l.bottom[k],
      key: data.by_adapter ? l.adapter[k] : data.ink.length, name: data.adapters[l.adapter[k]],
      gpu: data.gpus[l.gpu[k]],
      evict: l.evict[k] || "nothing", began: moment(data, l.start[k]), ended: moment(data, l.end[k]),
      hidden: `${seconds(l.hidden[k])} of ${seconds(took)}`,
    }
  }

  // Names on the bars that are large enough; one that begins left of the view stays in it.
  function labels(data, panel, bars, from, to, text) {
    const made = {x: [], y: [], text: [], colour: []}
    const wide = panel.inner_width / (to - from)
    const high = panel.inner_height / Math.abs(panel.y_range.end - panel.y_range.start)
    for (let k = 0; k < bars.left.length; k++) {
      const left = Math.max(bars.left[k], from)
      const room = (Math.min(bars.right[k], to) - left) * wide - 8
      if (room < 24 || (bars.bottom[k] - bars.top[k]) * high < 11) continue
      const most = Math.floor(room / 6.6), [long, short] = text(k)
      const said = long.length <= most ? long : short
      made.x.push(left)
      made.y.push((bars.top[k] + bars.bottom[k]) / 2)
      made.text.push(said.length <= most ? said : `${said.slice(0, most - 1)}…`)
      made.colour.push(data.ink[bars.key[k]] ?? "black")
    }
    return made
  }

  function draw(data, chart) {
    const {start: from, end: to} = data.range, {sources, levels} = chart
    const members = within(chart.members, from, to), batches = within(chart.batches, from, to)
    const size = ([low, high]) => high - low
    const room = (chart.panel.inner_width || 1000) * data.gpus.length  // pixels of all lanes
    const fits = pixels => size(batches) <= Math.min(data.most, room / pixels)
    const level = size(members) <= data.most && fits(8) ? "requests" : fits(3) ? "batches" : "shares"
    const fill = (kind, range, row) =>
      sources[kind].data = gather(range, row, Object.keys(sources[kind].data))
    const none = [0, 0], near = level !== "shares"
    fill("members", level === "requests" ? members : none, k => member(data, chart, k))
    fill("batches", near ? batches : none, k => batch(data, chart, k))
    const changes = near ? within(chart.switches, from, to) : none
    fill("switches", changes, k => change(data, chart, k, false))
    fill("sudden", changes, k => change(data, chart, k, true))
    fill("loads", near ? within(chart.loads, from, to) : none, k => load(data, chart, k))
    const bars = sources[level === "requests" ? "members" : "batches"].data
    const coloured = k => data.keys[bars.key[k]] ?? bars.name[k]
    const skipped = k => chart.members.skip && !data.keys.length
      ? [`K${chart.members.skip[members[0] + k]}`] : []
    const said = k => level === "batches" ? [coloured(k), coloured(k)]
      : [[bars.id[k], ...data.repeat ? [coloured(k)] : [], ...skipped(k)].join(" · "), bars.id[k]]
    sources.labels.data = labels(data, chart.panel, bars, from, to, said)
    for (const name in levels)
      for (const renderer of levels[name]) renderer.visible = name === level
    return level
  }

  // Of a line, the points in view and one on either side; the thinned line where they are too many.
  function drawLine(data, line) {
    const low = Math.max(0, place(line.x, data.range.start, true) - 1)
    const high = Math.min(line.x.length, place(line.x, data.range.end) + 1)
    const names = Object.keys(line.far)
    line.source.data = high - low > 4 * data.most ? line.far
      : Object.fromEntries(names.map(name => [name, line[name].slice(low, high)]))
  }

  function redraw(data) {
    if (!ready.has(data)) prepare(data)
    const shown = data.charts.map(chart => draw(data, chart))
    for (const line of [...data.lines, data.rug]) drawLine(data, line)
    const coarsest = Object.keys(LEVELS).filter(level => shown.includes(level)).pop()
    const {start, end} = data.range
    const told = document.getElementById("chart-view")
    told.textContent = `${moment(data, Math.max(0, start))} to ${moment(data, Math.min(end, data.end))}. ${LEVELS[coarsest]}`
    told.dataset.level = coarsest
  }

  // Once a frame at most, however many changes of the range there are.
  function refresh(data) {
    if (asked === null) requestAnimationFrame(() => { const d = asked; asked = null; redraw(d) })
    asked = data
  }

  function move(data, action) {
    const {start, end} = data.range, [low, high] = data.full, span = end - start
    const about = factor => {
      const width = Math.min(high - low, Math.max(data.least, span * factor))
      return [(start + end - width) / 2, width]
    }
    const steps = {
      in: () => about(0.5), out: () => about(2), all: () => [low, high - low],
      earlier: () => [start - span / 4, span], later: () => [start + span / 4, span],
    }
    const [from, width] = steps[action]()
    const first = Math.min(Math.max(from, low), high - width)
    data.range.setv({start: first, end: first + width})
  }

  const KEYS = {"+": "in", "=": "in", "-": "out", "0": "all", ArrowLeft: "earlier",
    ArrowRight: "later"}

  // The wait of the member that the pointer is on: a line from its arrival to its start.
  const follow = ({members, wait}) => (_tool, {index: {indices: [k]}}) => {
    const {arrival, left, y} = members.data
    wait.data = k === undefined ? {left: [], right: [], y: []}
      : {left: [arrival[k]], right: [left[k]], y: [y[k]]}
  }

  function connect(data, box, bar) {
    const {start, end} = data.range.properties, {inner_width} = data.charts[0].panel.properties
    for (const {change} of [start, end, inner_width]) change.connect(() => refresh(data))
    for (const {hover, sources} of data.charts) hover.callback = follow(sources)
    box.addEventListener("keydown", event => {
      const action = KEYS[event.key]
      if (!action || event.ctrlKey || event.metaKey || event.altKey) return
      event.preventDefault()
      move(data, action)
    })
    for (const button of bar.querySelectorAll("[data-zoom]"))
      button.addEventListener("click", () => move(data, button.dataset.zoom))
    const select = bar.querySelector("[data-select]")
    select.addEventListener("click", () => {
      const on = select.getAttribute("aria-pressed") !== "true"
      select.setAttribute("aria-pressed", on)
      for (const tool of data.tools[on ? "BoxZoomTool" : "PanTool"]) tool.active = true
    })
  }

  async function open() {
    const box = document.getElementById("chart")
    const json = document.getElementById("chart-data")
    const item = JSON.parse(json.textContent)
    json.remove()
    await Bokeh.embed.embed_item(item, box)
    const [data] = Bokeh.documents.at(-1).get_model_by_name("figure").tags
    connect(data, box, document.getElementById("chart-bar"))
    redraw(data)
    box.dataset.ready = "yes"
  }

  return {open}
})()
