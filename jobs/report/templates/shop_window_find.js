/* A field that finds while one types: the listbox pattern, worked by keyboard and pointer alike. */

const HITS = 10;

/**
 * @param label   what the field asks for
 * @param search  from the text to at most HITS of {text, detail, chosen}, `chosen` being called when it is taken
 */
function finder(label, placeholder, search) {
  let hits = [];
  let active = -1;
  const list = h("ul", { class: "hits", role: "listbox", id: "find-hits", "aria-label": label, hidden: true });
  const input = h("input", {
    id: "find", type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder,
    "aria-expanded": "false", "aria-controls": "find-hits", "aria-autocomplete": "list",
    oninput: show, onfocus: () => { input.select(); show(); }, onblur: hide, onkeydown: keys,
  });
  const take = (number) => { const hit = hits[number]; hide(); input.value = ""; input.blur(); hit?.chosen(); };

  function hide() {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function show() {
    hits = search(input.value.trim().toLowerCase());
    active = -1;
    input.removeAttribute("aria-activedescendant");
    list.replaceChildren(...hits.map((hit, number) => h("li", {
      role: "option", id: `hit${number}`, "aria-selected": "false",
      // A press must not take the focus from the field, or the list would close before the click.
      onmousedown: (event) => event.preventDefault(), onclick: () => take(number),
    }, h("span", {}, hit.text), h("span", { class: "soft" }, hit.detail))));
    if (!hits.length) list.append(h("li", { class: "soft", role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nothing of that name or id is on this page"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
  }

  function keys(event) {
    if (event.key === "Escape") return hide();
    if (event.key === "Enter") { event.preventDefault(); return take(Math.max(active, 0)); }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return undefined;
    event.preventDefault();
    if (list.hidden) return show();
    if (!hits.length) return undefined;
    const step = event.key === "ArrowDown" ? 1 : -1;
    active = active < 0 && step < 0 ? hits.length - 1 : (active + step + hits.length) % hits.length;
    [...list.children].forEach((option, number) => option.setAttribute("aria-selected", String(number === active)));
    list.children[active].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", `hit${active}`);
    return undefined;
  }

  return h("div", { class: "field wide finder" }, h("label", { for: "find" }, label), input, list);
}

/** The numbers whose text holds every word of the query, at most HITS, in their order. */
function matches(texts, query) {
  const words = query.split(/\s+/).filter(Boolean);
  const found = [];
  for (let number = 0; number < texts.length && found.length < HITS; number++) {
    if (words.every((word) => texts[number].includes(word))) found.push(number);
  }
  return found;
}
