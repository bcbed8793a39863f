// Maps as pictures: their pixels where they were measured, and what is computed from two or three of them.

import type { NamedArray, Numbers } from "./arrays";
import type { MapData } from "./measured";
import type { Quantity } from "./server";

/** A map on a grid. Its axes ascend; `values` and `seqNums` are row by row from the least y. */
export interface Grid {
  label: string;
  unit: string | null;
  values: Float32Array;
  nx: number;
  ny: number;
  /** Where the columns and rows are; their indices where no position is known. */
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  xAxis: Quantity;
  yAxis: Quantity;
  /** The number of the point of each pixel, -1 where there is none. */
  seqNums?: ArrayLike<number>;
}

/** Scattered points, or those of a line. */
export interface Points {
  label: string;
  unit: string | null;
  values: ArrayLike<number>;
  x: ArrayLike<number>;
  y?: ArrayLike<number>;
  xAxis: Quantity;
  yAxis?: Quantity;
  seqNums?: ArrayLike<number>;
}

export type Pair = [x: number, y: number];

const NO_POSITION = { x: { name: "column" }, y: { name: "row" } };

/** The map as a grid; nothing if it is none. */
export function gridOf({ header, arrays }: MapData): Grid | undefined {
  const shown = arrays["values"];
  if (header.kind !== "grid" || shown?.shape.length !== 2) {
    return undefined;
  }
  const [ny, nx] = shown.shape as Pair;
  const [x, y] = [axis(arrays["x"], nx), axis(arrays["y"], ny)];
  const turned = { x: descends(x), y: descends(y) };
  const [yAxis, xAxis] = header.axes;
  const seqNums = arrays["seq_num"]?.values;
  return {
    label: header.label,
    unit: header.unit,
    values: rearranged(shown.values instanceof Float32Array ? shown.values : Float32Array.from(shown.values), nx, turned),
    nx,
    ny,
    x: turned.x ? [...arrayOf(x)].reverse() : x,
    y: turned.y ? [...arrayOf(y)].reverse() : y,
    xAxis: arrays["x"] && xAxis ? xAxis : NO_POSITION.x,
    yAxis: arrays["y"] && yAxis ? yAxis : NO_POSITION.y,
    seqNums: seqNums && rearranged(seqNums, nx, turned),
  };
}

/** The map as points, or as those of a line; nothing if it is a grid. */
export function pointsOf({ header, arrays }: MapData): Points | undefined {
  const { values, x, y, seq_num } = arrays;
  if (header.kind === "grid" || !values) {
    return undefined;
  }
  const { label, unit, axes } = header;
  const [first, second] = axes;
  const isLine = header.kind === "line" || !y;
  return {
    label,
    unit,
    values: values.values,
    x: axis(x, values.values.length),
    y: isLine ? undefined : y.values,
    xAxis: (isLine ? first : second) ?? { name: "point" },
    yAxis: isLine ? undefined : (first ?? { name: "y" }),
    seqNums: seq_num?.values,
  };
}

function axis(array: NamedArray | undefined, length: number): ArrayLike<number> {
  return array?.values.length === length ? array.values : Float64Array.from({ length }, (_, at) => at);
}

function descends(values: ArrayLike<number>): boolean {
  return values.length > 1 && values[0]! > values[values.length - 1]!;
}

function arrayOf(values: ArrayLike<number>): number[] {
  return Array.from(values);
}

function rearranged<Kind extends Numbers>(values: Kind, nx: number, turned: { x: boolean; y: boolean }): Kind {
  if (!turned.x && !turned.y) {
    return values;
  }
  const out = values.slice() as Kind;
  const ny = values.length / nx;
  for (let row = 0; row < ny; row++) {
    const from = turned.y ? ny - 1 - row : row;
    for (let column = 0; column < nx; column++) {
      out[row * nx + column] = values[from * nx + (turned.x ? nx - 1 - column : column)]!;
    }
  }
  return out;
}

/** The index of the value of an axis that is nearest; the axis ascends. */
export function nearest(values: ArrayLike<number>, at: number): number {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle]! + values[middle + 1]!) / 2 < at) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/** The pixel at a position, as its index; nothing beside the map. */
export function pixelAt(grid: Grid, [x, y]: Pair): number | undefined {
  const [column, row] = [nearest(grid.x, x), nearest(grid.y, y)];
  const isOn = within(grid.x, x, column) && within(grid.y, y, row);
  return isOn ? row * grid.nx + column : undefined;
}

function within(values: ArrayLike<number>, at: number, index: number): boolean {
  return Math.abs(values[index]! - at) <= 0.5001 * stepOf(values);
}

/** How wide a pixel is. */
export function stepOf(values: ArrayLike<number>): number {
  return values.length > 1 ? Math.abs(values[values.length - 1]! - values[0]!) / (values.length - 1) || 1 : 1;
}

/** The index of the point that is nearest, in the units of the picture: its size there is `scale`. */
export function nearestPoint({ x, y }: Points, [atX, atY]: Pair, scale: Pair): number | undefined {
  let best: number | undefined;
  let least = Infinity;
  for (let at = 0; at < x.length; at++) {
    const distance = ((x[at]! - atX) / scale[0]) ** 2 + (y ? ((y[at]! - atY) / scale[1]) ** 2 : 0);
    if (distance < least) {
      [least, best] = [distance, at];
    }
  }
  return best;
}

export type Operation = "difference" | "ratio";

/** Two maps of one shape in one: their difference, or their ratio where the second is not 0. */
export function combined(first: Grid, second: Grid, operation: Operation): Grid | undefined {
  if (first.nx !== second.nx || first.ny !== second.ny) {
    return undefined;
  }
  const isRatio = operation === "ratio";
  const values = first.values.map((value, at) => {
    const other = second.values[at]!;
    return isRatio ? (other === 0 ? NaN : value / other) : value - other;
  });
  const unit = isRatio ? (first.unit === second.unit ? null : `${first.unit ?? 1}/${second.unit ?? 1}`) : first.unit;
  return { ...first, label: `${first.label} ${isRatio ? "÷" : "−"} ${second.label}`, unit, values };
}

/** Values divided by those of a monitor, point by point; NaN where the monitor is not known, or 0. */
export function normalised<Shown extends Grid | Points>(
  shown: Shown,
  name: string,
  monitor: { seqNums: ArrayLike<number>; values: ArrayLike<number> },
): Shown {
  const of = new Map<number, number>();
  for (let at = 0; at < monitor.seqNums.length; at++) {
    of.set(monitor.seqNums[at]!, monitor.values[at]!);
  }
  const { seqNums } = shown;
  const values = Float32Array.from(shown.values, (value, at) => value / (of.get(seqNums?.[at] ?? -1) || NaN));
  return { ...shown, label: `${shown.label} / ${name}`, unit: `${shown.unit ?? ""}/${name}`, values };
}

/** Up to three maps as red, green and blue, each from its own domain; transparent where none has a value. */
export function rgbOf(grids: (Grid | undefined)[], domains: (readonly [number, number] | undefined)[]): Uint8Array {
  const { nx, ny } = grids.find((grid) => grid !== undefined)!;
  const out = new Uint8Array(4 * nx * ny);
  grids.forEach((grid, color) => {
    const [low, high] = domains[color] ?? [0, 1];
    if (grid?.nx === nx && grid.ny === ny) {
      grid.values.forEach((value, at) => {
        if (!Number.isNaN(value)) {
          out[4 * at + color] = Math.max(0, Math.min(255, Math.round((255 * (value - low)) / (high - low))));
          out[4 * at + 3] = 255;
        }
      });
    }
  });
  return out;
}

/** The pixels under a line, in its order: how far along it each is, in units of the axes, and its value. */
export function profileOf(grid: Grid, [from, to]: [Pair, Pair]): { distance: Float64Array; values: Float64Array } {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const steps = Math.max(Math.abs(dx) / stepOf(grid.x), Math.abs(dy) / stepOf(grid.y));
  const count = Math.min(100_000, Math.max(1, Math.ceil(2 * steps)));
  const length = Math.hypot(dx, dy);
  const [distance, values]: [number[], number[]] = [[], []];
  let last: number | undefined;
  for (let step = 0; step <= count; step++) {
    const part = step / count;
    const pixel = pixelAt(grid, [from[0] + part * dx, from[1] + part * dy]);
    if (pixel !== undefined && pixel !== last) {
      distance.push(part * length);
      values.push(grid.values[pixel]!);
      last = pixel;
    }
  }
  return { distance: Float64Array.from(distance), values: Float64Array.from(values) };
}

export interface Statistics {
  /** How many values there are, and how many pixels without one. */
  count: number;
  missing: number;
  mean: number;
  deviation: number;
  smallest: number;
  largest: number;
  sum: number;
}

/** The values of a map in a rectangle. */
export function valuesIn(shown: Grid | Points, [from, to]: [Pair, Pair]): Float64Array {
  const [left, right] = [Math.min(from[0], to[0]), Math.max(from[0], to[0])];
  const [bottom, top] = [Math.min(from[1], to[1]), Math.max(from[1], to[1])];
  const out: number[] = [];
  for (let at = 0; at < shown.values.length; at++) {
    const [x, y] = "nx" in shown ? [shown.x[at % shown.nx]!, shown.y[Math.floor(at / shown.nx)]!] : [shown.x[at]!, shown.y?.[at] ?? bottom]; // prettier-ignore
    if (x >= left && x <= right && y >= bottom && y <= top) {
      out.push(shown.values[at]!);
    }
  }
  return Float64Array.from(out);
}

export function statisticsOf(values: ArrayLike<number>): Statistics {
  let [count, sum, squares, smallest, largest] = [0, 0, 0, Infinity, -Infinity];
  for (let at = 0; at < values.length; at++) {
    const value = values[at]!;
    if (Number.isFinite(value)) {
      count++;
      const before = count > 1 ? sum / (count - 1) : value;
      sum += value;
      squares += (value - before) * (value - sum / count); // Welford's
      smallest = Math.min(smallest, value);
      largest = Math.max(largest, value);
    }
  }
  const [mean, deviation] = [sum / count, Math.sqrt(squares / count)];
  return { count, missing: values.length - count, mean, deviation, smallest, largest, sum };
}

/** How many values there are in each of some bins of one width. */
export function histogramOf(values: ArrayLike<number>, bins = 40): { middles: Float64Array; counts: Float64Array } {
  const { smallest, largest, count } = statisticsOf(values);
  const width = (largest - smallest) / bins || 1;
  const counts = new Float64Array(count ? bins : 0);
  for (let at = 0; at < values.length; at++) {
    const value = values[at]!;
    if (Number.isFinite(value)) {
      counts[Math.min(bins - 1, Math.floor((value - smallest) / width))]!++;
    }
  }
  return { middles: Float64Array.from(counts, (_, at) => smallest + (at + 0.5) * width), counts };
}

/** The columns of what is shown, for a table. */
export function tableOf(shown: Grid | Points): Record<string, ArrayLike<unknown>> {
  const { values, seqNums, label, unit } = shown;
  const name = (quantity: Quantity): string => (quantity.unit ? `${quantity.name} (${quantity.unit})` : quantity.name);
  const isGrid = "nx" in shown;
  const x = isGrid ? Float64Array.from(values, (_, at) => shown.x[at % shown.nx]!) : shown.x;
  const y = isGrid ? Float64Array.from(values, (_, at) => shown.y[Math.floor(at / shown.nx)]!) : shown.y;
  return {
    ...(seqNums && { seq_num: seqNums }),
    [name(shown.xAxis)]: x,
    ...(y && shown.yAxis && { [name(shown.yAxis)]: y }),
    [name({ name: label, unit })]: values,
  };
}
