"use strict";
/* Reading what the page's data blocks hold. jobs/shop_window_pack.py writes them. */

/** The bytes of a data block; waits for one that the browser has not read yet. */
async function unpack(name) {
  if (document.readyState === "loading" && !document.querySelector(`#data-${name} ~ script`)) {
    await new Promise((read) => document.addEventListener("DOMContentLoaded", read, { once: true }));
  }
  const block = document.getElementById(`data-${name}`);
  const text = block.textContent.trim();
  let packed;
  if (Uint8Array.fromBase64) {
    packed = Uint8Array.fromBase64(text);
  } else {
    const letters = atob(text);
    packed = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
  }
  const bytes = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(bytes).arrayBuffer());
}

/** The arrays of a block: layers one after the other, little-endian as every browser's machine is. */
function readBlock(bytes, { rows, places, widths }) {
  const cells = rows * places;
  let at = 0;
  const numbers = (width, count) => {
    const part = bytes.slice(at, (at += width * count));
    return width === 1 ? part : width === 2 ? new Uint16Array(part.buffer) : new Uint32Array(part.buffer);
  };
  const products = numbers(widths.products, cells);
  const planes = bytes.subarray(at, (at += 4 * cells));
  const scores = new Uint8Array(4 * cells);
  for (let plane = 0; plane < 4; plane++) {
    for (let cell = 0, from = plane * cells; cell < cells; cell++) scores[4 * cell + plane] = planes[from + cell];
  }
  return {
    rows, places, products, scores: new Float32Array(scores.buffer),
    sources: numbers(widths.sources, cells), rules: numbers(widths.rules, cells), notes: numbers(widths.notes, rows),
  };
}

/** Everything the page shows. Products, markets, variants and customers are numbers into the page's lists. */
class Shop {
  constructor(page) {
    Object.assign(this, page);
    this.numbers = new Map(page.catalogue.id.slice(0, page.shown).map((id, number) => [id, number]));
    this.loading = {};
    this.loaded = {};
  }

  static async open() {
    return new Shop(JSON.parse(new TextDecoder().decode(await unpack("page"))));
  }

  /** Read the blocks of some lists, each once; lists the night has not are skipped. */
  async load(names) {
    await Promise.all(names.filter((name) => name in this.blocks).map((name) => {
      this.loading[name] ??= unpack(name).then((bytes) => {
        this.loaded[name] = readBlock(bytes, this.blocks[name]);
      });
      return this.loading[name];
    }));
  }

  /** What a product is, by number. */
  product(number) {
    const all = this.catalogue;
    return {
      number, id: all.id[number], name: all.name[number], price: all.price[number],
      brand: all.brandTexts[all.brand[number]], category: all.categoryTexts[all.category[number]],
      colour: all.colourTexts[all.colour[number]], currency: all.currencyTexts[all.currency[number]],
      kind: all.kindTexts[all.kind[number]], paint: all.paintTexts[all.paint[number]],
    };
  }

  /** A product's number by id; -1 where the page does not know it. */
  numberOf(id) {
    return this.numbers.get(id) ?? this.catalogue.id.indexOf(id);
  }

  has(name) {
    return name in this.blocks;
  }

  productRow(product, market, variant) {
    return product < this.shown ? (product * this.markets.length + market) * this.variants.length + variant : -1;
  }

  rankingRow(market, category, variant) {
    return category < 0 ? -1 : (market * this.categories.length + category) * this.variants.length + variant;
  }

  /** A row of a block as a list; null where there is none. */
  list(name, row) {
    const block = this.loaded[name];
    if (!block || row < 0 || !block.notes[row]) return null;
    const [variant, short, model, run] = this.notes[block.notes[row]];
    const places = [];
    for (let place = 0, cell = row * block.places; place < block.places; place++, cell++) {
      if (!block.products[cell]) break;
      places.push({
        place: place + 1, product: block.products[cell] - 1, score: block.scores[cell],
        source: this.sources[block.sources[cell]], rule: this.rules[block.rules[cell]],
      });
    }
    return { name, places, variant, short, model, run };
  }

  /** The list in the variant asked for, else in the first that has one. */
  inVariant(name, variant, rowOf) {
    const order = [variant, ...this.variants.keys()];
    for (const each of order) {
      const found = this.list(name, rowOf(each));
      if (found) return found;
    }
    return null;
  }
}
