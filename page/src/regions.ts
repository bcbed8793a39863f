// Regions of an image or of a curve, as an analysis takes them: their geometry, their names, and how they are changed.

export type Kind = "rectangle" | "polygon" | "range";

export interface Region {
  name: string;
  type: Kind;
  /** Two corners, the vertices of a polygon, or the ends of a range: pixel centres are at whole numbers. */
  x: number[];
  /** Of a range there is none. */
  y: number[];
}

/** A region that has no name yet. */
export type Shape = Omit<Region, "name">;

export type Point = [x: number, y: number];

/** How many characters a name has at most. */
export const LONGEST = 50;

/** A region between two corners, or, where there is no second axis, between two values. */
export function drawn(type: "rectangle" | "range", [x0, y0]: Point, [x1, y1]: Point): Shape {
  const y = type === "range" ? [] : [Math.min(y0, y1), Math.max(y0, y1)];
  return rounded({ type, x: [Math.min(x0, x1), Math.max(x0, x1)], y });
}

/** The points by which a region is held: the corners, the vertices, or the ends (y is 0). */
export function handlesOf({ type, x, y }: Shape): Point[] {
  const [x0 = 0, x1 = 0] = x;
  const [y0 = 0, y1 = 0] = y;
  switch (type) {
    case "range":
      return [
        [x0, 0],
        [x1, 0],
      ];
    case "rectangle":
      return [
        [x0, y0],
        [x1, y0],
        [x1, y1],
        [x0, y1],
      ];
    case "polygon":
      return x.map((at, index) => [at, y[index]!]);
  }
}

/** The region with one of its handles at another point. */
export function stretched<R extends Shape>(region: R, handle: number, [x, y]: Point): R {
  if (region.type === "polygon") {
    return rounded({ ...region, x: replaced(region.x, handle, x), y: replaced(region.y, handle, y) });
  }
  const opposite = handlesOf(region)[region.type === "range" ? 1 - handle : (handle + 2) % 4]!;
  return { ...region, ...drawn(region.type, opposite, [x, y]) };
}

/** The region moved as a whole. */
export function moved<R extends Shape>(region: R, dx: number, dy: number): R {
  return rounded({ ...region, x: region.x.map((at) => at + dx), y: region.y.map((at) => at + dy) });
}

/** The polygon with one more vertex, after another one. */
export function withVertex(region: Region, after: number, [x, y]: Point): Region {
  return rounded({ ...region, x: region.x.toSpliced(after + 1, 0, x), y: region.y.toSpliced(after + 1, 0, y) });
}

/** The polygon with a vertex less, as long as three are left. */
export function withoutVertex(region: Region, vertex: number): Region {
  if (region.x.length <= 3) {
    return region;
  }
  return { ...region, x: region.x.toSpliced(vertex, 1), y: region.y.toSpliced(vertex, 1) };
}

/** Where the name of a region is written: the topmost of its points. */
export function labelAt(region: Region): Point {
  return handlesOf(region).reduce((top, point) => (point[1] < top[1] ? point : top));
}

/** A region that is too small to be one: it was a click. */
export function isTiny({ type, x, y }: Shape, least: number): boolean {
  const isNarrow = Math.max(...x) - Math.min(...x) < least;
  return isNarrow || (type !== "range" && Math.max(...y) - Math.min(...y) < least);
}

/** A name that no other region has. */
export function freeName(regions: Region[], base = "region"): string {
  const names = new Set(regions.map(({ name }) => name));
  for (let number = 1; ; number++) {
    if (!names.has(`${base} ${number}`)) {
      return `${base} ${number}`;
    }
  }
}

/** Why a region may not be called so; empty if it may. */
export function problemOf(name: string, others: Region[]): string {
  if (name.trim() === "") {
    return "a region needs a name";
  }
  if (name.length > LONGEST) {
    return `a name has at most ${LONGEST} characters`;
  }
  return others.some((other) => other.name === name) ? `another region is called ${name}` : "";
}

/** What a region is in words, for those who read it. */
export function described({ type, x, y }: Region): string {
  switch (type) {
    case "range":
      return `${x[0]} to ${x[1]}`;
    case "rectangle":
      return `x ${x[0]} to ${x[1]}, y ${y[0]} to ${y[1]}`;
    case "polygon":
      return `${x.length} vertices around x ${Math.round(mean(x))}, y ${Math.round(mean(y))}`;
  }
}

/** As exact as one draws: to a tenth of a pixel, of a range to a thousandth of its length. */
export function rounded<R extends Shape>(region: R): R {
  const [from = 0, to = 0] = region.x;
  const least = region.type === "range" ? 10 ** Math.floor(Math.log10(Math.abs(to - from) || 1) - 3) : 0.1;
  const round = (value: number): number => Number((Math.round(value / least) * least).toPrecision(12));
  return { ...region, x: region.x.map(round), y: region.y.map(round) };
}

function replaced(values: number[], at: number, value: number): number[] {
  return values.map((before, index) => (index === at ? value : before));
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
