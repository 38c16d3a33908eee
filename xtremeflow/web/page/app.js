"use strict";
// The page: samples come by server-sent events, counts are cumulative, and rates are taken here.

const WINDOW = 5; // samples over which a rate is taken
const STEADY = 20; // samples over which a mean time is taken
const KEPT = 600; // samples, as the server keeps
const token = new URLSearchParams(location.search).get("token");
const by = (id) => document.getElementById(id);
const samples = [];
let chosen = null;
let plotting = null; // the charts, once their library has been loaded

const query = (path) => (token === null ? path : `${path}?token=${encodeURIComponent(token)}`);

// ---- words ----

function amount(value) {
  if (value === null || value === undefined || !isFinite(value)) return "–";
  const size = Math.abs(value);
  for (const [scale, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= scale) return +(value / (letter === "k" ? 1e3 : scale)).toPrecision(3) + letter;
  }
  return size >= 100 ? value.toFixed(0) : String(+value.toPrecision(3));
}

function duration(seconds) {
  if (seconds === null || !isFinite(seconds)) return "–";
  if (seconds < 0.9995) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

const CAUSES = { "": "no call waits", share: "other members of the share", prefix: "prefixes" };
const words = (name) => name.replaceAll("_", " ");
const cause = (name) => CAUSES[name] ?? words(name);

function read(text) {
  const match = /^\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kmg]?)\s*$/i.exec(text);
  if (match === null) return null;
  const scale = { "": 1, k: 1e3, m: 1e6, g: 1e9 }[match[2].toLowerCase()];
  return parseFloat(match[1].replaceAll(/[_,]/g, "")) * scale;
}

// ---- series ----

const state = (sample) => sample.schedulers[chosen];
const span = (a, b) => Math.max(1e-9, b.time - a.time);

// The change per second of a count, over the last samples before each one.
function rates(count, window = WINDOW) {
  return samples.map((sample, i) => {
    if (i === 0) return 0;
    const before = samples[Math.max(0, i - window)];
    return Math.max(0, (count(sample) - count(before)) / span(before, sample));
  });
}

// By Little's law: the mean time in a stage is the mean number of calls in it, divided by those
// that leave it in a second. Before any has had the time for it, that is no mean.
function stay(within, left) {
  const speed = rates(left, STEADY);
  const calls = samples.map(within);
  return samples.map((_, i) => {
    const recent = calls.slice(Math.max(0, i - STEADY), i + 1);
    const mean = recent.reduce((sum, each) => sum + each, 0) / recent.length;
    return speed[i] > 0 && mean / speed[i] <= state(samples[i]).elapsed ? mean / speed[i] : null;
  });
}

// The mean times of the stages of a call. Only streams tell when their answer begins.
function latency() {
  const queue = { name: "in the queue", y: stay((s) => state(s).waiting, (s) => state(s).admitted) };
  const flight = stay((s) => state(s).in_flight, (s) => state(s).ended);
  if (state(last(samples)).begun === 0) return [queue, { name: "in flight", y: flight }];
  const begun = rates((s) => state(s).begun, STEADY);
  const first = rates((s) => state(s).first_token_seconds, STEADY)
    .map((seconds, i) => (begun[i] > 0 ? seconds / begun[i] : null));
  const rest = flight.map((seconds, i) =>
    seconds === null || first[i] === null ? null : Math.max(0, seconds - first[i]));
  return [queue, { name: "to the first token", y: first }, { name: "from there on", y: rest }];
}

const limitOf = (sample, name) => state(sample).limits.find((limit) => limit.name === name);
const last = (values) => values[values.length - 1];

function charts() {
  const now = last(samples);
  const found = state(now).limits.map((limit) => ({
    id: `limit ${limit.name}`,
    title: `${words(limit.name)} per second`,
    lines: [
      { name: "used", y: rates((s) => limitOf(s, limit.name)?.used ?? 0), fill: true },
      { name: "allowed", y: samples.map((s) => limitOf(s, limit.name)?.rate ?? null), dash: true },
    ],
  }));
  const causes = Object.keys(state(now).held);
  found.push({
    id: "held",
    title: "Holds the queue back (share of the time)",
    stack: true,
    range: [0, 1],
    lines: causes.map((each, i) => ({
      hue: i, // a cause keeps its colour, whichever others there are
      name: cause(each),
      y: rates((s) => state(s).held[each] ?? 0),
      quiet: each === "",
    })).filter((line) => line.quiet || line.y.some((value) => value > 0.001)),
  });
  found.push({
    id: "calls",
    title: "Calls",
    lines: [
      { name: "in flight", y: samples.map((s) => state(s).in_flight), fill: true },
      { name: "waiting", y: samples.map((s) => state(s).waiting) },
      { name: "at a time", dash: true,
        y: samples.map((s) => state(s).learned_slots ?? state(s).slots) },
    ],
  });
  const prefixes = (sample) => state(sample).prefixes;
  if (prefixes(now) !== null) {
    found.push({
      id: "prefixes",
      title: "Prefix tokens per second",
      note: ofPrefixes(prefixes(now), now.run?.input_price),
      lines: [
        { name: "read from the cache", y: rates((s) => prefixes(s)?.read ?? 0), fill: true },
        { name: "written to it", y: rates((s) => prefixes(s)?.written ?? 0) },
        { name: "expected in it", y: rates((s) => prefixes(s)?.expected ?? 0), dash: true },
      ],
    });
  }
  found.push({ id: "latency", title: "Mean time of a call (s)", lines: latency() });
  found.push({
    id: "refused",
    title: "Refusals per minute, and share of the time in cooldowns",
    lines: [
      { name: "refusals", y: rates((s) => state(s).refused).map((value) => 60 * value) },
      { name: "cooldown", y: rates((s) => state(s).cooldown_seconds), second: true, fill: true },
    ],
  });
  return found;
}

// ---- drawing ----

const COLOURS = ["#3566c8", "#e07b39", "#1a9a6c", "#c0452f", "#8a63d2", "#b08900", "#0f8b8d"];

function place(chart) {
  if (by(chart.id) !== null) return;
  const card = document.createElement("section");
  card.className = "chart";
  const title = document.createElement("h2");
  title.textContent = chart.title;
  const note = document.createElement("p");
  note.className = "note";
  const plot = document.createElement("div");
  plot.className = "plot";
  plot.id = chart.id;
  card.append(title, note, plot);
  by("charts").append(card);
}

function draw() {
  if (plotting === null || samples.length === 0 || document.hidden) return;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const x = samples.map((sample) => new Date(1000 * sample.time));
  const shown = charts();
  shown.forEach(place); // all of them first, as the number of cards decides their width
  for (const chart of shown) {
    const lines = chart.lines.map((line, i) => {
      const own = line.quiet ? colour("--line") : COLOURS[(line.hue ?? i) % COLOURS.length];
      return {
        x, y: line.y, name: line.name, type: "scatter", mode: "lines",
        line: { color: own, width: 1.6, dash: line.dash ? "dash" : "solid" },
        fill: line.fill ? "tozeroy" : undefined,
        fillcolor: line.fill ? own + "22" : undefined,
        stackgroup: chart.stack ? "one" : undefined,
        yaxis: line.second ? "y2" : "y",
      };
    });
    const axis = { gridcolor: colour("--line"), zeroline: false, fixedrange: true };
    const layout = {
      margin: { l: 44, r: lines.some((line) => line.yaxis === "y2") ? 40 : 8, t: 26, b: 22 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--faint"), size: 11 },
      showlegend: true, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 },
      hovermode: "x unified", hoverlabel: { bgcolor: colour("--card") },
      xaxis: { ...axis, tickformat: "%H:%M:%S", nticks: 5 }, yaxis: { ...axis, rangemode: "tozero", range: chart.range },
      yaxis2: { overlaying: "y", side: "right", range: [0, 1], fixedrange: true, showgrid: false,
        tickformat: ".0%", dtick: 0.5 },
    };
    by(chart.id).previousElementSibling.textContent = chart.note ?? "";
    plotting.react(by(chart.id), lines, layout, { displayModeBar: false, responsive: true });
  }
}

function figure(name, value) {
  const card = document.createElement("div");
  card.className = "figure";
  const number = document.createElement("b");
  number.textContent = value;
  const label = document.createElement("span");
  label.textContent = name;
  card.append(number, label);
  return card;
}

const percent = (part, whole) => (whole > 0 ? `${Math.round((100 * part) / whole)} %` : "–");

// A sentence on the prefixes that calls share. Money only where its price is known.
function ofPrefixes(told, price) {
  const parts = [`${amount(told.groups)} known`, `${percent(told.found, told.looked_up)} of calls found theirs`,
    `held for ${duration(told.held_seconds)}`];
  if (told.prompts > 0) {
    const money = price ? `, $${((told.saved * price) / 1e6).toFixed(2)}` : "";
    parts.push(`${percent(told.saved, told.prompts)} of the input's price saved${money}`);
  }
  return parts.join("; ");
}

function ofShare(share) {
  const outages = share.outages ? `; its server has not answered ${share.outages} times` : "";
  const probed = share.prober === null ? ""
    : `; the provider is down, probed by ${share.prober || "no member yet"}`;
  return `Share ${share.name}: ${share.members} member${share.members === 1 ? "" : "s"}, `
    + `${share.waiting} waiting, ${amount(share.in_flight)} of their calls in flight; own part of `
    + `all that was used ${Math.round(100 * share.own)} %${outages}${probed}`;
}

function show() {
  const now = last(samples);
  const names = Object.keys(now.schedulers);
  if (chosen === null || !names.includes(chosen)) chosen = names[0];
  choice(by("scheduler"), names.map((name) => [name, name]), chosen);
  by("scheduler").hidden = names.length < 2;
  const own = state(now);
  const most = own.learned_slots ?? own.slots;
  const speed = last(rates((s) => state(s).ended));
  by("figures").replaceChildren(
    figure("calls per minute", amount(60 * speed)),
    figure("in flight", most === null ? amount(own.in_flight) : `${own.in_flight} of ${most}`),
    figure("waiting", amount(own.waiting)),
    figure("succeeded", own.succeeded.toLocaleString()),
    figure("failed", own.failed.toLocaleString()),
    figure("refused", own.refused.toLocaleString()),
    figure("cooldowns", own.cooldowns.toLocaleString()),
  );
  by("share").hidden = own.share === null;
  if (own.share !== null) by("share").textContent = ofShare(own.share);
  by("limits").replaceChildren(...own.limits.map((limit) => {
    const used = last(rates((s) => limitOf(s, limit.name)?.used ?? 0));
    const row = document.createElement("tr");
    const cells = [words(limit.name), `${amount(used)}/s`, `${amount(limit.rate)}/s`,
      amount(limit.level), amount(limit.capacity), reason(limit)];
    row.append(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
  choice(by("what"), [
    ["concurrency", "calls at a time"],
    ...[...own.configured, ...own.learnable].map((limit) => [
      JSON.stringify([limit.name, limit.per]),
      `${words(limit.name)} per ${limit.per} s`,
    ]),
  ], by("what").value);
  by("learn").hidden = !own.adapts;
  by("pause").textContent = own.paused ? "Resume" : "Pause";
  badge(now, own);
  if (now.run !== null) showRun(now.run);
}

function reason(limit) {
  const bound = limit.bound === null ? [] : [`set to at most ${amount(limit.bound)}/s`];
  return [...bound, ...(limit.learned === null ? [] : [limit.learned])].join("; ") || "as given";
}

function showRun(run) {
  by("run").hidden = false;
  const share = run.total ? run.done / run.total : 0;
  by("done").style.width = `${100 * share}%`;
  const of = run.total === null ? "" : ` of ${run.total.toLocaleString()} (${Math.floor(100 * share)} %)`;
  const left = !run.left ? "" : `, ${duration(run.left)} left`;
  by("lines").textContent = `${run.title}: ${run.done.toLocaleString()}${of} lines done${left}`;
}

function badge(now, own) {
  const said = by("state");
  const holds = held();
  const [text, kind] =
    now.run !== null && now.run.stopping ? [`stopping: ${now.run.stopping}`, "warn"]
      : own.paused ? ["paused", "warn"]
        : own.share !== null && !own.share.reachable ? ["the share's server does not answer", "bad"]
          : own.cooldown_left > 0 ? [`cooldown, ${duration(own.cooldown_left)} left`, "bad"]
            : holds === "" ? [cause(holds), ""]
              : [`held back by ${cause(holds)}`, "good"];
  said.textContent = text;
  said.className = `badge ${kind}`;
}

function held() {
  const now = last(samples), before = samples[Math.max(0, samples.length - 1 - WINDOW)];
  let most = "", longest = 0;
  for (const [cause, seconds] of Object.entries(state(now).held)) {
    const grown = seconds - (state(before).held[cause] ?? 0);
    if (grown > longest) [most, longest] = [cause, grown];
  }
  return most;
}

// Fills a list only if it has changed, or it could not be used.
function choice(list, options, value) {
  const key = JSON.stringify(options);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...options.map(([own, text]) => new Option(text, own, false, own === value)));
}

// ---- controls ----

async function order(given) {
  const said = by("said");
  try {
    const answer = await fetch(query("/control"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ scheduler: chosen, ...given }),
    });
    const told = await answer.json();
    said.textContent = answer.ok ? told.done : told.error;
    said.className = answer.ok ? "" : "bad";
  } catch (error) {
    said.textContent = "the job cannot be reached";
    said.className = "bad";
  }
}

by("pause").onclick = () => order({ action: state(last(samples)).paused ? "resume" : "pause" });
by("drain").onclick = () => {
  if (confirm("Dispatch no more calls, and end the run when those in flight have ended?")) {
    order({ action: "drain" });
  }
};
by("scheduler").onchange = () => {
  chosen = by("scheduler").value;
  by("charts").replaceChildren();
  show();
  draw();
};
by("change").onsubmit = (event) => {
  event.preventDefault();
  const value = read(by("value").value);
  if (value === null || value <= 0) {
    by("said").textContent = "that must be a number above 0, such as 5000, 800k or 2M";
    by("said").className = "bad";
    return;
  }
  const what = by("what").value;
  if (what === "concurrency") {
    order({ action: "concurrency", calls: Math.round(value) });
  } else {
    const [name, per] = JSON.parse(what);
    order({ action: "limit", name, per, amount: value });
  }
};
by("learn").onclick = () => {
  const what = by("what").value;
  if (what === "concurrency") {
    order({ action: "concurrency", calls: null });
  } else {
    const [name, per] = JSON.parse(what);
    order({ action: "limit", name, per, amount: null });
  }
};

// ---- the feed ----

function listen() {
  const feed = new EventSource(query("/events"));
  feed.addEventListener("about", (event) => {
    samples.length = 0; // the server sends those that it has kept
    by("drain").hidden = !JSON.parse(event.data).actions.includes("drain");
  });
  feed.onmessage = (event) => {
    samples.push(...JSON.parse(event.data));
    samples.splice(0, Math.max(0, samples.length - KEPT));
    show();
    draw();
  };
  feed.addEventListener("end", () => {
    feed.close();
    by("state").textContent = "the job has ended";
    by("state").className = "badge";
    document.querySelectorAll("button").forEach((button) => { button.disabled = true; });
  });
  feed.onerror = () => {
    by("state").textContent = "the job cannot be reached";
    by("state").className = "badge bad";
  };
}

// The charts' library is large, so it comes once the page has been painted.
function load() {
  const script = document.createElement("script");
  script.src = query("/plotly.min.js");
  script.onload = () => {
    plotting = window.Plotly;
    draw();
    document.documentElement.dataset.drawn = "yes";
  };
  document.head.append(script);
}

document.addEventListener("visibilitychange", draw);
listen();
requestAnimationFrame(() => setTimeout(load, 0));
