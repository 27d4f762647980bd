"use strict";
// Everything is written as text, never as markup: names and notes come from customers.
const byId = (id) => document.getElementById(id);
const get = async (path) => {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail || response.statusText);
  return body;
};
const row = (cells) => {
  const line = document.createElement("tr");
  for (const { text, kind, order } of cells) {
    const cell = line.insertCell();
    if (kind) cell.className = kind;
    if (order) {
      const link = document.createElement("a");
      link.href = "#" + order;
      link.textContent = text;
      cell.append(link);
    } else cell.textContent = text ?? "–";
  }
  return line;
};
const state = (freshness) => (freshness.stale
  ? { text: "stale: " + freshness.reason, kind: "stale" } : { text: "fresh", kind: "fresh" });

const unfinished = ["loading", "loaded", "verified"];
const progressOf = (progress) => {
  if (!progress) return "";
  const left = progress.etaSeconds == null ? "" : `, ${Math.ceil(progress.etaSeconds)} s left`;
  return ` ${progress.percent} % of ${progress.recordsTotal} events, ${progress.ratePerSecond} a second${left}`;
};
const rebuildsOf = (each) => each.generations
  .filter(({ state, rebuild }) => rebuild && state !== "dropped" && unfinished.includes(rebuild.step))
  .map(({ generation, rebuild }) => {
    const line = document.createElement("p");
    line.textContent = `${each.projection} ${rebuild.strategy} rebuild of generation ${generation}: ${rebuild.step}${progressOf(rebuild.progress)}`;
    return line;
  });

async function showProjections() {
  try {
    const body = await get("/projections");
    byId("projections").replaceChildren(...body.projections.map((each) => row([
      { text: each.projection }, { text: each.store }, { text: each.activeGeneration },
      { text: each.freshness.asOf },
      { text: each.freshness.lagSeconds === null ? null : each.freshness.lagSeconds + " s" },
      { text: each.partitions.reduce((sum, one) => sum + (one.lag ?? 0), 0) },
      { text: each.freshness.parked },
      each.error ? { text: each.error, kind: "stale" } : state(each.freshness),
    ])));
    byId("rebuilds").replaceChildren(...body.projections.flatMap(rebuildsOf));
    byId("clock").textContent = "";
  } catch (error) { byId("clock").textContent = error.message; }
  setTimeout(showProjections, 2000);
}

let next = null;
async function list(more) {
  const form = new FormData(byId("filter"));
  const asked = new URLSearchParams();
  for (const [name, value] of form) if (value) asked.set(name, value);
  if (more && next) asked.set("cursor", next);
  try {
    const body = await get((asked.has("q") ? "/search?" : "/orders?") + asked);
    const rows = body.items.map((each) => row([
      { text: each.orderId, order: each.orderId }, { text: each.customerName ?? each.customerId },
      { text: each.status }, { text: `${each.total} ${each.currency}`, kind: "number" },
      { text: each.createdAt }, { text: each.version, kind: "number" },
    ]));
    if (more) byId("orders").append(...rows); else byId("orders").replaceChildren(...rows);
    next = body.nextCursor;
    byId("more").hidden = !next;
    const total = body.total === undefined ? "" : `${body.total} found, `;
    byId("list-state").textContent = `${total}as of ${body.freshness.asOf ?? "unknown"}, ${state(body.freshness).text}`;
  } catch (error) { byId("list-state").textContent = error.message; }
}

async function lookUp(id) {
  try {
    byId("order").textContent = JSON.stringify(await get("/orders/" + encodeURIComponent(id)), null, 2);
  } catch (error) { byId("order").textContent = error.message; }
}

byId("filter").addEventListener("submit", (event) => { event.preventDefault(); list(false); });
byId("more").addEventListener("click", () => list(true));
byId("lookup").addEventListener("submit", (event) => {
  event.preventDefault();
  lookUp(new FormData(event.target).get("id"));
});
addEventListener("hashchange", () => {
  const id = decodeURIComponent(location.hash.slice(1));
  byId("lookup").elements.id.value = id;
  if (id) lookUp(id);
});
showProjections();
list(false);
