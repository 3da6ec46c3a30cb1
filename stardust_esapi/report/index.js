// Pictures lie in the folder of the pages; a case's are fetched when they are shown or printed.
const picturesOf = (item, loading) => {
  const link = item.querySelector("a");
  if (!item.dataset.pictures || !link || item.querySelector(".pictures")) return;
  const place = document.createElement("div");
  place.className = "pictures";
  for (const kind of item.dataset.pictures.split(" ")) {
    const image = new Image(320, 320);
    image.loading = loading;
    image.alt = `${kind} of row ${item.querySelector(".row").textContent}`;
    image.src = new URL(`${item.dataset.case}-${kind}.png`, link.href).href;
    const caption = document.createElement("figcaption");
    caption.textContent = kind;
    const figure = document.createElement("figure");
    figure.append(image, caption);
    place.append(figure);
  }
  item.querySelector(".reason").append(place);
};
form.addEventListener("updated", () => {
  const wanted = form.elements.pictures?.checked ?? false;
  document.body.classList.toggle("with-pictures", wanted);
  if (wanted) shownItems().forEach((item) => picturesOf(item, "lazy"));
});
addEventListener("beforeprint", () => shownItems().forEach((item) => picturesOf(item, "eager")));

// A case is looked at beside the list where there is room; else its link leads to its page.
{
  const look = document.querySelector(".look");
  const frame = look.querySelector("iframe");
  let current;
  const show = (item) => {
    const link = item?.querySelector("a");
    if (!link) return;
    current?.classList.remove("current");
    current = item;
    current.classList.add("current");
    look.hidden = false;
    document.body.classList.add("looking");
    look.querySelector("a").href = link.href;
    frame.contentWindow.location.replace(link.href);  // no step for the browser's Back
    link.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest" });
  };
  const step = (by) => {
    const shown = [...list.querySelectorAll(":scope > [data-case]:not([hidden]):has(a)")];  // as they stand now
    show(current && !current.hidden ? shown[shown.indexOf(current) + by] : shown[0]);
  };
  const close = () => {
    look.hidden = true;
    document.body.classList.remove("looking");
    current?.classList.remove("current");
    current?.querySelector("a").focus();
  };
  const isWide = () => innerWidth >= 1100;
  list.addEventListener("click", (event) => {
    const item = event.target.closest("[data-case]");
    if (!item || !isWide() || event.ctrlKey || event.metaKey || event.shiftKey || getSelection().toString()) return;
    event.preventDefault();
    show(item);
  });
  look.addEventListener("click", (event) => {
    if (event.target.dataset.step) step(Number(event.target.dataset.step));
    if ("close" in event.target.dataset) close();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    const by = { j: 1, k: -1 }[event.key];
    if (by && isWide()) step(by);
    if (event.key === "Escape" && !look.hidden) close();
  });
}
