/* Pieces of the page. Text from data only ever becomes text nodes and attribute values. */

/** A value by a key that may come from data: what every object inherits is not it. */
const own = (values, key) => Object.hasOwn(values, key) ? values[key] : undefined;

/** An element: attributes by name, `on..` as listeners; children are elements or text, never markup. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The product drawn in its colour; its initial where its kind is unknown. */
function picture(product) {
  const drawing = shop.silhouettes[product.kind];
  if (!drawing) {
    const letter = [...product.name].find((sign) => /[\p{L}\p{N}]/u.test(sign)) ?? "·";
    const plain = h("span", { class: "picture letter-only", "aria-hidden": "true" }, letter.toUpperCase());
    if (product.paint) plain.style.backgroundColor = product.paint;
    if (product.paint) plain.style.color = isDark(product.paint) ? "#fff" : "#211f2b";
    return plain;
  }
  const fill = product.paint || "#cdc5b8";
  const seam = isDark(fill) ? "rgb(255 255 255 / .42)" : "rgb(33 31 43 / .36)";
  const lines = { fill: "none", stroke: seam, "stroke-width": "1.4", "stroke-linecap": "round", "stroke-linejoin": "round" };
  const edge = { fill, stroke: "rgb(33 31 43 / .3)", "stroke-width": "1", "stroke-linejoin": "round" };
  const [body, seams, straps] = drawing;
  const drawn = svg("svg", { viewBox: "-14 -8 128 141", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: straps, ...lines, stroke: "rgb(33 31 43 / .3)", "stroke-width": "3.8" }),
    svg("path", { d: straps, ...lines, stroke: fill, "stroke-width": "2.4" }),
    svg("path", { d: body, ...edge }), svg("path", { d: seams, ...lines }));
  return h("span", { class: "picture", "aria-hidden": "true" }, drawn);
}

function isDark(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.3 * red + 0.59 * green + 0.11 * blue < 120;
}

function money(amount, currency) {
  if (amount === null) return "";
  const text = amount.toLocaleString("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const sign = own(shop.signs, currency);
  return sign ? sign + text : `${text} ${currency}`.trim();
}

/** The name without its brand in front and its colour behind, which stand beside it. */
function shortName({ name, brand, colour }) {
  let short = name;
  if (brand && short.toLowerCase().startsWith(`${brand.toLowerCase()} `)) short = short.slice(brand.length).trim();
  if (colour && short.toLowerCase().endsWith(`, ${colour.toLowerCase()}`)) {
    short = short.slice(0, -colour.length - 2).trim();
  }
  return short || name;
}

const counted = (count, noun) => `${count.toLocaleString("en-GB")} ${noun}${count === 1 ? "" : "s"}`;
const ordinal = (number) => {
  const ending = number % 100 >= 10 && number % 100 <= 20 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th";
  return `${number}${ending}`;
};

/** One product of a list; pressing it tells why it is there. */
function tile(place, why, extra = null) {
  const product = shop.product(place.product);
  const price = money(product.price, product.currency);
  const spoken = [product.name, product.brand && !product.name.includes(product.brand) ? product.brand : "", price,
    extra ?? "", place.rule ? "moved by a rule" : "", "why it is here"].filter(Boolean).join(", ");
  return h("li", {}, h("button", {
    class: "tile", type: "button", tabindex: "-1", "aria-haspopup": "dialog", "aria-label": spoken,
    onclick: () => explain(place, why),
  },
  h("span", { class: "frame" }, picture(product), place.rule ? h("i", { class: "moved", title: "Moved by a rule" }) : null),
  product.brand ? h("span", { class: "brandname" }, product.brand) : null,
  h("span", { class: "name" }, shortName(product)),
  price ? h("span", { class: "price" }, price) : null,
  extra ? h("span", { class: "extra" }, extra) : null));
}

/** A row (or, with `grid`, several rows) of tiles; the arrow keys move within it. */
function row(label, places, why, { grid = false, extra = () => null } = {}) {
  const list = h("ol", { class: grid ? "tiles grid" : "tiles", "aria-label": label, onkeydown: moveWithin },
    places.map((place) => tile(place, why, extra(place))));
  if (list.querySelector(".letter-only") && !list.querySelector("svg")) list.classList.add("bare");
  list.querySelector("button")?.setAttribute("tabindex", "0");
  return list;
}

/** A row of tiles with a title. */
function rail(title, places, why, { grid = false, lead = "", extra = () => null } = {}) {
  const list = row(title, places, why, { grid, extra });
  const slide = (way) => h("button", {
    class: "slide", type: "button", "aria-label": `${way < 0 ? "Earlier" : "Further"} products of ${title}`, tabindex: "-1",
    onclick: () => list.scrollBy({ left: way * list.clientWidth * 0.8, behavior: calm() ? "auto" : "smooth" }),
  }, way < 0 ? "‹" : "›");
  const legend = places.some((place) => place.rule)
    ? h("p", { class: "soft small legend-moved" }, h("i", { class: "moved", "aria-hidden": "true" }), "moved by a rule") : null;
  const slides = grid ? null : h("div", { class: "slides" }, slide(-1), slide(1));
  return h("section", { class: "carousel" }, h("div", { class: "carousel-head" }, h("h3", {}, title), legend, slides),
    lead ? h("p", { class: "soft small" }, lead) : null, list);
}
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function moveWithin(event) {
  const tiles = [...event.currentTarget.querySelectorAll(".tile")];
  const at = tiles.indexOf(document.activeElement);
  const across = tiles.filter((each) => each.offsetTop === tiles[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across };
  let next = event.key === "Home" ? 0 : event.key === "End" ? tiles.length - 1 : at + (steps[event.key] ?? NaN);
  if (at < 0 || !(next >= 0 && next < tiles.length)) return;
  if (across === tiles.length && event.key.match(/Up|Down/)) return;
  event.preventDefault();
  tiles[at].tabIndex = -1;
  tiles[next].tabIndex = 0;
  tiles[next].focus({ preventScroll: true });
  tiles[next].scrollIntoView({ block: "nearest", inline: "nearest", behavior: calm() ? "auto" : "smooth" });
}

/** Rows of a definition list, without those that say nothing. */
const facts = (rows) => h("dl", {}, rows.filter(([, ...said]) => said.some(Boolean)).map(([term, ...said]) =>
  h("div", {}, h("dt", {}, term), h("dd", {}, said.filter(Boolean).map((part, nr) => nr ? h("span", { class: "words" }, part) : part)))));

/** Open the explanation of one place. `why` has where (a sentence), market, and of the list: model, run, variant. */
function explain(place, why) {
  const product = shop.product(place.product);
  const dialog = document.getElementById("why");
  const leave = (state) => () => { dialog.close(); go(state, true); };
  const detail = [product.category, product.colour, money(product.price, product.currency)].filter(Boolean).join(" · ");
  const rule = place.rule ? [place.rule, own(shop.reasons, place.rule) ?? own(shop.ruleWords, place.rule) ?? ""] : ["none: its score puts it here"];
  dialog.replaceChildren(
    h("div", { class: "why-head" }, picture(product), h("div", {},
      product.brand ? h("p", { class: "brandname" }, product.brand) : null,
      h("h2", { id: "why-title" }, product.name), h("p", { class: "soft" }, detail), h("code", { class: "soft" }, product.id))),
    facts([
      ["Why here", place.source, place.words ?? own(shop.sourceWords, place.source) ?? ""],
      ["Rules", ...rule],
      ["Position", `${ordinal(place.place)} ${why.where}`],
      ["Score", Number(place.score.toPrecision(4)).toString(), ...(place.parts ?? [])],
      ["Variant", shop.variants.length > 1 ? why.variant : ""],
      ["Model", why.model], ["Run", why.run],
    ]),
    h("div", { class: "actions" },
      place.product < shop.shown ? h("button", { type: "button", class: "do", onclick: leave({ product: product.id }) }, "See its page") : null,
      place.product < shop.shown && shop.has("bag_extras") && state.bag.length < BAG_MOST && !state.bag.includes(product.id)
        ? h("button", { type: "button", class: "do quiet", onclick: leave({ bag: [...state.bag, product.id] }) }, "Add to the bag") : null,
      h("button", { type: "button", class: "do quiet", onclick: () => dialog.close() }, "Close")));
  dialog.showModal();
  dialog.scrollTop = 0;
}
