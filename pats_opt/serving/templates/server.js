"use strict"
{
  const EVERY_MS = 1000, JOB_MS = 400, ADAPTERS_EVERY = 20
  const by = id => document.getElementById(id)
  const figures = new Intl.NumberFormat("en", {maximumSignificantDigits: 3})
  const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`
  let key = "", job = null, refreshed = 0

  // Texts of clients and of files reach the page as text only.
  function made(name, text = "", attributes = {}) {
    const element = document.createElement(name)
    element.textContent = text
    for (const each in attributes) element.setAttribute(each, attributes[each])
    return element
  }

  async function ask(path, options = {}) {
    const headers = key ? {authorization: `Bearer ${key}`} : {}
    if (options.body) headers["content-type"] = "application/json"
    const answer = await fetch(path, {...options, headers, cache: "no-store"})
    if (answer.status === 401) by("key-form").hidden = false
    const document = await answer.json()
    if (!answer.ok) throw new Error(document.error.message)
    return document
  }

  // Bars over the last minutes, each of one or more parts, from the bottom up.
  function drawn(kind, bars, label) {
    const made = name => document.createElementNS("http://www.w3.org/2000/svg", name)
    const svg = made("svg")
    const set = (element, attributes) => {
      for (const each in attributes) element.setAttribute(each, attributes[each])
    }
    set(svg, {viewBox: `0 0 ${bars.length} 1`, preserveAspectRatio: "none", role: "img",
      "aria-label": label, class: kind})
    bars.forEach((parts, x) => {
      let top = 1
      for (const [part, share] of parts) {
        if (!share) continue
        const rect = made("rect")
        top -= share
        set(rect, {x, y: top, width: 1, height: share, class: part})
        svg.append(rect)
      }
    })
    return svg
  }

  const mean = shares => shares.reduce((sum, share) => sum + share, 0) / shares.length

  function gpu(found) {
    const box = made("section"), percent = shares => `${Math.round(100 * mean(shares))} %`
    let now = "idle"
    if (found.device === null) now = "its worker is being started"
    else if (found.busy_s !== null)
      now = `${counted(found.images, "image")} of ${found.adapters.join(", ")}, for ${
        figures.format(found.busy_s)} s`
    const held = found.resident.length ? found.resident.join(", ") : "none"
    box.append(made("h3", found.device === null ? found.id : `${found.id}: ${found.device}`))
    box.append(made("p", `Now: ${now}. Resident adapters: ${held}.`))
    box.append(drawn("strip", found.serving.map((share, k) =>
      [["serving", share], ["switching", Math.min(found.switching[k], 1 - share)]]),
      `${found.id} served ${percent(found.serving)} and switched ${
        percent(found.switching)} of the last five minutes`))
    return box
  }

  function chart(values, about) {
    // The last interval goes on, so its count says nothing yet.
    const last = values.slice(0, -1).findLast(value => value !== null) ?? 0
    const most = Math.max(...values)
    const bars = values.map(value => [["serving", most ? value / most : 0]])
    const words = `lately ${figures.format(last)}, at most ${figures.format(most)}`
    return [drawn("bars", bars, `${about}: ${words}`), made("p", words)]
  }

  function show(status) {
    const ready = status.gpus.filter(gpu => gpu.device !== null).length
    by("summary").classList.toggle("broken", !status.ready)
    by("summary").textContent = `${counted(status.waiting, "image")} waiting, ${
      status.running} running, on ${ready} of ${counted(status.gpus.length, "GPU")}.${
      status.ready ? "" : " The server takes no requests."}`
    by("empty").hidden = status.queue.length > 0
    by("queue").hidden = !status.queue.length
    by("queue").querySelector("tbody").replaceChildren(...status.queue.map(queue => {
      const row = made("tr")
      row.append(made("th", queue.adapter, {scope: "row"}), made("td", queue.waiting),
        made("td", queue.running))
      return row
    }))
    by("gpus").replaceChildren(...status.gpus.map(gpu))
    by("made").replaceChildren(
      ...chart(status.made.map(count => count / status.interval_s), "Images per second"))
    by("waits").replaceChildren(...chart(status.wait_s, "Mean wait in seconds"))
  }

  async function adapters() {
    const ids = (await ask("/v1/models")).data.map(({id}) => id), chosen = by("adapter").value
    const shown = Array.from(by("adapter").options, option => option.value)
    if (ids.length === shown.length && ids.every((id, k) => id === shown[k])) return
    by("adapter").replaceChildren(...ids.map(id => made("option", id, {value: id})))
    if (ids.includes(chosen)) by("adapter").value = chosen
  }

  async function refresh() {
    try {
      if (!document.hidden) {
        if (!by("adapter").options.length || refreshed++ % ADAPTERS_EVERY === 0) await adapters()
        show(await ask("/v1/status"))
      }
    } catch (error) {
      by("summary").classList.add("broken")
      by("summary").textContent = `No status: ${error.message}.`
    }
    setTimeout(refresh, EVERY_MS)
  }

  function told({status, position, progress, error}) {
    if (error) return `${status}: ${error.message}`
    if (status === "queued") return `queued, after ${counted(position, "other job")}`
    const share = progress.images > 1 ? `: ${progress.made} of ${progress.images}` : ""
    const left = progress.expected_s
    const steps = progress.step ? `, step ${progress.step} of ${progress.steps}` : ""
    return `${status}${share}${steps}${left ? `, about ${figures.format(left)} s left` : ""}`
  }

  function finished(text) {
    job = null
    by("send").disabled = false
    by("cancel").hidden = true
    by("job").textContent = text
  }

  async function follow(prompt) {
    const found = await ask(`/v1/jobs/${job}`)
    if (found.status === "queued" || found.status === "running") {
      by("job").textContent = told(found)
      setTimeout(() => guarded(() => follow(prompt)), JOB_MS)
      return
    }
    finished(told(found))
    if (found.result)
      by("images").replaceChildren(...found.result.data.map(({b64_json}) =>
        made("img", "", {src: `data:image/png;base64,${b64_json}`, alt: prompt})))
  }

  async function guarded(step) {
    try {
      await step()
    } catch (error) {
      finished(`failed: ${error.message}`)
    }
  }

  by("try").addEventListener("submit", event => {
    event.preventDefault()
    by("send").disabled = true
    by("images").replaceChildren()
    const prompt = by("prompt").value, n = Number(by("count").value), model = by("adapter").value
    const body = JSON.stringify({prompt, n, model, response_format: "b64_json"})
    guarded(async () => {
      job = (await ask("/v1/jobs", {method: "POST", body})).id
      by("cancel").hidden = false
      await follow(prompt)
    })
  })

  by("cancel").addEventListener("click", () => {
    guarded(() => ask(`/v1/jobs/${job}`, {method: "DELETE"}).then(() => {}))
  })

  by("key-form").addEventListener("submit", event => {
    event.preventDefault()
    key = by("key").value
    by("key-form").hidden = true
  })

  refresh()
}
