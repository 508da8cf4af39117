/* The views: each makes the content of the page from the state, and says what the night lacks. */

const PRODUCT_PAGE = ["you_might_also_like", "people_also_bought"];
const SOLD_OUT = "sold_out_alternatives";
const PAGE_LISTS = ["trending", "reduced", "new_in"];
const OF_CUSTOMER = ["buy_again", "recently_viewed"];
const BAG_MOST = 5;

const note = (text) => h("p", { class: "note" }, text);
const heading = (text, ...more) => h("h2", { tabindex: "-1" }, text, ...more);
const marketName = () => shop.markets[state.market] ?? "";

/** What the explanations of a list's places share. */
const reasons = (list, where) => ({ where, model: list.model, run: list.run, variant: list.variant });

/** The list's shortcomings in a sentence, if it has any. */
function shortness(list) {
  const told = list.variant !== shop.variants[state.variant] ? [`Made for variant ${list.variant}.`] : [];
  if (list.short) told.push(`Short: ${list.short}.`);
  return told.join(" ");
}

/** Why there is nothing to show, in the words of the services' client. */
const nothing = (title, list) => note(`${title}: nothing in ${marketName()}: ${list ? shop.empty.rules : shop.empty.noList}.`);

/** Standing lists: those that have something to show. */
const standing = (names, listOf, where) => names.filter((name) => shop.has(name)).map((name) => [name, listOf(name)])
  .filter(([, list]) => list?.places.length)
  .map(([name, list]) => rail(shop.titles[name], list.places, reasons(list, `in ${shop.titles[name]}, ${where}`)));

function productRail(name, product) {
  const title = shop.titles[name];
  if (!shop.has(name)) return note(`${title}: the night has no lists of this kind.`);
  const list = shop.inVariant(name, product.number, state.market, state.variant);
  if (!list?.places.length) return nothing(title, list);
  const why = reasons(list, `in ${title}, on the page of ${product.name}, market ${marketName()}`);
  return rail(title, list.places, why, { lead: shortness(list) });
}

/** The looks that go with a product, each beside it as one group; nothing where the market shows none. */
function outfits(product) {
  const list = shop.looks(product.number, state.market, state.variant);
  if (!list.looks.length) return [];
  const why = reasons(list, `in ${shop.titles.outfits}, on the page of ${product.name}, market ${marketName()}`);
  const look = (places, at) => h("li", { class: "look" }, h("div", { class: "look-own" }, picture(product),
    h("span", { class: "soft small" }, `Look ${at + 1}`)), row(`Look ${at + 1}`, places, why, { extra: (place) => place.role }));
  return [h("section", { class: "carousel" }, h("div", { class: "carousel-head" }, h("h3", {}, shop.titles.outfits)),
    h("ul", { class: "looks" }, list.looks.map(look)))];
}

function hero(product, ...actions) {
  const about = [product.category, product.colour].filter(Boolean).join(" · ");
  return h("div", { class: "hero" }, picture(product), h("div", {},
    product.brand ? h("p", { class: "brandname" }, product.brand) : null,
    heading(shortName(product)),
    product.price === null ? null : h("p", { class: "price" }, money(product.price, product.currency)),
    h("p", { class: "soft" }, about), h("p", { class: "soft small" }, h("code", {}, product.id)),
    actions.length ? h("div", { class: "actions" }, actions) : null));
}

async function productView() {
  await shop.load([...PRODUCT_PAGE.slice(0, 1), SOLD_OUT]);
  const number = shop.numberOf(state.product);
  if (number < 0) return [heading("No such product"), note(`${state.product} is not on this page.`)];
  const product = shop.product(number);
  if (number >= shop.shown) return [hero(product), note("This page holds no lists of this product, only places that show it.")];
  const add = shop.has("bag_extras") && state.bag.length < BAG_MOST
    ? [h("button", { type: "button", class: "do", onclick: () => go({ bag: [...new Set([...state.bag, product.id])] }, true) }, "Add to the bag")] : [];
  const [first, ...others] = PRODUCT_PAGE;
  const rest = h("div", {});
  const drawn = state;
  shop.load([...others, "outfits"]).then(() => drawn === state
    && rest.append(...others.map((name) => productRail(name, product)), ...outfits(product)));
  const instead = standing([SOLD_OUT], (name) => shop.inVariant(name, number, state.market, state.variant),
    `for ${product.name}, market ${marketName()}`);
  return [hero(product, ...add), ...(instead.length ? instead : [productRail(first, product)]), rest];
}

async function categoryView() {
  await shop.load([shop.rankingList, ...PAGE_LISTS]);
  const at = shop.categories.indexOf(state.category);
  const list = shop.inVariant(shop.rankingList, at, state.market, state.variant);
  const title = state.category === "*" ? "Everything" : capital(state.category);
  const lead = h("p", { class: "lead" }, `The first products for customers without a history in ${marketName()}.`);
  if (!list?.places.length) return [heading(title), nothing("Most wanted", list)];
  const why = reasons(list, `on the page ${title}, market ${marketName()}`);
  const more = standing(PAGE_LISTS, (name) => shop.inVariant(name, at, state.market, state.variant), `market ${marketName()}`);
  return [heading(title), lead, rail("Most wanted", list.places, why, { grid: true, lead: shortness(list) }), ...more];
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function pastEvents(customer) {
  const newest = [...customer.events].reverse();
  const item = ([number, kind, day]) => {
    const product = shop.product(number);
    const words = [h("span", {}, h("b", { class: `kind ${kind === "purchase" ? "purchase" : ""}` }, kind), " ", h("span", { class: "soft" }, day)),
      h("span", { class: "name" }, shortName(product))];
    const link = number < shop.shown ? h("a", { href: hashOf({ product: product.id }) }, words) : h("span", {}, words);
    return h("li", {}, picture(product), link);
  };
  const first = newest.slice(0, EVENTS_FIRST);
  const rest = newest.slice(EVENTS_FIRST);
  const list = (events, label) => h("ol", { class: "past", "aria-label": label }, events.map(item));
  return h("section", { class: "history-side" }, h("h3", {}, "Events"),
    h("p", { class: "soft small" }, `Newest first, ${customer.events.length === customer.inAll ? counted(customer.inAll, "event") : `the last ${customer.events.length} of ${counted(customer.inAll, "event")}`}`),
    list(first, "Last events, newest first"),
    rest.length ? h("details", {}, h("summary", {}, `${counted(rest.length, "earlier event")}`), list(rest, "Earlier events")) : null);
}
const EVENTS_FIRST = 8;

async function customerView() {
  await shop.load([shop.customerList, shop.rankingList, ...OF_CUSTOMER]);
  const number = shop.customers.findIndex((each) => each.id === state.customer);
  if (number < 0) return [heading("No such customer"), note(`${state.customer || "No customer"} is not on this page.`)];
  const customer = shop.customers[number];
  const list = shop.list(shop.customerList, number);
  const title = shop.titles[shop.customerList];
  const bought = new Set(customer.events.map(([product]) => product));
  const order = list ? null : shop.inVariant(shop.rankingList, shop.categories.indexOf("*"), customer.market, shop.variants.indexOf("default"));
  const shown = order?.places.length
    ? rail(title, order.places, reasons(order, `in the order of market ${customer.marketName}`),
      { grid: true, lead: "No list of their own: services show the market’s order." })
    : list?.places.length
    ? rail(title, list.places, reasons(list, `in ${title} of customer ${customer.id}, market ${customer.marketName}`),
      { grid: true, lead: [shop.variants.length > 1 ? `This customer sees variant ${list.variant}.` : "", list.short ? `Short: ${list.short}.` : ""].filter(Boolean).join(" "),
        extra: (place) => bought.has(place.product) ? "in the history" : null })
    : note(`${title}: nothing in ${customer.marketName}: ${list ? shop.empty.rules : shop.empty.noList}.`);
  return [heading(`Customer ${customer.id}`), h("p", { class: "lead" }, `Market ${customer.marketName}`),
    h("div", { class: "beside" }, pastEvents(customer), shown),
    ...standing(OF_CUSTOMER, (name) => shop.list(name, number), `of customer ${customer.id}, market ${customer.marketName}`)];
}

/** Places of the whole bag's list, each with the lists it comes from. */
function bagPlaces(products) {
  const inVariant = (variant) => products.map((product) => shop.list("bag_extras", `${product.number},${state.market},${variant}`));
  const lists = shop.inVariants(state.variant).map(inVariant).find((found) => found.some(Boolean)) ?? [];
  const inputs = products.map((_, at) => lists[at]).map((list) => (list?.places ?? []).map((place) => ({ ...shop.product(place.product), ...place })));
  const places = combineBag(products, inputs, shop.places).map((found, at) => {
    const parts = inputs.flatMap((list, nr) => list.filter((each) => each.id === found.id).map((each) =>
      `${each.score.toPrecision(4)} as ${ordinal(each.place)} extra of ${products[nr].name}`));
    const ruled = inputs.flat().find((each) => each.id === found.id && each.rule);
    return { place: at + 1, product: found.number, score: found.score, source: found.source, rule: ruled?.rule ?? "",
      parts: products.length > 1 ? [`mean of the two highest: ${parts.join("; ")}`] : [] };
  });
  return { places, list: lists.find(Boolean) };
}

async function bagView() {
  await shop.load(["bag_extras"]);
  const products = state.bag.map((id) => shop.numberOf(id)).filter((number) => number >= 0 && number < shop.shown).map((number) => shop.product(number));
  const remove = (product) => h("button", {
    type: "button", class: "remove", "aria-label": `Take ${product.name} out of the bag`,
    onclick: () => go({ view: "bag", bag: state.bag.filter((id) => id !== product.id) }, true),
  }, "Take out");
  const known = products.filter((product) => product.price !== null);
  const total = known.length ? money(known.reduce((sum, product) => sum + product.price, 0), known[0].currency) : "";
  const contents = products.length ? h("ul", { class: "bag", "aria-label": "In the bag" }, products.map((product) => h("li", {}, picture(product),
    h("div", {}, product.brand ? h("span", { class: "brandname" }, product.brand) : null, h("span", { class: "name" }, shortName(product)),
      h("span", { class: "price" }, money(product.price, product.currency)), remove(product))))) : null;
  const top = [heading("The bag"), h("p", { class: "lead" }, products.length
    ? `${counted(products.length, "product")}${total ? `, ${total} in all` : ""}${products.length === BAG_MOST ? "; the bag is full" : ""}`
    : "Empty. Add a product above, or from any product’s page."), contents];
  if (!shop.has("bag_extras")) return [...top, note("A Little Something Extra: the night has no lists of this kind.")];
  if (!products.length) return top;
  const { places, list } = bagPlaces(products);
  if (!places.length) return [...top, note(`A Little Something Extra: nothing in ${marketName()}: ${list ? shop.empty.addOns : shop.empty.noList}.`)];
  const why = reasons(list, `in A Little Something Extra of a bag of ${products.length}, market ${marketName()}`);
  return [...top, rail(shop.titles.bag_extras, places, why, { lead: "One of each category at most, none that the bag has already, nothing dearer than half of it." })];
}

async function pairView() {
  await shop.load([shop.customerList]);
  const pair = shop.contexts[state.pair];
  if (!pair) return [heading("Side by side"), note("No product was computed in two customers’ contexts this night.")];
  const product = shop.product(pair.product);
  const ranks = pair.sides.map((side) => new Map(side.list.map(([number], at) => [number, at + 1])));
  const both = pair.sides[0].list.filter(([number]) => ranks[1].has(number)).length;
  const most = Math.max(...pair.sides.map((side) => side.list.length));
  const column = (side, own) => {
    const other = 1 - own;
    const places = side.list.map(([number, score], at) => ({ place: at + 1, product: number, score, source: "model", rule: "",
      words: "its vector is among the nearest after this customer’s history" }));
    const why = { where: `beside ${product.name}, for customer ${side.customer}, market ${pair.market}`, model: pair.model, run: shop.run, variant: "" };
    const extra = (place) => ranks[other].has(place.product) ? `${ordinal(ranks[other].get(place.product))} for ${"AB"[other]}` : `only for ${"AB"[own]}`;
    const known = shop.customers.find((each) => each.id === side.customer);
    return h("div", { class: "side" },
      rail(`${"AB"[own]} · Customer ${side.customer}`, places, why, { grid: true, extra }), known ? pastEvents(known) : null);
  };
  return [hero(product), h("p", { class: "lead" },
    `You Might Also Like after two customers’ histories, market ${pair.market}: ${both} of ${most} products are in both lists.`),
    h("div", { class: "sides-by-side" }, pair.sides.map(column))];
}

const VIEWS = { product: productView, category: categoryView, customer: customerView, bag: bagView, pair: pairView };
