"use strict";
/* Reads the page's data blocks, which jobs/report/window/page.py writes: JSON, compressed by zlib, in base64. */

/** The JSON value of a data block; waits for one that the browser has not read yet. */
async function unpack(name) {
  if (document.readyState === "loading" && !document.querySelector(`#data-${name} ~ script`)) {
    await new Promise((read) => document.addEventListener("DOMContentLoaded", read, { once: true }));
  }
  const letters = atob(document.getElementById(`data-${name}`).textContent);
  const packed = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) packed[at] = letters.charCodeAt(at);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

/** Everything the page shows. Products, markets, variants and customers are numbers into the page's lists. */
class Shop {
  constructor(page) {
    Object.assign(this, page);
    this.numbers = new Map(page.catalogue.map(([id], number) => [id, number]));
    this.loaded = {};
  }

  static async open() {
    return new Shop(await unpack("page"));
  }

  /** Read the blocks of some tables of lists, each once; tables that the night has not are skipped. */
  async load(names) {
    await Promise.all(names.filter((name) => this.has(name)).map(async (name) => {
      this.loaded[name] = await (this.loaded[name] ?? unpack(name));
    }));
  }

  has(name) {
    return this.lists.includes(name);
  }

  /** What a product is, by number. */
  product(number) {
    const [id, name, brand, category, colour, price, currency, kind, paint] = this.catalogue[number];
    return { number, id, name, brand, category, colour, price, currency, kind, paint };
  }

  /** A product's number by id; -1 where the page does not know it. */
  numberOf(id) {
    return this.numbers.get(id) ?? -1;
  }

  /** The list of a table by its key on the page; null where there is none. */
  list(table, key) {
    const row = this.loaded[table]?.[key];
    if (!row) return null;
    const [note, products, scores, sources, rules] = row;
    const [variant, short, model, run] = this.notes[note];
    const places = products.map((product, at) => ({
      place: at + 1, product, score: Math.fround(scores[at] ?? 0), source: this.sources[sources[at]] ?? "",
      rule: this.rules[rules[at]] ?? "",
    }));
    return { name: table, places, variant, short, model, run };
  }

  /** The looks of a product that a market shows, each its places with their roles; none where there are none. */
  looks(owner, market, variant) {
    const each = this.inVariants(variant).find((one) => this.loaded.outfits?.[`${owner},${one}`]);
    const list = each === undefined ? null : this.list("outfits", `${owner},${each}`);
    if (!list) return { looks: [] };
    const [, , , , , looks, roles, shownIn] = this.loaded.outfits[`${owner},${each}`];
    const here = [...new Set(looks)].filter((look, at) => shownIn[at].includes(market));
    const places = list.places.map((place, at) => ({ ...place, look: looks[at], role: roles[at] }))
      .filter(({ look }) => here.includes(look)).map((place, at) => ({ ...place, place: at + 1 }));
    return { ...list, looks: here.map((look) => places.filter((place) => place.look === look)) };
  }

  /** The list of a product or category in a market, in the variant asked for, else in the default one. */
  inVariant(table, owner, market, variant) {
    const found = this.inVariants(variant).map((each) => this.list(table, `${owner},${market},${each}`));
    return found.find(Boolean) ?? null;
  }

  /** The variants that are asked one after the other, as services do. */
  inVariants(variant) {
    return [variant, this.variants.indexOf("default")];
  }
}
