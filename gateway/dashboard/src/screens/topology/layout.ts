// Where the boxes of the topology lie: three layers; a service in the middle of its routes and nodes, so that no lines cross.

import type { Box, Group } from "./graph";

export const BOX_HEIGHT = 34;
const ROW = 44;
const BETWEEN = 14;
const MARGIN = 6;
const WIDEST = 5;
const LEAST_WIDTH = 720;

export interface Placed extends Box {
  x: number;
  y: number;
  /** The ids of what is on a path with it, itself included. */
  path: Set<string>;
}

export interface Line {
  id: string;
  from: string;
  to: string;
  d: string;
  width: number;
  isBad: boolean;
}

export interface Layout {
  width: number;
  height: number;
  boxWidth: number;
  columns: [number, number, number];
  boxes: Placed[];
  lines: Line[];
}

export function layOut(groups: Group[], available: number): Layout {
  const width = Math.max(LEAST_WIDTH, available);
  const boxWidth = Math.floor((width - 2 * MARGIN) * 0.27);
  const columns: Layout["columns"] = [MARGIN, Math.floor((width - boxWidth) / 2), width - boxWidth - MARGIN];
  const most = Math.max(1, ...groups.map((group) => group.service.requests));
  const layout: Layout = { width, height: 0, boxWidth, columns, boxes: [], lines: [] };
  let top = MARGIN;
  for (const group of groups) {
    const rows = Math.max(1, group.routes.length, group.nodes.length);
    place(layout, group, top, rows, most);
    top += rows * ROW + BETWEEN;
  }
  layout.height = Math.max(BOX_HEIGHT, top - BETWEEN);
  return layout;
}

function place(layout: Layout, { service, routes, nodes }: Group, top: number, rows: number, most: number) {
  const [left, middle, right] = layout.columns;
  const below = (count: number, index: number) => top + ((rows - count) / 2 + index) * ROW;
  const all = [...routes, service, ...nodes].map((box) => box.id);
  const center: Placed = { ...service, x: middle, y: below(1, 0), path: new Set(all) };
  const onPath = (box: Box, others: Box[]) => new Set([box, service, ...others].map(({ id }) => id));
  const from = routes.map((box, i): Placed => ({ ...box, x: left, y: below(routes.length, i), path: onPath(box, nodes) }));
  const to = nodes.map((box, i): Placed => ({ ...box, x: right, y: below(nodes.length, i), path: onPath(box, routes) }));
  layout.boxes.push(...from, center, ...to);
  for (const box of from) layout.lines.push(line(layout.boxWidth, box, center, box.requests / most, box.tone === "quiet"));
  for (const box of to) layout.lines.push(line(layout.boxWidth, center, box, box.requests / most, box.tone === "bad"));
}

function line(boxWidth: number, from: Placed, to: Placed, share: number, isBad: boolean): Line {
  const [x1, y1, x2, y2] = [from.x + boxWidth, from.y + BOX_HEIGHT / 2, to.x, to.y + BOX_HEIGHT / 2];
  const half = (x2 - x1) / 2;
  return {
    id: `${from.id} > ${to.id}`,
    from: from.id,
    to: to.id,
    d: `M${x1} ${y1}C${x1 + half} ${y1} ${x2 - half} ${y2} ${x2} ${y2}`,
    width: 1 + WIDEST * Math.sqrt(Math.min(1, share)),
    isBad,
  };
}
