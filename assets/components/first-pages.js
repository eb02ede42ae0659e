// Lists that the API answers page by page, of which one asks for more and more.

/** Asks for the first `count` pages, by `ask(cursor)`, and answers them as one: { items, next, … }, all else as the first page says it. */
export async function firstPages(count, ask) {
  const first = await ask(null);
  const items = [...first.items];
  let { next } = first;
  for (let i = 1; i < count && next; i += 1) {
    const page = await ask(next);
    items.push(...page.items);
    next = page.next;
  }
  return { ...first, items, next };
}
