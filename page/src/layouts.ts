// Which tiles there are, and where: as an analysis has them by default, or as somebody arranged them under a name.

import type { MapAbout, Status } from "./server";

export const KINDS = ["map", "image", "curve", "trend", "row", "log"] as const;
export type Kind = (typeof KINDS)[number];

/** What the kinds of tiles are called. */
export const NAMES: Record<Kind, string> = {
  map: "Map",
  image: "Image",
  curve: "Spectrum, diffractogram",
  trend: "Trend",
  row: "Values of the point",
  log: "Notifications",
};

/** A tile of a layout: its place and size in columns and rows, and what was chosen for it. */
export interface Tile {
  id: string;
  kind: Kind;
  x: number;
  y: number;
  w: number;
  h: number;
  options: Record<string, unknown>;
}

export interface Layout {
  tiles: Tile[];
}

/** The columns of a layout; so many rows fill the window. */
export const COLUMNS = 12;
export const ROWS = 12;

function tile(kind: Kind, x: number, y: number, w: number, h: number, options: Record<string, unknown> = {}): Tile {
  return { id: kind, kind, x, y, w, h, options };
}

/** The layout that suits what is analysed. */
export function defaultLayout(stages: Status["stages"], maps: MapAbout[]): Layout {
  const classes = stages.map(({ class: name }) => name?.split(".").at(-1) ?? "").join(" ");
  const hasMaps = maps.some(({ kind }) => kind !== "line");
  const map = [tile("map", 0, 0, 7, 9), tile("row", 0, 9, 7, 3)];
  if (/Fluorescence|Diffractogram|Azimuthal/.test(classes)) {
    return { tiles: [...map, tile("curve", 7, 0, 5, 6), tile("trend", 7, 6, 5, 6)] };
  }
  if (/Crystal|Peak|TrackLinker/.test(classes) || hasMaps) {
    return { tiles: [...map, tile("image", 7, 0, 5, 7), tile("trend", 7, 7, 5, 5)] };
  }
  return { tiles: [tile("map", 0, 0, 7, 7), tile("image", 7, 0, 5, 7), tile("curve", 0, 7, 6, 5), tile("trend", 6, 7, 6, 5)] }; // prettier-ignore
}

/** A layout that somebody stored, as far as it is one; nothing if it is none. */
export function layoutIn(stored: unknown): Layout | undefined {
  const { tiles } = (stored ?? {}) as { tiles?: unknown };
  if (!Array.isArray(tiles)) {
    return undefined;
  }
  const known = tiles.filter(isTile);
  return { tiles: known.filter(({ id }, at) => known.findIndex((one) => one.id === id) === at) };
}

function isTile(one: unknown): one is Tile {
  const { id, kind, options, ...place } = (one ?? {}) as Partial<Tile>;
  const isPlaced = [place.x, place.y, place.w, place.h].every((number) => Number.isInteger(number) && number! >= 0);
  return typeof id === "string" && KINDS.includes(kind!) && typeof options === "object" && options !== null && isPlaced;
}

/** The layout with another tile, where there is room: below the others. */
export function withTile({ tiles }: Layout, kind: Kind): Layout {
  const bottom = Math.max(0, ...tiles.map(({ y, h }) => y + h));
  const ids = new Set(tiles.map(({ id }) => id));
  let number = 1;
  while (ids.has(`${kind}${number}`)) {
    number++;
  }
  return { tiles: [...tiles, { id: `${kind}${number}`, kind, x: 0, y: bottom, w: 6, h: 6, options: {} }] };
}

export function withoutTile({ tiles }: Layout, id: string): Layout {
  return { tiles: tiles.filter((tile) => tile.id !== id) };
}

/** The layout with a tile changed. */
export function changed({ tiles }: Layout, id: string, part: Partial<Tile>): Layout {
  return { tiles: tiles.map((tile) => (tile.id === id ? { ...tile, ...part } : tile)) };
}
