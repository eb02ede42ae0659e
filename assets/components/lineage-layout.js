// Where the boxes of a lineage go: layers from cause to effect, few crossings. Values in, values out.

export const BOX = { width: 176, height: 44, gapX: 64, gapY: 18, margin: 12 };
const PASSES = 4;

/**
 * Places nodes in layers by their longest way from a source, and orders each layer by the middle of
 * its neighbours. Returns { nodes: [{ …node, x, y }], edges: [{ …edge, path }], width, height } in
 * pixels. Edges that would close a circle, or whose ends are not among the nodes, are left out.
 */
export function layOut(nodes, edges) {
  const byId = new Map(nodes.map((node) => [node.id, { ...node, layer: 0, before: [], after: [] }]));
  const sound = withoutCircles(edges.filter(({ from, to }) => byId.has(from) && byId.has(to) && from !== to), [...byId.keys()]);
  for (const { from, to } of sound) {
    byId.get(from).after.push(byId.get(to));
    byId.get(to).before.push(byId.get(from));
  }
  const layers = intoLayers([...byId.values()]);
  for (let pass = 0; pass < PASSES; pass += 1) {
    const forward = pass % 2 === 0;
    for (const layer of forward ? layers : layers.toReversed()) sortByNeighbours(layer, forward ? "before" : "after");
  }
  return draw(layers, sound, byId);
}

/** Takes edges one by one as long as no way leads back. */
function withoutCircles(edges, ids) {
  const after = new Map(ids.map((id) => [id, new Set()]));
  const reaches = (from, to, seen = new Set()) => {
    const waiting = [from];
    while (waiting.length) {
      const id = waiting.pop();
      if (id === to) return true;
      if (seen.has(id)) continue;
      seen.add(id);
      waiting.push(...after.get(id));
    }
    return false;
  };
  return edges.filter(({ from, to }) => {
    if (after.get(from).has(to) || reaches(to, from)) return false;
    after.get(from).add(to);
    return true;
  });
}

function intoLayers(nodes) {
  const layers = [];
  const open = new Map(nodes.map((node) => [node, node.before.length]));
  let ready = nodes.filter((node) => node.before.length === 0);
  while (ready.length) {
    const next = [];
    for (const node of ready) {
      (layers[node.layer] ??= []).push(node);
      for (const child of node.after) {
        child.layer = Math.max(child.layer, node.layer + 1);
        open.set(child, open.get(child) - 1);
        if (open.get(child) === 0) next.push(child);
      }
    }
    ready = next;
  }
  layers.forEach((layer) => layer.forEach((node, at) => (node.at = at)));
  return layers;
}

function sortByNeighbours(layer, side) {
  const middle = (node) => (node[side].length ? node[side].reduce((sum, other) => sum + other.at, 0) / node[side].length : node.at);
  const wanted = new Map(layer.map((node) => [node, middle(node)]));
  layer.sort((a, b) => wanted.get(a) - wanted.get(b) || a.at - b.at);
  layer.forEach((node, at) => (node.at = at));
}

function draw(layers, edges, byId) {
  const { width, height, gapX, gapY, margin } = BOX;
  const tallest = Math.max(0, ...layers.map((layer) => layer.length));
  const whole = tallest * (height + gapY) - gapY;
  for (const layer of layers) {
    const top = (whole - (layer.length * (height + gapY) - gapY)) / 2;
    for (const node of layer) {
      node.x = margin + node.layer * (width + gapX);
      node.y = margin + top + node.at * (height + gapY);
    }
  }
  const line = ({ from, to }) => {
    const [a, b] = [byId.get(from), byId.get(to)];
    const [x1, y1, x2, y2] = [a.x + width, a.y + height / 2, b.x, b.y + height / 2];
    const bend = Math.max(gapX / 2, (x2 - x1) / 2);
    return `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`;
  };
  return {
    nodes: layers.flat().map(({ before: _b, after: _a, ...node }) => node),
    edges: edges.map((edge) => ({ ...edge, path: line(edge) })),
    width: layers.length ? 2 * margin + layers.length * (width + gapX) - gapX : 0,
    height: layers.length ? 2 * margin + whole : 0,
  };
}
