// A list of cases that is searched, filtered and sorted by a form, the one place that knows how.
// What is asked for is kept in the history, so that it stays when the page is loaded again or gone
// back to.
const list = document.querySelector(".cases");
const form = document.querySelector(".filters");
const items = list ? [...list.querySelectorAll(":scope > [data-case]")] : [];
const heads = list ? [...list.querySelectorAll(":scope > .group")] : [];
const shownItems = () => items.filter((item) => !item.hidden);
{
  const own = ["text", "order", "pictures"];  // every other name is of an attribute that decides
  const texts = [];
  const collator = new Intl.Collator(undefined, { numeric: true });
  const inOrder = (a, b) => a - b || collator.compare(a, b);  // where one is no number, as text
  const valueOf = (item, key) => item.dataset[key] ?? item.querySelector(`.${key}`)?.textContent.trim() ?? "";
  let ordered = "";

  const sort = (order) => {
    ordered = order;
    const [down, key] = order.startsWith("-") ? [-1, order.slice(1)] : [1, order];
    const values = new Map(items.map((item) => [item, key && valueOf(item, key)]));
    const sorted = key ? [...items].sort((a, b) => down * inOrder(values.get(a), values.get(b))) : items;
    const first = new Map();
    sorted.forEach((item) => { if (!first.has(item.dataset.why)) first.set(item.dataset.why, item); });
    const before = new Map(key === "why" ? heads.map((head) => [first.get(head.dataset.why), head]) : []);
    list.append(...sorted.flatMap((item) => (before.has(item) ? [before.get(item), item] : [item])));
  };

  const restore = () => {
    const kept = history.state ?? [...new FormData(form)];
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = kept.some(([name, value]) => name === field.name && value === field.value);
      else if (field.name) field.value = Object.fromEntries(kept)[field.name] ?? "";
    }
    update();
  };

  const update = () => {
    const asked = new FormData(form);
    history.replaceState([...asked], "");
    const order = asked.get("order") ?? "";  // none where the page no longer offers the one kept
    if (order !== ordered) sort(order);
    const words = asked.get("text").toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !texts.length) texts.push(...items.map((item) => item.textContent.toLowerCase()));
    const keys = [...new Set(asked.keys())].filter((key) => !own.includes(key) && asked.get(key));
    const wanted = keys.map((key) => [key, asked.getAll(key)]);
    const counts = {};
    let count = 0;
    items.forEach((item, i) => {
      const fits = wanted.every(([key, values]) => values.includes(item.dataset[key])) && words.every((word) => texts[i].includes(word));
      item.hidden = !fits;
      count += fits;
      if (fits && heads.length) counts[item.dataset.why] = (counts[item.dataset.why] ?? 0) + 1;
    });
    heads.forEach((head) => {
      head.hidden = ordered !== "why" || !counts[head.dataset.why];
      head.querySelector("b").textContent = counts[head.dataset.why] ?? 0;
    });
    document.querySelector(".shown").textContent = count < items.length ? `${count} of ${items.length} cases shown` : "";
    form.dispatchEvent(new Event("updated"));
  };

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));

  if (items.length) {
    let soon;
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      clearTimeout(soon);
      soon = setTimeout(update, event.target.name === "text" ? 200 : 0);  // not at every letter
    });
    addEventListener("pageshow", restore);
    form.querySelector("[data-print]")?.addEventListener("click", () => print());
  }
}
