/* The page's address holds its whole state, so that every view can be linked to; changing it draws the page anew. */

let shop;
let state = { bag: [] };
let haystacks;

/** The state that an address names; what it leaves out is filled with the first that there is. */
function stateOf(hash) {
  const named = new URLSearchParams(hash.slice(1));
  const market = Math.max(shop.markets.indexOf(named.get("market") ?? shop.markets[0]), 0);
  const variant = Math.max(shop.variants.indexOf(named.get("variant")), 0);
  const view = Object.keys(VIEWS).find((name) => named.has(name)) ?? "product";
  const home = shop.customers.find((each) => each.market === market) ?? shop.customers[0];
  const from = (name, first) => named.get(name) || first;
  return {
    view, market, variant, bag: named.getAll("bag").filter(Boolean).slice(0, BAG_MOST),
    product: from("product", shop.firsts?.[market] ?? shop.catalogue[0]?.[0] ?? ""),
    category: from("category", shop.categories[0] ?? ""), customer: from("customer", home?.id ?? ""),
    pair: Math.min(Number.parseInt(from("pair", "1"), 10) - 1 || 0, Math.max(shop.contexts.length - 1, 0)),
  };
}

/** The address of a state: the present one with changes; a change of a view's own key changes the view. */
function hashOf(changes) {
  const view = changes.view ?? Object.keys(VIEWS).find((name) => name in changes) ?? state.view;
  const next = { ...state, ...changes, view };
  const named = new URLSearchParams({ market: shop.markets[next.market] ?? "" });
  if (next.variant) named.set("variant", shop.variants[next.variant]);
  if (view === "bag") for (const id of next.bag.length ? next.bag : [""]) named.append("bag", id);
  else named.set(view, view === "pair" ? String(next.pair + 1) : next[view] ?? "");
  return `#${named}`;
}

/** Go to a changed state; `moved` where the reader should be taken to the new content. */
function go(changes, moved = false) {
  if ("bag" in changes) keptBag = changes.bag;
  takeToContent = moved;
  const hash = hashOf(changes);
  if (hash === location.hash) draw(); else location.hash = hash;
}
let takeToContent = false;
let keptBag = [];

/** Draw the page of the address. Only the newest call may touch the page: a slower earlier one has been overtaken. */
async function draw() {
  const turn = ++turns;
  const next = stateOf(location.hash);
  next.bag = keptBag = next.view === "bag" ? next.bag : keptBag;
  state = next;
  const content = await VIEWS[state.view]();
  if (turn !== turns) return;
  picker();
  document.getElementById("window").replaceChildren(...content.flat().filter(Boolean));
  const title = document.querySelector("#window h2");
  document.title = `${title?.textContent ?? "Shop window"} · Nightrail, the night of ${shop.asOf}`;
  if (takeToContent) {
    title?.focus({ preventScroll: true });
    title?.closest(".hero, #window")?.scrollIntoView({ block: "nearest" });
  }
  takeToContent = false;
}
let turns = 0;

function field(label, id, options, chosen, onchange) {
  return h("div", { class: "field" }, h("label", { for: id }, label), h("select", { id, onchange },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
}

/** What one chooses with; the parts of a view change with it. */
function picker() {
  const bar = document.getElementById("picker");
  const focused = bar.contains(document.activeElement) ? document.activeElement.id : "";
  const tabs = [["product", "Product"], ["category", "Category"], ["customer", "Customer"], ["bag", "Bag"], ["pair", "Side by side"]];
  const links = h("ul", { class: "views" }, tabs.map(([view, text]) => h("li", {}, h("a", {
    id: `view-${view}`, href: hashOf({ view }), "aria-current": view === state.view ? "page" : false,
  }, view === "bag" && state.bag.length ? `${text} (${state.bag.length})` : text))));
  const market = field("Market", "market", shop.markets.map((name, number) => [String(number), name]), String(state.market),
    (event) => go(changedMarket(Number(event.target.value))));
  const parts = [state.view === "pair" ? null : market, ...chooser()];
  if (shop.variants.length > 1 && !["customer", "pair"].includes(state.view)) parts.push(variantSwitch());
  bar.replaceChildren(h("nav", { "aria-label": "Views" }, links), h("div", { class: "fields" }, parts.filter(Boolean)));
  if (focused) document.getElementById(focused)?.focus();
}

/** In another market another customer lives; products, categories and bags stay. */
function changedMarket(market) {
  const home = shop.customers.find((each) => each.market === market);
  return state.view === "customer" ? { market, customer: home?.id ?? "" } : { market, view: state.view };
}

function variantSwitch() {
  return h("div", { class: "field switch", role: "radiogroup", "aria-labelledby": "variants" }, h("span", { id: "variants" }, "Variant"), h("div", {}, shop.variants.map((name, number) =>
    h("label", {}, h("input", { type: "radio", name: "variant", id: `variant-${number}`, checked: number === state.variant,
      onchange: () => go({ variant: number, view: state.view }) }), h("span", {}, name)))));
}

/** The field that chooses what a view shows. */
function chooser() {
  const detail = (product) => [product.id, money(product.price, product.currency)].filter(Boolean).join(" · ");
  const products = (chosen) => (query) => {
    haystacks ??= shop.catalogue.slice(0, shop.shown).map(([id, name]) => `${name} ${id}`.toLowerCase());
    return matches(haystacks, query).map((number) => {
      const product = shop.product(number);
      return { text: product.name, detail: detail(product), chosen: () => chosen(product.id) };
    });
  };
  if (state.view === "product") return [finder("Product", "Type a name or an id", products((id) => go({ product: id })))];
  if (state.view === "bag") {
    if (state.bag.length >= BAG_MOST || !shop.has("bag_extras")) return [];
    return [finder("Add a product", "Type a name or an id", products((id) => go({ bag: [...new Set([...state.bag, id])] })))];
  }
  if (state.view === "customer") {
    const here = shop.customers.filter((each) => each.market === state.market);
    const texts = here.map((each) => each.id.toLowerCase());
    return [finder("Customer", "Type an id", (query) => matches(texts, query).map((number) => ({
      text: here[number].id, detail: counted(here[number].inAll, "event"), chosen: () => go({ customer: here[number].id }),
    })))];
  }
  if (state.view === "category") {
    const names = shop.categories.map((name) => [name, name === "*" ? "Everything" : capital(name)]);
    return names.length ? [field("Category", "category", names, state.category, (event) => go({ category: event.target.value }))] : [];
  }
  const names = shop.contexts.map((pair, number) => [String(number), `${shop.product(pair.product).name} (${pair.market})`]);
  return names.length ? [field("Product", "pair", names, String(state.pair), (event) => go({ pair: Number(event.target.value) }))] : [];
}

async function start() {
  const main = document.getElementById("window");
  try {
    shop = await Shop.open();
  } catch (error) {
    main.replaceChildren(note("This page’s data could not be read: it needs a browser of 2023 or later, and the whole file."));
    throw error;
  }
  if (!shop.markets.length) {
    main.replaceChildren(note("No lists were made for this night, so there is nothing to show yet."));
    return;
  }
  addEventListener("hashchange", draw);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address holds the state
    document.getElementById("main").focus();
  });
  document.getElementById("why").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) event.currentTarget.close(); // a press beside the dialog
  });
  await draw();
  requestAnimationFrame(() => setTimeout(() => performance.mark("first list drawn"))); // after the frame is painted
}

start();
