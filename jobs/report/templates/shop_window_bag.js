/**
 * Combines the lists of a bag's products into one, by the rule of feature_repo/client/bag.py; a test compares both.
 *
 * A candidate's score is the mean of its two highest scores in the lists of the bag's products, 0 where it is absent;
 * in a bag of one product it is its score there. Left out: what is in the bag, what is of a category that is in the
 * bag, and what costs more than `share` of the bag's known prices together. Best score first, equal scores by first
 * appearance; of each category the first one only. An empty category limits nothing; an unknown price
 * (null) passes.
 *
 * @param bag    [{id, category, price}], the products in the bag, each once
 * @param lists  parallel to bag: [{id, category, price, score}], each product's whole list of bag_extras
 * @param limit  products wanted
 * @returns      at most `limit` of the candidates, each with its combined score
 */
function combineBag(bag, lists, limit, share = 0.5) {
  const candidates = new Map();
  for (const list of lists) {
    for (const place of list) {
      const candidate = candidates.get(place.id) ?? { ...place, best: 0, second: 0 };
      candidate.second = Math.max(Math.min(candidate.best, place.score), candidate.second);
      candidate.best = Math.max(candidate.best, place.score);
      candidates.set(place.id, candidate);
    }
  }
  const known = bag.filter((product) => product.price !== null);
  const ceiling = known.length ? share * known.reduce((sum, product) => sum + product.price, 0) : Infinity;
  const inBag = new Set(bag.map((product) => product.id));
  const taken = new Set(bag.map((product) => product.category).filter(Boolean));
  const found = [];
  for (const { best, second, ...candidate } of [...candidates.values()].sort((a, b) => (b.best + b.second) - (a.best + a.second))) {
    const dear = candidate.price !== null && candidate.price > ceiling;
    if (inBag.has(candidate.id) || dear || taken.has(candidate.category)) continue;
    if (candidate.category) taken.add(candidate.category);
    found.push({ ...candidate, score: (best + second) / Math.min(2, bag.length) });
    if (found.length === limit) break;
  }
  return found;
}
