// Every change asks first: what it touches, counted by the API, and why. The reason goes to the log of actions.

import { h, patch } from "./dom.js";
import { t } from "./text.js";
import { tell } from "./notices.js";

/// Asks, and does it: `{title, text, fields, count, act, verb, done}`. `count(values)` says how many it touches, `act(values)` does it
/// and may return what to tell. Values are those of the fields, and the reason.
export function ask(question) {
  const opener = document.activeElement;
  const dialog = document.createElement("dialog");
  const values = Object.fromEntries((question.fields ?? []).map((it) => [it.name, it.value ?? ""]));
  const state = { count: undefined, refused: undefined, busy: false, turn: 0 };
  const draw = () => patch(dialog, form(question, values, state, { close, send, changed }));
  const close = () => dialog.close();

  async function recount() {
    if (!question.count) return;
    const turn = ++state.turn;
    state.count = undefined;
    draw();
    try {
      const count = await question.count(values);
      if (turn === state.turn) state.count = count;
    } catch (error) {
      if (turn === state.turn) state.refused = error.message;
    }
    draw();
  }
  function changed(name, value, counts) {
    values[name] = value;
    if (counts) recount();
  }
  async function send(event) {
    event.preventDefault();
    if (state.busy) return;
    state.busy = true;
    draw();
    try {
      const told = await question.act(values);
      if (told !== null) tell("good", told ?? question.done);
    } catch (error) {
      tell("bad", `${question.title}: ${error.message}`);
    }
    close();
    question.after?.();
  }
  dialog.addEventListener("close", () => {
    dialog.remove();
    opener?.focus?.({ preventScroll: true });
  });
  dialog.setAttribute("aria-labelledby", "ask-title");
  draw();
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector("[data-first]")?.focus();
  recount();
}

function form(question, values, state, { close, send, changed }) {
  const nothing = state.count?.n === 0;
  return h("form", { onsubmit: send },
    h("h2", { id: "ask-title" }, question.title),
    question.text && h("p", {}, question.text),
    question.count && h("p", { class: "count", role: "status" }, counted(state)),
    (question.fields ?? []).map((it) => field(it, values, changed)),
    h("label", {}, t("ask.reason"),
      h("textarea", { name: "reason", rows: 2, maxlength: 500, required: true, "data-first": true,
        oninput: (event) => changed("reason", event.target.value) })),
    h("p", { class: "buttons" },
      h("button", { type: "submit", class: question.danger ? "danger" : "main", disabled: state.busy || nothing }, question.verb),
      h("button", { type: "button", onclick: close }, t("ask.leave"))));
}

function counted(state) {
  if (state.refused) return state.refused;
  return state.count ? state.count.text : t("ask.counting");
}

function field(it, values, changed) {
  const props = { name: it.name, required: it.required, oninput: (event) => changed(it.name, event.target.value, it.counts) };
  const control = it.options
    ? h("select", { ...props, value: values[it.name] }, it.options.map(([value, label]) => h("option", { value }, label)))
    : h("input", { ...props, type: it.type ?? "text", min: it.min, max: it.max, step: it.step, value: it.value ?? "" });
  return h("label", {}, it.label, control, it.hint && h("small", {}, it.hint));
}
