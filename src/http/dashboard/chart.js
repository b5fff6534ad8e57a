// Charts by hand: lines over time, with a table behind each.

import { h } from "./dom.js";
import { exact, number } from "./format.js";
import { t } from "./text.js";

const WIDTH = 560;
const HEIGHT = 150;
const LEFT = 46;
const BOTTOM = 22;
/// Room for what is written behind a bar.
const LABEL = 120;

/// Lines over time: `series` are `{name, label, values}` with a value or null for each of `times`.
export function lines({ title, times, series, show = number }) {
  const max = Math.max(1, ...series.flatMap((it) => it.values.filter((value) => value !== null)));
  const x = (index) => LEFT + (times.length < 2 ? 0 : (index * (WIDTH - LEFT - 8)) / (times.length - 1));
  const y = (value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - value / max);
  const ticks = [0, max / 2, max];
  const label = t("chart.label", { title, from: exact(times[0]), to: exact(times.at(-1)), max: show(max) });
  return h("figure", { class: "chart" },
    h("figcaption", {}, h("strong", {}, title),
      series.map((it) => h("span", { class: `legend ${it.name}` }, it.label))),
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
      ticks.map((value) => [
        h("line", { class: "grid", x1: LEFT, x2: WIDTH - 8, y1: y(value), y2: y(value) }),
        h("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, show(value))]),
      [0, Math.floor((times.length - 1) / 2), times.length - 1].map((index, place) => h("text", { class: "tick", x: x(index), y: HEIGHT - 6,
        "text-anchor": ["start", "middle", "end"][place] }, exact(times[index]).slice(5, 16))),
      series.map((it) => h("path", { class: `line ${it.name}`, d: path(it.values, x, y) }))),
    h("details", {}, h("summary", {}, t("chart.table")),
      h("div", { class: "scroll", tabindex: 0 }, h("table", {},
        h("caption", { class: "hidden" }, title),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("chart.time")), series.map((it) => h("th", { scope: "col", class: "number" }, it.label)))),
        h("tbody", {}, times.map((at, index) => h("tr", { key: at }, h("th", { scope: "row" }, exact(at)),
          series.map((it) => h("td", { class: "number" }, it.values[index] === null ? "–" : show(it.values[index]))))))))));
}

/// A line that is broken where nothing is known.
function path(values, x, y) {
  let command = "M";
  return values.map((value, index) => {
    if (value === null) {
      command = "M";
      return "";
    }
    const dot = command === "M" && (index + 1 >= values.length || values[index + 1] === null) ? "h1" : "";
    const part = `${command}${x(index).toFixed(1)} ${y(value).toFixed(1)}${dot}`;
    command = "L";
    return part;
  }).join("");
}

/// A line of the size of a word, over steps of `step` milliseconds since `from`; behind it a table of those that are not 0.
export function sparkline({ name, label, from, step, values }) {
  const [width, height, max] = [120, 24, Math.max(1, ...values)];
  const total = values.reduce((sum, value) => sum + value, 0);
  const x = (index) => 1 + (index * (width - 2)) / Math.max(1, values.length - 1);
  const y = (value) => 2 + (height - 4) * (1 - value / max);
  const steps = values.map((value, index) => [Date.parse(from) + index * step, value]).filter(([, value]) => value);
  return [
    h("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("chart.spark", { n: total, from: exact(from), max: number(max) }) },
      h("path", { class: `line ${name}`, d: path(values, x, y) })),
    steps.length > 0 && h("details", {}, h("summary", {}, t("chart.table")),
      h("div", { class: "scroll", tabindex: 0 }, h("table", { "aria-label": label },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("chart.time")), h("th", { scope: "col", class: "number" }, label))),
        h("tbody", {}, steps.map(([at, value]) => h("tr", { key: at }, h("th", { scope: "row" }, exact(at)), h("td", { class: "number" }, number(value))))))))];
}

/// When something was so, within a time: `spans` are `[from, to]`, in milliseconds.
export function strip({ title, from, to, spans }) {
  const [first, last] = [Date.parse(from), Date.parse(to)];
  const x = (at) => ((Math.min(Math.max(at, first), last) - first) * WIDTH) / (last - first || 1);
  return h("svg", { class: "strip", viewBox: `0 0 ${WIDTH} 34`, role: "img", "aria-label": title },
    h("rect", { class: "ground", x: 0, y: 0, width: WIDTH, height: 14, rx: 3 }),
    // One that was short is seen all the same.
    spans.map(([begin, end]) => h("rect", { class: "open", x: Math.min(x(begin), WIDTH - 3).toFixed(1), y: 0, height: 14, width: Math.max(3, x(end) - x(begin)).toFixed(1) })),
    h("text", { class: "tick", x: 0, y: 30 }, exact(first).slice(5, 16)),
    h("text", { class: "tick", x: WIDTH, y: 30, "text-anchor": "end" }, exact(last).slice(5, 16)));
}

/// Bars in time: `bars` are `{from, to, kind, label}`, in milliseconds.
export function waterfall({ title, bars }) {
  if (!bars.length) return null;
  const first = Math.min(...bars.map((it) => it.from));
  const last = Math.max(...bars.map((it) => it.to), first + 1);
  const x = (at) => 4 + ((at - first) * (WIDTH - 8 - LABEL)) / (last - first);
  const row = 22;
  return h("svg", { class: "waterfall", viewBox: `0 0 ${WIDTH} ${bars.length * row + 20}`, role: "img", "aria-label": title },
    bars.map((it, index) => {
      const [left, width] = [x(it.from), Math.max(4, x(it.to) - x(it.from))];
      return h("g", { class: `bar ${it.kind}` },
        h("rect", { x: left.toFixed(1), y: index * row + 4, width: width.toFixed(1), height: row - 8, rx: 3 }),
        h("text", { x: (left + width + 6).toFixed(1), y: index * row + row / 2 + 4 }, it.label));
    }),
    h("text", { class: "tick", x: 4, y: bars.length * row + 16 }, exact(first)),
    h("text", { class: "tick", x: WIDTH - 4 - LABEL, y: bars.length * row + 16, "text-anchor": "end" }, exact(last)));
}
