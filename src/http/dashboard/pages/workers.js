// The processes of the fleet.

import { h } from "../dom.js";
import { exactTime, time } from "../format.js";
import { instead } from "../link.js";
import { table } from "../list.js";
import { t } from "../text.js";

export const workers = {
  title: () => t("nav.workers"),
  sources: () => ({ workers: "/v1/workers" }),
  view(page) {
    const found = page.data.workers?.value;
    if (!found) return [h("h1", {}, t("nav.workers")), instead(page.data.workers)];
    const differing = found.differing_settings;
    const columns = [
      { label: t("workers.name"), cell: (it) => h("span", { class: "id" }, it.name) },
      { label: t("workers.state"), cell: (it) => h("span", { class: `badge ${it.alive ? "delivered" : "dead"}` }, t(it.alive ? "workers.alive" : "workers.gone")) },
      { label: t("workers.role"), cell: (it) => it.role ?? "" },
      { label: t("workers.version"), cell: (it) => it.version ?? "" },
      { label: t("workers.load"), kind: "number", cell: (it) => (it.limit ? t("workers.of", { flight: it.in_flight ?? 0, limit: it.limit }) : "") },
      { label: t("workers.seen"), cell: (it) => time(it.seen_at) },
      { label: t("workers.tick"), cell: (it) => time(it.last_tick_at) },
      { label: t("workers.started"), cell: (it) => exactTime(it.started_at) },
      { label: t("workers.differs"), kind: "wide", cell: (it) => Object.entries(it.differs).map(([name, value]) =>
        h("div", { key: name, class: "wait" }, h("code", {}, `${name} = ${typeof value === "string" ? value : JSON.stringify(value)}`))) },
    ];
    return [
      h("h1", {}, t("nav.workers")),
      h("p", { class: `headline ${found.workers_alive ? "good" : "bad"}` }, t(found.workers_alive ? "workers.text" : "workers.none", { n: found.workers_alive })),
      differing.length > 0 && h("p", { class: "headline wait" }, t("workers.differing", { names: differing.join(", ") })),
      table({ name: "workers", columns, rows: found.processes, key: (it) => it.id, nothing: t("workers.nothing") }),
    ];
  },
};
