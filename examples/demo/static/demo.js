// Receives publications from the server · hands them to charts and figures · owns what the last minute was.

import { StreamConductorSocket } from "/streamconductor.js";

const MINUTE = 60; // seconds on every chart
const GAP = 1.5; // seconds without a reading that are shown as a gap
const LINES = 200; // lines of a file that are kept

const $ = (id) => document.getElementById(id);
const clock = () => (performance.timeOrigin + performance.now()) / 1000; // seconds, as the server's, but finer
const percent = (value) => [value.toFixed(1), "%"];
const plain = (value) => [value.toFixed(2), ""];
const whole = (value) => [Math.round(value).toLocaleString("en"), ""];
const milliseconds = (value) => [value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0), "ms"];
function bytes(value) {
  const step = value < 1 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** step;
  return [scaled.toFixed(step === 0 || scaled >= 100 ? 0 : 1), ["B", "KiB", "MiB", "GiB", "TiB"][step]];
}
const rate = (value) => { const [text, unit] = bytes(value); return [text, `${unit}/s`]; };
const text = (format, value) => format(value).join(" ").trim(); // a no-break space
function show(id, format, value) {
  const [figure, unit] = format(value);
  const small = document.createElement("small");
  small.textContent = unit;
  $(id).replaceChildren(figure, small);
}

// ---------------------------------------------------------------------------------------------------- charts

/** Lines over the last minute; the legend tells the newest values, or those under the pointer. */
class Chart {
  #samples = []; #canvas; #swatches = []; #values = []; #pointer = null;

  // series: {name, color, area, format, of}; others: lines without a name; marks: levels; top: the least maximum,
  // or, when it is `fixed`, the maximum itself.
  constructor(id, { series, format, top, fixed = false, others = () => [], marks = () => [] }) {
    this.card = $(id);
    Object.assign(this, { series, format, top, fixed, others, marks });
    const legend = document.createElement("div");
    legend.className = "legend";
    for (const { name, color } of series) {
      const [entry, swatch, value] = ["span", "i", "b"].map((tag) => document.createElement(tag));
      swatch.style.color = `var(--${color})`;
      value.className = "value";
      value.dataset.series = name;
      entry.append(swatch, name, value);
      legend.append(entry);
      this.#swatches.push(swatch);
      this.#values.push(value);
    }
    const plot = document.createElement("div");
    plot.className = "plot";
    this.#canvas = document.createElement("canvas");
    this.#canvas.setAttribute("role", "img");
    this.#canvas.setAttribute("aria-label", `${this.card.querySelector("h2, h3").textContent} over the last minute`);
    plot.append(this.#canvas);
    this.card.append(legend, plot);
    this.#canvas.addEventListener("pointermove", (event) => { this.#pointer = event.offsetX; });
    this.#canvas.addEventListener("pointerleave", () => { this.#pointer = null; });
  }

  add(at, reading) {
    this.#samples.push({ at, reading });
    const first = this.#samples.findIndex((sample) => sample.at >= at - MINUTE - 2);
    this.#samples.splice(0, first);
  }

  draw(now) {
    const canvas = this.#canvas, context = canvas.getContext("2d"), ratio = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const samples = this.#samples, newest = samples.at(-1);
    if (!newest) return;
    const marks = this.marks(newest.reading);
    const values = samples.flatMap(({ reading }) => this.series.map((series) => series.of(reading)));
    const least = this.top(newest.reading), binary = this.format === bytes || this.format === rate;
    const top = this.fixed ? least : nice(Math.max(least, ...values), binary);
    const bottom = height - 4, ink = getComputedStyle(canvas).color;
    const x = (at) => width - 3 - ((now - at) / MINUTE) * (width - 3);
    const y = (value) => bottom - (Math.min(value, top) / top) * (bottom - 16);

    const labels = [];
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.strokeStyle = context.fillStyle = ink;
    for (const part of height > 110 ? [0, 0.5, 1] : [0, 1]) {
      const level = Math.round(y(part * top)) + 0.5;
      context.globalAlpha = part === 0 ? 0.5 : 0.22;
      stroke(context, [[0, level], [width, level]], 1);
      context.globalAlpha = 1;
      if (part > 0) labels.push([text(this.format, part * top).replace(/\.0+(?!\d)/, ""), "left", 0, level - 4]);
    }
    for (const { name, value } of marks) {
      if (value > top) continue;
      context.setLineDash([4, 4]);
      stroke(context, [[0, y(value)], [width, y(value)]], 1);
      context.setLineDash([]);
      labels.push([name, "right", width, y(value) - 4]);
    }
    context.globalAlpha = 0.3;
    for (let each = 0; each < this.others(newest.reading).length; each += 1) {
      for (const run of runs(samples, (reading) => this.others(reading)[each])) {
        stroke(context, run.map(([at, value]) => [x(at), y(value)]), 1);
      }
    }
    context.globalAlpha = 1;
    this.series.forEach((series, index) => {
      context.strokeStyle = context.fillStyle = getComputedStyle(this.#swatches[index]).color;
      for (const run of runs(samples, series.of)) {
        const points = run.map(([at, value]) => [x(at), y(value)]);
        if (series.area) fill(context, points, bottom);
        stroke(context, points, 2);
      }
      dot(context, x(newest.at), y(series.of(newest.reading)));
    });
    context.strokeStyle = getComputedStyle(this.card.closest(".card")).backgroundColor; // a halo: lines run below
    context.fillStyle = ink;
    context.lineWidth = 4;
    for (const [words, align, ...place] of labels) {
      context.textAlign = align;
      context.strokeText(words, ...place);
      context.fillText(words, ...place);
    }
    this.#tell(context, this.#sampleAt(now, width) ?? newest, x, height, ink);
  }

  #sampleAt(now, width) {
    if (this.#pointer === null) return null;
    const at = now - ((width - 3 - this.#pointer) / (width - 3)) * MINUTE;
    const distance = (sample) => Math.abs(sample.at - at);
    return this.#samples.reduce((nearest, sample) => (distance(sample) < distance(nearest) ? sample : nearest));
  }

  #tell(context, { at, reading }, x, height, ink) {
    if (this.#pointer !== null) {
      context.strokeStyle = ink;
      stroke(context, [[x(at), 0], [x(at), height]], 1);
    }
    this.card.dataset.at = at; // what the values below belong to
    this.series.forEach((series, index) => {
      this.#values[index].textContent = text(series.format ?? this.format, series.of(reading));
    });
  }
}

/** A round number at or above `value`; of bytes, a round one of their units. */
function nice(value, binary) {
  const unit = binary ? 1024 ** Math.floor(Math.log2(Math.max(value, 1)) / 10) : 1;
  const scaled = value / unit, power = 10 ** Math.floor(Math.log10(scaled));
  const rounded = power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= scaled * 0.999);
  return unit * (binary && rounded >= 1000 ? 1024 : rounded);
}

/** The samples as [at, value], split where the link was down. */
function runs(samples, of) {
  const found = [];
  samples.forEach(({ at, reading }, index) => {
    if (index === 0 || at - samples[index - 1].at > GAP) found.push([]);
    found.at(-1).push([at, of(reading)]);
  });
  return found;
}

function stroke(context, points, width) {
  context.lineWidth = width;
  context.lineJoin = "round";
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}

function fill(context, points, bottom) {
  context.globalAlpha = 0.13;
  context.beginPath();
  context.moveTo(points[0][0], bottom);
  for (const [x, y] of points) context.lineTo(x, y);
  context.lineTo(points.at(-1)[0], bottom);
  context.fill();
  context.globalAlpha = 1;
}

function dot(context, x, y) {
  context.beginPath();
  context.arc(x - 1, y, 3, 0, 2 * Math.PI);
  context.fill();
}

const charts = {
  "host:cpu": new Chart("cpu", {
    series: [{ name: "all cores", color: "blue", area: true, of: (reading) => reading.total }],
    others: (reading) => reading.cores, format: percent, top: () => 100, fixed: true,
  }),
  "host:memory": new Chart("memory", {
    series: [
      { name: "used", color: "violet", area: true, of: (reading) => reading.used },
      { name: "cached", color: "green", of: (reading) => reading.cached },
    ],
    format: bytes, top: (reading) => reading.total, fixed: true,
  }),
  "host:net": new Chart("net", {
    series: [
      { name: "received", color: "blue", area: true, of: (reading) => reading.received },
      { name: "sent", color: "green", of: (reading) => reading.sent },
      { name: "loopback", color: "amber", of: (reading) => reading.local },
    ],
    format: rate, top: () => 10_240,
  }),
  "host:load": new Chart("load", {
    series: [
      { name: "1 min", color: "blue", area: true, of: (reading) => reading.one },
      { name: "5 min", color: "green", of: (reading) => reading.five },
      { name: "15 min", color: "amber", of: (reading) => reading.fifteen },
    ],
    marks: ({ cores }) => [{ name: `${cores} cores`, value: cores }],
    format: plain, top: () => 1,
  }),
};
const resident = new Chart("resident", {
  series: [{ name: "resident", color: "violet", area: true, of: (reading) => reading.resident }],
  format: bytes, top: (reading) => 1.5 * reading.resident,
});
const water = new Chart("water", {
  series: [{ name: "buffered", color: "blue", area: true, of: (reading) => reading.most_buffered }],
  marks: (reading) => ["high", "low"].map((name) => ({ name: `${name} water`, value: reading[`${name}_water`] })),
  format: bytes, top: (reading) => 1.3 * reading.high_water,
});
const delivery = new Chart("delivery", {
  series: [
    { name: "p50", color: "green", of: ({ p50 }) => p50 },
    { name: "p99", color: "amber", of: ({ p99 }) => p99 },
  ],
  format: milliseconds, top: () => 10,
});

// --------------------------------------------------------------------------------------------------- figures

const arrivals = []; // [when, milliseconds since it was published], of the last ten seconds
const echoes = []; // [round trip, how far the server's clock is ahead give or take half of it]; the last sixty

/** How many seconds the server's clock is ahead, or null before the first echo. */
function ahead() {
  if (!echoes.length) return null;
  // Told best by the echo that was under way for the shortest time, unless it may as well be one and the same clock.
  const [roundTrip, skew] = echoes.reduce((best, echo) => (echo[0] < best[0] ? echo : best));
  return Math.abs(skew) <= roundTrip / 2 ? 0 : skew;
}

function published({ channel, at, reading }) {
  const skew = ahead();
  arrivals.push([clock(), skew === null ? null : Math.max(0, 1000 * (clock() + skew - at))]);
  if (channel in charts) charts[channel].add(at, reading);
  else if (channel === "demo:server") standing(at, reading);
  else files.get(channel)?.(reading);
}

function echoed({ echo, at, latency, dropped }) {
  const roundTrip = clock() - echo;
  echoes.push([roundTrip, at - (echo + roundTrip / 2)]);
  if (echoes.length > 60) echoes.shift();
  show("round-trip", milliseconds, 1000 * roundTrip);
  if (latency !== null) show("latency", milliseconds, 1000 * latency);
  show("dropped", whole, dropped);
}

function standing(at, reading) {
  resident.add(at, reading);
  water.add(at, reading);
  show("connections", whole, reading.connections);
  show("buffered", bytes, reading.buffered);
  show("dropped-all", whole, reading.dropped);
  show("cut", whole, reading.cut);
  $("stall").setAttribute("aria-checked", String(reading.wanted > 0));
  if (reading.wanted && document.activeElement !== $("readers")) $("readers").value = reading.wanted;
  $("stalled").textContent = reading.wanted ? `${reading.stalled} of ${reading.wanted} stalled` : "none";
}

function summarize() {
  const now = clock();
  arrivals.splice(0, arrivals.findIndex(([when]) => when > now - 10) >>> 0);
  show("messages", whole, arrivals.filter(([when]) => when > now - 2).length / 2);
  const delays = arrivals.map(([, delay]) => delay).filter((delay) => delay !== null).sort((a, b) => a - b);
  if (!delays.length) return;
  const [p50, p99] = [0.5, 0.99].map((part) => delays[Math.floor(part * delays.length)]);
  show("p50", milliseconds, p50);
  show("p99", milliseconds, p99);
  delivery.add(now + ahead(), { p50, p99 });
}

// ----------------------------------------------------------------------------------------------------- files

const files = new Map(); // channel: what to do with its lines
let begun = new Set(); // channels whose recent lines this link has brought already

function follow(channel) {
  const card = document.createElement("section"), title = document.createElement("h2");
  const note = document.createElement("small"), list = document.createElement("ol");
  card.className = "card";
  card.dataset.channel = channel;
  title.append(channel.slice("file:".length), note);
  list.tabIndex = 0;
  card.append(title, list);
  $("files").append(card);
  let count = 0;
  files.set(channel, ({ lines, skipped }) => {
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
    if (begun.has(channel)) count += lines.length;
    else list.replaceChildren(); // a link begins with the recent lines, those that were shown before among them
    begun.add(channel);
    for (const line of lines.slice(-LINES)) {
      const item = document.createElement("li");
      item.textContent = line || " ";
      list.append(item);
    }
    while (list.childElementCount > LINES) list.firstChild.remove();
    note.textContent = `${count} new lines${skipped ? `, ${text(bytes, skipped)} skipped` : ""}`;
    if (atEnd) list.scrollTop = list.scrollHeight;
  });
}

// ------------------------------------------------------------------------------------------------------ link

const settings = await (await fetch("/settings.json")).json();
$("host").textContent = settings.host;
settings.files.forEach(follow);

const socket = new StreamConductorSocket("/stream", {
  heartbeatMessage: settings.heartbeat_message,
  pingInterval: settings.ping_interval,
});
let lostAt = null, links = 0;

function state(name, words) {
  $("state").dataset.state = name;
  $("state").lastChild.textContent = words;
  $("stall").disabled = name !== "open";
}
function echo() {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ echo: clock() }));
}

socket.onopen = () => {
  links += 1;
  begun = new Set();
  $("state").dataset.links = links;
  state("open", lostAt === null ? "Connected" : `Connected again, after ${(clock() - lostAt).toFixed(1)} s`);
  lostAt = null;
  echo();
};
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.channel) published(message);
  else echoed(message);
};
socket.onlost = ({ detail }) => {
  lostAt ??= clock();
  echoes.length = 0; // the server that answers next may have another clock
  $("state").title = `${detail.code} ${detail.reason}`;
};
socket.onreconnecting = ({ detail }) =>
  state("reconnecting", `Reconnecting, attempt ${detail.attempt} in ${detail.delay.toFixed(1)} s`);
socket.onclose = ({ code, reason }) => state("closed", `Closed: ${code} ${reason}`);

const isOn = () => $("stall").getAttribute("aria-checked") === "true";
function stall(on) {
  const readers = Math.min($("readers").max, Math.max(1, Math.round($("readers").valueAsNumber) || 1));
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ slow: on ? readers : 0 }));
}
$("stall").onclick = () => stall(!isOn());
$("readers").onchange = () => isOn() && stall(true);
$("switch").onsubmit = (event) => event.preventDefault();
$("theme").onclick = () => {
  const dark = getComputedStyle(document.body).backgroundColor === "rgb(14, 14, 13)";
  document.documentElement.style.colorScheme = dark ? "light" : "dark";
};

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
setInterval(() => requestAnimationFrame(() => {
  const now = clock() + (ahead() ?? 0);
  for (const chart of [...Object.values(charts), resident, water, delivery]) chart.draw(now);
}), calm ? 1000 : 100);
setInterval(summarize, 500);
setInterval(echo, 1000);
